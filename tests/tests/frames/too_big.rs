//! What does not fit the way to its host is answered with the MTU that does, or cut into fragments by the daemon (case 17).

use anyhow::Result;
use balancer_tests::{
    conformance::proves,
    frames::{
        checksums::wrong,
        gateway::Gateway,
        packet::{Body, Icmp, Packet},
        programs::action,
        reshape::{fragments, with_harmless_headers},
        world::{Shape, UNDERLAY_MTU},
    },
};

/// A packet of exactly `length` bytes of IP.
fn sized(shape: Shape, tcp: bool, length: usize) -> Packet {
    let mut packet = if tcp { shape.segment(0) } else { shape.datagram(0) };
    let payload = length - packet.ip().len();
    let fill = |old: &[u8]| [old, &(0..payload).map(|byte| (byte * 7) as u8).collect::<Vec<u8>>()].concat();
    match &mut packet.body {
        Body::Tcp(tcp) => tcp.payload = fill(&tcp.payload),
        Body::Udp(udp) => udp.payload = fill(&udp.payload),
        Body::Icmp(_) | Body::Other(..) => unreachable!("TCP or UDP"),
    }
    assert_eq!(packet.ip().len(), length);
    packet
}

/// What the client has to get: as much of its own packet as an error may quote (RFC 1812 section 4.3.2.3, RFC 4443 section 2.4 c).
fn complaint(shape: Shape, frame: &[u8]) -> Packet {
    let (kind, room) = if shape.vip_ipv4 { ([3, 4], 576 - 28) } else { ([2, 0], 1280 - 48) };
    let [high, low] = shape.inner_mtu().to_be_bytes();
    let quoted = frame[14..].iter().copied().take(room).collect();
    let packet = shape.segment(0);
    Packet {
        macs: [packet.macs[1], packet.macs[0]],
        source: shape.vip(0),
        destination: shape.client(),
        ttl: 64,
        traffic_class: 0,
        identification: 0,
        body: Body::Icmp(Icmp { kind, rest: [0, 0, high, low], payload: quoted }),
        ..packet
    }
}

#[test]
fn packet_of_the_mtu_fits_and_one_byte_more_is_answered_with_it() -> Result<()> {
    let gateway = Gateway::start()?;
    for shape in Shape::ALL {
        for tcp in [true, false] {
            let mtu = usize::from(shape.inner_mtu());
            assert_eq!(gateway.from_client(&sized(shape, tcp, mtu).bytes())?.reason, "forwarded", "{shape:?}");
            let frame = sized(shape, tcp, mtu + 1).bytes();
            let out = gateway.from_client(&frame)?;
            assert_eq!((out.action, out.reason), (action::TX, "too_big_sent"), "{shape:?}");
            assert!(out.frame == complaint(shape, &frame).bytes(), "{shape:?}: the answer came out wrong");
            assert_eq!(wrong(&out.frame), Vec::<String>::new(), "{shape:?}");
        }
    }
    proves(&[17], Shape::ALL);
    Ok(())
}

#[test]
fn options_and_tags_are_no_obstacle_to_the_answer() -> Result<()> {
    let gateway = Gateway::start()?;
    for shape in Shape::ALL {
        let frame = with_harmless_headers(&sized(shape, true, usize::from(shape.inner_mtu())).bytes());
        let out = gateway.from_client(&frame)?;
        assert_eq!((out.action, out.reason), (action::TX, "too_big_sent"), "{shape:?}");
        assert!(out.frame == complaint(shape, &frame).bytes(), "{shape:?}: the answer came out wrong");
        let tagged = Packet { tags: vec![[0x8100, 0x2007]], ..sized(shape, true, 1 + usize::from(shape.inner_mtu())) };
        let out = gateway.from_client(&tagged.bytes())?;
        let plain = Packet { tags: vec![], ..tagged.clone() };
        let expected = Packet { tags: tagged.tags, ..complaint(shape, &plain.bytes()) };
        assert!(out.frame == expected.bytes(), "{shape:?}: the tagged answer came out wrong");
    }
    proves(&[17], Shape::ALL);
    Ok(())
}

#[test]
fn packet_without_df_goes_to_the_daemon_whole_and_in_vxlan() -> Result<()> {
    let gateway = Gateway::start()?;
    for shape in Shape::ALL.into_iter().filter(|shape| shape.vip_ipv4) {
        for tcp in [true, false] {
            let packet = Packet { fragment: 0, ..sized(shape, tcp, 3000) };
            let out = gateway.from_client(&packet.bytes())?;
            assert_eq!((out.action, out.reason), (action::DROP, "fragmented_by_daemon"), "{shape:?}");
            let port = if tcp { 8080 } else { 5353 };
            let outer = balancer_tests::frames::overlay::outer_port(&out.frame, shape.underlay_ipv4);
            let inner = shape.delivered(0, &packet, (1, port)).bytes();
            let expected = shape.overlay(0, packet.traffic_class, outer).around(&inner).bytes();
            assert!(out.frame == expected, "{shape:?}: what the daemon gets is wrong");
        }
    }
    proves(&[17], Shape::ALL.into_iter().filter(|shape| shape.vip_ipv4));
    Ok(())
}

#[test]
fn fragments_that_do_not_fit_are_cut_again_or_answered_once() -> Result<()> {
    let gateway = Gateway::start()?;
    for shape in Shape::ALL {
        let data = (usize::from(shape.inner_mtu()) + 8) / 8 * 8;
        let packet = Packet { fragment: 0, ..sized(shape, false, 4000) };
        let sent = fragments(&packet.bytes(), data, 11);
        let expected = if shape.vip_ipv4 { "fragmented_by_daemon" } else { "too_big_sent" };
        assert_eq!(gateway.from_client(&sent[0])?.reason, expected, "{shape:?}");
        if shape.vip_ipv4 {
            assert_eq!(gateway.from_client(&sent[1])?.reason, "fragmented_by_daemon", "{shape:?}");
        }
    }
    proves(&[17, 19], Shape::ALL);
    Ok(())
}

/// A container's packet of exactly `length` bytes of IP, as it sends it.
fn answer_sized(shape: Shape, tcp: bool, length: usize) -> Packet {
    let port = if tcp { 8080 } else { 5353 };
    shape.delivered(0, &sized(shape, tcp, length), (1, port)).turned()
}

#[test]
fn container_is_told_of_the_mtu_towards_the_clients_and_one_byte_less_fits() -> Result<()> {
    let gateway = Gateway::start()?;
    for shape in Shape::ALL {
        for tcp in [true, false] {
            let mtu = usize::from(UNDERLAY_MTU);
            let fits = shape.from_host(0, &answer_sized(shape, tcp, mtu)).bytes();
            assert_eq!(gateway.from_host(&fits)?.reason, "replied", "{shape:?}");
            let answer = answer_sized(shape, tcp, mtu + 1);
            let out = gateway.from_host(&shape.from_host(0, &answer).bytes())?;
            assert_eq!((out.action, out.reason), (action::TX, "too_big_sent"), "{shape:?}");
            let (kind, room) = if shape.vip_ipv4 { ([3, 4], 576 - 28) } else { ([2, 0], 1280 - 48) };
            let [high, low] = UNDERLAY_MTU.to_be_bytes();
            let quoted = answer.ip().into_iter().take(room).collect();
            let told = Packet {
                macs: [answer.macs[1], answer.macs[0]],
                source: shape.project_gateway(),
                destination: answer.source,
                ttl: 63,
                traffic_class: 0,
                identification: 0,
                body: Body::Icmp(Icmp { kind, rest: [0, 0, high, low], payload: quoted }),
                ..answer.clone()
            };
            let expected = shape.overlay(0, 0, 49_152).around(&told.bytes());
            assert!(out.frame == expected.bytes(), "{shape:?}: the answer came out wrong");
            assert_eq!(wrong(&out.frame), Vec::<String>::new(), "{shape:?}");
        }
    }
    proves(&[17], Shape::ALL);
    Ok(())
}

#[test]
fn reply_without_df_that_does_not_fit_goes_to_the_daemon_translated() -> Result<()> {
    let gateway = Gateway::start()?;
    for shape in Shape::ALL.into_iter().filter(|shape| shape.vip_ipv4) {
        let answer = Packet { fragment: 0, ..answer_sized(shape, false, 3000) };
        let out = gateway.from_host(&shape.from_host(0, &answer).bytes())?;
        assert_eq!((out.action, out.reason), (action::DROP, "fragmented_by_daemon"), "{shape:?}");
        assert!(out.frame[14..] == shape.returned(0, &answer, 53).ip(), "{shape:?}: what the daemon gets is wrong");
    }
    proves(&[17], Shape::ALL.into_iter().filter(|shape| shape.vip_ipv4));
    Ok(())
}

#[test]
fn nobody_is_told_who_cannot_be() -> Result<()> {
    let gateway = Gateway::start()?;
    for shape in Shape::ALL {
        let sources: Vec<std::net::IpAddr> = if shape.vip_ipv4 {
            ["0.1.2.3", "127.0.0.1", "224.0.0.1", "255.255.255.255"]
                .iter()
                .map(|text| text.parse())
                .collect::<Result<_, _>>()?
        } else {
            ["::", "::1", "ff02::1", "::ffff:1.2.3.4"].iter().map(|text| text.parse()).collect::<Result<_, _>>()?
        };
        for source in sources {
            let packet = Packet { source, ..sized(shape, true, 1 + usize::from(shape.inner_mtu())) };
            // Rust reads a mapped address as IPv6, which is what is meant.
            let out = gateway.from_client(&packet.bytes())?;
            assert_eq!((out.action, out.reason), (action::DROP, "error_limited"), "{shape:?} {source}");
        }
    }
    proves(&[17], Shape::ALL);
    Ok(())
}
