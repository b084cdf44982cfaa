//! Checks the whole text of the tables.

use super::*;
use crate::model::status::example;

#[test]
fn the_whole_text_is_as_written_down() {
    let golden = include_str!("golden.txt");
    let text = render(&example::status(), UNIX_EPOCH + Duration::from_secs(1_700_000_000 + 3 * 3_600 + 12 * 60));
    assert!(text == golden, "cli/status/table/golden.txt says otherwise:\n{text}");
}

#[test]
fn a_refused_config_shows_every_line_of_the_refusal() {
    let mut status = example::status();
    status.config_error = Some("a.toml:3:1: hosts[0].vtep\n  is no address\n".into());
    let text = render(&status, SystemTime::now());
    assert!(text.contains("REFUSED"), "{text}");
    assert!(text.contains("hosts[0].vtep") && text.contains("is no address"), "{text}");
}

#[test]
fn what_there_is_none_of_has_no_table() {
    let mut status = example::status();
    status.hosts.clear();
    status.service_ports.clear();
    status.reasons.clear();
    status.cases.clear();
    let text = render(&status, SystemTime::now());
    for header in ["HOST", "SERVICE PORT", "FRAMES", "HARD CASES"] {
        assert!(!text.contains(header), "{text}");
    }
}

#[test]
fn a_service_port_says_what_is_special_about_it() {
    let mut port = example::status().service_ports.remove(0);
    for (mode, allow, deny, text) in [
        (Mode::Nat, 0, 0, ""),
        (Mode::Dsr, 0, 0, " dsr"),
        (Mode::Nat, 1, 0, ", sources: 1 allowed"),
        (Mode::Dsr, 0, 5, " dsr, sources: 5 denied"),
        (Mode::Nat, 2, 3, ", sources: 2 allowed, 3 denied"),
    ] {
        (port.mode, port.sources) = (mode, Sources { allow, deny });
        assert_eq!(details(&port), text);
    }
}

#[test]
fn durations_show_their_two_largest_units() {
    let cases = [(0, "0 s"), (59, "59 s"), (61, "1 min 1 s"), (3_600, "1 h 0 min"), (90_000, "1 d 1 h")];
    for (seconds, expected) in cases {
        assert_eq!(duration(Duration::from_secs(seconds)), expected);
    }
}
