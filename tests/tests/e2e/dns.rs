//! A DNS server works behind a UDP VIP.

use anyhow::Result;
use balancer_tests::{
    load::{self, Report},
    server, web,
};
use xtask::lab::{Lab, ServiceSpec, Topology};

const QUERIES: u32 = 5000;

#[test]
fn none_of_5000_queries_is_lost_through_any_vip() -> Result<()> {
    let lab = Lab::build(Topology::demo())?;
    let roles = ["red-web-1", "red-web-2", "blue-web-1", "blue-web-2"];
    let _servers = roles.map(|role| server::knot(&lab, role)).into_iter().collect::<Result<Vec<_>>>()?;
    let config = web::PROJECTS.iter().fold(lab.config(), |config, project| {
        config.with(
            ServiceSpec::new(project, "dns", &web::vips(project))
                .udp(53, server::DNS_PORT)
                .backend("web-1")
                .backend("web-2"),
        )
    });
    let _balancer = lab.start_balancer(&config.to_toml())?;

    for (project, vip) in web::everywhere() {
        let report = load::dnsperf(&lab.ns("client"), vip, QUERIES, &lab.data_dir())?;
        assert_eq!(report, Report { succeeded: QUERIES.into(), failed: 0 }, "{project} through {vip}");
    }
    Ok(())
}
