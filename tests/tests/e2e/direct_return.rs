//! In mode `dsr` the VIP stays the destination, and the container answers its client by a way of its own (cases 12, 17, 19).

use anyhow::{Result, ensure};
use balancer_common::verdict::Reason;
use balancer_tests::{
    conformance::{Cell, over, proves},
    datagram::{DatagramEcho, exchange_sizes},
    status,
    transfer::{TransferServer, Way, target, transfer},
    web,
};
use xtask::lab::{Lab, NameServer, ServiceSpec, Topology};

const BYTES: usize = 2_000_000;

/// HTTP that names the client, at the containers' own ports and the VIP of the first project.
fn service(lab: &Lab) -> String {
    let direct = ServiceSpec::new("red", "direct", &web::vips("red"))
        .direct(NameServer::HTTP_PORT)
        .direct(TransferServer::PORT)
        .direct(DatagramEcho::PORT)
        .backend("web-1")
        .backend("web-2");
    lab.config().with(direct).to_toml()
}

#[test]
fn container_answers_its_client_itself_from_the_vip() -> Result<()> {
    for topology in [Topology::demo(), Topology::demo().over_ipv6()] {
        let underlay = topology.underlay;
        let lab = Lab::build(Topology { uplinks: true, underlay_mtu: 1500, ..topology })?;
        let _names = lab.start_name_servers()?;
        let mut servers = Vec::new();
        for role in ["red-web-1", "red-web-2"] {
            lab.own_vips(role, &web::vips("red"))?;
            let addresses = web::vips("red").map(|vip| target(vip, DatagramEcho::PORT));
            let container = lab.ns(role);
            servers.push((
                TransferServer::start(&container, TransferServer::PORT)?,
                DatagramEcho::start_at(&container, &addresses)?,
            ));
        }
        let balancer = lab.start_balancer(&service(&lab))?;
        let client = lab.ns("client");
        let own = [Topology::CLIENT.0.to_string(), Topology::CLIENT.1.to_string()];
        for (vip, own) in web::vips("red").into_iter().zip(own) {
            let url = format!("http://{}/", target(vip, NameServer::HTTP_PORT));
            let answer = client.text(["curl", "--silent", "--fail", "--max-time", "5", &url])?;
            let (name, seen) = answer.trim().split_once(' ').unwrap_or_default();
            ensure!(name.starts_with("red/web-") && seen == own, "{vip}: {answer}");
            for way in Way::ALL {
                transfer(&client, (vip, TransferServer::PORT), way, BYTES)?;
            }
            // The last ones are larger than the way to the host: in fragments that are cut again, and told to be too big.
            exchange_sizes(&client, target(vip, DatagramEcho::PORT), &[1, 1200, 1400, 1472, 4000])?;
        }
        let now = balancer.status()?;
        ensure!(status::frames(&now, Reason::Forwarded) > 0, "{now:#}");
        ensure!(status::frames(&now, Reason::Replied) == 0, "answers came through the gateway\n{now:#}");
        proves(&[12, 17, 19], over(underlay).map(Cell::direct));
    }
    Ok(())
}
