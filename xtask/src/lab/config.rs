//! Turns a lab's topology and a list of services into the daemon's config text.

use std::{fmt::Write as _, path::PathBuf};

use super::{
    Lab,
    topology::{Topology, mac_text},
};

/// The daemon's config for a lab. Its parts are open, so that a test can change one and render it again.
#[derive(Clone, Debug)]
pub struct Config {
    /// Networks, hosts, projects and containers.
    pub topology: Topology,
    /// Services, in the order they are written.
    pub services: Vec<ServiceSpec>,
    /// Further lines of the `[gateway]` table.
    pub gateway_lines: Vec<String>,
    paths: Paths,
}

/// Where a lab's daemon keeps its things, different for every lab.
#[derive(Clone, Debug)]
pub(super) struct Paths {
    pub(super) pin_dir: PathBuf,
    pub(super) state_dir: PathBuf,
    pub(super) admin_socket: PathBuf,
}

/// A service of a project: VIPs, ports and backends.
#[derive(Clone, Debug)]
pub struct ServiceSpec {
    /// The project's name.
    pub project: String,
    /// The service's name.
    pub name: String,
    /// Its VIPs.
    pub vips: Vec<String>,
    /// Its ports.
    pub ports: Vec<PortSpec>,
    /// Its backends.
    pub backends: Vec<BackendSpec>,
}

/// A port of a service, or a range of ports.
#[derive(Clone, Debug)]
pub struct PortSpec {
    /// `tcp` or `udp`.
    pub protocol: &'static str,
    /// Every other key with its value, such as `port = 80` or `mode = "dsr"`.
    pub keys: Vec<String>,
}

/// A backend of a service.
#[derive(Clone, Debug)]
pub struct BackendSpec {
    /// The container's name.
    pub container: String,
    /// Its weight.
    pub weight: u32,
    /// `active`, `draining` or `dead`.
    pub state: &'static str,
}

impl Config {
    pub(super) fn new(lab: &Lab) -> Self {
        Self { topology: lab.topology.clone(), services: Vec::new(), gateway_lines: Vec::new(), paths: Paths::new(lab) }
    }

    /// Adds a service.
    #[must_use]
    pub fn with(mut self, service: ServiceSpec) -> Self {
        self.services.push(service);
        self
    }

    /// The service `name` of `project`, to change it.
    ///
    /// # Panics
    /// When there is none.
    pub fn service(&mut self, project: &str, name: &str) -> &mut ServiceSpec {
        let found = self.services.iter_mut().find(|service| service.project == project && service.name == name);
        found.unwrap_or_else(|| panic!("the config has no service {project}/{name}"))
    }

    /// The config as TOML.
    #[must_use]
    pub fn to_toml(&self) -> String {
        let mut text = String::from("[gateway]\n");
        let (vtep_ipv4, vtep_ipv6) = Topology::GATEWAY_VTEP;
        let lines = [
            "name = \"gw1\"".into(),
            "interfaces = [\"pub0\", \"und0\"]".into(),
            format!("vtep_ipv4 = \"{vtep_ipv4}\""),
            format!("vtep_ipv6 = \"{vtep_ipv6}\""),
            "hash_secret = \"7d0f5b9c1e4a4b0c9f6a2d8e3c5b7a91\"".into(),
            "metrics_listen = \"127.0.0.1:9100\"".into(),
        ];
        for line in lines.iter().chain(&self.paths.lines()).chain(&self.gateway_lines) {
            push(&mut text, line);
        }
        for host in &self.topology.hosts {
            push(&mut text, &format!("\n[[hosts]]\nname = \"{}\"\nvtep = \"{}\"", host.name, self.topology.vtep(host)));
        }
        for position in 0..self.topology.projects.len() {
            self.write_project(&mut text, position);
        }
        text
    }

    fn write_project(&self, text: &mut String, position: usize) {
        let project = &self.topology.projects[position];
        let (gateway_ipv4, gateway_ipv6) = Topology::PROJECT_GATEWAY;
        push(text, &format!("\n[[projects]]\nname = \"{}\"\nvni = {}", project.name, project.vni));
        push(text, "networks = [\"10.1.0.0/24\", \"fd01::/64\"]");
        push(text, &format!("gateway_ipv4 = \"{gateway_ipv4}\"\ngateway_ipv6 = \"{gateway_ipv6}\""));
        for container in &project.containers {
            let host = &self.topology.hosts[container.host].name;
            push(text, &format!("\n[[projects.containers]]\nname = \"{}\"\nhost = \"{host}\"", container.name));
            push(
                text,
                &format!(
                    "mac = \"{}\"\naddresses = [\"{}\", \"{}\"]",
                    mac_text(container.mac),
                    container.ipv4,
                    container.ipv6
                ),
            );
        }
        for service in self.services.iter().filter(|service| service.project == project.name) {
            service.write(text);
        }
    }
}

impl ServiceSpec {
    /// A service without ports and backends yet.
    #[must_use]
    pub fn new(project: &str, name: &str, vips: &[&str]) -> Self {
        let vips = vips.iter().map(ToString::to_string).collect();
        Self { project: project.into(), name: name.into(), vips, ports: Vec::new(), backends: Vec::new() }
    }

    /// Adds a TCP port.
    #[must_use]
    pub fn tcp(self, port: u16, container_port: u16) -> Self {
        self.port("tcp", vec![format!("port = {port}"), format!("container_port = {container_port}")])
    }

    /// Adds a UDP port.
    #[must_use]
    pub fn udp(self, port: u16, container_port: u16) -> Self {
        self.port("udp", vec![format!("port = {port}"), format!("container_port = {container_port}")])
    }

    /// Adds a range of ports, `8000-8099` or `any`, for TCP and for UDP.
    #[must_use]
    pub fn range(self, range: &str) -> Self {
        let keys = vec![format!("range = \"{range}\"")];
        self.port("tcp", keys.clone()).port("udp", keys)
    }

    /// Adds a TCP and a UDP port in mode `dsr`.
    #[must_use]
    pub fn direct(self, port: u16) -> Self {
        let keys = vec![format!("port = {port}"), "mode = \"dsr\"".into()];
        self.port("tcp", keys.clone()).port("udp", keys)
    }

    fn port(mut self, protocol: &'static str, keys: Vec<String>) -> Self {
        self.ports.push(PortSpec { protocol, keys });
        self
    }

    /// Sets a key of all ports that the service has so far; `value` as TOML writes it.
    #[must_use]
    pub fn set(mut self, key: &str, value: impl std::fmt::Display) -> Self {
        self.ports.iter_mut().for_each(|port| port.keys.push(format!("{key} = {value}")));
        self
    }

    /// Adds an active backend of weight 1.
    #[must_use]
    pub fn backend(self, container: &str) -> Self {
        self.weighted(container, 1)
    }

    /// Adds an active backend.
    #[must_use]
    pub fn weighted(mut self, container: &str, weight: u32) -> Self {
        self.backends.push(BackendSpec { container: container.into(), weight, state: "active" });
        self
    }

    /// Sets the state of a backend.
    ///
    /// # Panics
    /// When the service has no such backend.
    pub fn set_state(&mut self, container: &str, state: &'static str) {
        let found = self.backends.iter_mut().find(|backend| backend.container == container);
        found.unwrap_or_else(|| panic!("{} has no backend {container}", self.name)).state = state;
    }

    fn write(&self, text: &mut String) {
        push(text, &format!("\n[[projects.services]]\nname = \"{}\"\nvips = {:?}", self.name, self.vips));
        let ports = self
            .ports
            .iter()
            .map(|PortSpec { protocol, keys }| format!("{{ protocol = \"{protocol}\", {} }}", keys.join(", ")));
        push(text, &format!("ports = [{}]", ports.collect::<Vec<_>>().join(", ")));
        let backends = self.backends.iter().map(BackendSpec::to_toml);
        push(text, &format!("backends = [{}]", backends.collect::<Vec<_>>().join(", ")));
    }
}

impl BackendSpec {
    /// The state is written only where it differs from the default, so that the plain case stays the plain config.
    fn to_toml(&self) -> String {
        let Self { container, weight, state } = self;
        let state = if *state == "active" { String::new() } else { format!(", state = \"{state}\"") };
        format!("{{ container = \"{container}\", weight = {weight}{state} }}")
    }
}

impl Paths {
    pub(super) fn new(lab: &Lab) -> Self {
        Self {
            pin_dir: lab.pin_dir(),
            state_dir: lab.data_dir().join("state"),
            admin_socket: lab.data_dir().join("admin.sock"),
        }
    }

    pub(super) fn lines(&self) -> [String; 3] {
        [
            format!("pin_dir = \"{}\"", self.pin_dir.display()),
            format!("state_dir = \"{}\"", self.state_dir.display()),
            format!("admin_socket = \"{}\"", self.admin_socket.display()),
        ]
    }

    /// A config file for a real gateway, with these paths put into its `[gateway]` table.
    pub(super) fn insert(&self, text: &str) -> Option<String> {
        let (before, after) = text.split_once("[gateway]\n")?;
        Some(format!("{before}[gateway]\n{}\n{after}", self.lines().join("\n")))
    }
}

fn push(text: &mut String, line: &str) {
    // Writing to a String cannot fail.
    let _ = writeln!(text, "{line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_stand_below_their_own_project() {
        let paths = Paths { pin_dir: "/p".into(), state_dir: "/s".into(), admin_socket: "/a".into() };
        let config = Config {
            topology: Topology::demo(),
            services: Vec::new(),
            gateway_lines: vec!["flows_max = 10".into()],
            paths,
        }
        .with(ServiceSpec::new("blue", "echo", &["203.0.113.20"]).udp(7, 7007).backend("web-1").weighted("web-2", 3));
        let text = config.to_toml();
        let (before, service) = text.split_once("[[projects.services]]\n").expect("one service");
        assert!(before.contains("name = \"blue\"") && before.contains("flows_max = 10\n\n[[hosts]]"));
        assert_eq!(
            service,
            "name = \"echo\"\nvips = [\"203.0.113.20\"]\nports = [{ protocol = \"udp\", port = 7, container_port = 7007 }]\n\
             backends = [{ container = \"web-1\", weight = 1 }, { container = \"web-2\", weight = 3 }]\n"
        );
    }

    #[test]
    fn paths_go_into_the_gateway_table() {
        let paths = Paths { pin_dir: "/p".into(), state_dir: "/s".into(), admin_socket: "/a".into() };
        let text = paths.insert("# a comment\n[gateway]\nname = \"gw1\"\n").expect("it has the table");
        assert_eq!(
            text,
            "# a comment\n[gateway]\npin_dir = \"/p\"\nstate_dir = \"/s\"\nadmin_socket = \"/a\"\nname = \"gw1\"\n"
        );
        assert_eq!(paths.insert("[[hosts]]\n"), None);
    }
}
