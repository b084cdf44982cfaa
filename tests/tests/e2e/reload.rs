//! A changed config is applied on SIGHUP and when its file changes.

use anyhow::Result;
use balancer_tests::{client::fetch, status, web};
use xtask::lab::{Balancer, Lab, Topology};

fn check(follow: impl Fn(&Balancer) -> Result<()>) -> Result<()> {
    let lab = Lab::build(Topology::demo())?;
    let _servers = lab.start_name_servers()?;
    let balancer = lab.start_balancer(&web::config(&lab, &["web-1"]).to_toml())?;
    let before = balancer.status()?;

    balancer.rewrite_config(&web::config(&lab, &["web-2"]).to_toml())?;
    follow(&balancer)?;
    let after = balancer.wait_status("web-2 instead of web-1", |status| {
        web::everywhere()
            .all(|(_, vip)| status::has_backend(status, vip, "web-2") && !status::has_backend(status, vip, "web-1"))
    })?;

    assert_ne!(before["generation"], after["generation"]);
    for (project, vip) in web::everywhere() {
        assert!(fetch(&lab.ns("client"), vip)?.starts_with(&format!("{project}/web-2 ")), "{vip}");
    }
    Ok(())
}

#[test]
fn sighup_applies_the_changed_file() -> Result<()> {
    check(Balancer::reload)
}

#[test]
fn a_changed_file_is_applied_without_being_asked() -> Result<()> {
    check(|_| Ok(()))
}
