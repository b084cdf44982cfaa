//! Turns the gateway's settings into the one entry of `GATEWAY`.

use std::time::Duration;

use balancer_common::abi::{ABI_VERSION, Gateway};

use super::Inputs;

/// The entry; a family without a VTEP address stays zero.
pub(super) fn render(inputs: &Inputs<'_>) -> Gateway {
    let gateway = &inputs.desired.gateway;
    Gateway {
        abi_version: ABI_VERSION,
        generation: inputs.generation,
        vtep_ipv6: gateway.vtep_ipv6.map_or([0; 16], |address| address.octets()),
        vtep_ipv4: gateway.vtep_ipv4.map_or([0; 4], |address| address.octets()),
        vxlan_port: gateway.vxlan_port.to_be_bytes(),
        tcp_idle_ns: nanoseconds(gateway.timeouts.tcp_idle),
        udp_idle_ns: nanoseconds(gateway.timeouts.udp_idle),
        closing_idle_ns: nanoseconds(gateway.timeouts.tcp_closing),
        ..Gateway::default()
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
