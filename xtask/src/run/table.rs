//! Turns answers and the daemon's status into tables for a terminal.

use anyhow::{Result, ensure};
use serde_json::Value;

use super::traffic::Answers;

/// One row for each target: who answered how often.
pub(super) fn answers(answers: &[Answers]) -> String {
    let mut rows = vec![["project", "service", "address", "answers"].map(String::from).to_vec()];
    for Answers { target, by_name } in answers {
        let names = by_name.iter().map(|(name, count)| format!("{name} {count}")).collect::<Vec<_>>();
        rows.push(vec![target.project.into(), target.service.into(), target.address.into(), names.join(", ")]);
    }
    aligned(&rows)
}

/// One row for each service port, and one below it for each of its backends.
pub(super) fn counters(status: &Value) -> String {
    let header = ["service port", "backend", "share", "packets in", "bytes in", "packets out", "bytes out"];
    let mut rows = vec![header.map(String::from).to_vec()];
    for port in list(&status["service_ports"]) {
        let name = format!(
            "{}/{} {} {} {}",
            text(&port["project"]),
            text(&port["service"]),
            text(&port["vip"]),
            text(&port["protocol"]),
            text(&port["port"])
        );
        rows.push([vec![name, String::new(), String::new()], counts(port)].concat());
        for backend in list(&port["backends"]) {
            let name =
                format!("{} at {} ({})", text(&backend["container"]), text(&backend["host"]), text(&backend["state"]));
            rows.push([vec![String::new(), name, share(&backend["share"])], counts(backend)].concat());
        }
    }
    aligned(&rows)
}

/// Checks that every backend of every service port has frames both ways.
///
/// # Errors
/// When one has not.
pub(super) fn check_counters(status: &Value) -> Result<()> {
    ensure!(!list(&status["service_ports"]).is_empty(), "the status names no service port");
    for port in list(&status["service_ports"]) {
        for backend in list(&port["backends"]) {
            let both_ways = ["forward_packets", "reply_packets"].iter().all(|name| backend[name].as_u64() > Some(0));
            ensure!(
                both_ways,
                "{} of {} has no frames one way: {backend}",
                text(&backend["container"]),
                text(&port["vip"])
            );
        }
    }
    Ok(())
}

fn counts(object: &Value) -> Vec<String> {
    ["forward_packets", "forward_bytes", "reply_packets", "reply_bytes"].map(|name| text(&object[name])).to_vec()
}

fn share(value: &Value) -> String {
    value.as_f64().map_or_else(|| text(value), |share| format!("{:.1} %", share * 100.0))
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), String::from)
}

/// Columns as wide as their widest cell.
fn aligned(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let widths: Vec<_> = (0..columns)
        .map(|column| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0))
        .collect();
    let line = |row: &Vec<String>| {
        let cells: Vec<_> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        format!("  {}\n", cells.join("  ").trim_end())
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn counters_name_every_backend_below_its_service_port() {
        let backend = json!({"container": "web-1", "host": "host1", "state": "active", "share": 0.333, "forward_packets": 5, "forward_bytes": 300, "reply_packets": 4, "reply_bytes": 900});
        let mut status = json!({"service_ports": [{"project": "red", "service": "web", "vip": "203.0.113.10", "protocol": "tcp", "port": 80,
            "forward_packets": 5, "forward_bytes": 300, "reply_packets": 4, "reply_bytes": 900, "backends": [backend]}]});
        let table = counters(&status);
        let lines: Vec<_> = table.lines().collect();
        assert!(lines[1].starts_with("  red/web 203.0.113.10 tcp 80"), "{table}");
        assert!(lines[2].trim_start().starts_with("web-1 at host1 (active)  33.3 %  5"), "{table}");
        assert!(check_counters(&status).is_ok());
        status["service_ports"][0]["backends"][0]["reply_packets"] = json!(0);
        assert!(check_counters(&status).is_err());
    }
}
