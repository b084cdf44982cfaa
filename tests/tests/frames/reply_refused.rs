//! What comes in VXLAN and is no reply stays the kernel's, and a reply from the wrong place is dropped (cases 8, 22, 23).

use anyhow::Result;
use balancer_tests::{
    conformance::proves,
    frames::{
        gateway::{Gateway, Outcome},
        packet::Packet,
        programs::action,
        world::Shape,
    },
};

fn answer(shape: Shape) -> Packet {
    shape.delivered(0, &shape.segment(0), (1, 8080)).turned()
}

fn passed(out: &Outcome, frame: &[u8], (reason, what): (&str, &str)) {
    assert_eq!((out.action, out.reason), (action::PASS, reason), "{what}");
    assert_eq!(out.frame, frame, "{what} was changed");
}

#[test]
fn traffic_for_the_gateway_s_own_address_passes_untouched() -> Result<()> {
    let gateway = Gateway::start()?;
    for shape in Shape::ALL {
        let to_gateway = Packet { destination: shape.project_gateway(), ..answer(shape) };
        let frame = shape.from_host(0, &to_gateway).bytes();
        passed(&gateway.from_host(&frame)?, &frame, ("overlay_for_gateway", "probe reply"));
    }
    proves(&[22], Shape::ALL);
    Ok(())
}

#[test]
fn overlay_that_is_no_reply_passes_untouched() -> Result<()> {
    let gateway = Gateway::start()?;
    for shape in Shape::ALL {
        let mut other_port = answer(shape);
        other_port.tcp().ports[0] = 22;
        let other_source = Packet { source: shape.container(7), ..answer(shape) };
        let mut other_mac = answer(shape);
        other_mac.macs[0] = [0xff; 6];
        for (what, packet) in [("port", other_port), ("source", other_source), ("MAC", other_mac)] {
            let frame = shape.from_host(0, &packet).bytes();
            passed(&gateway.from_host(&frame)?, &frame, ("overlay_not_reply", what));
        }
        let mut arp = shape.from_host(0, &answer(shape)).bytes();
        let ethertype = if shape.underlay_ipv4 { 62 } else { 82 };
        arp[ethertype..ethertype + 2].copy_from_slice(&[0x08, 0x06]);
        passed(&gateway.from_host(&arp)?, &arp, ("overlay_not_reply", "ARP"));
    }
    proves(&[22], Shape::ALL);
    Ok(())
}

#[test]
fn unknown_vni_and_missing_flag_pass_untouched() -> Result<()> {
    let gateway = Gateway::start()?;
    for shape in Shape::ALL {
        let vni = if shape.underlay_ipv4 { 46 } else { 66 };
        for (what, at, bytes) in [("VNI", vni, [0, 0, 99]), ("VNI 0", vni, [0, 0, 0]), ("flag", vni - 4, [0, 0, 0])] {
            let mut frame = shape.from_host(0, &answer(shape)).bytes();
            frame[at..at + 3].copy_from_slice(&bytes);
            passed(&gateway.from_host(&frame)?, &frame, ("overlay_not_reply", what));
        }
    }
    proves(&[22], Shape::ALL);
    Ok(())
}

#[test]
fn other_project_s_vni_never_leads_to_this_project_s_vip() -> Result<()> {
    let gateway = Gateway::start()?;
    for shape in Shape::ALL {
        // The containers have the same addresses; MACs tell whose gateway was meant.
        let frame = shape.from_host(1, &answer(shape)).bytes();
        passed(&gateway.from_host(&frame)?, &frame, ("overlay_not_reply", "other project"));
    }
    proves(&[23], Shape::ALL);
    Ok(())
}

#[test]
fn reply_from_another_vtep_is_dropped_by_name() -> Result<()> {
    let gateway = Gateway::start()?;
    for shape in Shape::ALL {
        let strange = Shape { vip_ipv4: shape.underlay_ipv4, ..shape }.stranger();
        let frame = Packet { source: strange, ..shape.from_host(0, &answer(shape)) }.bytes();
        let out = gateway.from_host(&frame)?;
        assert_eq!((out.action, out.reason), (action::DROP, "vtep_mismatch"), "{shape:?}");
    }
    proves(&[23], Shape::ALL);
    Ok(())
}
