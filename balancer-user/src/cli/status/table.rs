//! Turns a status into the text that `balancer status` prints: the gateway, its hosts, its service ports, its frames, its hard cases.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use balancer_common::{
    case::Case,
    verdict::{Outcome, Reason},
};
use comfy_table::{CellAlignment, ContentArrangement, Table, presets};

use crate::model::{
    Mode,
    status::{Backend, ServicePort, Sources, Status, Traffic},
};

/// Outcomes in the order of the text, the one that calls for action last, where the eye is.
const OUTCOMES: [Outcome; 4] = [Outcome::Forwarded, Outcome::Answered, Outcome::Passed, Outcome::Dropped];
/// Digits of a digest that tell two apart.
const DIGEST_DIGITS: usize = 12;

/// The whole text; it ends in a newline.
pub(super) fn render(status: &Status, now: SystemTime) -> String {
    let sections = [gateway(status, now), hosts(status), service_ports(status), frames(status), cases(status)];
    let texts: Vec<String> = sections.iter().filter_map(|table| table.as_ref().map(lines)).collect();
    texts.join("\n")
}

fn gateway(status: &Status, now: SystemTime) -> Option<Table> {
    let up = now.duration_since(UNIX_EPOCH + Duration::from_secs(status.started_at_unix)).unwrap_or_default();
    let interfaces: Vec<_> = status
        .interfaces
        .iter()
        .map(|interface| format!("{} ({}, index {})", interface.name, interface.mode.name(), interface.ifindex))
        .collect();
    let maps = status.maps.named().map(|(name, entries)| format!("{name} {} of {}", entries.used, entries.max));
    let program = status.program;
    let mut table = plain();
    table.add_row(["gateway", &format!("{}, balancer {}, up {}", status.gateway, status.version, duration(up))]);
    table.add_row(["config", &status.config_path.display().to_string()]);
    table.add_row(["generation", &format!("{}, digest {}", status.generation, short(&status.digest))]);
    let reload = status.config_error.as_ref().map_or_else(
        || "the config is in force".to_owned(),
        |error| format!("REFUSED, the generation above stays in force\n{}", error.trim_end()),
    );
    table.add_row(["last read", &reload]);
    table.add_row(["interfaces", &interfaces.join(", ")]);
    let ids = format!("id {}, careful {}", program.id, program.careful_id);
    let of_careful = format!("careful {}", program.careful_verified_instructions);
    let instructions = format!("{} instructions verified ({of_careful})", program.verified_instructions);
    table.add_row(["programs", &format!("{ids}; {instructions}, {} bytes", program.jited_bytes)]);
    table.add_row(["maps", &maps.join(", ")]);
    let slow_path = status.slow_path.named().into_iter().filter(|(_, packets)| *packets > 0);
    let slow_path: Vec<_> = slow_path.map(|(result, packets)| format!("{result} {packets}")).collect();
    table.add_row(["slow path", &if slow_path.is_empty() { "idle".to_owned() } else { slow_path.join(", ") }]);
    Some(table)
}

fn hosts(status: &Status) -> Option<Table> {
    if status.hosts.is_empty() {
        return None;
    }
    let mut table = plain();
    table.set_header(["HOST", "VTEP", "NEXT HOP"]);
    for host in &status.hosts {
        let next_hop = match (host.resolved, host.mac_text()) {
            (true, Some(mac)) => mac,
            (true, None) => "resolved".to_owned(),
            (false, _) => "not resolved".to_owned(),
        };
        table.add_row([&host.name, &host.vtep.to_string(), &next_hop]);
    }
    Some(table)
}

fn service_ports(status: &Status) -> Option<Table> {
    if status.service_ports.is_empty() {
        return None;
    }
    let mut table = plain();
    table.set_header([
        "SERVICE PORT",
        "STATE",
        "WEIGHT",
        "SHARE",
        "PACKETS IN",
        "BYTES IN",
        "PACKETS OUT",
        "BYTES OUT",
    ]);
    for port in &status.service_ports {
        table.add_row(port_row(port));
        for backend in &port.backends {
            table.add_row(backend_row(backend));
        }
    }
    for column in table.column_iter_mut().skip(2) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    Some(table)
}

fn port_row(port: &ServicePort) -> Vec<String> {
    let ServicePort { project, service, vip, protocol, .. } = port;
    let name = format!("{project}/{service} {vip} {} {}{}", protocol.name(), port.ports_text(), details(port));
    let settled = if port.settled { "settled" } else { "in transition" };
    [vec![name, settled.to_owned(), String::new(), String::new()], counts(&port.traffic)].concat()
}

/// What is not as with most service ports.
fn details(port: &ServicePort) -> String {
    let mode = match port.mode {
        Mode::Nat => String::new(),
        Mode::Dsr => format!(" {}", port.mode.name()),
    };
    match port.sources {
        Sources { allow: 0, deny: 0 } => mode,
        Sources { allow, deny: 0 } => format!("{mode}, sources: {allow} allowed"),
        Sources { allow: 0, deny } => format!("{mode}, sources: {deny} denied"),
        Sources { allow, deny } => format!("{mode}, sources: {allow} allowed, {deny} denied"),
    }
}

fn backend_row(backend: &Backend) -> Vec<String> {
    let address = match backend.port {
        0 => backend.address.to_string(),
        port => std::net::SocketAddr::new(backend.address, port).to_string(),
    };
    let name = format!("  {} at {}, {address}", backend.container, backend.host);
    let share = format!("{:.1} %", backend.share * 100.0);
    let state = backend.state.name().to_owned();
    [vec![name, state, backend.weight.to_string(), share], counts(&backend.traffic)].concat()
}

fn counts(traffic: &Traffic) -> Vec<String> {
    let Traffic { forward_packets, forward_bytes, reply_packets, reply_bytes } = traffic;
    [forward_packets, forward_bytes, reply_packets, reply_bytes].map(u64::to_string).to_vec()
}

/// The reasons that were counted, with their meaning.
fn frames(status: &Status) -> Option<Table> {
    let mut table = plain();
    table.set_header(["FRAMES", "REASON", "COUNT", "MEANING"]);
    for outcome in OUTCOMES {
        let counted = Reason::ALL.iter().filter(|reason| reason.outcome() == outcome && status.frames(**reason) > 0);
        for (position, reason) in counted.enumerate() {
            let group = if position == 0 { outcome.name() } else { "" };
            table.add_row([group, reason.name(), &status.frames(*reason).to_string(), reason.meaning()]);
        }
    }
    if let Some(column) = table.column_mut(2) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    (!table.is_empty()).then_some(table)
}

/// The hard cases that occurred; a frame may stand under several, whatever became of it.
fn cases(status: &Status) -> Option<Table> {
    let mut table = plain();
    table.set_header(["HARD CASES", "COUNT", "MEANING"]);
    for case in Case::ALL.iter().filter(|case| status.frames_of(**case) > 0) {
        table.add_row([case.name(), &status.frames_of(*case).to_string(), case.meaning()]);
    }
    if let Some(column) = table.column_mut(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    (!table.is_empty()).then_some(table)
}

/// A table without lines, as wide as it needs to be: it goes through pipes and `grep` as well as to a terminal.
fn plain() -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table
}

/// The table's lines without the space that it puts at both ends of every cell, each ended by a newline.
fn lines(table: &Table) -> String {
    table.lines().map(|line| format!("{}\n", line.strip_prefix(' ').unwrap_or(&line).trim_end())).collect()
}

fn short(digest: &str) -> &str {
    digest.get(..DIGEST_DIGITS).unwrap_or(digest)
}

/// Its two largest units.
fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min {} s", seconds % 60),
        (0, _, _) => format!("{hours} h {minutes} min"),
        (_, _, _) => format!("{days} d {hours} h"),
    }
}

#[cfg(test)]
mod tests;
