//! Turns a namespace and a target into load with an end, and the load generator's report into numbers.

use std::{fs, path::Path, time::Duration};

use anyhow::{Context as _, Result};
use xtask::lab::Ns;

use crate::server::DNS_ZONE;

/// What a load generator saw.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Requests that were answered well.
    pub succeeded: u64,
    /// Requests that failed, in any way.
    pub failed: u64,
}

/// How `wrk` treats its connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Connections {
    /// Kept open for the whole run.
    Kept,
    /// A new one for every request.
    Renewed,
}

/// `hey`: a number of requests, each on a connection of its own, by 20 clients.
///
/// # Errors
/// When it does not run to its end.
pub fn hey(client: &Ns, url: &str, requests: u32) -> Result<Report> {
    Ok(parse_hey(&client.text([
        "hey",
        "-n",
        &requests.to_string(),
        "-c",
        "20",
        "-t",
        "5",
        "-disable-keepalive",
        url,
    ])?))
}

/// `wrk`: as many requests as 20 connections carry in this many seconds.
///
/// # Errors
/// When it does not run to its end, or its report has no sum.
pub fn wrk(client: &Ns, url: &str, seconds: u32, connections: Connections) -> Result<Report> {
    let seconds = seconds.to_string();
    let mut words = vec!["wrk", "-t", "1", "-c", "20", "-d", &seconds, "--timeout", "5"];
    match connections {
        Connections::Kept => {}
        Connections::Renewed => words.extend(["-H", "Connection: close"]),
    }
    words.push(url);
    parse_wrk(&client.text(words)?)
}

/// `dnsperf`: this many queries for names of [`DNS_ZONE`], at 5 000 a second. Lost ones and errors count as failed.
///
/// # Errors
/// When it does not run to its end, or its report lacks a number.
pub fn dnsperf(client: &Ns, vip: &str, queries: u32, scratch: &Path) -> Result<Report> {
    let file = scratch.join(format!("queries-{}", vip.replace(':', "-")));
    fs::write(&file, (0..queries).map(|number| format!("host{}.{DNS_ZONE} A\n", number % 5000)).collect::<String>())?;
    let mut command = client.command("timeout");
    command
        .args(["30", "dnsperf", "-s", vip, "-p", "53", "-n", "1", "-Q", "5000", "-c", "20", "-q", "50", "-d"])
        .arg(&file);
    let output = xtask::lab::checked(&mut command)?;
    parse_dnsperf(&String::from_utf8_lossy(&output.stdout))
}

/// `pgbench` for a while with 8 clients.
///
/// # Errors
/// When a client gives up, or the report lacks a number.
pub fn pgbench(client: &Ns, vip: &str, seconds: u32) -> Result<Report> {
    let limit = Duration::from_secs(u64::from(seconds) + 20);
    let output = client.run_for(
        limit,
        ["pgbench", "-h", vip, "-p", "5432", "-U", "postgres", "-c", "8", "-T", &seconds.to_string(), "postgres"],
    )?;
    parse_pgbench(&String::from_utf8_lossy(&output.stdout))
}

fn parse_hey(text: &str) -> Report {
    let mut report = Report::default();
    let mut in_errors = false;
    for line in text.lines().map(str::trim) {
        in_errors |= line.starts_with("Error distribution");
        let Some((bracket, rest)) = line.strip_prefix('[').and_then(|line| line.split_once(']')) else { continue };
        if in_errors {
            report.failed += bracket.parse::<u64>().unwrap_or(1);
        } else if let Some(count) = rest.trim().strip_suffix(" responses").and_then(|count| count.parse::<u64>().ok()) {
            if bracket == "200" {
                report.succeeded += count;
            } else {
                report.failed += count;
            }
        }
    }
    report
}

fn parse_wrk(text: &str) -> Result<Report> {
    let total = text
        .lines()
        .find_map(|line| line.trim().split_once(" requests in "))
        .context("wrk reports no sum")?
        .0
        .trim()
        .parse::<u64>()?;
    let numbers =
        |line: &str| line.split(|c: char| !c.is_ascii_digit()).filter_map(|word| word.parse::<u64>().ok()).sum::<u64>();
    let socket_errors: u64 = text.lines().filter(|line| line.contains("Socket errors:")).map(numbers).sum();
    let bad_answers: u64 = text
        .lines()
        .filter_map(|line| line.split_once("Non-2xx or 3xx responses:"))
        .map(|(_, rest)| numbers(rest))
        .sum();
    Ok(Report { succeeded: total.saturating_sub(bad_answers), failed: socket_errors + bad_answers })
}

fn parse_dnsperf(text: &str) -> Result<Report> {
    let sent = number_after(text, "Queries sent:")?;
    let completed = number_after(text, "Queries completed:")?;
    let good =
        text.lines().find_map(|line| line.split_once("NOERROR ")).map_or(Ok(0), |(_, rest)| number_after(rest, ""))?;
    Ok(Report { succeeded: good, failed: sent - completed + (completed - good) })
}

fn parse_pgbench(text: &str) -> Result<Report> {
    let succeeded = number_after(text, "number of transactions actually processed:")?;
    Ok(Report { succeeded, failed: number_after(text, "number of failed transactions:")? })
}

fn number_after(text: &str, label: &str) -> Result<u64> {
    let (_, rest) = text.split_once(label).with_context(|| format!("the report has no {label:?}:\n{text}"))?;
    let digits: String = rest.trim_start().chars().take_while(char::is_ascii_digit).collect();
    digits.parse().with_context(|| format!("no number after {label:?}:\n{text}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(report: Report, succeeded: u64, failed: u64) {
        assert_eq!(report, Report { succeeded, failed });
    }

    #[test]
    fn hey_counts_answers_and_errors() {
        check(
            parse_hey(
                "Status code distribution:\n  [200]\t1990 responses\n  [502]\t4 responses\n\nError distribution:\n  [6]\tGet \"http://x\": reset\n",
            ),
            1990,
            10,
        );
        check(
            parse_hey("Latency distribution:\n  10% in 0.1 secs\nStatus code distribution:\n  [200]\t2000 responses\n"),
            2000,
            0,
        );
    }

    #[test]
    fn wrk_counts_socket_errors_and_bad_answers() {
        check(parse_wrk("  100 requests in 2.00s, 1MB read\n").expect("a sum"), 100, 0);
        let text = "  100 requests in 2.00s, 1MB read\n  Socket errors: connect 1, read 2, write 0, timeout 4\n  Non-2xx or 3xx responses: 10\n";
        check(parse_wrk(text).expect("a sum"), 90, 17);
    }

    #[test]
    fn dnsperf_counts_lost_and_wrong_answers() {
        let text = "  Queries sent:         5000\n  Queries completed:    4990 (99.8%)\n  Queries lost:         10\n\n  Response codes:       NOERROR 4980 (99.8%), SERVFAIL 10\n";
        check(parse_dnsperf(text).expect("numbers"), 4980, 20);
    }
}
