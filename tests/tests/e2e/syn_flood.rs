//! A SYN flood at one project's VIP does no harm to another project's connections, not even while tables change (case 10).

use std::{
    net::IpAddr,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::Duration,
};

use anyhow::{Result, ensure};
use balancer_common::case::Case;
use balancer_tests::{
    client::{Connection, fetch},
    conformance::{over, proves},
    frames::packet::{Body, Packet, Tcp},
    raw::RawSender,
    status, web,
};
use xtask::lab::{Lab, Topology};

/// SYNs of each family.
const FLOOD: u64 = 100_000;
const CONNECTIONS_PER_VIP: usize = 25;

/// Both projects' web services; red may have few flows remembered, so that the flood spends its budget on any machine.
fn config(lab: &Lab, containers: &[&str]) -> String {
    let services = web::PROJECTS.map(|project| {
        let service = containers.iter().fold(web::service(project), |service, container| service.backend(container));
        if project == "red" { service.set("new_flows_per_second", 500) } else { service }
    });
    services.into_iter().fold(lab.config(), xtask::lab::Config::with).to_toml()
}

/// A SYN of flow `number` to a VIP, from an address that nobody has.
fn syn(vip: IpAddr, number: u32) -> Vec<u8> {
    let source = if vip.is_ipv4() {
        IpAddr::from((0x6440_0000_u32 | number & 0x3f_ffff).to_be_bytes())
    } else {
        IpAddr::from([0x2001, 0xdb8, 0xbad, 0, 0, 0, (number >> 16) as u16, number as u16])
    };
    let tcp = Tcp {
        ports: [1024 + (number % 60_000) as u16, 80],
        sequence: number,
        acknowledgment: 0,
        flags: 0x02,
        window: 1024,
        options: vec![],
        payload: vec![],
    };
    let packet = Packet {
        macs: [[0; 6]; 2],
        tags: vec![],
        source,
        destination: vip,
        ttl: 64,
        traffic_class: 0,
        fragment: 0x4000,
        identification: 0,
        body: Body::Tcp(tcp),
    };
    packet.ip()
}

/// Floods both VIPs until told to stop or all is sent.
fn flood(sender: &RawSender, stopped: &AtomicBool, sent: &AtomicU64) -> Result<()> {
    let vips = web::vips("red").map(|vip| vip.parse::<IpAddr>().expect("VIPs are literals"));
    for number in 0..FLOOD {
        if stopped.load(Ordering::Relaxed) {
            break;
        }
        for vip in vips {
            // A full queue loses one, as a wire would.
            if sender.send(&syn(vip, number as u32)).is_ok() {
                sent.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
    Ok(())
}

#[test]
fn flood_at_one_project_loses_no_connection_of_another_while_tables_change() -> Result<()> {
    for topology in [Topology::with_containers(3), Topology::with_containers(3).over_ipv6()] {
        let underlay = topology.underlay;
        let lab = Lab::build(topology)?;
        let _servers = lab.start_name_servers()?;
        let balancer = lab.start_balancer(&config(&lab, &["web-1", "web-2"]))?;
        let mut connections = Connection::open_everywhere(&lab, CONNECTIONS_PER_VIP)?;
        connections.retain(|connection| web::vips("blue").contains(&connection.vip.as_str()));
        let sender = RawSender::open(&lab.ns("client"))?;
        let (stopped, sent) = (AtomicBool::new(false), AtomicU64::new(0));
        thread::scope(|scope| -> Result<()> {
            let flooding = scope.spawn(|| flood(&sender, &stopped, &sent));
            let tested = under_flood(&lab, &balancer, &mut connections, &sent);
            stopped.store(tested.is_err(), Ordering::Relaxed);
            flooding.join().expect("the flood does not panic")?;
            tested
        })?;
        connections.iter_mut().try_for_each(Connection::still_there)?;
        let now = balancer.status()?;
        let stateless = status::cases(&now, Case::FlowStateless);
        ensure!(stateless > 0, "{} SYNs never spent red's budget\n{now:#}", sent.load(Ordering::Relaxed));
        proves(&[10], over(underlay));
    }
    Ok(())
}

/// Both projects get another backend, which puts their slots in transition, while SYNs come in.
fn under_flood(
    lab: &Lab,
    balancer: &xtask::lab::Balancer,
    connections: &mut [Connection],
    sent: &AtomicU64,
) -> Result<()> {
    while sent.load(Ordering::Relaxed) < FLOOD / 20 {
        thread::sleep(Duration::from_millis(5));
    }
    balancer.rewrite_config(&config(lab, &["web-1", "web-2", "web-3"]))?;
    balancer.reload()?;
    balancer.wait_status("web-3 is a backend", |status| {
        web::everywhere().all(|(_, vip)| status::has_backend(status, vip, "web-3"))
    })?;
    for _ in 0..5 {
        connections.iter_mut().try_for_each(Connection::still_there)?;
        for vip in web::vips("blue") {
            ensure!(fetch(&lab.ns("client"), vip)?.starts_with("blue/"), "{vip} does not answer");
        }
    }
    Ok(())
}
