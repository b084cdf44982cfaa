//! Checks the JSON that others read.

use std::net::Ipv4Addr;

use serde_json::json;

use super::*;

#[test]
fn json_has_the_shape_that_others_read() {
    let traffic = Traffic { forward_packets: 1, forward_bytes: 60, reply_packets: 2, reply_bytes: 120 };
    let port = ServicePort {
        project: "red".into(),
        service: "web".into(),
        vip: Ipv4Addr::new(203, 0, 113, 10).into(),
        protocol: Protocol::Tcp,
        port: 80,
        port_last: 90,
        mode: Mode::Dsr,
        sources: Sources { allow: 3, deny: 0 },
        table_size: 251,
        table_digest: "0f".into(),
        settled: true,
        traffic,
        backends: vec![Backend {
            container: "web-1".into(),
            host: "host1".into(),
            address: Ipv4Addr::new(10, 1, 0, 11).into(),
            port: 8080,
            weight: 2,
            state: BackendState::Draining,
            share: 0.5,
            traffic,
        }],
    };
    let wanted = json!({
        "project": "red", "service": "web", "vip": "203.0.113.10", "protocol": "tcp", "port": 80,
        "port_last": 90, "mode": "dsr", "sources": {"allow": 3, "deny": 0},
        "table_size": 251, "table_digest": "0f", "settled": true,
        "forward_packets": 1, "forward_bytes": 60, "reply_packets": 2, "reply_bytes": 120,
        "backends": [{
            "container": "web-1", "host": "host1", "address": "10.1.0.11", "port": 8080, "weight": 2,
            "state": "draining", "share": 0.5,
            "forward_packets": 1, "forward_bytes": 60, "reply_packets": 2, "reply_bytes": 120,
        }],
    });
    check(&port, &wanted);
}

#[test]
fn ports_are_written_as_in_the_config() {
    let port = example::status().service_ports.remove(0);
    for (port_first, port_last, text) in
        [(80, 80, "80"), (8000, 8099, "8000-8099"), (0, 65_535, "any"), (1, 65_535, "1-65535")]
    {
        assert_eq!(ServicePort { port: port_first, port_last, ..port.clone() }.ports_text(), text);
    }
}

#[test]
fn a_host_shows_its_mac_or_null() {
    let mut host = Host {
        name: "host1".into(),
        vtep: Ipv4Addr::new(10, 99, 0, 11).into(),
        resolved: true,
        mac: Some([2, 0, 0, 0, 0xab, 1]),
        path_mtu: Some(1400),
    };
    let known =
        json!({"name": "host1", "vtep": "10.99.0.11", "resolved": true, "mac": "02:00:00:00:ab:01", "path_mtu": 1400});
    check(&host, &known);
    (host.resolved, host.mac, host.path_mtu) = (false, None, None);
    check(&host, &json!({"name": "host1", "vtep": "10.99.0.11", "resolved": false, "mac": null, "path_mtu": null}));
}

#[test]
fn the_way_an_interface_is_attached_is_a_word() {
    for mode in [InterfaceMode::Native, InterfaceMode::Generic] {
        check(&mode, &json!(mode.name()));
    }
}

#[test]
fn words_that_are_none_are_refused() {
    let port = json!({"name": "host1", "vtep": "10.99.0.11", "resolved": true, "mac": "02:00:00"});
    assert!(serde_json::from_value::<Host>(port).is_err());
    assert!(serde_json::from_str::<InterfaceMode>("\"offload\"").is_err());
}

fn check<T>(value: &T, json: &serde_json::Value)
where
    T: Serialize + for<'de> Deserialize<'de> + PartialEq + std::fmt::Debug,
{
    assert_eq!(&serde_json::to_value(value).unwrap(), json);
    assert_eq!(&serde_json::from_value::<T>(json.clone()).unwrap(), value);
}
