//! Turns mistakes in port ranges, modes, hashed fields, lists of sources and budgets into one error each at its place.

use super::{
    Case, DEMO,
    ErrorKind::{BadValue, Conflict, Duplicate, OutOfRange, WrongType},
    check, errors_of,
};

#[test]
fn broken_rule_of_ports_and_sources_is_one_error_at_its_place() {
    for &(change, kind, path, words) in PORTS_AND_SOURCES {
        check(change, kind, path, words);
    }
}

/// The one port of the first service of the demo config.
const PORT: &str = "port = 80, container_port = 8080 }]\nbackends";
/// The VIPs of that service, where its other keys may follow.
const VIPS: &str = "vips = [\"203.0.113.10\", \"2001:db8:f::10\"]";

/// Rules of ranges, modes, hashed fields, lists of sources and budgets.
const PORTS_AND_SOURCES: &[Case] = &[
    ((PORT, "range = \"8099-8000\" }]\nbackends"), BadValue, "projects[0].services[0].ports[0].range", "\"8000-8099\""),
    (
        (PORT, "range = \"0-80\" }]\nbackends"),
        BadValue,
        "projects[0].services[0].ports[0].range",
        "each 1 to 65535, the first below the last",
    ),
    (
        (PORT, "range = 80 }]\nbackends"),
        WrongType,
        "projects[0].services[0].ports[0].range",
        "\"any\", or first and last",
    ),
    (
        (PORT, "port = 80, range = \"80-90\" }]\nbackends"),
        Conflict,
        "projects[0].services[0].ports[0].range",
        "remove one of the two",
    ),
    (
        (PORT, "range = \"80-90\", container_port = 80 }]\nbackends"),
        Conflict,
        "projects[0].services[0].ports[0].container_port",
        "remove `container_port`",
    ),
    (
        (PORT, "range = \"80-90\" }, { protocol = \"tcp\", range = \"90-99\" }]\nbackends"),
        Conflict,
        "projects[0].services[0].ports[1].range",
        "overlap with 80-90 of service \"web\"",
    ),
    (
        (PORT, "range = \"80-90\" }, { protocol = \"tcp\", range = \"1-99\" }]\nbackends"),
        Conflict,
        "projects[0].services[0].ports[1].range",
        "tcp ports 1-99 at 203.0.113.10",
    ),
    (
        (PORT, "range = \"80-90\" }, { protocol = \"tcp\", range = \"80-90\" }]\nbackends"),
        Duplicate,
        "projects[0].services[0].ports[1].range",
        "tcp ports 80-90 at 203.0.113.10 are service \"web\"'s already",
    ),
    (
        (PORT, "range = \"any\" }, { protocol = \"tcp\", range = \"any\" }]\nbackends"),
        Duplicate,
        "projects[0].services[0].ports[1].range",
        "already",
    ),
    (
        (PORT, "port = 80, container_port = 8080, mode = \"dsr\" }]\nbackends"),
        Conflict,
        "projects[0].services[0].ports[0].container_port",
        "(allowed: 80)",
    ),
    (
        (PORT, "port = 80, mode = \"dnat\" }]\nbackends"),
        OutOfRange,
        "projects[0].services[0].ports[0].mode",
        "\"nat\" or \"dsr\"",
    ),
    (
        (PORT, "port = 80, hash = [\"client_address\", \"source\"] }]\nbackends"),
        OutOfRange,
        "projects[0].services[0].ports[0].hash[1]",
        "\"client_address\", \"client_port\" or \"vip_port\"",
    ),
    (
        (PORT, "port = 80, hash = [] }]\nbackends"),
        OutOfRange,
        "projects[0].services[0].ports[0].hash",
        "an array of 1 to 3",
    ),
    (
        (PORT, "range = \"80-90\", hash = [\"vip_port\"] }]\nbackends"),
        Conflict,
        "projects[0].services[0].ports[0].hash",
        "\"client_address\", \"client_port\" or both",
    ),
    (
        (PORT, "port = 80, hash = [\"vip_port\"] }]\nbackends"),
        Conflict,
        "projects[0].services[0].ports[0].hash",
        "nothing of the client",
    ),
    (
        (PORT, "port = 80, hash = [\"client_port\", \"vip_port\"] }]\nbackends"),
        Conflict,
        "projects[0].services[0].ports[0].hash[1]",
        "remove it, or give a `range`",
    ),
    (
        (PORT, "port = 80, hash = [\"client_port\", \"client_port\"] }]\nbackends"),
        Duplicate,
        "projects[0].services[0].ports[0].hash[1]",
        "already",
    ),
    (
        (PORT, "port = 80, affinity = \"flow\", hash = [\"client_port\"] }]\nbackends"),
        Conflict,
        "projects[0].services[0].ports[0].affinity",
        "the short form of `hash`",
    ),
    (
        (PORT, "port = 80, new_flows_per_second = 0 }]\nbackends"),
        OutOfRange,
        "projects[0].services[0].ports[0].new_flows_per_second",
        "an integer from 1 to 10000000",
    ),
    (
        ("vni = 100", "vni = 100\nnew_flows_per_second = 10000001"),
        OutOfRange,
        "projects[0].new_flows_per_second",
        "an integer from 1 to 10000000",
    ),
    (
        ("metrics_listen", "icmp_errors_per_second = 1000001\nmetrics_listen"),
        OutOfRange,
        "gateway.icmp_errors_per_second",
        "an integer from 1 to 1000000",
    ),
    (
        (VIPS, "vips = [\"203.0.113.10\"]\nallow_sources = [\"10.0.0.1/8\"]"),
        BadValue,
        "projects[0].services[0].allow_sources[0]",
        "write \"10.0.0.0/8\"",
    ),
    (
        (VIPS, "vips = [\"203.0.113.10\"]\ndeny_sources = [\"10.0.0.0\"]"),
        BadValue,
        "projects[0].services[0].deny_sources[0]",
        "a network such as",
    ),
    (
        (VIPS, "vips = [\"203.0.113.10\"]\ndeny_sources = [\"::ffff:10.0.0.0/104\"]"),
        BadValue,
        "projects[0].services[0].deny_sources[0]",
        "write \"10.0.0.0/8\"",
    ),
    (
        (VIPS, "vips = [\"203.0.113.10\"]\nallow_sources = [\"10.0.0.0/8\", \"10.0.0.0/8\"]"),
        Duplicate,
        "projects[0].services[0].allow_sources[1]",
        "already",
    ),
    (
        (
            VIPS,
            "vips = [\"203.0.113.10\"]\nallow_sources = [\"10.0.0.0/8\"]\ndeny_sources = [\"::/0\", \"10.0.0.0/8\"]",
        ),
        Conflict,
        "projects[0].services[0].deny_sources[1]",
        "keep it in one of the two",
    ),
    (
        (
            "vips = [\"203.0.113.10\", \"2001:db8:f::10\"]\nports = [{ protocol = \"tcp\", port = 80,",
            "vips = [\"203.0.113.10\"]\ndeny_sources = [\"10.0.0.0/8\"]\nports = [{ protocol = \"tcp\", allow_sources = [\"10.0.0.0/8\"], port = 80,",
        ),
        Conflict,
        "projects[0].services[0].ports[0].allow_sources[0]",
        "10.0.0.0/8 stands in `deny_sources` too",
    ),
];

#[test]
fn a_list_of_too_many_sources_is_one_error() {
    let list: Vec<String> =
        (0..16_385).map(|number: u32| format!("\"{}/32\"", std::net::Ipv4Addr::from(number << 8))).collect();
    let text = DEMO.replacen(VIPS, &format!("{VIPS}\nallow_sources = [{}]", list.join(", ")), 1);
    let errors = errors_of(&text);
    assert_eq!(errors.len(), 1, "{errors:#?}");
    assert_eq!((errors[0].kind, errors[0].path.as_str()), (OutOfRange, "projects[0].services[0].allow_sources"));
    assert!(errors[0].to_string().contains("an array of 0 to 16384"), "{}", errors[0]);
}
