//! What a lab consists of, as data: the networks, the container hosts, the projects and their containers.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A lab to build: always one client, one router (`wan`), one gateway and one underlay bridge, and these hosts and projects.
#[derive(Clone, Debug)]
pub struct Topology {
    /// MTU of the client's own link.
    pub client_mtu: u16,
    /// A router `edge` between the client and `wan`, and the link between these two.
    pub edge: Option<Narrow>,
    /// MTU of the link between `wan` and the gateway.
    pub public_mtu: u16,
    /// Address family of the VTEPs.
    pub underlay: Underlay,
    /// MTU of every underlay link that does not say otherwise, bytes of outer IP packet.
    pub underlay_mtu: u16,
    /// A router `core` between the underlay bridge and the hosts that are [behind](Host::behind_core) it, and the links to them.
    pub core: Option<Narrow>,
    /// MTU of the containers and the VXLAN devices, bytes of inner IP packet.
    pub inner_mtu: u16,
    /// Whether client and containers leave checksums and segmentation to the next hop's "hardware", as with a real NIC.
    pub offloads: bool,
    /// Whether containers have a second interface `up0` to `wan`, by which they can answer clients themselves.
    pub uplinks: bool,
    /// Container hosts.
    pub hosts: Vec<Host>,
    /// Projects.
    pub projects: Vec<Project>,
}

/// Address family of the VTEPs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Underlay {
    /// `10.99.0.0/24`.
    Ipv4,
    /// `fd99::/64`.
    Ipv6,
}

/// A link that is narrower than its neighbours, so that the routers at its ends have to refuse packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Narrow {
    /// Its MTU.
    pub mtu: u16,
    /// How the routers refuse.
    pub refusal: Refusal,
}

/// What a router does about a packet that does not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It sends ICMP fragmentation needed or packet too big, as it should.
    Told,
    /// It says nothing: a black hole (RFC 2923 section 2.1).
    Silent,
}

/// A container host.
#[derive(Clone, Debug)]
pub struct Host {
    /// Its name, also the role of its namespace.
    pub name: String,
    /// Its address in the IPv4 underlay.
    pub ipv4: Ipv4Addr,
    /// Its address in the IPv6 underlay.
    pub ipv6: Ipv6Addr,
    /// MTU of its underlay link, where it differs from the others'.
    pub mtu: Option<u16>,
    /// Whether it is reached through the router `core`.
    pub behind_core: bool,
}

/// A tenant.
#[derive(Clone, Debug)]
pub struct Project {
    /// Its name.
    pub name: String,
    /// Its VNI.
    pub vni: u32,
    /// Its containers.
    pub containers: Vec<Container>,
}

/// A container: one namespace with one interface in its project's network.
#[derive(Clone, Debug)]
pub struct Container {
    /// Its name, unique in the project.
    pub name: String,
    /// Position of its host in [`Topology::hosts`].
    pub host: usize,
    /// Its MAC.
    pub mac: [u8; 6],
    /// Its address in `10.1.0.0/24`.
    pub ipv4: Ipv4Addr,
    /// Its address in `fd01::/64`.
    pub ipv6: Ipv6Addr,
}

impl Topology {
    /// The gateway's VTEP addresses.
    pub const GATEWAY_VTEP: (Ipv4Addr, Ipv6Addr) =
        (Ipv4Addr::new(10, 99, 0, 1), Ipv6Addr::new(0xfd99, 0, 0, 0, 0, 0, 0, 1));
    /// The gateway's address in every project.
    pub const PROJECT_GATEWAY: (Ipv4Addr, Ipv6Addr) =
        (Ipv4Addr::new(10, 1, 0, 1), Ipv6Addr::new(0xfd01, 0, 0, 0, 0, 0, 0, 1));
    /// The client's addresses.
    pub const CLIENT: (Ipv4Addr, Ipv6Addr) =
        (Ipv4Addr::new(198, 51, 100, 10), Ipv6Addr::new(0x2001, 0xdb8, 0xc, 0, 0, 0, 0, 0x10));
    /// The gateway's addresses on `pub0`.
    pub const GATEWAY_PUBLIC: (Ipv4Addr, Ipv6Addr) =
        (Ipv4Addr::new(192, 0, 2, 1), Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, 1));
    /// The address of `wan` at every container's uplink.
    pub const UPLINK: (Ipv4Addr, Ipv6Addr) = (Ipv4Addr::new(198, 19, 0, 1), Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1));
    /// The containers' routing table with the way by the uplink.
    pub const UPLINK_TABLE: u32 = 7;

    /// The topology of `examples/demo.toml`: two hosts, the projects `red` and `blue` with two containers each.
    #[must_use]
    pub fn demo() -> Self {
        Self::with_containers(2)
    }

    /// Like [`Topology::demo`] with `count` containers (`web-1`, `web-2`, ...) in each project, spread over the two hosts.
    /// Both projects use the same addresses.
    #[must_use]
    pub fn with_containers(count: u8) -> Self {
        let hosts = (1..=2)
            .map(|number| Host {
                name: format!("host{number}"),
                ipv4: Ipv4Addr::new(10, 99, 0, 10 + number),
                ipv6: Ipv6Addr::new(0xfd99, 0, 0, 0, 0, 0, 0, 0x10 + u16::from(number)),
                mtu: None,
                behind_core: false,
            })
            .collect();
        let project = |name: &str, position: u8, vni| Project {
            name: name.into(),
            vni,
            containers: (1..=count).map(|number| Container::numbered(position, number)).collect(),
        };
        Self {
            client_mtu: 1500,
            edge: None,
            public_mtu: 1500,
            underlay: Underlay::Ipv4,
            underlay_mtu: 1600,
            core: None,
            inner_mtu: 1500,
            offloads: false,
            uplinks: false,
            hosts,
            projects: vec![project("red", 1, 100), project("blue", 2, 200)],
        }
    }

    /// The same topology with IPv6 VTEPs.
    #[must_use]
    pub fn over_ipv6(mut self) -> Self {
        self.underlay = Underlay::Ipv6;
        self
    }

    /// The same topology with a narrow link between the client's router and `wan`.
    #[must_use]
    pub fn through_edge(self, mtu: u16, refusal: Refusal) -> Self {
        Self { edge: Some(Narrow { mtu, refusal }), ..self }
    }

    /// The same topology with the first host behind a router of the underlay, in a network of its own, by a narrow link.
    #[must_use]
    pub fn through_core(mut self, mtu: u16, refusal: Refusal) -> Self {
        self.core = Some(Narrow { mtu, refusal });
        if let Some(host) = self.hosts.first_mut() {
            let ([a, b, _, last], [c, d, e, _, rest @ ..]) = (host.ipv4.octets(), host.ipv6.segments());
            let [f, g, h, i] = rest;
            (host.ipv4, host.ipv6) = (Ipv4Addr::new(a, b, 1, last), Ipv6Addr::new(c, d, e, 1, f, g, h, i));
            (host.mtu, host.behind_core) = (Some(mtu), true);
        }
        self
    }

    /// MTU of a host's underlay link.
    #[must_use]
    pub fn host_mtu(&self, host: &Host) -> u16 {
        host.mtu.unwrap_or(self.underlay_mtu)
    }

    /// The gateway's VTEP in the chosen underlay.
    #[must_use]
    pub fn gateway_vtep(&self) -> IpAddr {
        match self.underlay {
            Underlay::Ipv4 => Self::GATEWAY_VTEP.0.into(),
            Underlay::Ipv6 => Self::GATEWAY_VTEP.1.into(),
        }
    }

    /// A host's VTEP in the chosen underlay.
    #[must_use]
    pub fn vtep(&self, host: &Host) -> IpAddr {
        match self.underlay {
            Underlay::Ipv4 => host.ipv4.into(),
            Underlay::Ipv6 => host.ipv6.into(),
        }
    }

    /// The role of every namespace: `client`, `wan`, `gw`, `fabric`, `edge` and `core` where there are such routers, each
    /// host's name, and `<project>-<container>`.
    #[must_use]
    pub fn roles(&self) -> Vec<String> {
        let containers =
            self.projects.iter().flat_map(|project| project.containers.iter().map(|container| project.role(container)));
        let routers = [self.edge.map(|_| "edge"), self.core.map(|_| "core")].into_iter().flatten();
        let fixed = ["client", "wan", "gw", "fabric"].into_iter().chain(routers).map(String::from);
        fixed.chain(self.hosts.iter().map(|host| host.name.clone())).chain(containers).collect()
    }
}

impl Project {
    /// The gateway's MAC in this project: `02:bb:00` and the VNI's three bytes, as the daemon derives it.
    #[must_use]
    pub fn gateway_mac(&self) -> [u8; 6] {
        let [_, high, middle, low] = self.vni.to_be_bytes();
        [0x02, 0xbb, 0x00, high, middle, low]
    }

    /// The role of a container's namespace.
    #[must_use]
    pub fn role(&self, container: &Container) -> String {
        format!("{}-{}", self.name, container.name)
    }
}

impl Container {
    fn numbered(project: u8, number: u8) -> Self {
        Self {
            name: format!("web-{number}"),
            host: usize::from(number - 1) % 2,
            mac: [0x02, project, 0, 0, 0, 0x10 + number],
            ipv4: Ipv4Addr::new(10, 1, 0, 10 + number),
            ipv6: Ipv6Addr::new(0xfd01, 0, 0, 0, 0, 0, 0, 0x10 + u16::from(number)),
        }
    }
}

/// A MAC as text, `02:01:00:00:00:11`.
#[must_use]
pub fn mac_text(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn demo_topology_is_the_one_of_the_example_config() {
        let example = include_str!("../../../examples/demo.toml");
        let topology = Topology::demo();
        for host in &topology.hosts {
            assert!(example.contains(&format!("vtep = \"{}\"", host.ipv4)));
        }
        for project in &topology.projects {
            assert!(example.contains(&format!("vni = {}", project.vni)));
            for container in &project.containers {
                assert!(example.contains(&mac_text(container.mac)));
                assert!(example.contains(&format!("addresses = [\"{}\", \"{}\"]", container.ipv4, container.ipv6)));
            }
        }
    }

    #[test]
    fn gateway_mac_holds_the_vni() {
        let topology = Topology::demo();
        assert_eq!(mac_text(topology.projects[0].gateway_mac()), "02:bb:00:00:00:64");
    }
}
