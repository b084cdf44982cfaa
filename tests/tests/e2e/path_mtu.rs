//! ICMP errors about outer packets lower the path MTU of a host, and clients are told what fits from then on.

use std::{
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use balancer_tests::{client::datagram, web};
use etherparse::PacketBuilder;
use serde_json::Value;
use socket2::{Domain, Protocol, Socket, Type};
use xtask::lab::{Lab, NameServer, Ns, ServiceSpec, Topology};

/// What the errors say, bytes of outer packet: less than the lab's underlay has.
const PATH_MTU: u16 = 1400;
/// How long a client may take to send what fits.
const CLIENT_LIMIT: Duration = Duration::from_secs(10);

#[test]
fn errors_of_the_underlay_lower_the_path_mtu_and_clients_learn_it() -> Result<()> {
    for topology in [Topology::demo(), Topology::demo().over_ipv6()] {
        let lab = Lab::build(topology)?;
        let _servers = lab.start_name_servers()?;
        let vips = web::vips("blue");
        let echo = ServiceSpec::new("blue", "echo", &vips).udp(7, NameServer::ECHO_PORT);
        let config = lab.config().with(echo.backend("web-1").backend("web-2"));
        let balancer = lab.start_balancer(&config.to_toml())?;
        let (client, payload) = (lab.ns("client"), "x".repeat(1400));
        datagram(&client, vips[0], 7, &payload).context("before the errors it fits")?;

        let gateway = lab.topology().gateway_vtep();
        for host in hosts(&balancer.status()?)? {
            tell(&lab.ns("host1"), gateway, host)?;
        }
        balancer.wait_status("every host has its path MTU", |status| {
            status["hosts"].as_array().is_some_and(|hosts| hosts.iter().all(|host| host["path_mtu"] == PATH_MTU))
        })?;

        // The first is too big and answered by ICMP; the client's kernel then sends fragments that fit.
        let begun = Instant::now();
        while let Err(error) = datagram(&client, vips[0], 7, &payload) {
            ensure!(begun.elapsed() < CLIENT_LIMIT, "no answer after {:?}: {error}", begun.elapsed());
        }
        let status = balancer.status()?;
        ensure!(status["reasons"]["too_big_sent"].as_u64() > Some(0), "{:#}", status["reasons"]);
        ensure!(status["slow_path"]["outer_errors"] == 2, "{:#}", status["slow_path"]);
    }
    Ok(())
}

/// The VTEPs of all hosts.
fn hosts(status: &Value) -> Result<Vec<IpAddr>> {
    let hosts = status["hosts"].as_array().context("hosts")?;
    hosts.iter().map(|host| Ok(host["vtep"].as_str().context("a VTEP")?.parse()?)).collect()
}

/// Tells the gateway that a packet of its to `host` was too big.
fn tell(from: &Ns, gateway: IpAddr, host: IpAddr) -> Result<()> {
    let mut quote = Vec::new();
    let ip = match (gateway, host) {
        (IpAddr::V4(gateway), IpAddr::V4(host)) => PacketBuilder::ipv4(gateway.octets(), host.octets(), 60),
        (IpAddr::V6(gateway), IpAddr::V6(host)) => PacketBuilder::ipv6(gateway.octets(), host.octets(), 60),
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => anyhow::bail!("{gateway} and {host}"),
    };
    ip.udp(50_000, 4789).write(&mut quote, &[0; 64])?;
    let [high, low] = PATH_MTU.to_be_bytes();
    // The kernel makes the checksum of ICMPv6 alone (RFC 3542 section 3.1).
    let (domain, protocol, mut message) = match gateway {
        IpAddr::V4(_) => (Domain::IPV4, Protocol::ICMPV4, vec![3, 4, 0, 0, 0, 0, high, low]),
        IpAddr::V6(_) => (Domain::IPV6, Protocol::ICMPV6, vec![2, 0, 0, 0, 0, 0, high, low]),
    };
    message.extend(quote);
    if gateway.is_ipv4() {
        let checksum = etherparse::checksum::Sum16BitWords::new().add_slice(&message).ones_complement();
        message[2..4].copy_from_slice(&checksum.to_ne_bytes());
    }
    from.inside(|| {
        let socket = Socket::new(domain, Type::RAW, Some(protocol))?;
        socket.send_to(&message, &SocketAddr::new(gateway, 0).into()).map(drop)
    })?
    .context("send the ICMP error")
}
