//! A service may be a range of ports, or all of them: packets keep their port, and more exact service ports come first (case 12).

use anyhow::{Result, ensure};
use balancer_common::verdict::Reason;
use balancer_tests::{
    client::fetch,
    conformance::{over, proves},
    datagram::{DatagramClient, DatagramEcho, exchange_sizes},
    status,
    transfer::{TransferServer, Way, target, transfer},
    web,
};
use xtask::lab::{Lab, Topology};

use xtask::lab::{NameServer, ServiceSpec};

/// First, middle and last of the range.
const INSIDE: [u16; 3] = [8000, 8042, 8099];
/// Its neighbours.
const OUTSIDE: [u16; 2] = [7999, 8100];
/// Anywhere.
const ANY: [u16; 4] = [1, 22, 5000, 65_535];

#[test]
fn ranges_and_all_ports_are_served_at_their_own_port() -> Result<()> {
    for topology in [Topology::demo(), Topology::demo().over_ipv6()] {
        let underlay = topology.underlay;
        let lab = Lab::build(topology)?;
        let mut servers = Vec::new();
        for (role, port) in
            INSIDE.map(|port| ("red-web-1", port)).into_iter().chain(ANY.map(|port| ("blue-web-1", port)))
        {
            let container = lab.ns(role);
            servers.push((TransferServer::start(&container, port)?, DatagramEcho::start(&container, port)?));
        }
        let _names = NameServer::start(&lab.ns("blue-web-2"), "blue/web-2")?;
        let range = ServiceSpec::new("red", "range", &web::vips("red")).range("8000-8099").backend("web-1");
        let any = ServiceSpec::new("blue", "any", &web::vips("blue")).range("any").backend("web-1");
        let exact = web::service("blue").backend("web-2");
        let balancer = lab.start_balancer(&lab.config().with(range).with(any).with(exact).to_toml())?;
        let client = lab.ns("client");
        for (project, ports) in [("red", &INSIDE[..]), ("blue", &ANY)] {
            for (vip, port) in web::vips(project).into_iter().flat_map(|vip| ports.iter().map(move |port| (vip, *port)))
            {
                for way in Way::ALL {
                    transfer(&client, (vip, port), way, 200_000)?;
                }
                exchange_sizes(&client, target(vip, port), &[1, 1200, 4000])?;
            }
        }
        for vip in web::vips("red") {
            for port in OUTSIDE {
                let asked = DatagramClient::connect(&client, target(vip, port))?.exchange_once(b"x");
                ensure!(asked.is_err(), "{vip} {port} is outside and was answered");
            }
        }
        ensure!(status::frames(&balancer.status()?, Reason::VipPortClosed) >= 4, "{:#}", balancer.status()?);
        for vip in web::vips("blue") {
            ensure!(fetch(&client, vip)?.starts_with("blue/web-2 "), "{vip}: the exact service port comes first");
        }
        proves(&[12], over(underlay));
    }
    Ok(())
}
