//! Turns the gateway table into the gateway's settings.

use std::{collections::BTreeSet, net::IpAddr, ops::RangeInclusive, time::Duration};

use super::{
    super::{
        directory_of,
        error::ErrorKind,
        field::Field,
        path::KeyPath,
        report::{Finding, Report},
        schema::{GatewayTable, TimeoutsTable, XdpModeWord},
        secret,
        text::{AbsolutePath, Name, Text, TextFormat, duration_shown, is_usable},
    },
    Family, Merged,
    hosts::{Hosts, USABLE},
};
use crate::model::{Gateway, Timeouts, XdpMode};

/// What the rest of the config may know of the gateway.
pub(crate) struct GatewayFacts {
    /// Its VTEP addresses.
    pub(crate) vteps: Vec<IpAddr>,
    /// All of it, when it is sound.
    pub(crate) model: Option<Gateway>,
}

/// Bytes of a Unix socket's path less the final zero (Linux `include/uapi/linux/un.h`).
const SOCKET_PATH_BYTES_MAX: usize = 107;

/// The gateway, which must stand in exactly one file.
pub(crate) fn validate(merged: &Merged<'_>, hostname: &str, hosts: &Hosts, report: &mut Report<'_>) -> GatewayFacts {
    let mut facts = GatewayFacts { vteps: Vec::new(), model: None };
    let mut given = merged.files().iter().enumerate().filter(|(_, file)| !file.table.gateway.is_absent());
    let Some((source, file)) = given.next() else {
        report.add(
            &KeyPath::root(0).key("gateway"),
            Finding::new(ErrorKind::MissingKey, "the table `[gateway]` is missing"),
        );
        return facts;
    };
    for (other, _) in given {
        let message = format!("`[gateway]` stands in {} already: keep one", file.source.file.display());
        report.add(&KeyPath::root(other).key("gateway"), Finding::new(ErrorKind::Duplicate, message));
    }
    let Some(table) = file.table.gateway.given() else { return facts };
    let root = KeyPath::root(source);
    let at = root.key("gateway");
    facts.vteps = vteps(table, &at, hosts, report);
    // Every part is looked at before the first hole ends the making of the whole.
    let name = name(table, &at, hostname, report);
    let secret = secret::resolve(table, &at, directory_of(&file.source.file), report);
    let timeouts = table.timeouts.given().and_then(|timeouts| self::timeouts(timeouts, &at.key("timeouts"), report));
    let admin_socket = admin_socket(&table.admin_socket, &at.key("admin_socket"), report);
    let interfaces = interfaces(table, &at.key("interfaces"), report);
    facts.model = (|| {
        Some(Gateway {
            name: name?,
            interfaces,
            xdp_mode: match table.xdp_mode.given()? {
                XdpModeWord::Auto => XdpMode::Auto,
                XdpModeWord::Native => XdpMode::Native,
                XdpModeWord::Generic => XdpMode::Generic,
            },
            vtep_ipv4: table.vtep_ipv4.text().copied(),
            vtep_ipv6: table.vtep_ipv6.text().copied(),
            vxlan_port: *table.vxlan_port.given()?,
            hash_secret: secret?,
            timeouts: timeouts?,
            flows_max: *table.flows_max.given()?,
            icmp_errors_per_second: *table.icmp_errors_per_second.given()?,
            pin_dir: table.pin_dir.text()?.0.clone(),
            state_dir: table.state_dir.text()?.0.clone(),
            admin_socket: admin_socket?.0.clone(),
            metrics_listen: table.metrics_listen.text()?.0,
        })
    })();
    facts
}

fn name(table: &GatewayTable, gateway: &KeyPath<'_>, hostname: &str, report: &mut Report<'_>) -> Option<String> {
    if !table.name.is_absent() {
        return table.name.text().map(|Name(name)| name.clone());
    }
    let label = hostname.split('.').next().unwrap_or_default().to_ascii_lowercase();
    let parsed = Name::parse(&label);
    if parsed.is_err() {
        let message = format!("the host's name {hostname:?} cannot stand in for `name`: give one");
        report.add(&gateway.key("name"), Finding::new(ErrorKind::MissingKey, message).allowed(Name::ALLOWED));
    }
    parsed.ok().map(|Name(name)| name)
}

/// The VTEP addresses that are given; says which are missing for the hosts there are.
fn vteps(table: &GatewayTable, gateway: &KeyPath<'_>, hosts: &Hosts, report: &mut Report<'_>) -> Vec<IpAddr> {
    let mut vteps = Vec::new();
    let mut said = false;
    for family in Family::ALL {
        let (key, address, absent) = match family {
            Family::Ipv4 => {
                ("vtep_ipv4", table.vtep_ipv4.text().map(|&v4| IpAddr::V4(v4)), table.vtep_ipv4.is_absent())
            }
            Family::Ipv6 => {
                ("vtep_ipv6", table.vtep_ipv6.text().map(|&v6| IpAddr::V6(v6)), table.vtep_ipv6.is_absent())
            }
        };
        let at = gateway.key(key);
        said |= !absent;
        if let Some((vtep, host)) = hosts.first_of(family).filter(|_| absent) {
            let message = format!("`{key}` is missing, and host \"{host}\" has the {} VTEP {vtep}", family.name());
            report.add(
                &at,
                Finding::new(ErrorKind::MissingKey, message).allowed("this gateway's own address on the underlay"),
            );
            said = true;
        }
        let Some(address) = address else { continue };
        vteps.push(address);
        if !is_usable(address) {
            report.add(
                &at,
                Finding::new(ErrorKind::BadValue, format!("{address} cannot be a VTEP")).value(address).allowed(USABLE),
            );
        } else if let Some(host) = hosts.vteps.get(&address) {
            let message = format!("{address} is the VTEP of host \"{host}\": the gateway needs its own");
            report.add(&at, Finding::new(ErrorKind::Conflict, message).value(address));
        }
    }
    if !said {
        let message = "neither `vtep_ipv4` nor `vtep_ipv6` is given";
        report.add(
            &gateway.key("vtep_ipv4"),
            Finding::new(ErrorKind::MissingKey, message).allowed("this gateway's own address on the underlay"),
        );
    }
    vteps
}

fn interfaces(table: &GatewayTable, at: &KeyPath<'_>, report: &mut Report<'_>) -> Vec<String> {
    let mut seen = BTreeSet::new();
    let mut interfaces = Vec::new();
    for (index, interface) in table.interfaces.elements().iter().enumerate() {
        let Some(name) = interface.text() else { continue };
        if seen.insert(name) {
            interfaces.push(name.0.clone());
        } else {
            let message = format!("{:?} stands in the list already", name.0);
            report.add(&at.index(index), Finding::new(ErrorKind::Duplicate, message).value(format!("{:?}", name.0)));
        }
    }
    interfaces
}

fn admin_socket<'a>(
    path: &'a Field<Text<AbsolutePath>>,
    at: &KeyPath<'_>,
    report: &mut Report<'_>,
) -> Option<&'a AbsolutePath> {
    let path = path.text()?;
    if path.0.as_os_str().len() > SOCKET_PATH_BYTES_MAX {
        let finding = Finding::new(ErrorKind::OutOfRange, "the path is too long for a Unix socket");
        report.add(at, finding.value(path.0.display()).allowed(format!("at most {SOCKET_PATH_BYTES_MAX} bytes")));
    }
    Some(path)
}

const fn seconds(min: u64, max: u64) -> RangeInclusive<Duration> {
    Duration::from_secs(min)..=Duration::from_secs(max)
}

const TCP_IDLE: RangeInclusive<Duration> = seconds(10, 86_400);
const TCP_CLOSING: RangeInclusive<Duration> = seconds(1, 600);
const UDP_IDLE: RangeInclusive<Duration> = seconds(1, 3_600);

fn timeouts(table: &TimeoutsTable, at: &KeyPath<'_>, report: &mut Report<'_>) -> Option<Timeouts> {
    let mut checked = |field: &Field<Text<Duration>>, key: &str, range: &RangeInclusive<Duration>| {
        let given = *field.text()?;
        if !range.contains(&given) {
            let shown = duration_shown(given);
            let finding = Finding::new(ErrorKind::OutOfRange, format!("\"{shown}\" is out of range"))
                .value(format!("\"{shown}\""));
            report.add(
                &at.key(key),
                finding.allowed(format!("{} to {}", duration_shown(*range.start()), duration_shown(*range.end()))),
            );
        }
        Some(given)
    };
    let tcp_idle = checked(&table.tcp_idle, "tcp_idle", &TCP_IDLE);
    let tcp_closing = checked(&table.tcp_closing, "tcp_closing", &TCP_CLOSING);
    let udp_idle = checked(&table.udp_idle, "udp_idle", &UDP_IDLE);
    Some(Timeouts { tcp_idle: tcp_idle?, tcp_closing: tcp_closing?, udp_idle: udp_idle? })
}
