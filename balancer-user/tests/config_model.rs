//! Turns right configs into the desired state: the demo config, defaults, digest and generation, limits, the committed schema.

use std::{fmt::Write as _, net::IpAddr, sync::Arc, time::Duration};

use balancer_common::{abi, id::Vni};
use balancer_user::{
    config::{self, Config, ErrorKind, Source},
    model::{
        Backend, BackendState, HashFields, Host, Mode, Project, Protocol, ServicePort, Sources, Timeouts, XdpMode,
    },
};

const DEMO: &str = include_str!("../../examples/demo.toml");

fn source(text: &str) -> Source {
    Source { file: "test.toml".into(), text: text.to_owned() }
}

fn parse(text: &str) -> Config {
    config::parse(&[source(text)], "Gw7.example.net").unwrap_or_else(|errors| panic!("{errors}"))
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect("address")
}

/// The least that makes a config: no host, no project.
fn least() -> String {
    "[gateway]\ninterfaces = [\"eth0\"]\nvtep_ipv4 = \"10.99.0.1\"\nhash_secret = \"000102030405060708090a0b0c0d0e0f\"\n".to_owned()
}

#[test]
fn demo_config_says_what_it_says() {
    let desired = parse(DEMO).desired;
    assert_eq!(desired.gateway.name, "gw1");
    assert_eq!(desired.gateway.interfaces, ["pub0", "und0"]);
    assert_eq!(desired.hosts[1], Host { name: "host2".to_owned(), vtep: ip("10.99.0.12"), mtu: None });
    assert_eq!(desired.projects.iter().map(|project| project.name.as_str()).collect::<Vec<_>>(), ["red", "blue"]);
    assert_eq!(
        desired.projects[0],
        Project {
            name: "red".to_owned(),
            vni: Vni::new(100).expect("VNI"),
            networks: vec!["10.1.0.0/24".parse().expect("network"), "fd01::/64".parse().expect("network")],
            gateway_ipv4: "10.1.0.1".parse().ok(),
            gateway_ipv6: "fd01::1".parse().ok(),
            gateway_mac: [0x02, 0xbb, 0, 0, 0, 100],
            new_flows_per_second: Project::NEW_FLOWS_DEFAULT,
        }
    );
    let backend = |number: u8, weight| Backend {
        container: format!("web-{number}"),
        host: usize::from(number) - 1,
        address: ip(&format!("fd01::1{number}")),
        mac: [2, 1, 0, 0, 0, 0x10 + number],
        port: 8080,
        weight,
        state: BackendState::Active,
    };
    assert_eq!(desired.service_ports.len(), 6);
    assert_eq!(
        desired.service_ports[1],
        ServicePort {
            project: 0,
            service: "web".to_owned(),
            vip: ip("2001:db8:f::10"),
            protocol: Protocol::Tcp,
            port: 80,
            table_class: 2,
            port_last: 80,
            mode: Mode::Nat,
            hash: HashFields::FLOW,
            sources: Arc::new(Sources::default()),
            new_flows_per_second: ServicePort::NEW_FLOWS_DEFAULT,
            backends: vec![backend(1, 1), backend(2, 2)],
        }
    );
    assert_eq!(
        (desired.service_ports[4].vip, desired.service_ports[4].protocol, desired.service_ports[4].port),
        (ip("203.0.113.20"), Protocol::Udp, 7)
    );
}

#[test]
fn absent_keys_take_their_defaults() {
    let gateway = parse(&least()).desired.gateway;
    assert_eq!(gateway.name, "gw7");
    assert_eq!((gateway.xdp_mode, gateway.vxlan_port, gateway.flows_max), (XdpMode::Auto, 4789, 262_144));
    assert_eq!(gateway.hash_secret.0, std::array::from_fn(|index| index as u8));
    let timeouts = Timeouts {
        tcp_idle: Duration::from_secs(900),
        tcp_closing: Duration::from_secs(10),
        udp_idle: Duration::from_secs(60),
    };
    assert_eq!(gateway.timeouts, timeouts);
    assert_eq!(gateway.pin_dir.to_str(), Some("/sys/fs/bpf/balancer"));
    assert_eq!(gateway.state_dir.to_str(), Some("/var/lib/balancer"));
    assert_eq!(gateway.admin_socket.to_str(), Some("/run/balancer/admin.sock"));
    assert_eq!(gateway.metrics_listen, "127.0.0.1:9100".parse().ok());
    for off in ["", "off"] {
        assert_eq!(parse(&format!("{}metrics_listen = \"{off}\"\n", least())).desired.gateway.metrics_listen, None);
    }
    let partial = parse(&format!("{}timeouts.udp_idle = \"5m\"\n", least())).desired.gateway.timeouts;
    assert_eq!(partial, Timeouts { udp_idle: Duration::from_secs(300), ..timeouts });
}

#[test]
fn port_overrides_what_its_service_says() {
    let ports = "ports = [{ protocol = \"tcp\", port = 80, affinity = \"client\", table_size = 4093, backends = [{ container = \"web-2\", state = \"draining\" }] }, { protocol = \"tcp\", port = 81, backends = [] }]";
    let desired =
        parse(&DEMO.replacen("ports = [{ protocol = \"tcp\", port = 80, container_port = 8080 }]", ports, 1)).desired;
    let first = &desired.service_ports[0];
    assert_eq!((first.hash, first.table_class), (HashFields::CLIENT, 2));
    assert_eq!(first.backends.len(), 1);
    assert_eq!(
        (first.backends[0].port, first.backends[0].weight, first.backends[0].state),
        (80, 1, BackendState::Draining)
    );
    let empty = desired.service_ports.iter().find(|port| port.port == 81).expect("port 81");
    assert_eq!((empty.backends.len(), empty.table_class), (0, 2));
}

/// The demo config with other ports for its first service, and more keys for that service.
fn with_ports(ports: &str, service: &str) -> Vec<ServicePort> {
    let from = "ports = [{ protocol = \"tcp\", port = 80, container_port = 8080 }]";
    assert!(DEMO.contains(from));
    let desired = parse(&DEMO.replacen(from, &format!("{service}\nports = [{ports}]"), 1)).desired;
    desired.service_ports.into_iter().filter(|port| port.project == 0 && port.vip.is_ipv4()).collect()
}

#[test]
fn a_range_keeps_its_ports_and_holds_what_is_more_exact() {
    let ports = with_ports(
        "{ protocol = \"tcp\", range = \"any\", mode = \"dsr\" }, { protocol = \"tcp\", range = \"8000-8099\", hash = [\"vip_port\", \"client_address\"] }, { protocol = \"tcp\", range = \"8100-8101\" }, { protocol = \"tcp\", port = 8000 }, { protocol = \"udp\", range = \"8050-8200\" }",
        "",
    );
    let shown: Vec<_> =
        ports.iter().map(|port| (port.port, port.port_last, port.mode, port.backends[0].port)).collect();
    assert_eq!(
        shown,
        [
            (0, 65_535, Mode::Dsr, 0),
            (8000, 8099, Mode::Nat, 0),
            (8100, 8101, Mode::Nat, 0),
            (8000, 8000, Mode::Nat, 8000),
            (8050, 8200, Mode::Nat, 0)
        ]
    );
    assert!(ports[0].is_range() && !ports[3].is_range());
    assert_eq!(ports[1].hash, HashFields { client_address: true, client_port: false, vip_port: true });
    assert_eq!(ports[0].hash, HashFields::FLOW);
}

#[test]
fn lists_of_sources_of_a_port_stand_in_place_of_the_services_and_equal_ones_are_one() {
    let ports = with_ports(
        "{ protocol = \"tcp\", port = 1 }, { protocol = \"tcp\", port = 2, allow_sources = [] }, { protocol = \"tcp\", port = 3, deny_sources = [\"fd00::/8\"] }, { protocol = \"tcp\", port = 4, deny_sources = [\"10.1.0.0/16\"], allow_sources = [\"10.0.0.0/8\", \"192.0.2.0/24\"] }",
        "allow_sources = [\"192.0.2.0/24\", \"10.0.0.0/8\"]\ndeny_sources = [\"10.1.0.0/16\"]",
    );
    let nets = |texts: &[&str]| texts.iter().map(|text| text.parse().expect("network")).collect::<Vec<_>>();
    let (allow, deny) = (nets(&["10.0.0.0/8", "192.0.2.0/24"]), nets(&["10.1.0.0/16"]));
    assert_eq!(*ports[0].sources, Sources { allow: allow.clone(), deny: deny.clone() });
    assert_eq!(*ports[1].sources, Sources { allow: Vec::new(), deny });
    assert_eq!(*ports[2].sources, Sources { allow, deny: nets(&["fd00::/8"]) });
    assert!(Arc::ptr_eq(&ports[0].sources, &ports[3].sources));
    assert!(with_ports("{ protocol = \"tcp\", port = 1 }", "")[0].sources.is_open());
}

#[test]
fn budgets_are_read_and_have_defaults() {
    let text = DEMO
        .replacen("vni = 100", "vni = 100\nnew_flows_per_second = 77", 1)
        .replacen("port = 80,", "port = 80, new_flows_per_second = 10000000,", 1)
        .replacen("metrics_listen", "icmp_errors_per_second = 5\nmetrics_listen", 1);
    let (desired, plain) = (parse(&text).desired, parse(DEMO).desired);
    let budgets = |desired: &balancer_user::model::Desired| {
        let gateway = desired.gateway.icmp_errors_per_second;
        (gateway, desired.projects[0].new_flows_per_second, desired.service_ports[0].new_flows_per_second)
    };
    assert_eq!(budgets(&desired), (5, 77, 10_000_000));
    assert_eq!(budgets(&plain), (1_000, Project::NEW_FLOWS_DEFAULT, ServicePort::NEW_FLOWS_DEFAULT));
}

/// One project with `backends` containers behind `ports` ports of one VIP.
fn large(backends: usize, ports: usize) -> String {
    let mut text = least();
    text.push_str("[[hosts]]\nname = \"h\"\nvtep = \"10.99.0.2\"\n[[projects]]\nname = \"p\"\nvni = 7\nnetworks = [\"10.0.0.0/8\"]\ngateway_ipv4 = \"10.255.0.1\"\n");
    for index in 0..backends {
        let (high, low) = (index / 250, index % 250 + 1);
        let _ = writeln!(
            text,
            "[[projects.containers]]\nname = \"c{index}\"\nhost = \"h\"\nmac = \"02:00:00:00:{high:02x}:{low:02x}\"\naddresses = [\"10.1.{high}.{low}\"]"
        );
    }
    for service in 0..ports.div_ceil(1024) {
        let count = (ports - service * 1024).min(1024);
        let list: Vec<String> = (0..count)
            .map(|index| format!("{{ protocol = \"tcp\", port = {} }}", service * 1024 + index + 1))
            .collect();
        let names: Vec<String> = (0..backends).map(|index| format!("{{ container = \"c{index}\" }}")).collect();
        let _ = writeln!(
            text,
            "[[projects.services]]\nname = \"s{service}\"\nvips = [\"203.0.113.1\"]\nports = [{}]\nbackends = [{}]",
            list.join(", "),
            names.join(", ")
        );
    }
    text
}

#[test]
fn table_has_4093_slots_or_a_hundred_for_each_backend_while_there_are_such_tables() {
    for (backends, class) in [(0, 2), (2, 2), (40, 2), (41, 3), (163, 3), (164, 4), (1_000, 4)] {
        assert_eq!(parse(&large(backends, 1)).desired.service_ports[0].table_class, class, "{backends} backends");
    }
}

#[test]
fn limits_of_the_datapath_are_named() {
    // One goes to the VIP, and id 0 is nobody's.
    let fits = abi::SERVICES_MAX as usize - 2;
    assert_eq!(parse(&large(0, fits)).desired.service_ports.len(), fits);
    for (text, name) in
        [(large(0, fits + 1), "SERVICES_MAX"), (large(200, 656), "BACKENDS_MAX"), (hosts(4_096), "HOSTS_MAX")]
    {
        let errors = config::parse(&[source(&text)], "gw").expect_err("over the limit");
        assert_eq!(errors.errors().len(), 1, "{errors}");
        assert_eq!(errors.errors()[0].kind, ErrorKind::Limit);
        assert!(errors.to_string().contains(name), "{errors}");
    }
}

#[test]
fn limits_of_ranges_sources_and_projects_are_named() {
    let ranges = |backends| {
        // 1-32767 comes to 15 prefixes and 32768-65534 to 15 more, at each of 64 VIPs.
        let vips: Vec<String> = (1..=64).map(|number| format!("\"203.0.113.{number}\"")).collect();
        large(backends, 1)
            .replace("[\"203.0.113.1\"]", &format!("[{}]", vips.join(", ")))
            .replace("port = 1 ", "range = \"1-65534\" ")
    };
    assert_eq!(parse(&ranges(68)).desired.service_ports.len(), 64);
    let projects = (0..abi::PROJECTS_MAX).fold(least(), |mut text, number| {
        let _ = writeln!(text, "[[projects]]\nname = \"p{number}\"\nvni = {}\nnetworks = [\"10.0.0.0/8\"]", number + 1);
        text
    });
    for (text, name) in [(ranges(69), "RANGES_MAX"), (sources(17), "SOURCES_MAX"), (projects, "PROJECTS_MAX")] {
        let errors = config::parse(&[source(&text)], "gw").expect_err("over the limit");
        assert_eq!(errors.errors().len(), 1, "{errors}");
        assert_eq!(errors.errors()[0].kind, ErrorKind::Limit);
        assert!(errors.to_string().contains(name), "{errors}");
    }
    assert_eq!(parse(&sources(15)).desired.service_ports.len(), 15);
}

/// One service with `lists` ports, each with another list of 16 384 prefixes.
fn sources(lists: usize) -> String {
    let port = |number: usize| {
        let prefix = |at: usize| {
            let [_, high, middle, low] = (at as u32).to_be_bytes();
            format!("\"{}.{high}.{middle}.{low}/32\"", 10 + number)
        };
        let list: Vec<String> = (0..Sources::PREFIXES_MAX).map(prefix).collect();
        format!("{{ protocol = \"tcp\", port = {}, deny_sources = [{}] }}", number + 1, list.join(", "))
    };
    let ports: Vec<String> = (0..lists).map(port).collect();
    large(0, 1).replace("ports = [{ protocol = \"tcp\", port = 1 }]", &format!("ports = [{}]", ports.join(", ")))
}

fn hosts(count: usize) -> String {
    (0..count).fold(least(), |mut text, index| {
        let _ = writeln!(text, "[[hosts]]\nname = \"h{index}\"\nvtep = \"10.98.{}.{}\"", index / 250, index % 250 + 1);
        text
    })
}

#[test]
fn digest_is_of_what_the_config_says_not_how() {
    let config = parse(DEMO);
    let respelt = DEMO
        .replace("02:01:00:00:00:11\"", "02:01:00:00:00:11\" # same")
        .replace("{ container = \"web-1\" }", "{ weight = 1, container = \"web-1\" }");
    assert_ne!(respelt, DEMO);
    assert_eq!(parse(&respelt).digest, config.digest);
    assert_ne!(parse(&DEMO.replace("weight = 2", "weight = 3")).digest, config.digest);
    assert_eq!((config.digest.len(), config.digest.to_lowercase()), (64, config.digest.clone()));
}

#[test]
fn generation_is_the_same_on_every_gateway_and_changes_with_what_they_share() {
    let config = parse(DEMO);
    let other_gateway =
        parse(&DEMO.replace("gw1", "gw2").replace("10.99.0.1\"", "10.99.0.2\"").replace("pub0", "eth7"));
    assert_ne!(other_gateway.digest, config.digest);
    assert_eq!(other_gateway.generation, config.generation);
    assert!((1..1 << 53).contains(&config.generation));
    for (from, to) in [
        ("weight = 2", "weight = 3"),
        ("7d0f5b", "7d0f5c"),
        ("vni = 200", "vni = 201"),
        ("10.99.0.12", "10.99.0.13"),
        ("container_port = 8080", "mode = \"dsr\""),
        ("container_port = 8080", "hash = [\"client_address\"]"),
        ("port = 80, container_port = 8080", "range = \"80-90\""),
        ("container_port = 8080", "deny_sources = [\"10.0.0.0/8\"]"),
        ("vips =", "allow_sources = [\"10.0.0.0/8\"]\nvips ="),
    ] {
        assert_ne!(parse(&DEMO.replace(from, to)).generation, config.generation, "{from} -> {to}");
    }
    assert_eq!(parse(&format!("generation = 42\n{DEMO}")).generation, 42);
}

#[test]
fn nothing_that_can_be_printed_shows_the_secret() {
    let secret = "7d0f5b9c1e4a4b0c9f6a2d8e3c5b7a91";
    let config = parse(DEMO);
    assert!(config.canonical.0.contains(secret));
    assert!(!format!("{config:?} {:?}", source(DEMO)).contains(secret));
}

#[test]
fn canonical_text_says_the_same() {
    let config = parse(DEMO);
    let again = parse(&config.canonical.0);
    assert_eq!((&again.desired, &again.digest, again.generation), (&config.desired, &config.digest, config.generation));
    assert_eq!(again.canonical, config.canonical);
}

/// `BLESS=1 cargo test -p balancer-user --test config_model` writes the file anew.
#[test]
fn committed_schema_is_current() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/config.schema.json");
    let current = config::json_schema();
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(path, &current).expect("docs/ can be written");
    }
    let committed = std::fs::read_to_string(path).expect("docs/config.schema.json is committed");
    assert!(
        committed == current,
        "docs/config.schema.json is old: cargo run -p balancer-user -- schema > docs/config.schema.json"
    );
}
