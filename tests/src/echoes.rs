//! Turns a lab into one whose containers take and give back bytes over TCP and UDP, and into the config that publishes them.

use anyhow::Result;
use xtask::lab::{Config, Lab, ServiceSpec};

use crate::{datagram::DatagramEcho, transfer::TransferServer, web};

/// TCP at the VIPs.
pub const TCP_PORT: u16 = 90;
/// UDP at the VIPs.
pub const UDP_PORT: u16 = 91;

/// The servers of some containers in both projects, until dropped.
#[derive(Debug)]
pub struct Echoes {
    _servers: Vec<(TransferServer, DatagramEcho)>,
}

impl Echoes {
    /// Starts both servers in these containers of both projects.
    ///
    /// # Errors
    /// When a port cannot be bound.
    pub fn start(lab: &Lab, containers: &[&str]) -> Result<Self> {
        let roles = web::PROJECTS
            .iter()
            .flat_map(|project| containers.iter().map(move |container| format!("{project}-{container}")));
        let servers = roles.map(|role| {
            let container = lab.ns(&role);
            let streams = TransferServer::start(&container, TransferServer::PORT)?;
            Ok((streams, DatagramEcho::start(&container, DatagramEcho::PORT)?))
        });
        Ok(Self { _servers: servers.collect::<Result<_>>()? })
    }
}

/// A config that publishes them at both VIPs of both projects.
#[must_use]
pub fn config(lab: &Lab, containers: &[&str]) -> Config {
    web::PROJECTS.iter().fold(lab.config(), |config, project| {
        let service = ServiceSpec::new(project, "echo", &web::vips(project))
            .tcp(TCP_PORT, TransferServer::PORT)
            .udp(UDP_PORT, DatagramEcho::PORT);
        config.with(containers.iter().fold(service, |service, container| service.backend(container)))
    })
}

/// Makes every end forget the path MTUs that it learnt.
///
/// # Errors
/// When a command fails.
pub fn forget_paths(lab: &Lab) -> Result<()> {
    for role in lab.topology().roles() {
        for family in ["-4", "-6"] {
            lab.ns(&role).run(["ip", family, "route", "flush", "cache"])?;
        }
    }
    Ok(())
}
