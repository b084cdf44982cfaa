//! Backends come and go under load; connections to those that stay are not disturbed.

use std::{collections::BTreeSet, thread};

use anyhow::Result;
use balancer_tests::{
    client::{Connection, fetch},
    conformance::{over, proves},
    load::{self, Connections},
    status, web,
};
use xtask::lab::{Lab, Topology, Underlay};

const CONNECTIONS_PER_VIP: usize = 25;
const LOAD_SECONDS: u32 = 6;

#[test]
fn established_connections_to_other_backends_survive_an_added_and_a_removed_backend() -> Result<()> {
    let lab = Lab::build(Topology::with_containers(3))?;
    let _servers = web::nginx_everywhere(&lab)?;
    let balancer = lab.start_balancer(&web::config(&lab, &["web-1", "web-2"]).to_toml())?;
    let mut connections = Connection::open_everywhere(&lab, CONNECTIONS_PER_VIP)?;
    assert_eq!(connections.iter().map(|connection| connection.backend.as_str()).collect::<BTreeSet<_>>().len(), 4);

    thread::scope(|scope| -> Result<()> {
        let client = lab.ns("client");
        let load = scope
            .spawn(move || load::wrk(&client, &web::url(web::vips("red")[0], ""), LOAD_SECONDS, Connections::Renewed));

        balancer.rewrite_config(&web::config(&lab, &["web-1", "web-2", "web-3"]).to_toml())?;
        balancer.reload()?;
        balancer.wait_status("web-3 is a backend", |status| {
            web::everywhere().all(|(_, vip)| status::has_backend(status, vip, "web-3"))
        })?;
        connections.iter_mut().try_for_each(Connection::still_there)?;

        balancer.rewrite_config(&web::config(&lab, &["web-1", "web-3"]).to_toml())?;
        balancer.reload()?;
        balancer.wait_status("web-2 is no backend", |status| {
            web::everywhere().all(|(_, vip)| !status::has_backend(status, vip, "web-2"))
        })?;
        connections.retain(|connection| !connection.backend.ends_with("web-2"));
        connections.iter_mut().try_for_each(Connection::still_there)?;

        let report = load.join().expect("wrk does not panic")?;
        assert!(report.succeeded > 0, "{report:?}");
        connections.iter_mut().try_for_each(Connection::still_there)
    })?;

    let answers: BTreeSet<_> =
        (0..60).map(|_| fetch(&lab.ns("client"), web::vips("blue")[1])).collect::<Result<_>>()?;
    let names: BTreeSet<_> = answers.iter().filter_map(|answer| answer.split_whitespace().next()).collect();
    assert_eq!(names, BTreeSet::from(["blue-web-1", "blue-web-3"]));
    proves(&[7, 10, 11], over(Underlay::Ipv4));
    Ok(())
}

#[test]
fn adding_a_backend_fails_no_request() -> Result<()> {
    let lab = Lab::build(Topology::with_containers(3))?;
    let _servers = web::nginx_everywhere(&lab)?;
    let balancer = lab.start_balancer(&web::config(&lab, &["web-1", "web-2"]).to_toml())?;
    thread::scope(|scope| -> Result<()> {
        let loads = [("red", Connections::Kept), ("blue", Connections::Renewed)].map(|(project, connections)| {
            let client = lab.ns("client");
            scope.spawn(move || load::wrk(&client, &web::url(web::vips(project)[0], ""), LOAD_SECONDS, connections))
        });
        thread::sleep(std::time::Duration::from_secs(1));
        balancer.rewrite_config(&web::config(&lab, &["web-1", "web-2", "web-3"]).to_toml())?;
        balancer.reload()?;
        for load in loads {
            let report = load.join().expect("wrk does not panic")?;
            assert!(report.failed == 0 && report.succeeded > 0, "{report:?}");
        }
        Ok(())
    })
}
