//! A service port's lists say which clients may use it; the others get nothing, under a name.

use anyhow::{Result, ensure};
use balancer_common::verdict::Reason;
use balancer_tests::{status, web};
use xtask::lab::{Config, Lab, Topology};

/// The client's second addresses, next to [`Topology::CLIENT`].
const SECOND: [&str; 2] = ["198.51.100.11", "2001:db8:c::11"];

fn first() -> [String; 2] {
    [Topology::CLIENT.0.to_string(), Topology::CLIENT.1.to_string()]
}

/// Whether a request from one of the client's addresses is answered.
fn is_served(lab: &Lab, vip: &str, from: &str) -> bool {
    let words = ["curl", "--silent", "--fail", "--max-time", "1", "--interface", from, &web::url(vip, "")];
    lab.ns("client").run(words).is_ok()
}

/// Prefixes of these addresses alone, as a TOML list.
fn alone(addresses: &[String; 2]) -> String {
    format!("[\"{}/32\", \"{}/128\"]", addresses[0], addresses[1])
}

/// Checks who is served: the first address, the second.
fn check(keys: &[(&str, String)], served: [bool; 2]) -> Result<()> {
    let lab = Lab::build(Topology::demo())?;
    for address in SECOND {
        let bits = if address.contains(':') { "64" } else { "24" };
        lab.ns("client").run(["ip", "addr", "add", &format!("{address}/{bits}"), "dev", "eth0", "noprefixroute"])?;
    }
    let _servers = lab.start_name_servers()?;
    let service =
        keys.iter().fold(web::service("red").backend("web-1"), |service, (key, value)| service.set(key, value));
    let config: Config = lab.config().with(service);
    let balancer = lab.start_balancer(&config.to_toml())?;
    for (family, vip) in web::vips("red").into_iter().enumerate() {
        for (from, served) in [first()[family].as_str(), SECOND[family]].into_iter().zip(served) {
            ensure!(is_served(&lab, vip, from) == served, "{vip} from {from}, {keys:?}: not {served}");
        }
    }
    let denied = status::frames(&balancer.status()?, Reason::SourceDenied);
    ensure!((denied > 0) == served.contains(&false), "{denied} frames were denied, {keys:?}");
    Ok(())
}

#[test]
fn only_clients_that_are_allowed_are_served() -> Result<()> {
    check(&[("allow_sources", alone(&first()))], [true, false])
}

#[test]
fn clients_that_are_denied_are_not_served() -> Result<()> {
    check(&[("deny_sources", alone(&first()))], [false, true])
}

#[test]
fn the_longest_prefix_decides() -> Result<()> {
    let networks = ["198.51.100.0/24", "2001:db8:c::/64"];
    check(
        &[("allow_sources", format!("{networks:?}")), ("deny_sources", alone(&SECOND.map(String::from)))],
        [true, false],
    )
}
