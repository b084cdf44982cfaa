//! What an operator wants of a backend decides about its connections: active, draining, dead.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use balancer_tests::{
    client::Connection,
    conformance::{over, proves},
    status, web,
};
use xtask::lab::{Balancer, Config, Lab, Topology, Underlay};

const CONNECTIONS_PER_VIP: usize = 12;
/// Far below any timeout of TCP: the client learns of a dead backend from a reset, not from silence.
const RESET_LIMIT: Duration = Duration::from_secs(1);

#[test]
fn draining_backend_keeps_its_connections_and_gets_no_new_ones() -> Result<()> {
    let lab = Lab::build(Topology::demo())?;
    let _servers = lab.start_name_servers()?;
    let mut config = web::config(&lab, &["web-1", "web-2"]);
    let balancer = lab.start_balancer(&config.to_toml())?;
    let mut old = Connection::open_everywhere(&lab, CONNECTIONS_PER_VIP)?;
    ensure!(old.iter().any(|connection| connection.backend.ends_with("web-1")), "web-1 gets connections while active");

    set_first(&balancer, &mut config, "draining")?;

    old.iter_mut().try_for_each(Connection::still_there)?;
    for new in Connection::open_everywhere(&lab, CONNECTIONS_PER_VIP)? {
        ensure!(new.backend.ends_with("web-2"), "a new connection went to the draining {}", new.backend);
    }
    old.iter_mut().try_for_each(Connection::still_there)?;
    proves(&[9], over(Underlay::Ipv4));
    Ok(())
}

#[test]
fn dead_backend_resets_its_connections_and_moves_no_other() -> Result<()> {
    let lab = Lab::build(Topology::demo())?;
    let _servers = lab.start_name_servers()?;
    let mut config = web::config(&lab, &["web-1", "web-2"]);
    let balancer = lab.start_balancer(&config.to_toml())?;
    let mut old = Connection::open_everywhere(&lab, CONNECTIONS_PER_VIP)?;

    set_first(&balancer, &mut config, "dead")?;

    for connection in &mut old {
        if connection.backend.ends_with("web-2") {
            connection.still_there()?;
            continue;
        }
        let asked = Instant::now();
        let error = connection.ask().expect_err("its backend is dead");
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{}: {error}", connection.vip);
        assert!(asked.elapsed() < RESET_LIMIT, "the reset took {:?}", asked.elapsed());
    }
    for new in Connection::open_everywhere(&lab, CONNECTIONS_PER_VIP)? {
        ensure!(new.backend.ends_with("web-2"), "a new connection went to the dead {}", new.backend);
    }
    proves(&[9], over(Underlay::Ipv4));
    Ok(())
}

/// Sets web-1's state in both projects and waits until the daemon says so.
fn set_first(balancer: &Balancer, config: &mut Config, state: &'static str) -> Result<()> {
    for project in web::PROJECTS {
        config.service(project, "web").set_state("web-1", state);
    }
    balancer.rewrite_config(&config.to_toml())?;
    balancer.reload()?;
    balancer.wait_status(state, |status| {
        web::everywhere().all(|(_, vip)| status::has_state(status, vip, "web-1", state))
    })?;
    Ok(())
}
