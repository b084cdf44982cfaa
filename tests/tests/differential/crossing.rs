//! Turns a frame and what left the gateway for it into the question that must never be answered with yes: did it get into another project?
//!
//! This looks at the desired state alone and believes neither the program nor the model.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::{Context as _, Result, ensure};
use balancer_tests::frames::{
    gateway::Outcome,
    overlay::{VXLAN_PORT, outer_bytes},
    programs::action,
};
use balancer_user::model::{Desired, Mode};

/// A frame that leaves in VXLAN carries the VNI of a project that owns its VIP, and goes to a container of that project there.
pub fn check(desired: &Desired, (came, outcome): (&[u8], &Outcome)) -> Result<()> {
    let frame = &outcome.frame;
    let is_vxlan = matches!(outcome.reason, "forwarded" | "error_forwarded");
    if !is_vxlan || !matches!(outcome.action, action::TX | action::REDIRECT) {
        return Ok(());
    }
    let vip = destination(came).context("forwarded, but it had no destination")?;
    let ipv4 = frame[12..14] == [0x08, 0x00];
    let outer = outer_bytes(ipv4);
    let port = u16::from_be_bytes([frame[outer - 14], frame[outer - 13]]);
    ensure!(port == VXLAN_PORT, "forwarded, but not in VXLAN");
    let vni = u32::from_be_bytes([0, frame[outer - 4], frame[outer - 3], frame[outer - 2]]);
    let (inner_mac, inner) = (&frame[outer..outer + 6], destination(&frame[outer..]).context("no inner packet")?);
    let is_home = desired.service_ports.iter().filter(|port| port.vip == vip).any(|port| {
        let owns = desired.projects[port.project].vni.get() == vni;
        let reached = if port.mode == Mode::Dsr { Some(vip) } else { None };
        owns && port
            .backends
            .iter()
            .any(|backend| backend.mac == inner_mac && reached.unwrap_or(backend.address) == inner)
    });
    ensure!(is_home, "TENANT CROSSED: from {vip} to {inner} at {inner_mac:02x?} under VNI {vni}");
    Ok(())
}

/// Where an Ethernet frame goes.
fn destination(frame: &[u8]) -> Option<IpAddr> {
    let mut at = 12;
    while matches!(frame.get(at..at + 2)?, [0x81, 0x00] | [0x88, 0xa8]) {
        at += 4;
    }
    let address = |length: usize, from: usize| frame.get(at + 2 + from..at + 2 + from + length);
    match frame.get(at..at + 2)? {
        [0x08, 0x00] => Some(Ipv4Addr::from(*address(4, 16)?.first_chunk()?).into()),
        [0x86, 0xdd] => Some(Ipv6Addr::from(*address(16, 24)?.first_chunk::<16>()?).into()),
        _ => None,
    }
}
