//! Turns a topology into a running lab of network namespaces, and removes it whatever happens to its owner.

pub mod balancer;
pub mod config;
pub mod name_server;
pub mod namespace;
mod owner;
mod plan;
pub mod service;
pub mod topology;

use std::{
    io::Write as _,
    net::{SocketAddr, UdpSocket},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};

pub use self::{
    balancer::Balancer,
    config::{Config, PortSpec, ServiceSpec},
    name_server::NameServer,
    namespace::{Ns, checked, tail},
    service::Service,
    topology::{Narrow, Refusal, Topology, Underlay},
};
use self::{owner::Guardian, plan::plan};
use crate::setup;

/// A running lab. Several can exist at once, in one process and in many.
///
/// ```text
/// client eth0 ── wan (router) ── pub0 gw und0 ── fabric (bridge) ── und0 host1 ── vx-red ── br-red ── red-web-1
///                                                               └── und0 host2 ── vx-red ── br-red ── red-web-2
/// ```
///
/// Dropping it removes its namespaces, processes, pins and files. When the owner dies without dropping it, a guardian
/// process does the same; when that dies too, the next [`Lab::build`] or [`clean`] does.
#[derive(Debug)]
pub struct Lab {
    id: String,
    topology: Topology,
    // Held for its Drop, which removes everything above.
    _guardian: Guardian,
}

impl Lab {
    /// Builds a lab; needs root, and takes about a second.
    ///
    /// # Errors
    /// When a command of the plan fails, with what it printed. Whatever was built until then is removed.
    pub fn build(topology: Topology) -> Result<Self> {
        check_names(&topology)?;
        setup::ensure_bpffs()?;
        let lock = owner::lock()?;
        owner::sweep()?;
        let id = owner::new_id();
        let lab = Self { _guardian: Guardian::start(&id)?, id, topology };
        let names: String = lab.topology.roles().iter().map(|role| format!("netns add {}-{role}\n", lab.id)).collect();
        feed(Command::new("ip").args(["-batch", "-"]), &names).context("create the namespaces")?;
        drop(lock);

        let plan = plan(&lab.id, &lab.topology);
        lab.run_scripts(&plan.prepare).context("prepare the namespaces")?;
        feed(Command::new("ip").args(["-batch", "-"]), &plan.links).context("create the links")?;
        lab.run_scripts(&plan.configure).context("configure the namespaces")?;
        lab.receive_xdp_frames().context("let the gateway's peers receive its frames")?;
        lab.run_scripts(&plan.settle).context("wait for the links")?;
        lab.resolve_neighbours()?;
        Ok(lab)
    }

    /// The id that prefixes everything the lab owns on the machine.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// What was built.
    #[must_use]
    pub fn topology(&self) -> &Topology {
        &self.topology
    }

    /// The namespace of a role: `client`, `wan`, `gw`, `fabric`, a host's name, or `<project>-<container>`.
    ///
    /// # Panics
    /// When the topology has no such role.
    #[must_use]
    pub fn ns(&self, role: &str) -> Ns {
        assert!(self.topology.roles().iter().any(|known| known == role), "the topology has no {role}");
        Ns::new(&self.id, role, self.data_dir())
    }

    /// The lab's directory for logs, configs and files; everybody may read it.
    #[must_use]
    pub fn data_dir(&self) -> PathBuf {
        Path::new(owner::DATA).join(&self.id)
    }

    /// Where the lab's daemon pins its maps and links.
    #[must_use]
    pub fn pin_dir(&self) -> PathBuf {
        Path::new("/sys/fs/bpf").join(&self.id)
    }

    /// The daemon's config for this topology, still without services.
    #[must_use]
    pub fn config(&self) -> Config {
        Config::new(self)
    }

    /// Lets a container own VIPs and answer for them by its uplink, as backends in mode `dsr` do.
    ///
    /// # Errors
    /// When a VIP is none, or the lab has no uplinks.
    pub fn own_vips(&self, role: &str, vips: &[&str]) -> Result<()> {
        let lines = vips.iter().map(|vip| {
            let (family, bits) = if vip.contains(':') { ("-6 ", 128) } else { ("", 32) };
            format!(
                "ip addr add {vip}/{bits} dev lo\nip {family}rule add from {vip} lookup {}\n",
                Topology::UPLINK_TABLE
            )
        });
        self.run_scripts(&[(role.into(), lines.collect())])
    }

    /// Changes the MTU of a link, at both of its ends.
    ///
    /// # Errors
    /// When there is no such device.
    pub fn set_mtu(&self, ends: [(&str, &str); 2], mtu: u16) -> Result<()> {
        let scripts = ends.map(|(role, device)| (role.to_owned(), format!("ip link set {device} mtu {mtu}\n")));
        self.run_scripts(&scripts)
    }

    /// Starts [`NameServer`]s in every container, on TCP 8080 and UDP 7007.
    ///
    /// # Errors
    /// When a port cannot be bound.
    pub fn start_name_servers(&self) -> Result<Vec<NameServer>> {
        let containers = self
            .topology
            .projects
            .iter()
            .flat_map(|project| project.containers.iter().map(move |container| (project, container)));
        containers
            .map(|(project, container)| {
                NameServer::start(&self.ns(&project.role(container)), &format!("{}/{}", project.name, container.name))
            })
            .collect()
    }

    fn run_scripts(&self, scripts: &[(String, String)]) -> Result<()> {
        let started = scripts.iter().map(|(role, script)| {
            let mut command = self.ns(role).command("sh");
            Ok((role, start_fed(command.arg("-eu"), script)?))
        });
        let children = started.collect::<Result<Vec<_>>>()?;
        for (role, child) in children {
            finish(child).with_context(|| format!("in the namespace {role}"))?;
        }
        Ok(())
    }

    /// Gives the other ends of the gateway's links a program that passes everything; see `lab/receive.py`.
    fn receive_xdp_frames(&self) -> Result<()> {
        let started = ["wan", "fabric"].map(|role| {
            let mut command = self.ns(role).command("python3");
            command.arg("-").arg(format!("/sys/fs/bpf/{}-receive-{role}", self.id)).arg("gw0");
            start_fed(&mut command, include_str!("lab/receive.py"))
        });
        for child in started {
            finish(child?)?;
        }
        Ok(())
    }

    /// One datagram from the gateway to every neighbour, so that the first packets of a test need no ARP or ND of the kernel's.
    fn resolve_neighbours(&self) -> Result<()> {
        const DISCARD: u16 = 9;
        let hosts = self.topology.hosts.iter().flat_map(|host| [host.ipv4.into(), host.ipv6.into()]);
        let targets: Vec<SocketAddr> = hosts
            .chain([Topology::CLIENT.0.into(), Topology::CLIENT.1.into()])
            .map(|address| SocketAddr::new(address, DISCARD))
            .collect();
        self.ns("gw").inside(|| -> Result<()> {
            let socket = UdpSocket::bind("[::]:0")?;
            for target in targets {
                let mapped = match target {
                    SocketAddr::V4(target) => SocketAddr::new(target.ip().to_ipv6_mapped().into(), DISCARD),
                    SocketAddr::V6(target) => target.into(),
                };
                socket.send_to(b"", mapped).with_context(|| format!("send to {target}"))?;
            }
            Ok(())
        })?
    }
}

/// Removes the labs whose owner is dead and returns their ids.
///
/// # Errors
/// When a removal cannot be started.
pub fn clean() -> Result<Vec<String>> {
    let _lock = owner::lock()?;
    owner::sweep()
}

/// An interface name has at most 15 bytes, and the roles of containers are interface names on the hosts.
fn check_names(topology: &Topology) -> Result<()> {
    const INTERFACE_NAME_MAX: usize = 15;
    let roles = topology.roles();
    if let Some(long) = roles.iter().find(|role| role.len() > INTERFACE_NAME_MAX) {
        bail!("{long}: a role has at most {INTERFACE_NAME_MAX} bytes, because it names an interface");
    }
    Ok(())
}

fn feed(command: &mut Command, input: &str) -> Result<()> {
    finish(start_fed(command, input)?)
}

fn start_fed(command: &mut Command, input: &str) -> Result<std::process::Child> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("start {command:?}"))?;
    let mut stdin = child.stdin.take().context("the child's standard input is a pipe")?;
    stdin.write_all(input.as_bytes()).with_context(|| format!("write to {command:?}"))?;
    Ok(child)
}

fn finish(child: std::process::Child) -> Result<()> {
    let output = child.wait_with_output()?;
    if !output.status.success() {
        bail!(
            "{}\n{}{}",
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(())
}
