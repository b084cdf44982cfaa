//! Turns the frames between the gateway and the underlay into decoded fields, with the checksums verified.

use std::{
    path::PathBuf,
    process::Command,
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use nix::sys::signal::Signal;
use xtask::lab::{Lab, NameServer, Service, checked};

/// A running tcpdump on the gateway's port of the underlay.
#[derive(Debug)]
pub struct Capture {
    tcpdump: Service,
    file: PathBuf,
}

/// A finished capture.
#[derive(Debug)]
pub struct Frames {
    file: PathBuf,
}

impl Capture {
    /// Most frames it takes, so that a capture has an end.
    pub const FRAMES_MAX: &str = "20000";

    /// Starts capturing VXLAN frames, and returns when they are being seen.
    ///
    /// # Errors
    /// When tcpdump does not start.
    pub fn start(lab: &Lab) -> Result<Self> {
        let fabric = lab.ns("fabric");
        let file = lab.data_dir().join("underlay.pcap");
        let mut command = fabric.command("tcpdump");
        // -Z root: it would write as user tcpdump otherwise, who may not.
        command
            .args(["-i", "gw0", "-Z", "root", "-U", "-c", Self::FRAMES_MAX, "-w"])
            .arg(&file)
            .args(["udp", "port", "4789"]);
        let tcpdump = fabric.spawn("tcpdump", command)?;
        let deadline = Instant::now() + Duration::from_secs(5);
        while !tcpdump.log().contains("listening on") {
            ensure!(Instant::now() < deadline, "tcpdump does not start:\n{}", tcpdump.log());
            sleep(Duration::from_millis(20));
        }
        Ok(Self { tcpdump, file })
    }

    /// Stops capturing.
    ///
    /// # Errors
    /// When tcpdump does not end.
    pub fn finish(mut self) -> Result<Frames> {
        /// What tcpdump has not read yet is still in its ring.
        const SETTLE: Duration = Duration::from_millis(300);
        sleep(SETTLE);
        if self.tcpdump.alive()? {
            self.tcpdump.signal(Signal::SIGINT)?;
        }
        self.tcpdump.wait(Duration::from_secs(5))?;
        Ok(Frames { file: self.file })
    }
}

impl Frames {
    /// The fields of each frame that matches the display filter. A field that a frame has twice (outer, inner) is one
    /// text with a comma in it.
    ///
    /// # Errors
    /// When tshark fails.
    pub fn fields(&self, filter: &str, fields: &[&str]) -> Result<Vec<Vec<String>>> {
        let mut command = Command::new("tshark");
        command.args(["-n", "-r"]).arg(&self.file).args(["-d", "udp.port==4789,vxlan", "-Y", filter]);
        // A payload is nobody's protocol: tshark would take it for one that is known by the client's ephemeral port.
        command.args(["-d", &format!("udp.port=={},data", NameServer::ECHO_PORT)]);
        for check in ["ip.check_checksum", "tcp.check_checksum", "udp.check_checksum"] {
            command.arg("-o").arg(format!("{check}:TRUE"));
        }
        command.args(["-T", "fields", "-E", "separator=/t", "-E", "occurrence=a"]);
        for field in fields {
            command.args(["-e", field]);
        }
        let output = checked(&mut command)?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        Ok(text.lines().map(|line| line.split('\t').map(String::from).collect()).collect())
    }

    /// Checks that every frame decodes and that no checksum in it, outer or inner, is wrong.
    ///
    /// # Errors
    /// When one is not; with a few of them.
    pub fn check_well_formed(&self) -> Result<()> {
        const WRONG: &str = "_ws.malformed || ip.checksum.status == \"Bad\" || tcp.checksum.status == \"Bad\" || udp.checksum.status == \"Bad\" \
                             || icmp.checksum.status == \"Bad\" || icmpv6.checksum.status == \"Bad\" || !vxlan";
        let told = [
            "frame.number",
            "frame.protocols",
            "ip.src",
            "ip.dst",
            "ipv6.src",
            "ipv6.dst",
            "frame.len",
            "_ws.expert.message",
        ];
        let wrong = self.fields(WRONG, &told)?;
        ensure!(wrong.is_empty(), "{} wrong frames, such as {:#?}", wrong.len(), &wrong[..wrong.len().min(5)]);
        Ok(())
    }
}
