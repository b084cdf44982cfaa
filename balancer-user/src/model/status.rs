//! What the gateway is doing now, as `balancer status`, `/metrics` and the admin socket tell it: one snapshot and its JSON.

#[cfg(test)]
pub(crate) mod example;
mod words;

use std::{collections::BTreeMap, net::IpAddr, path::PathBuf};

use balancer_common::{case::Case, verdict::Reason};
use serde::{Deserialize, Serialize};

use super::{BackendState, Mode, Protocol};

/// One snapshot of the gateway. The JSON has the same names; a key that a later version adds is passed over.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The gateway's name.
    pub gateway: String,
    /// Version of the daemon.
    pub version: String,
    /// Generation of the config in force.
    pub generation: u64,
    /// SHA-256 of the config in force, lower-case hex.
    pub digest: String,
    /// Where the config is read from.
    pub config_path: PathBuf,
    /// Why the config at `config_path` was refused the last time it was read, first lines; none when it is in force.
    pub config_error: Option<String>,
    /// When the daemon started, seconds since 1970.
    pub started_at_unix: u64,
    /// Service ports in force.
    pub service_ports: Vec<ServicePort>,
    /// Frames by [`Reason::name`]; one that is absent counts 0.
    pub reasons: BTreeMap<String, u64>,
    /// What the daemon did with the frames that the datapath handed to it.
    pub slow_path: SlowPath,
    /// Frames of hard cases by [`Case::name`]; one that is absent counts 0.
    pub cases: BTreeMap<String, u64>,
    /// Container hosts.
    pub hosts: Vec<Host>,
    /// Interfaces that have the program.
    pub interfaces: Vec<Interface>,
    /// The program.
    pub program: Program,
    /// How full the maps are.
    pub maps: Maps,
}

impl Status {
    /// Frames that ended for this reason.
    #[must_use]
    pub fn frames(&self, reason: Reason) -> u64 {
        self.reasons.get(reason.name()).copied().unwrap_or(0)
    }

    /// Frames that were of this case.
    #[must_use]
    pub fn frames_of(&self, case: Case) -> u64 {
        self.cases.get(case.name()).copied().unwrap_or(0)
    }
}

/// (VIP, protocol, port) and what went through it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServicePort {
    /// The project's name.
    pub project: String,
    /// The service's name.
    pub service: String,
    /// Where clients connect.
    pub vip: IpAddr,
    /// Protocol, `tcp` or `udp`.
    #[serde(with = "words::word")]
    pub protocol: Protocol,
    /// Port at the VIP; the first one of a range.
    pub port: u16,
    /// The last port of a range, else equal to `port`.
    pub port_last: u16,
    /// How packets are delivered, `nat` or `dsr`.
    #[serde(with = "words::word")]
    pub mode: Mode,
    /// How many prefixes of clients may use it, and how many may not.
    pub sources: Sources,
    /// Slots of the table.
    pub table_size: u32,
    /// Digest of the table, the same on every gateway at this generation.
    pub table_digest: String,
    /// Whether every slot is settled: no flow needs the conntrack because of a table change.
    pub settled: bool,
    /// Frames both ways, over all backends.
    #[serde(flatten)]
    pub traffic: Traffic,
    /// Who serves it.
    pub backends: Vec<Backend>,
}

impl ServicePort {
    /// Its port or range as the config says it: `80`, `8000-8099` or `any`.
    #[must_use]
    pub fn ports_text(&self) -> String {
        match (self.port, self.port_last) {
            (0, u16::MAX) => "any".to_owned(),
            (first, last) if first == last => first.to_string(),
            (first, last) => format!("{first}-{last}"),
        }
    }
}

/// Numbers of prefixes in the two lists of sources; with both 0 everybody may.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sources {
    /// Prefixes that may.
    pub allow: usize,
    /// Prefixes that may not.
    pub deny: usize,
}

/// One backend of one service port and what went through it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Backend {
    /// The container's name.
    pub container: String,
    /// The host's name.
    pub host: String,
    /// The container's address.
    pub address: IpAddr,
    /// The container's port; 0 behind a range, where packets keep theirs.
    pub port: u16,
    /// Weight in the config.
    pub weight: u32,
    /// State in force: `active`, `draining` or `dead`.
    #[serde(with = "words::word")]
    pub state: BackendState,
    /// Fraction of the table's slots, 0 to 1.
    pub share: f64,
    /// Frames both ways.
    #[serde(flatten)]
    pub traffic: Traffic,
}

/// Frames and their IP bytes since the object was added.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traffic {
    /// Frames from clients to backends.
    pub forward_packets: u64,
    /// Their IP bytes.
    pub forward_bytes: u64,
    /// Frames from backends to clients.
    pub reply_packets: u64,
    /// Their IP bytes.
    pub reply_bytes: u64,
}

impl Traffic {
    /// Frames by direction.
    #[must_use]
    pub const fn packets(&self) -> [(&'static str, u64); 2] {
        [("forward", self.forward_packets), ("reply", self.reply_packets)]
    }

    /// IP bytes by direction.
    #[must_use]
    pub const fn bytes(&self) -> [(&'static str, u64); 2] {
        [("forward", self.forward_bytes), ("reply", self.reply_bytes)]
    }
}

impl From<balancer_common::service::Counters> for Traffic {
    fn from(counters: balancer_common::service::Counters) -> Self {
        let balancer_common::service::Counters { forward_packets, forward_bytes, reply_packets, reply_bytes } =
            counters;
        Self { forward_packets, forward_bytes, reply_packets, reply_bytes }
    }
}

/// A container host and whether frames can be sent to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Host {
    /// Its name.
    pub name: String,
    /// Its VTEP address.
    pub vtep: IpAddr,
    /// Whether route and MAC are known, so that the datapath sends without help.
    pub resolved: bool,
    /// MAC of the next hop towards it, written `02:00:00:00:00:01`; none while it is not known.
    #[serde(with = "words::mac")]
    pub mac: Option<[u8; 6]>,
    /// Bytes of the largest packet to the VTEP, where the underlay said that it is less than config and route say.
    pub path_mtu: Option<u16>,
}

impl Host {
    /// The next hop's MAC as text, `02:00:00:00:00:01`.
    #[must_use]
    pub fn mac_text(&self) -> Option<String> {
        self.mac.map(words::mac_text)
    }
}

/// An interface that has the program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Its kernel index.
    pub ifindex: u32,
    /// How the program is attached.
    pub mode: InterfaceMode,
}

/// How the program is attached to an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum InterfaceMode {
    /// In the driver.
    Native,
    /// On socket buffers, slower.
    Generic,
}

impl InterfaceMode {
    /// The word of metrics and CLI.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Generic => "generic",
        }
    }
}

/// What the daemon did with the frames that the datapath handed to it, since it started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlowPath {
    /// Whole packets given to the host's stack.
    pub sent: u64,
    /// Packets that were cut into fragments.
    pub fragmented: u64,
    /// Fragments given to the host's stack.
    pub fragments_sent: u64,
    /// Fragments held because they came before their first one.
    pub held: u64,
    /// Held fragments that went on once their first one was known.
    pub released: u64,
    /// Held fragments dropped because their first one did not come in time.
    pub expired: u64,
    /// Fragments dropped because a frame of that length cannot be held.
    pub too_long: u64,
    /// Frames dropped because as many wait already as may.
    pub overflowed: u64,
    /// Packets that the kernel refused: no route, or no room to send.
    pub refused: u64,
    /// Frames that do not hold what the datapath said.
    pub malformed: u64,
    /// ICMP errors about packets to a host.
    pub outer_errors: u64,
}

impl SlowPath {
    /// Each with its name.
    #[must_use]
    pub const fn named(&self) -> [(&'static str, u64); 11] {
        [
            ("sent", self.sent),
            ("fragmented", self.fragmented),
            ("fragments_sent", self.fragments_sent),
            ("held", self.held),
            ("released", self.released),
            ("expired", self.expired),
            ("too_long", self.too_long),
            ("overflowed", self.overflowed),
            ("refused", self.refused),
            ("malformed", self.malformed),
            ("outer_errors", self.outer_errors),
        ]
    }
}

/// The loaded programs, as the kernel tells it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Program {
    /// Kernel id of the fast program, for `bpftool prog show id`.
    pub id: u32,
    /// Kernel id of the careful program, which the fast one hands the hard cases to.
    pub careful_id: u32,
    /// Instructions that the verifier walked in both.
    pub verified_instructions: u32,
    /// Those of the careful program.
    pub careful_verified_instructions: u32,
    /// Bytes of machine code of both.
    pub jited_bytes: u32,
}

/// How full the maps are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Maps {
    /// Service ports, a VIP's address counting as one.
    pub services: MapUse,
    /// Backends of all service ports.
    pub backends: MapUse,
    /// Container hosts.
    pub hosts: MapUse,
    /// Flows that the conntrack remembers.
    pub flows: MapUse,
}

impl Maps {
    /// Each with its name.
    #[must_use]
    pub const fn named(&self) -> [(&'static str, MapUse); 4] {
        [("services", self.services), ("backends", self.backends), ("hosts", self.hosts), ("flows", self.flows)]
    }
}

/// Entries of a map.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MapUse {
    /// In use.
    pub used: u32,
    /// Most that it holds.
    pub max: u32,
}

#[cfg(test)]
mod tests;
