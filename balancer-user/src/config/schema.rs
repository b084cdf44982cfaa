//! Turns the format of the config into types: the one description that the JSON Schema, the walk and the tables come from.
//!
//! Defaults, ranges and words stand in the attributes; the walk reads them out of the derived schema.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::Duration,
};

use balancer_common::{abi, id::Vni};
use ipnet::IpNet;
use schemars::{JsonSchema, generate::SchemaSettings};
use serde::Deserialize;

use super::{
    field::Field,
    text::{AbsolutePath, FilePath, InterfaceName, Listen, Mac, Name, PortRange, Reference, Text},
};
use crate::model::{Backend, Gateway, HashSecret, Project, ServicePort, Sources};

/// Config of a balancer gateway. Several files of one directory are taken together: `hosts` and `projects` add up, `gateway` stands in exactly one of them.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "balancer config")]
pub(crate) struct ConfigTable {
    /// Number of this config, the same on every gateway that applied it. Derived from hosts, projects, hash secret and VXLAN port when unset.
    #[serde(default)]
    #[schemars(range(min = 1, max = 9_007_199_254_740_991_u64))]
    pub(crate) generation: Field<u64>,
    /// This gateway. Exactly once.
    #[serde(default)]
    pub(crate) gateway: Field<GatewayTable>,
    /// Container hosts.
    #[serde(default)]
    #[schemars(extend("default" = []))]
    pub(crate) hosts: Field<Vec<Field<HostTable>>>,
    /// Tenants: networks, containers and what they publish.
    #[serde(default)]
    #[schemars(extend("default" = []))]
    pub(crate) projects: Field<Vec<Field<ProjectTable>>>,
}

/// The gateway itself. `hash_secret` or `hash_secret_file` must be given, and at least one VTEP address.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(
    rename = "gateway",
    extend("oneOf" = [{ "required": ["hash_secret"] }, { "required": ["hash_secret_file"] }]),
    extend("anyOf" = [{ "required": ["vtep_ipv4"] }, { "required": ["vtep_ipv6"] }])
)]
pub(crate) struct GatewayTable {
    /// Name in logs and metrics. The first label of the host's name when unset.
    #[serde(default)]
    pub(crate) name: Field<Text<Name>>,
    /// Interfaces that get the XDP program: where clients come in, and the underlay.
    #[schemars(length(min = 1, max = 16))]
    pub(crate) interfaces: Field<Vec<Field<Text<InterfaceName>>>>,
    /// How the XDP program is attached.
    #[serde(default)]
    #[schemars(extend("default" = "auto"))]
    pub(crate) xdp_mode: Field<XdpModeWord>,
    /// VTEP address of this gateway, for hosts with an IPv4 VTEP.
    #[serde(default)]
    pub(crate) vtep_ipv4: Field<Text<Ipv4Addr>>,
    /// VTEP address of this gateway, for hosts with an IPv6 VTEP.
    #[serde(default)]
    pub(crate) vtep_ipv6: Field<Text<Ipv6Addr>>,
    /// UDP destination port of VXLAN.
    #[serde(default)]
    #[schemars(range(min = 1, max = 65_535), extend("default" = 4_789))]
    pub(crate) vxlan_port: Field<u16>,
    /// Secret of the flow hash, the same on every gateway: 32 hex digits, made with `openssl rand -hex 16`.
    #[serde(default)]
    pub(crate) hash_secret: Field<Text<HashSecret>>,
    /// File that holds the secret, relative to the directory of this config file. In place of `hash_secret`.
    #[serde(default)]
    pub(crate) hash_secret_file: Field<Text<FilePath>>,
    /// Most flows that the conntrack remembers; the least recently used goes first.
    #[serde(default)]
    #[schemars(range(min = 1_024, max = 16_777_216), extend("default" = abi::FLOWS_MAX))]
    pub(crate) flows_max: Field<u32>,
    /// Most ICMP errors (unreachable, time exceeded, too big) that the gateway makes for one VIP, a second.
    #[serde(default)]
    #[schemars(
        range(min = 1, max = Gateway::ICMP_ERRORS_MAX),
        extend("default" = Gateway::ICMP_ERRORS_DEFAULT)
    )]
    pub(crate) icmp_errors_per_second: Field<u32>,
    /// Directory below a bpffs for the pinned maps and links.
    #[serde(default)]
    #[schemars(extend("default" = "/sys/fs/bpf/balancer"))]
    pub(crate) pin_dir: Field<Text<AbsolutePath>>,
    /// Directory for what outlives the daemon: the last good config.
    #[serde(default)]
    #[schemars(extend("default" = "/var/lib/balancer"))]
    pub(crate) state_dir: Field<Text<AbsolutePath>>,
    /// Unix socket of the admin interface.
    #[serde(default)]
    #[schemars(extend("default" = "/run/balancer/admin.sock"))]
    pub(crate) admin_socket: Field<Text<AbsolutePath>>,
    /// Where Prometheus may scrape `/metrics`; "off" for nowhere.
    #[serde(default)]
    #[schemars(extend("default" = "127.0.0.1:9100"))]
    pub(crate) metrics_listen: Field<Text<Listen>>,
    /// How long a flow without a packet stays remembered.
    #[serde(default)]
    #[schemars(extend("default" = {}))]
    pub(crate) timeouts: Field<TimeoutsTable>,
}

/// How the XDP program is attached.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub(crate) enum XdpModeWord {
    /// Native where the driver can, else generic.
    Auto,
    /// Native, or refuse to start.
    Native,
    /// Generic (on socket buffers).
    Generic,
}

/// How long a flow without a packet stays remembered.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "timeouts")]
pub(crate) struct TimeoutsTable {
    /// TCP flow that is established: 10s to 24h.
    #[serde(default)]
    #[schemars(extend("default" = "15m"))]
    pub(crate) tcp_idle: Field<Text<Duration>>,
    /// TCP flow that saw FIN or RST: 1s to 10m.
    #[serde(default)]
    #[schemars(extend("default" = "10s"))]
    pub(crate) tcp_closing: Field<Text<Duration>>,
    /// UDP flow: 1s to 1h.
    #[serde(default)]
    #[schemars(extend("default" = "60s"))]
    pub(crate) udp_idle: Field<Text<Duration>>,
}

/// A machine that containers run on.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "host")]
pub(crate) struct HostTable {
    /// Its name, unique.
    pub(crate) name: Field<Text<Name>>,
    /// Its VTEP address, unique. The gateway needs a VTEP address of the same family.
    pub(crate) vtep: Field<Text<IpAddr>>,
    /// Path MTU to it, bytes of outer IP packet, where the route does not say the truth.
    #[serde(default)]
    #[schemars(range(min = 1_280, max = 9_216))]
    pub(crate) mtu: Field<u16>,
}

/// A tenant. Its addresses may overlap with another project's.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "project")]
pub(crate) struct ProjectTable {
    /// Its name, unique.
    pub(crate) name: Field<Text<Name>>,
    /// VXLAN network identifier of its network, unique.
    #[schemars(range(min = 1, max = Vni::MAX))]
    pub(crate) vni: Field<u32>,
    /// Address ranges of its network.
    #[schemars(length(min = 1, max = 64))]
    pub(crate) networks: Field<Vec<Field<Text<IpNet>>>>,
    /// The gateway's own IPv4 address in the network; needed for IPv4 VIPs.
    #[serde(default)]
    pub(crate) gateway_ipv4: Field<Text<Ipv4Addr>>,
    /// The gateway's own IPv6 address in the network; needed for IPv6 VIPs.
    #[serde(default)]
    pub(crate) gateway_ipv6: Field<Text<Ipv6Addr>>,
    /// The gateway's MAC in the network. 02:bb:00 and the three bytes of the VNI when unset.
    #[serde(default)]
    pub(crate) gateway_mac: Field<Text<Mac>>,
    /// Most flows a second that its service ports together may have remembered; above it they are placed by hash alone.
    #[serde(default)]
    #[schemars(
        range(min = 1, max = ServicePort::NEW_FLOWS_MAX),
        extend("default" = Project::NEW_FLOWS_DEFAULT)
    )]
    pub(crate) new_flows_per_second: Field<u32>,
    /// The workloads.
    #[serde(default)]
    #[schemars(extend("default" = []))]
    pub(crate) containers: Field<Vec<Field<ContainerTable>>>,
    /// What it publishes.
    #[serde(default)]
    #[schemars(extend("default" = []))]
    pub(crate) services: Field<Vec<Field<ServiceTable>>>,
}

/// A workload.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "container")]
pub(crate) struct ContainerTable {
    /// Its name, unique in the project.
    pub(crate) name: Field<Text<Name>>,
    /// Name of the host it runs on.
    pub(crate) host: Field<Text<Reference>>,
    /// Its MAC address, unique in the project.
    pub(crate) mac: Field<Text<Mac>>,
    /// Its addresses, at most one IPv4 and one IPv6, within the project's networks.
    #[schemars(length(min = 1, max = 2))]
    pub(crate) addresses: Field<Vec<Field<Text<IpAddr>>>>,
}

/// Something that a project publishes: every port at every VIP.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "service")]
pub(crate) struct ServiceTable {
    /// Its name, unique in the project.
    pub(crate) name: Field<Text<Name>>,
    /// Public addresses. A VIP belongs to one project.
    #[schemars(length(min = 1, max = 64))]
    pub(crate) vips: Field<Vec<Field<Text<IpAddr>>>>,
    /// Ports at those addresses.
    #[schemars(length(min = 1, max = 1_024))]
    pub(crate) ports: Field<Vec<Field<PortTable>>>,
    /// Prefixes of clients that may use it; the longest prefix of both lists decides. With an empty list everybody may whom
    /// `deny_sources` does not name.
    #[serde(default)]
    #[schemars(length(max = Sources::PREFIXES_MAX), extend("default" = []))]
    pub(crate) allow_sources: Field<Vec<Field<Text<IpNet>>>>,
    /// Prefixes of clients that may not.
    #[serde(default)]
    #[schemars(length(max = Sources::PREFIXES_MAX), extend("default" = []))]
    pub(crate) deny_sources: Field<Vec<Field<Text<IpNet>>>>,
    /// Who serves the ports that do not say otherwise. With an empty list clients get a reset or port unreachable.
    #[serde(default)]
    #[schemars(extend("default" = []))]
    pub(crate) backends: Field<Vec<Field<BackendTable>>>,
}

/// A port of a service, or a range of ports: `port` or `range` must be given.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "port", extend("oneOf" = [{ "required": ["port"] }, { "required": ["range"] }]))]
pub(crate) struct PortTable {
    /// Transport protocol.
    pub(crate) protocol: Field<ProtocolWord>,
    /// Port at the VIP.
    #[serde(default)]
    #[schemars(range(min = 1, max = 65_535))]
    pub(crate) port: Field<u16>,
    /// Ports at the VIP, in place of `port`. Packets keep their port; service ports with a `port` come first, and "any" comes last.
    #[serde(default)]
    pub(crate) range: Field<Text<PortRange>>,
    /// Port of the containers. The same as `port` when unset; not with `range`, nor another one with `mode` "dsr".
    #[serde(default)]
    #[schemars(range(min = 1, max = 65_535))]
    pub(crate) container_port: Field<u16>,
    /// Slots of the Maglev table. When unset, the smallest size from 4093 on that gives every backend 100 slots.
    /// Another size moves flows: choose one when more than 40 backends are to come.
    #[serde(default)]
    #[schemars(extend("enum" = abi::TABLE_SIZES))]
    pub(crate) table_size: Field<u32>,
    /// How packets are delivered.
    #[serde(default)]
    #[schemars(extend("default" = "nat"))]
    pub(crate) mode: Field<ModeWord>,
    /// What decides the backend of a flow, in short: "flow" is `hash` of client address and port, "client" of the address alone.
    #[serde(default)]
    pub(crate) affinity: Field<AffinityWord>,
    /// What the flow hash covers, something of the client at least. Client address and port when neither this nor `affinity` is given.
    #[serde(default)]
    #[schemars(length(min = 1, max = 3))]
    pub(crate) hash: Field<Vec<Field<HashWord>>>,
    /// Prefixes of clients that may use it, in place of the service's list.
    #[serde(default)]
    #[schemars(length(max = Sources::PREFIXES_MAX))]
    pub(crate) allow_sources: Field<Vec<Field<Text<IpNet>>>>,
    /// Prefixes of clients that may not, in place of the service's list.
    #[serde(default)]
    #[schemars(length(max = Sources::PREFIXES_MAX))]
    pub(crate) deny_sources: Field<Vec<Field<Text<IpNet>>>>,
    /// Most flows a second that it may have remembered; above it they are placed by hash alone.
    #[serde(default)]
    #[schemars(
        range(min = 1, max = ServicePort::NEW_FLOWS_MAX),
        extend("default" = ServicePort::NEW_FLOWS_DEFAULT)
    )]
    pub(crate) new_flows_per_second: Field<u32>,
    /// Who serves this port, in place of the service's list.
    #[serde(default)]
    pub(crate) backends: Field<Vec<Field<BackendTable>>>,
}

/// Transport protocol.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub(crate) enum ProtocolWord {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// What decides the backend of a flow.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub(crate) enum AffinityWord {
    /// Client address and port.
    Flow,
    /// Client address: all flows of a client go to one backend.
    Client,
}

/// How packets are delivered.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub(crate) enum ModeWord {
    /// The destination becomes the container's address and port, and the gateway translates the replies.
    Nat,
    /// Direct server return: the VIP stays the destination, and the container answers its client by itself.
    Dsr,
}

/// A field that the flow hash covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub(crate) enum HashWord {
    /// The client's address.
    ClientAddress,
    /// The client's port.
    ClientPort,
    /// The port at the VIP, which differs only within a range.
    VipPort,
}

/// A container that serves.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "backend")]
pub(crate) struct BackendTable {
    /// Name of the container, of the same project.
    pub(crate) container: Field<Text<Reference>>,
    /// Share of new flows, relative to the others.
    #[serde(default)]
    #[schemars(range(min = 1, max = Backend::WEIGHT_MAX), extend("default" = 1))]
    pub(crate) weight: Field<u32>,
    /// What may be sent to it.
    #[serde(default)]
    #[schemars(extend("default" = "active"))]
    pub(crate) state: Field<BackendStateWord>,
}

/// What may be sent to a backend.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub(crate) enum BackendStateWord {
    /// Takes new flows.
    Active,
    /// Keeps its flows, takes no new ones.
    Draining,
    /// Takes nothing.
    Dead,
}

/// The JSON Schema (draft 2020-12) of a config file.
pub(crate) fn schema() -> serde_json::Value {
    SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<ConfigTable>().to_value()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{super::text::FORMATS, *};

    /// Calls `visit` with every object in `value`.
    fn every_object(value: &serde_json::Value, visit: &mut impl FnMut(&serde_json::Map<String, serde_json::Value>)) {
        if let Some(object) = value.as_object() {
            visit(object);
            object.values().for_each(|value| every_object(value, visit));
        }
        value.as_array().into_iter().flatten().for_each(|value| every_object(value, visit));
    }

    #[test]
    fn every_text_format_of_the_schema_is_known_and_used() {
        let mut used = BTreeSet::new();
        every_object(&schema(), &mut |object| {
            if object.get("type").and_then(serde_json::Value::as_str) == Some("string")
                && let Some(format) = object.get("format").and_then(serde_json::Value::as_str)
            {
                used.insert(format.to_owned());
            }
        });
        assert_eq!(used, FORMATS.iter().map(|format| format.name.to_owned()).collect());
    }

    #[test]
    fn every_key_is_described_and_every_table_closed() {
        every_object(&schema(), &mut |object| {
            let Some(properties) = object.get("properties").and_then(serde_json::Value::as_object) else { return };
            assert_eq!(object.get("additionalProperties"), Some(&false.into()));
            for (key, property) in properties {
                assert!(property.get("description").is_some(), "{key}: {property}");
            }
        });
    }
}
