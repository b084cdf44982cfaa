//! A config with mistakes names them all and changes nothing.

use anyhow::Result;
use balancer_tests::{client::fetch, web};
use xtask::lab::{Lab, Topology};

/// What to replace in a good config, by what, and the word by which the report must name the mistake.
const MISTAKES: [(&str, &str, &str); 10] = [
    ("hash_secret = \"7d0f5b9c1e4a4b0c9f6a2d8e3c5b7a91\"", "hash_secret = \"7d0f\"", "hash_secret"),
    ("vtep_ipv4 = \"10.99.0.1\"", "vtep_ipv4 = \"10.99.0.256\"", "10.99.0.256"),
    ("vtep = \"10.99.0.11\"", "vtep = \"nowhere\"", "nowhere"),
    ("vni = 100", "vni = 16777216", "16777216"),
    ("gateway_ipv4 = \"10.1.0.1\"", "gateway_ipv4 = \"172.16.0.1\"", "172.16.0.1"),
    ("mac = \"02:01:00:00:00:11\"", "mac = \"02:01:00:00:11\"", "02:01:00:00:11"),
    ("addresses = [\"10.1.0.12\", \"fd01::12\"]", "addresses = [\"10.2.0.12\", \"fd01::12\"]", "10.2.0.12"),
    ("host = \"host2\"", "host = \"host9\"", "host9"),
    ("container = \"web-2\", weight = 1", "container = \"web-9\", weight = 1", "web-9"),
    ("port = 80,", "port = 0,", "port"),
];

#[test]
fn a_config_with_ten_mistakes_reports_ten_and_changes_nothing() -> Result<()> {
    let lab = Lab::build(Topology::demo())?;
    let _servers = lab.start_name_servers()?;
    let good = web::config(&lab, &["web-1", "web-2"]).to_toml();
    let balancer = lab.start_balancer(&good)?;
    let before = balancer.status()?;
    let bad = MISTAKES.iter().fold(good, |text, (right, wrong, _)| {
        assert!(text.contains(right), "the good config has no {right}");
        text.replacen(right, wrong, 1)
    });

    balancer.rewrite_config(&bad)?;
    let check = balancer.subcommand("check")?;
    let said = [String::from_utf8_lossy(&check.stdout), String::from_utf8_lossy(&check.stderr)].concat();
    assert!(!check.status.success(), "{said}");
    assert!(said.contains(&format!("{} errors", MISTAKES.len())), "{said}");
    for (_, wrong, named) in MISTAKES {
        assert!(said.contains(named), "nothing says {named} about {wrong}:\n{said}");
    }
    balancer.reload()?;
    // Long enough for the signal and for the watcher of the file.
    std::thread::sleep(std::time::Duration::from_secs(2));

    let after = balancer.status()?;
    assert_eq!((&before["generation"], &before["digest"]), (&after["generation"], &after["digest"]));
    for (project, vip) in web::everywhere() {
        let answer = fetch(&lab.ns("client"), vip)?;
        assert!(answer.starts_with(project), "{vip} answers {answer}");
    }
    Ok(())
}
