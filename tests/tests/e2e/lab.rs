//! The lab itself, without the daemon: what every other end-to-end test stands on.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::Result;
use xtask::lab::{Lab, NameServer, Topology};

fn ping(lab: &Lab, from: &str, to: &str) -> Result<()> {
    lab.ns(from).run(["ping", "-c", "1", "-W", "1", to]).map(drop)
}

/// Namespaces, records, files and pins that carry the id.
fn traces(id: &str) -> Vec<String> {
    let directories = ["/run/netns", "/run/balancer-lab", "/tmp/balancer-lab", "/sys/fs/bpf"];
    let entries = directories.into_iter().filter_map(|directory| fs::read_dir(directory).ok()).flatten().flatten();
    entries.map(|entry| entry.path().display().to_string()).filter(|path| path.contains(id)).collect()
}

#[test]
fn containers_of_a_project_reach_each_other_across_hosts_over_both_underlays() -> Result<()> {
    for topology in [Topology::demo(), Topology::demo().over_ipv6()] {
        let lab = Lab::build(topology)?;
        for address in ["10.1.0.12", "fd01::12"] {
            ping(&lab, "red-web-1", address)?;
            ping(&lab, "blue-web-1", address)?;
        }
    }
    Ok(())
}

#[test]
fn projects_with_the_same_addresses_are_separate() -> Result<()> {
    let lab = Lab::build(Topology::demo())?;
    let _servers = lab.start_name_servers()?;
    for project in ["red", "blue"] {
        for host in ["10.1.0.12", "[fd01::12]"] {
            let answer = lab.ns(&format!("{project}-web-1")).text([
                "curl",
                "-s",
                "--max-time",
                "2",
                &format!("http://{host}:{}/", NameServer::HTTP_PORT),
            ])?;
            assert!(answer.starts_with(&format!("{project}/web-2 ")), "{project} got {answer}");
        }
    }
    Ok(())
}

#[test]
fn client_reaches_the_gateway_through_the_router() -> Result<()> {
    let lab = Lab::build(Topology::demo())?;
    ping(&lab, "client", "192.0.2.1")?;
    ping(&lab, "client", "2001:db8:0:1::1")
}

#[test]
fn full_size_packets_fit_through_the_underlay() -> Result<()> {
    for topology in [Topology::demo(), Topology::demo().over_ipv6()] {
        let lab = Lab::build(topology)?;
        lab.ns("red-web-1").run(["ping", "-c", "1", "-W", "1", "-M", "do", "-s", "1472", "10.1.0.12"])?;
    }
    Ok(())
}

#[test]
fn two_labs_exist_at_once_and_leave_nothing() -> Result<()> {
    let labs = [Lab::build(Topology::demo())?, Lab::build(Topology::with_containers(3))?];
    let ids = labs.each_ref().map(|lab| lab.id().to_owned());
    for lab in &labs {
        ping(lab, "red-web-1", "10.1.0.12")?;
    }
    let [first, second] = labs;
    let sleeper = first.ns("client").spawn("sleeper", {
        let mut command = first.ns("client").command("sleep");
        command.arg("300");
        command
    })?;
    drop(first);
    assert_eq!(traces(&ids[0]), Vec::<String>::new());
    assert!(!Path::new(&format!("/proc/{}/root", sleeper.pid())).exists() || is_zombie(sleeper.pid()));
    ping(&second, "blue-web-1", "10.1.0.12")?;
    drop(second);
    assert_eq!(traces(&ids[1]), Vec::<String>::new());
    Ok(())
}

fn is_zombie(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| stat.contains(") Z "))
}

/// Set when this test binary runs itself as the owner that will be killed.
const VICTIM: &str = "BALANCER_LAB_VICTIM";

#[test]
fn a_lab_whose_owner_is_killed_goes_away() -> Result<()> {
    if std::env::var_os(VICTIM).is_some() {
        let lab = Lab::build(Topology::demo())?;
        fs::write(std::env::var(VICTIM)?, lab.id())?;
        sleep(Duration::from_secs(30));
        return Ok(());
    }
    let note = std::env::temp_dir().join(format!("lab-victim-{}", std::process::id()));
    let mut victim = Command::new(std::env::current_exe()?)
        .args(["--exact", "lab::a_lab_whose_owner_is_killed_goes_away"])
        .env(VICTIM, &note)
        .stdout(Stdio::null())
        .spawn()?;
    let id = wait_for("the victim's lab", || fs::read_to_string(&note).ok().filter(|text| !text.is_empty()))?;
    assert!(!traces(&id).is_empty());
    victim.kill()?;
    victim.wait()?;
    fs::remove_file(&note)?;
    wait_for("the removal", || traces(&id).is_empty().then_some(()))
}

#[test]
fn a_sweep_takes_dead_labs_and_spares_living_ones() -> Result<()> {
    let living = Lab::build(Topology::demo())?;
    let dead = "blfffffffn0";
    fs::create_dir_all(format!("/run/balancer-lab/{dead}"))?;
    fs::write(format!("/run/balancer-lab/{dead}/owner"), "4194999 1\n")?;
    Command::new("ip").args(["netns", "add", &format!("{dead}-client")]).status()?;
    xtask::lab::clean()?;
    assert_eq!(traces(dead), Vec::<String>::new());
    ping(&living, "client", "192.0.2.1")
}

fn wait_for<T>(what: &str, mut ready: impl FnMut() -> Option<T>) -> Result<T> {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        if let Some(value) = ready() {
            return Ok(value);
        }
        anyhow::ensure!(Instant::now() < deadline, "waited in vain for {what}");
        sleep(Duration::from_millis(20));
    }
}
