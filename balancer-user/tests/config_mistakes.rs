//! Turns configs with mistakes into errors: each kind of mistake alone is one error at its place, ten together are ten.

#[path = "config_mistakes/ports.rs"]
mod ports;

use ErrorKind::{BadValue, Conflict, Duplicate, MissingKey, OutOfRange, UnknownKey, UnknownReference, WrongType};
use balancer_user::config::{self, ConfigError, ErrorKind, Source};

const DEMO: &str = include_str!("../../examples/demo.toml");
const SECRET: &str = "7d0f5b9c1e4a4b0c9f6a2d8e3c5b7a91";
const HASH_SECRET: &str = "hash_secret = \"7d0f5b9c1e4a4b0c9f6a2d8e3c5b7a91\"";

/// What to replace in the demo config and by what; the error's kind, key path and some of its words.
type Case = ((&'static str, &'static str), ErrorKind, &'static str, &'static str);

fn errors_of(text: &str) -> Vec<ConfigError> {
    let source = Source { file: "demo.toml".into(), text: text.to_owned() };
    config::parse(&[source], "gw1").err().map(|errors| errors.errors().to_vec()).unwrap_or_default()
}

/// Replaces the first `from` of the demo config by `to`, and expects one error of this kind, at this path, with these words.
fn check((from, to): (&str, &str), kind: ErrorKind, path: &str, words: &str) {
    assert!(DEMO.contains(from), "{from:?} is not in the demo config");
    let text = DEMO.replacen(from, to, 1);
    let errors = errors_of(&text);
    let shown: Vec<String> = errors.iter().map(ToString::to_string).collect();
    assert_eq!(errors.len(), 1, "{from:?} -> {to:?}: {shown:#?}");
    assert_eq!((errors[0].kind, errors[0].path.as_str()), (kind, path), "{shown:#?}");
    assert!(shown[0].contains(words), "{words:?} in {shown:#?}");
    assert!(errors[0].line.is_some() && errors[0].column.is_some(), "{shown:#?}");
    assert!(!shown[0].contains(SECRET), "{shown:#?}");
}

#[test]
fn wrong_shape_is_one_error_at_its_place() {
    for &(change, kind, path, words) in SHAPES {
        check(change, kind, path, words);
    }
}

/// Unknown, missing, mistyped and misspelt.
const SHAPES: &[Case] = &[
    (("vni = 100", "vnii = 100"), UnknownKey, "projects[0].vnii", "did you mean `vni`?"),
    (("vni = 100", "vni = 100\ncolour = 1"), UnknownKey, "projects[0].colour", "allowed: containers, gateway_ipv4"),
    (("vni = 100", ""), MissingKey, "projects[0].vni", "an integer from 1 to 16777215"),
    (("vni = 100", "vni = \"100\""), WrongType, "projects[0].vni", "\"100\" is text"),
    (("vni = 100", "vni = 1.5"), WrongType, "projects[0].vni", "1.5 is a fraction"),
    (("vni = 100", "vni = 16777216"), OutOfRange, "projects[0].vni", "16777216 is out of range"),
    (("vni = 100", "vni = 0"), OutOfRange, "projects[0].vni", "an integer from 1 to 16777215"),
    (("vni = 100", "vni = 99999999999999999999"), OutOfRange, "projects[0].vni", "out of range"),
    (("port = 80,", "port = 0,"), OutOfRange, "projects[0].services[0].ports[0].port", "an integer from 1 to 65535"),
    (("port = 80,", "port = 70000,"), OutOfRange, "projects[0].services[0].ports[0].port", "70000"),
    (("port = 80,", ""), MissingKey, "projects[0].services[0].ports[0].port", "`port` is missing"),
    (
        ("weight = 1 ", "weight = 0 "),
        OutOfRange,
        "projects[0].services[0].backends[0].weight",
        "an integer from 1 to 1000",
    ),
    (("weight = 1 ", "weight = 1001 "), OutOfRange, "projects[0].services[0].backends[0].weight", "1001"),
    (("\"tcp\"", "\"tpc\""), OutOfRange, "projects[0].services[0].ports[0].protocol", "did you mean \"tcp\"?"),
    (
        ("port = 80,", "port = 80, table_size = 250,"),
        OutOfRange,
        "projects[0].services[0].ports[0].table_size",
        "251, 1021, 4093, 16381 or 65537",
    ),
    (
        ("port = 80,", "port = 80, affinity = \"none\","),
        OutOfRange,
        "projects[0].services[0].ports[0].affinity",
        "\"flow\" or \"client\"",
    ),
    (
        ("weight = 1 ", "state = \"gone\" "),
        OutOfRange,
        "projects[0].services[0].backends[0].state",
        "\"active\", \"draining\" or \"dead\"",
    ),
    (
        ("\"10.1.0.11\"", "\"10.1.0.256\""),
        BadValue,
        "projects[0].containers[0].addresses[0]",
        "\"10.1.0.256\" is not an IP address",
    ),
    (("02:01:00:00:00:11", "02:01:00:00:00"), BadValue, "projects[0].containers[0].mac", "is not a MAC address"),
    (("02:01:00:00:00:11", "03:01:00:00:00:11"), BadValue, "projects[0].containers[0].mac", "multicast"),
    (("\"10.1.0.0/24\"", "\"10.1.0.7/24\""), BadValue, "projects[0].networks[0]", "write \"10.1.0.0/24\""),
    (("name = \"red\"", "name = \"Red\""), BadValue, "projects[0].name", "1 to 63 of a-z"),
    (("name = \"host1\"", "name = \"host_1\""), BadValue, "hosts[0].name", "is not a name"),
    (("vtep_ipv4 = \"10.99.0.1\"", "vtep_ipv4 = \"fd00::1\""), BadValue, "gateway.vtep_ipv4", "is not an IPv4 address"),
    (("[\"pub0\", \"und0\"]", "[]"), OutOfRange, "gateway.interfaces", "the array has 0 elements"),
    (("[\"pub0\", \"und0\"]", "\"pub0\""), WrongType, "gateway.interfaces", "an array of 1 to 16"),
    (("127.0.0.1:9100", "localhost"), BadValue, "gateway.metrics_listen", "or \"off\""),
    (
        ("metrics_listen", "flows_max = 1000\nmetrics_listen"),
        OutOfRange,
        "gateway.flows_max",
        "an integer from 1024 to 16777216",
    ),
    (("metrics_listen", "pin_dir = \"x\"\nmetrics_listen"), BadValue, "gateway.pin_dir", "begins with \"/\""),
    (
        ("metrics_listen", "xdp_mode = \"hw\"\nmetrics_listen"),
        OutOfRange,
        "gateway.xdp_mode",
        "\"auto\", \"native\" or \"generic\"",
    ),
    (
        ("metrics_listen", "timeouts.tcp_idle = \"15\"\nmetrics_listen"),
        BadValue,
        "gateway.timeouts.tcp_idle",
        "write \"15s\"",
    ),
    (
        ("metrics_listen", "timeouts = { udp = \"15s\" }\nmetrics_listen"),
        UnknownKey,
        "gateway.timeouts.udp",
        "tcp_closing, tcp_idle, udp_idle",
    ),
    (
        ("vtep = \"10.99.0.11\"", "vtep = \"10.99.0.11\"\nmtu = 1279"),
        OutOfRange,
        "hosts[0].mtu",
        "an integer from 1280 to 9216",
    ),
    (("[gateway]", "generation = 0\n[gateway]"), OutOfRange, "generation", "from 1 to 9007199254740991"),
];

#[test]
fn broken_rule_of_gateway_or_host_is_one_error_at_its_place() {
    for &(change, kind, path, words) in GATEWAY_AND_HOSTS {
        check(change, kind, path, words);
    }
}

/// Rules of the gateway and the hosts.
const GATEWAY_AND_HOSTS: &[Case] = &[
    (("vtep_ipv4 = \"10.99.0.1\"", ""), MissingKey, "gateway.vtep_ipv4", "host \"host1\" has the IPv4 VTEP 10.99.0.11"),
    (
        ("vtep = \"10.99.0.12\"", "vtep = \"fd99::12\""),
        MissingKey,
        "gateway.vtep_ipv6",
        "host \"host2\" has the IPv6 VTEP fd99::12",
    ),
    (("vtep_ipv4 = \"10.99.0.1\"", "vtep_ipv4 = \"10.99.0.11\""), Conflict, "gateway.vtep_ipv4", "host \"host1\""),
    (("vtep_ipv4 = \"10.99.0.1\"", "vtep_ipv4 = \"224.0.0.1\""), BadValue, "gateway.vtep_ipv4", "unicast"),
    (("\"pub0\", \"und0\"", "\"pub0\", \"pub0\""), Duplicate, "gateway.interfaces[1]", "already"),
    ((HASH_SECRET, ""), MissingKey, "gateway.hash_secret", "openssl rand -hex 16"),
    (
        (HASH_SECRET, "hash_secret = \"7d0f5b9c1e4a4b0c9f6a2d8e3c5b7a9\""),
        BadValue,
        "gateway.hash_secret",
        "the value is not 32 hex digits long",
    ),
    ((HASH_SECRET, "hash_secret = 17"), ErrorKind::WrongType, "gateway.hash_secret", "the value is an integer"),
    (
        (HASH_SECRET, "hash_secret_file = \"no-such-file\""),
        ErrorKind::Unreadable,
        "gateway.hash_secret_file",
        "no-such-file: No such file",
    ),
    (("hash_secret =", "hash_secret_file = \"x\"\nhash_secret ="), Conflict, "gateway.hash_secret_file", "remove one"),
    (
        ("metrics_listen", "timeouts.tcp_idle = \"9s\"\nmetrics_listen"),
        OutOfRange,
        "gateway.timeouts.tcp_idle",
        "\"9s\" is out of range (allowed: 10s to 1d)",
    ),
    (
        ("metrics_listen", "timeouts.tcp_closing = \"11m\"\nmetrics_listen"),
        OutOfRange,
        "gateway.timeouts.tcp_closing",
        "1s to 10m",
    ),
    (
        ("metrics_listen", "timeouts.udp_idle = \"500ms\"\nmetrics_listen"),
        OutOfRange,
        "gateway.timeouts.udp_idle",
        "1s to 1h",
    ),
    (
        ("[[projects]]", "[[hosts]]\nname = \"host1\"\nvtep = \"10.99.0.13\"\n[[projects]]"),
        Duplicate,
        "hosts[2].name",
        "hosts[0]",
    ),
    (("vtep = \"10.99.0.12\"", "vtep = \"10.99.0.11\""), Duplicate, "hosts[1].vtep", "host \"host1\""),
    (("vtep = \"10.99.0.12\"", "vtep = \"127.0.0.1\""), BadValue, "hosts[1].vtep", "loopback"),
];

#[test]
fn broken_rule_of_project_or_service_is_one_error_at_its_place() {
    for &(change, kind, path, words) in PROJECTS_AND_SERVICES {
        check(change, kind, path, words);
    }
}

/// Rules of projects, containers and services.
const PROJECTS_AND_SERVICES: &[Case] = &[
    (("vni = 200", "vni = 100"), Duplicate, "projects[1].vni", "project \"red\""),
    (("name = \"blue\"", "name = \"red\""), Duplicate, "projects[1].name", "projects[0]"),
    (
        ("gateway_ipv4 = \"10.1.0.1\"", "gateway_ipv4 = \"10.2.0.1\""),
        Conflict,
        "projects[0].gateway_ipv4",
        "10.1.0.0/24, fd01::/64",
    ),
    (("gateway_ipv4 = \"10.1.0.1\"", ""), MissingKey, "projects[0].gateway_ipv4", "IPv4 VIPs"),
    (("gateway_ipv6 = \"fd01::1\"", ""), MissingKey, "projects[0].gateway_ipv6", "IPv6 VIPs"),
    (
        ("host = \"host1\"", "host = \"host3\""),
        UnknownReference,
        "projects[0].containers[0].host",
        "\"host1\", \"host2\"",
    ),
    (("host = \"host1\"", "host = \"Host 1\""), UnknownReference, "projects[0].containers[0].host", "\"Host 1\""),
    (
        ("\"02:01:00:00:00:12\"", "\"02:01:00:00:00:11\""),
        Duplicate,
        "projects[0].containers[1].mac",
        "container \"web-1\"",
    ),
    (("\"10.1.0.12\"", "\"10.1.0.11\""), Duplicate, "projects[0].containers[1].addresses[0]", "container \"web-1\""),
    (("\"10.1.0.12\"", "\"10.1.0.1\""), Duplicate, "projects[0].containers[1].addresses[0]", "the gateway"),
    (
        ("\"10.1.0.12\"", "\"10.9.0.12\""),
        Conflict,
        "projects[0].containers[1].addresses[0]",
        "outside the project's networks",
    ),
    (
        ("\"10.1.0.12\", \"fd01::12\"", "\"fd01::12\""),
        Conflict,
        "projects[0].services[0].backends[1].container",
        "has no IPv4 address",
    ),
    (
        ("\"10.1.0.12\", \"fd01::12\"", "\"10.1.0.12\", \"10.1.0.13\""),
        Conflict,
        "projects[0].containers[1].addresses[1]",
        "a second IPv4 address",
    ),
    (
        ("container = \"web-1\"", "container = \"wbe-1\""),
        UnknownReference,
        "projects[0].services[0].backends[0].container",
        "did you mean \"web-1\"?",
    ),
    (
        ("container = \"web-2\"", "container = \"web-1\""),
        Duplicate,
        "projects[0].services[0].backends[1].container",
        "already",
    ),
    (("\"203.0.113.10\"", "\"10.99.0.1\""), Conflict, "projects[0].services[0].vips[0]", "the VTEP of the gateway"),
    (("\"203.0.113.10\"", "\"10.99.0.12\""), Conflict, "projects[0].services[0].vips[0]", "the VTEP of host \"host2\""),
    (("\"203.0.113.10\"", "\"224.0.0.1\""), BadValue, "projects[0].services[0].vips[0]", "unicast"),
    (("\"203.0.113.10\"", "\"2001:db8:f::10\""), Duplicate, "projects[0].services[0].vips[1]", "already"),
    (
        ("\"2001:db8:f::10\"", "\"::ffff:203.0.113.10\""),
        BadValue,
        "projects[0].services[0].vips[1]",
        "write \"203.0.113.10\"",
    ),
    (
        ("protocol = \"udp\", port = 7,", "protocol = \"tcp\", port = 80,"),
        Duplicate,
        "projects[1].services[1].ports[0].port",
        "service \"web\"'s already",
    ),
    (("name = \"echo\"", "name = \"web\""), Duplicate, "projects[1].services[1].name", "projects[1].services[0]"),
];

#[test]
fn vip_of_two_projects_is_one_error_though_its_ports_collide_too() {
    let text = DEMO.replacen("[\"203.0.113.20\"", "[\"203.0.113.10\"", 1);
    let errors = errors_of(&text);
    assert_eq!(errors.len(), 1, "{errors:#?}");
    assert_eq!((errors[0].kind, errors[0].path.as_str()), (ErrorKind::Duplicate, "projects[1].services[0].vips[0]"));
    assert!(errors[0].message.contains("project \"red\""));
}

#[test]
fn ten_mistakes_are_ten_errors() {
    let changes = [
        ("interfaces =", "interface ="),
        ("metrics_listen = \"127.0.0.1:9100\"", "metrics_listen = 9100"),
        ("vtep = \"10.99.0.12\"", "vtep = \"10.99.0.1\""),
        ("vni = 100", "vni = 16777216"),
        ("host = \"host1\"", "host = \"host9\""),
        ("02:01:00:00:00:12", "02:01:00:00:00:zz"),
        ("port = 80,", "port = 0,"),
        ("weight = 2", "weight = 2000"),
        ("\"203.0.113.20\"", "\"203.0.113.10\""),
        (
            "container = \"web-2\" }]\n\n[[projects.services]]\nname = \"echo\"",
            "container = \"web-3\" }]\n\n[[projects.services]]\nname = \"echo\"",
        ),
    ];
    let text = changes.iter().fold(DEMO.to_owned(), |text, (from, to)| {
        assert!(text.contains(from), "{from}");
        text.replacen(from, to, 1)
    });
    let errors = errors_of(&text);
    assert_eq!(errors.len(), changes.len(), "{:#?}", errors.iter().map(ToString::to_string).collect::<Vec<_>>());
    assert!(errors.is_sorted_by_key(|error| (error.line, error.column)));
}

#[test]
fn syntax_error_is_shown_in_its_line_and_adds_no_guesses() {
    let broken = DEMO.replacen("vni = 100", "vni = = 100", 1);
    let errors = errors_of(&broken);
    assert_eq!(errors.len(), 1, "{errors:#?}");
    assert_eq!((errors[0].kind, errors[0].line.is_some()), (ErrorKind::Syntax, true));
    assert!(errors[0].excerpt.as_deref().is_some_and(|excerpt| excerpt.contains("vni = = 100")));
}

#[test]
fn empty_text_says_what_is_missing() {
    let errors = errors_of("");
    assert_eq!(errors.len(), 1, "{errors:#?}");
    assert_eq!((errors[0].kind, errors[0].path.as_str()), (ErrorKind::MissingKey, "gateway"));
}
