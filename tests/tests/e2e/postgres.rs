//! PostgreSQL works behind a VIP whose port is not the container's.

use std::thread;

use anyhow::Result;
use balancer_tests::{load, server, web};
use xtask::lab::{Lab, ServiceSpec, Topology};

const SECONDS: u32 = 30;

#[test]
fn pgbench_has_no_error_in_30_seconds_through_every_vip() -> Result<()> {
    let lab = Lab::build(Topology::demo())?;
    let client = lab.ns("client");
    let _servers = web::PROJECTS
        .map(|project| server::postgres(&lab, &format!("{project}-web-1")))
        .into_iter()
        .collect::<Result<Vec<_>>>()?;
    let config = web::PROJECTS.iter().fold(lab.config(), |config, project| {
        config.with(
            ServiceSpec::new(project, "database", &web::vips(project))
                .tcp(5432, server::POSTGRES_PORT)
                .backend("web-1"),
        )
    });
    let _balancer = lab.start_balancer(&config.to_toml())?;
    for (project, vip) in [("red", web::vips("red")[0]), ("blue", web::vips("blue")[1])] {
        client
            .run(["pgbench", "-i", "-q", "-h", vip, "-p", "5432", "-U", "postgres", "postgres"])
            .map_err(|error| error.context(project))?;
    }

    thread::scope(|scope| {
        let benches: Vec<_> =
            web::everywhere().map(|(_, vip)| (vip, scope.spawn(|| load::pgbench(&client, vip, SECONDS)))).collect();
        for (vip, bench) in benches {
            let report = bench.join().expect("pgbench does not panic")?;
            assert_eq!(report.failed, 0, "through {vip}: {report:?}");
            assert!(report.succeeded > 0, "through {vip}: {report:?}");
        }
        Ok(())
    })
}
