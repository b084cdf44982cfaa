//! Checks the whole text of the metrics, and what becomes of it when objects come and go.

use std::collections::BTreeSet;

use balancer_common::{case::Case, verdict::Reason};

use super::*;
use crate::model::status::{self, example};

#[test]
fn the_whole_text_is_as_written_down() {
    let golden = include_str!("golden.txt");
    let text = text(&example::status());
    assert!(text == golden, "metrics/golden.txt says otherwise:\n{text}");
}

/// `BLESS=1 cargo test -p balancer-user --lib metrics` writes the tables anew.
#[test]
fn the_docs_list_every_metric_reason_and_case() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/metrics.md");
    let mut docs = std::fs::read_to_string(path).unwrap();
    let cell = |labels: &[&str]| if labels.is_empty() { "-".to_owned() } else { labels.join(", ") };
    let families = families::FAMILIES.iter().map(|family| {
        let kind = if family.kind == prometheus::proto::MetricType::COUNTER { "counter" } else { "gauge" };
        format!("| `{}` | {kind} | {} | {} |", family.name, cell(family.labels), family.help)
    });
    let reasons = Reason::ALL
        .iter()
        .map(|reason| format!("| `{}` | {} | {} |", reason.name(), reason.outcome().name(), reason.meaning()));
    let cases = Case::ALL.iter().map(|case| format!("| `{}` | {} | {} |", case.name(), case.number(), case.meaning()));
    for (head, rows) in [
        ("| metric | type | labels | meaning |\n|---|---|---|---|\n", families.collect::<Vec<_>>()),
        ("| reason | outcome | meaning |\n|---|---|---|\n", reasons.collect()),
        ("| case | row | meaning |\n|---|---|---|\n", cases.collect()),
    ] {
        let wanted = rows.join("\n") + "\n";
        let from = docs.find(head).map(|at| at + head.len()).expect("the table stands in docs/metrics.md");
        let length: usize =
            docs[from..].split_inclusive('\n').take_while(|line| line.starts_with('|')).map(str::len).sum();
        if std::env::var_os("BLESS").is_some() {
            docs.replace_range(from..from + length, &wanted);
            std::fs::write(path, &docs).unwrap();
        } else {
            assert!(docs[from..from + length] == wanted, "docs/metrics.md is behind; it should say\n{wanted}");
        }
    }
}

#[test]
fn no_series_stands_in_the_text_twice() {
    let text = text(&example::status());
    let mut seen = BTreeSet::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (series, _value) = line.rsplit_once(' ').unwrap();
        assert!(seen.insert(series), "{series}");
    }
}

#[test]
fn series_go_with_their_object() {
    let mut status = example::status();
    status.service_ports.remove(0);
    let text = text(&status);
    assert!(!text.contains("203.0.113.10"), "{text}");
    assert!(text.contains("2001:db8:f::20"), "{text}");
}

#[test]
fn a_refused_config_shows() {
    let mut status = example::status();
    status.config_error = Some("hosts[0].vtep: not an address".into());
    assert!(text(&status).contains("\nbalancer_config_last_reload_successful 0\n"));
}

#[test]
fn quotes_and_newlines_in_a_name_stay_inside_their_label() {
    let mut status = example::status();
    status.interfaces[0].name = "a\"b\\c\nd".into();
    assert!(text(&status).contains(r#"{interface="a\"b\\c\nd",mode="native"} 1"#));
}

#[test]
fn many_series_have_one_head() {
    let mut status = example::status();
    let port = status.service_ports[0].clone();
    status.service_ports =
        (0..5_000).map(|number| status::ServicePort { port: number, port_last: number, ..port.clone() }).collect();
    let text = text(&status);
    for family in families::FAMILIES {
        for head in [format!("# HELP {} ", family.name), format!("# TYPE {} ", family.name)] {
            assert_eq!(text.lines().filter(|line| line.starts_with(&head)).count(), 1, "{head}");
        }
    }
    let series = text.lines().filter(|line| line.starts_with("balancer_backend_state{")).count();
    assert_eq!(series, 5_000 * 2 * 3);
}

/// Prints what a scrape of 10 000 service ports with 10 backends each costs; run it in release, by name.
#[test]
#[ignore = "a measurement, not a check"]
fn measure_ten_thousand_service_ports() {
    let mut status = example::status();
    let mut port = status.service_ports[0].clone();
    let backend = port.backends[0].clone();
    port.backends = (0..10).map(|n| status::Backend { container: format!("web-{n}"), ..backend.clone() }).collect();
    status.service_ports =
        (0..10_000).map(|number| status::ServicePort { port: number, port_last: number, ..port.clone() }).collect();
    for _round in 0..3 {
        let begun = std::time::Instant::now();
        let text = text(&status);
        println!("{} series, {} bytes, {:?}", text.lines().count(), text.len(), begun.elapsed());
    }
}
