//! Turns a container's namespace into a running nginx, PostgreSQL, Knot DNS or iperf3 server.

use std::{
    fs,
    net::TcpStream,
    path::PathBuf,
    process::Command,
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use xtask::lab::{Lab, NameServer, Ns, Service, checked};

/// Port of PostgreSQL in the container, other than the one at the VIP.
pub const POSTGRES_PORT: u16 = 15432;
/// Port of the DNS server in the container.
pub const DNS_PORT: u16 = 5353;
/// Port of iperf3, in the container and at the VIP.
pub const IPERF_PORT: u16 = 5201;
/// The zone that the DNS server serves; `host0` to `host4999` have addresses in it.
pub const DNS_ZONE: &str = "example.test";

/// nginx on 8080: `/` answers with the role, `/files/` serves the lab's directory `files`. Its requests are counted by [`nginx_requests`].
///
/// # Errors
/// When it does not start.
pub fn nginx(lab: &Lab, role: &str) -> Result<Service> {
    let (data, port) = (lab.data_dir(), NameServer::HTTP_PORT);
    let directory = data.display();
    let config = data.join(format!("{role}-nginx.conf"));
    // One process, because two cores run the whole lab; no keep-alive limit, because connections must not end by themselves.
    fs::write(
        &config,
        format!(
            "daemon off; master_process off; pid {directory}/{role}-nginx.pid; error_log stderr;\n\
             events {{ worker_connections 4096; }}\n\
             http {{ sendfile on; keepalive_requests 10000000; default_type text/plain; access_log {directory}/{role}-access.log;\n\
             client_body_temp_path {directory}/{role}-body; proxy_temp_path {directory}/{role}-proxy; fastcgi_temp_path {directory}/{role}-fastcgi;\n\
             uwsgi_temp_path {directory}/{role}-uwsgi; scgi_temp_path {directory}/{role}-scgi;\n\
             server {{ listen {port} backlog=4096; listen [::]:{port} ipv6only=on backlog=4096;\n\
             location = / {{ return 200 \"{role} $remote_addr\\n\"; }}\n\
             location /files/ {{ alias {directory}/files/; }} }} }}\n"
        ),
    )?;
    let container = lab.ns(role);
    let mut command = container.command("nginx");
    command.arg("-c").arg(&config);
    let mut service = container.spawn("nginx", command)?;
    wait_port(&container, &mut service, port)?;
    Ok(service)
}

/// How many requests the nginx of a container has answered.
///
/// # Errors
/// When its access log cannot be read.
pub fn nginx_requests(lab: &Lab, role: &str) -> Result<usize> {
    let log = lab.data_dir().join(format!("{role}-access.log"));
    Ok(fs::read_to_string(&log).with_context(|| format!("read {}", log.display()))?.lines().count())
}

/// PostgreSQL on [`POSTGRES_PORT`] with an empty database, everybody trusted.
///
/// # Errors
/// When it is not installed or does not start.
pub fn postgres(lab: &Lab, role: &str) -> Result<Service> {
    let programs = postgres_programs()?;
    let data = lab.data_dir().join(format!("{role}-postgres"));
    // PostgreSQL refuses to run as root and to use a directory that others may read.
    checked(Command::new("install").args(["-d", "-o", "postgres", "-m", "700"]).arg(&data))?;
    let container = lab.ns(role);
    let as_postgres = |program: &str| {
        let mut command = container.command("setpriv");
        command
            .args(["--reuid=postgres", "--regid=postgres", "--init-groups"])
            .arg(programs.join(program))
            .arg("-D")
            .arg(&data);
        command.current_dir("/");
        command
    };
    checked(as_postgres("initdb").args([
        "--auth=trust",
        "--username=postgres",
        "--no-sync",
        "--no-locale",
        "--encoding=UTF8",
    ]))?;
    let access = data.join("pg_hba.conf");
    let everybody = format!("{}\nhost all all all trust\n", fs::read_to_string(&access)?);
    fs::write(&access, everybody)?;
    let mut command = as_postgres("postgres");
    command.args(["-p", &POSTGRES_PORT.to_string(), "-c", "listen_addresses=*", "-c", "fsync=off"]);
    command.arg("-c").arg(format!("unix_socket_directories={}", data.display()));
    let mut service = container.spawn("postgres", command)?;
    wait_port(&container, &mut service, POSTGRES_PORT)?;
    Ok(service)
}

/// Knot DNS on [`DNS_PORT`] with [`DNS_ZONE`].
///
/// # Errors
/// When it does not start.
pub fn knot(lab: &Lab, role: &str) -> Result<Service> {
    let data = lab.data_dir().join(format!("{role}-knot"));
    fs::create_dir_all(&data)?;
    let directory = data.display();
    let records: String = (0..5000).map(|number| format!("host{number} A 192.0.2.{}\n", number % 250)).collect();
    let zone = format!("$ORIGIN {DNS_ZONE}.\n$TTL 60\n@ SOA ns root 1 60 60 60 60\n@ NS ns\nns A 192.0.2.1\n{records}");
    fs::write(data.join("zone"), zone)?;
    let config = data.join("knot.conf");
    fs::write(
        &config,
        format!(
            "server:\n    rundir: \"{directory}\"\n    udp-workers: 1\n    tcp-workers: 1\n    background-workers: 1\n    listen: [ 0.0.0.0@{DNS_PORT}, ::@{DNS_PORT} ]\n\
             database:\n    storage: \"{directory}\"\nlog:\n  - target: stderr\n    any: warning\n\
             zone:\n  - domain: {DNS_ZONE}\n    file: \"{directory}/zone\"\n"
        ),
    )?;
    let container = lab.ns(role);
    let mut command = container.command("knotd");
    command.arg("-c").arg(&config);
    let mut service = container.spawn("knot", command)?;
    // It opens TCP too, and serves the zone a moment later at most.
    wait_port(&container, &mut service, DNS_PORT)?;
    Ok(service)
}

/// An iperf3 server, TCP and UDP, on [`IPERF_PORT`]. It runs one test at a time.
///
/// # Errors
/// When it does not start.
pub fn iperf(lab: &Lab, role: &str) -> Result<Service> {
    let container = lab.ns(role);
    let mut command = container.command("iperf3");
    command.args(["-s", "-p", &IPERF_PORT.to_string()]);
    let mut service = container.spawn("iperf3", command)?;
    wait_port(&container, &mut service, IPERF_PORT)?;
    Ok(service)
}

/// The directory of the newest PostgreSQL's programs; Debian keeps them out of `PATH`.
fn postgres_programs() -> Result<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").context("PostgreSQL is not installed")?.flatten();
    let newest = versions.map(|entry| entry.path().join("bin")).filter(|path| path.join("initdb").exists()).max();
    newest.context("PostgreSQL has no initdb")
}

fn wait_port(container: &Ns, service: &mut Service, port: u16) -> Result<()> {
    const LIMIT: Duration = Duration::from_secs(15);
    let deadline = Instant::now() + LIMIT;
    container.inside(|| {
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            if !service.alive()? {
                bail!("it ended instead of listening on {port}\n{}", service.log());
            }
            if Instant::now() > deadline {
                bail!("it does not listen on {port} after {LIMIT:?}\n{}", service.log());
            }
            sleep(Duration::from_millis(20));
        }
        Ok(())
    })?
}
