//! The datapath forwards whether the daemon lives or not, until it is told to detach.

use std::{fs, thread, time::Duration};

use anyhow::Result;
use balancer_tests::{
    client::{Connection, fetch},
    conformance::{over, proves},
    load::{self, Connections},
    web,
};
use xtask::lab::{Balancer, Lab, Topology};

const LOAD_SECONDS: u32 = 6;

#[test]
fn no_request_fails_while_the_daemon_is_killed_and_started_again() -> Result<()> {
    for topology in [Topology::demo(), Topology::demo().over_ipv6()] {
        let underlay = topology.underlay;
        let lab = Lab::build(topology)?;
        let _servers = web::nginx_everywhere(&lab)?;
        let mut balancer = lab.start_balancer(&web::config(&lab, &["web-1", "web-2"]).to_toml())?;
        let mut connections = Connection::open_everywhere(&lab, 5)?;
        restart_under_load(&lab, &mut balancer)?;
        connections.iter_mut().try_for_each(Connection::still_there)?;
        proves(&[25], over(underlay));
    }
    Ok(())
}

/// Kills the daemon and starts it again while every VIP is being asked.
fn restart_under_load(lab: &Lab, balancer: &mut Balancer) -> Result<()> {
    thread::scope(|scope| {
        let targets = [
            ("red", 0, Connections::Renewed),
            ("red", 1, Connections::Kept),
            ("blue", 0, Connections::Kept),
            ("blue", 1, Connections::Renewed),
        ];
        let loads = targets.map(|(project, family, kind)| {
            let client = lab.ns("client");
            scope.spawn(move || load::wrk(&client, &web::url(web::vips(project)[family], ""), LOAD_SECONDS, kind))
        });
        thread::sleep(Duration::from_secs(1));
        balancer.kill()?;
        thread::sleep(Duration::from_secs(1));
        balancer.restart()?;
        for load in loads {
            let report = load.join().expect("wrk does not panic")?;
            assert!(report.failed == 0 && report.succeeded > 0, "{report:?}");
        }
        Ok(())
    })
}

#[test]
fn a_restart_keeps_generation_and_digest() -> Result<()> {
    let lab = Lab::build(Topology::demo())?;
    let mut balancer = lab.start_balancer(&web::config(&lab, &["web-1", "web-2"]).to_toml())?;
    let before = balancer.status()?;
    balancer.kill()?;
    balancer.restart()?;
    let after = balancer.status()?;
    assert_eq!((&before["generation"], &before["digest"]), (&after["generation"], &after["digest"]));
    Ok(())
}

#[test]
fn a_stopped_daemon_leaves_the_datapath_and_detach_removes_it() -> Result<()> {
    let lab = Lab::build(Topology::demo())?;
    let _servers = lab.start_name_servers()?;
    let mut balancer = lab.start_balancer(&web::config(&lab, &["web-1", "web-2"]).to_toml())?;
    let client = lab.ns("client");
    let gateway = lab.ns("gw");
    let has_program =
        || Ok::<_, anyhow::Error>(gateway.text(["ip", "-details", "link", "show", "pub0"])?.contains("prog/xdp"));

    balancer.terminate()?;
    for (project, vip) in web::everywhere() {
        assert!(fetch(&client, vip)?.starts_with(project));
    }
    assert!(has_program()?);

    let detach = balancer.subcommand("detach")?;
    assert!(detach.status.success(), "{}", String::from_utf8_lossy(&detach.stderr));
    assert!(!has_program()?);
    let pins = fs::read_dir(lab.pin_dir()).map(Iterator::count).unwrap_or(0);
    assert_eq!(pins, 0, "{} still holds pins", lab.pin_dir().display());
    assert!(client.run(["curl", "--silent", "--max-time", "1", &web::url(web::vips("red")[0], "")]).is_err());
    Ok(())
}
