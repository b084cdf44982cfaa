//! Tagged frames are balanced like untagged ones, and replies leave with the tags that clients come with (case 3).

use anyhow::Result;
use balancer_tests::{
    conformance::proves,
    frames::{gateway::Gateway, overlay::outer_port, packet::Packet, programs::action, world::Shape},
};

#[test]
fn tags_are_taken_off_and_put_on_again() -> Result<()> {
    let gateway = Gateway::start()?;
    for shape in Shape::ALL {
        for tags in [vec![[0x8100, 0x6005]], vec![[0x88a8, 7], [0x8100, 0x0fff]], vec![]] {
            for (packet, port) in [(shape.segment(0), 8080), (shape.datagram(0), 5353)] {
                let packet = Packet { tags: tags.clone(), ..packet };
                let out = gateway.from_client(&packet.bytes())?;
                assert_eq!((out.action, out.reason), (action::REDIRECT, "forwarded"), "{shape:?} {tags:04x?}");
                let delivered = shape.delivered(0, &packet, (1, port));
                let overlay = shape.overlay(0, packet.traffic_class, outer_port(&out.frame, shape.underlay_ipv4));
                assert_eq!(out.frame, overlay.around(&delivered.bytes()).bytes(), "{shape:?} {tags:04x?}");

                let answer = delivered.turned();
                let back = gateway.from_host(&shape.from_host(0, &answer).bytes())?;
                assert_eq!((back.action, back.reason), (action::REDIRECT, "replied"), "{shape:?} {tags:04x?}");
                let public_port = if port == 8080 { 80 } else { 53 };
                let returned = Packet { tags: tags.clone(), ..shape.returned(0, &answer, public_port) };
                assert_eq!(back.frame, returned.bytes(), "{shape:?} {tags:04x?}");
            }
        }
    }
    proves(&[3], Shape::ALL);
    Ok(())
}
