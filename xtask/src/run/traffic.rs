//! Turns the demo's VIPs into real requests from the client, and the answers into counts per container.

use std::{
    collections::BTreeMap,
    net::{SocketAddr, UdpSocket},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};

use crate::lab::Ns;

/// A service port of `examples/demo.toml` and what is expected of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Target {
    /// Its project.
    pub(super) project: &'static str,
    /// Its service.
    pub(super) service: &'static str,
    /// Where to ask.
    pub(super) address: &'static str,
    /// The backends and their weights.
    backends: [(&'static str, u32); 2],
}

/// Who answered the requests to one target.
#[derive(Debug)]
pub(super) struct Answers {
    /// Where they went.
    pub(super) target: Target,
    /// Answers by the name that the container gave.
    pub(super) by_name: BTreeMap<String, usize>,
}

const RED_WEB: Target =
    Target { project: "red", service: "web", address: "", backends: [("red/web-1", 1), ("red/web-2", 2)] };
const BLUE_WEB: Target =
    Target { project: "blue", service: "web", address: "", backends: [("blue/web-1", 1), ("blue/web-2", 1)] };
const BLUE_ECHO: Target = Target { service: "echo", ..BLUE_WEB };

const TARGETS: [Target; 6] = [
    Target { address: "203.0.113.10:80", ..RED_WEB },
    Target { address: "[2001:db8:f::10]:80", ..RED_WEB },
    Target { address: "203.0.113.20:80", ..BLUE_WEB },
    Target { address: "[2001:db8:f::20]:80", ..BLUE_WEB },
    Target { address: "203.0.113.20:7", ..BLUE_ECHO },
    Target { address: "[2001:db8:f::20]:7", ..BLUE_ECHO },
];

/// Requests to each target, each a flow of its own.
const REQUESTS: usize = 100;
/// How far a backend's share may be from its weight: four standard deviations of a fair draw of [`REQUESTS`].
const SHARE_TOLERANCE: f64 = 0.2;
/// How long an answer may take.
const ANSWER_LIMIT: Duration = Duration::from_secs(3);

/// Sends [`REQUESTS`] to every target: curl for TCP, datagrams for UDP.
///
/// # Errors
/// When a request has no answer.
pub(super) fn send(client: &Ns) -> Result<Vec<Answers>> {
    let ask = |target: Target| {
        let names =
            if target.service == "echo" { datagrams(client, target.address) } else { requests(client, target.address) };
        let names =
            names.with_context(|| format!("ask {}/{} at {}", target.project, target.service, target.address))?;
        let mut by_name = BTreeMap::new();
        for name in names {
            *by_name.entry(name).or_default() += 1;
        }
        Ok(Answers { target, by_name })
    };
    TARGETS.into_iter().map(ask).collect()
}

impl Answers {
    /// Checks that the target's own backends answered, all of them, by their weights.
    ///
    /// # Errors
    /// When they did not; with who did.
    pub(super) fn check(&self) -> Result<()> {
        let Target { project, service, address, backends } = self.target;
        let total: usize = self.by_name.values().sum();
        let weights: u32 = backends.iter().map(|(_, weight)| weight).sum();
        let strangers = self.by_name.keys().filter(|name| !backends.iter().any(|(backend, _)| backend == name)).count();
        ensure!(strangers == 0, "{project}/{service} at {address} was answered by others: {:?}", self.by_name);
        for (backend, weight) in backends {
            let share = ratio(self.by_name.get(backend).copied().unwrap_or(0), total);
            let wanted = f64::from(weight) / f64::from(weights);
            ensure!(
                (share - wanted).abs() <= SHARE_TOLERANCE,
                "{project}/{service} at {address}: {backend} answered {share:.2} of the requests, not {wanted:.2}"
            );
        }
        Ok(())
    }
}

fn requests(client: &Ns, address: &str) -> Result<Vec<String>> {
    let limit = ANSWER_LIMIT.as_secs();
    // A curl for each request, so that each has a connection of its own.
    let script = format!(
        "set -e; for _ in $(seq {REQUESTS}); do curl --silent --show-error --fail --max-time {limit} 'http://{address}/'; done"
    );
    let text = client.text(["sh", "-c", &script])?;
    Ok(text.lines().map(|line| first_word(line).to_owned()).collect())
}

fn datagrams(client: &Ns, address: &str) -> Result<Vec<String>> {
    let target: SocketAddr = address.parse().context("the demo's addresses are literals")?;
    let local: SocketAddr = if target.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0_u16; 8], 0).into() };
    client.inside(|| {
        let ask = |_| -> Result<String> {
            let socket = UdpSocket::bind(local)?;
            socket.set_read_timeout(Some(ANSWER_LIMIT))?;
            socket.connect(target)?;
            socket.send(b"hello")?;
            let mut buffer = [0; 512];
            let length = socket.recv(&mut buffer).context("no answer to a datagram")?;
            Ok(first_word(&String::from_utf8_lossy(&buffer[..length])).to_owned())
        };
        (0..REQUESTS).map(ask).collect()
    })?
}

fn first_word(text: &str) -> &str {
    text.split_whitespace().next().unwrap_or_default()
}

#[expect(clippy::cast_precision_loss, reason = "counts of a demo are far below 2^52")]
fn ratio(part: usize, whole: usize) -> f64 {
    part as f64 / whole.max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(counts: [(&str, usize); 2], right: bool) {
        let by_name = counts.into_iter().map(|(name, count)| (name.to_owned(), count)).collect();
        assert_eq!(Answers { target: RED_WEB, by_name }.check().is_ok(), right, "{counts:?}");
    }

    #[test]
    fn answers_must_come_from_the_own_backends_by_weight() {
        check([("red/web-1", 30), ("red/web-2", 70)], true);
        check([("red/web-1", 70), ("red/web-2", 30)], false);
        check([("red/web-1", 0), ("red/web-2", 100)], false);
        check([("red/web-1", 33), ("blue/web-2", 67)], false);
    }

    #[test]
    fn targets_are_the_service_ports_of_the_example_config() {
        let example = include_str!("../../../examples/demo.toml");
        for target in TARGETS {
            let address: SocketAddr = target.address.parse().expect("a literal");
            assert!(example.contains(&format!("\"{}\"", address.ip())), "{address}");
            assert!(example.contains(&format!("port = {},", address.port())), "{address}");
        }
    }
}
