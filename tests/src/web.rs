//! The services that most tests publish: one web service for each project, on an IPv4 and an IPv6 VIP.

use anyhow::Result;
use xtask::lab::{Config, Lab, NameServer, Service, ServiceSpec};

use crate::server;

/// The projects of every lab.
pub const PROJECTS: [&str; 2] = ["red", "blue"];

/// The VIPs of a project, IPv4 then IPv6.
///
/// # Panics
/// When there is no such project.
#[must_use]
pub fn vips(project: &str) -> [&'static str; 2] {
    match project {
        "red" => ["203.0.113.10", "2001:db8:f::10"],
        "blue" => ["203.0.113.20", "2001:db8:f::20"],
        other => panic!("no project {other}"),
    }
}

/// Every project with each of its VIPs.
pub fn everywhere() -> impl Iterator<Item = (&'static str, &'static str)> {
    PROJECTS.into_iter().flat_map(|project| vips(project).map(|vip| (project, vip)))
}

/// A URL at a VIP, with the brackets that IPv6 needs.
#[must_use]
pub fn url(vip: &str, path: &str) -> String {
    if vip.contains(':') { format!("http://[{vip}]/{path}") } else { format!("http://{vip}/{path}") }
}

/// The service `web` of a project without backends yet: TCP 80 to the containers' 8080.
#[must_use]
pub fn service(project: &str) -> ServiceSpec {
    ServiceSpec::new(project, "web", &vips(project)).tcp(80, NameServer::HTTP_PORT)
}

/// A config with the service `web` in both projects, served by these containers of each, all of weight 1.
#[must_use]
pub fn config(lab: &Lab, containers: &[&str]) -> Config {
    PROJECTS.iter().fold(lab.config(), |config, project| {
        let service = containers.iter().fold(service(project), |service, container| service.backend(container));
        config.with(service)
    })
}

/// One nginx in every container of the lab.
///
/// # Errors
/// When one does not start.
pub fn nginx_everywhere(lab: &Lab) -> Result<Vec<Service>> {
    let containers = lab
        .topology()
        .projects
        .iter()
        .flat_map(|project| project.containers.iter().map(move |container| (project, container)));
    containers.map(|(project, container)| server::nginx(lab, &project.role(container))).collect()
}
