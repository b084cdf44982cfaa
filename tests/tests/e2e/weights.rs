//! Requests spread over the backends by weight, and none fails.

use anyhow::Result;
use balancer_tests::{
    conformance::{over, proves},
    load::{self, Report},
    server, web,
};
use xtask::lab::{Lab, Topology, Underlay};

const REQUESTS: u32 = 2000;
/// Of all requests; by chance alone 2 000 flows stray 1 % (one standard deviation).
const SHARE_TOLERANCE: f64 = 0.05;

#[test]
fn two_thousand_requests_spread_by_weight_and_none_fails() -> Result<()> {
    for family in [0, 1] {
        let lab = Lab::build(Topology::demo())?;
        let _servers = web::nginx_everywhere(&lab)?;
        let red = web::service("red").weighted("web-1", 1).weighted("web-2", 2);
        let blue = web::service("blue").weighted("web-1", 3).weighted("web-2", 1);
        let _balancer = lab.start_balancer(&lab.config().with(red).with(blue).to_toml())?;

        for (project, share_of_first) in [("red", 1.0 / 3.0), ("blue", 3.0 / 4.0)] {
            let vip = web::vips(project)[family];
            let report = load::hey(&lab.ns("client"), &web::url(vip, ""), REQUESTS)?;
            assert_eq!(report, Report { succeeded: REQUESTS.into(), failed: 0 }, "{project} through {vip}");

            let counted = server::nginx_requests(&lab, &format!("{project}-web-1"))?;
            let share = f64::from(u32::try_from(counted)?) / f64::from(REQUESTS);
            assert!(
                (share - share_of_first).abs() <= SHARE_TOLERANCE,
                "{project} through {vip}: web-1 got {share}, not {share_of_first}"
            );
        }
    }
    proves(&[6], over(Underlay::Ipv4));
    Ok(())
}
