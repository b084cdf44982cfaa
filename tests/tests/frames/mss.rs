//! A SYN's and a SYN-ACK's MSS are lowered to what fits with the encapsulation, wherever the option stands (case 17).

use anyhow::Result;
use balancer_tests::{
    conformance::proves,
    frames::{
        checksums::wrong,
        gateway::Gateway,
        overlay::outer_port,
        packet::{Packet, Tcp},
        world::Shape,
    },
};

/// Options of a SYN, and where in them the MSS value stands.
fn layouts(mss: u16) -> Vec<(Vec<u8>, usize)> {
    let [high, low] = mss.to_be_bytes();
    vec![
        (vec![2, 4, high, low], 2),
        (vec![2, 4, high, low, 4, 2, 8, 10, 1, 2, 3, 4, 0, 0, 0, 0, 1, 3, 3, 7], 2),
        (vec![1, 1, 2, 4, high, low, 1, 1], 4),
        (vec![1, 2, 4, high, low, 1, 1, 1], 3),
        (vec![1, 3, 3, 7, 2, 4, high, low], 6),
        (vec![4, 2, 3, 3, 7, 2, 4, high, low, 1, 1, 0], 7),
        ([vec![1; 35], vec![2, 4, high, low, 0]].concat(), 37),
        ([vec![1; 36], vec![2, 4, high, low]].concat(), 38),
    ]
}

fn syn(shape: Shape, options: Vec<u8>) -> Packet {
    let mut packet = shape.segment(0);
    let tcp = packet.tcp();
    *tcp = Tcp { flags: 0x02, acknowledgment: 0, options, payload: vec![], ..tcp.clone() };
    packet
}

fn check_forward(gateway: &Gateway, shape: Shape, (sent, clamped): (&Packet, Vec<u8>)) -> Result<()> {
    let out = gateway.from_client(&sent.bytes())?;
    assert_eq!(out.reason, "forwarded", "{sent:?}");
    let mut expected = shape.delivered(0, sent, (1, 8080));
    expected.tcp().options = clamped;
    let overlay = shape.overlay(0, sent.traffic_class, outer_port(&out.frame, shape.underlay_ipv4));
    assert_eq!(out.frame, overlay.around(&expected.bytes()).bytes(), "{shape:?} {sent:?}");
    assert_eq!(wrong(&out.frame), Vec::<String>::new(), "{shape:?} {sent:?}");
    Ok(())
}

#[test]
fn syn_s_mss_is_lowered_wherever_it_stands() -> Result<()> {
    let gateway = Gateway::start()?;
    for shape in Shape::ALL {
        let most = shape.inner_mtu() - if shape.vip_ipv4 { 40 } else { 60 };
        for mss in [0, 536, most - 1, most, most + 1, 1460, 8960, u16::MAX] {
            for (options, at) in layouts(mss) {
                let mut clamped = options.clone();
                clamped[at..at + 2].copy_from_slice(&mss.min(most).to_be_bytes());
                check_forward(&gateway, shape, (&syn(shape, options), clamped))?;
            }
        }
    }
    proves(&[17], Shape::ALL);
    Ok(())
}

#[test]
fn syn_ack_s_mss_is_lowered_on_the_way_back() -> Result<()> {
    let gateway = Gateway::start()?;
    for shape in Shape::ALL {
        let most = shape.inner_mtu() - if shape.vip_ipv4 { 40 } else { 60 };
        for mss in [536, most, most + 1, 1460, 65_495] {
            for (options, at) in layouts(mss) {
                let mut answer = shape.delivered(0, &syn(shape, options), (1, 8080)).turned();
                answer.tcp().flags = 0x12;
                let out = gateway.from_host(&shape.from_host(0, &answer).bytes())?;
                assert_eq!(out.reason, "replied", "{answer:?}");
                let mut expected = shape.returned(0, &answer, 80);
                expected.tcp().options[at..at + 2].copy_from_slice(&mss.min(most).to_be_bytes());
                assert_eq!(out.frame, expected.bytes(), "{shape:?} {answer:?}");
            }
        }
    }
    proves(&[17], Shape::ALL);
    Ok(())
}

#[test]
fn options_without_an_mss_stay_as_they_are() -> Result<()> {
    let gateway = Gateway::start()?;
    for shape in Shape::ALL {
        for options in [
            vec![],
            vec![1, 1, 1, 1],
            vec![3, 3, 7, 0],
            vec![0, 2, 4, 255],
            vec![3, 0, 2, 4],
            vec![3, 200, 2, 4],
            vec![2, 3, 255, 255],
            vec![1, 1, 1, 2],
        ] {
            check_forward(&gateway, shape, (&syn(shape, options.clone()), options))?;
        }
    }
    proves(&[17], Shape::ALL);
    Ok(())
}

#[test]
fn segment_that_is_no_syn_keeps_its_options() -> Result<()> {
    let gateway = Gateway::start()?;
    for shape in Shape::ALL {
        let mut packet = syn(shape, vec![2, 4, 255, 255]);
        packet.tcp().flags = 0x10;
        check_forward(&gateway, shape, (&packet, vec![2, 4, 255, 255]))?;
    }
    proves(&[17], Shape::ALL);
    Ok(())
}

#[test]
fn payload_of_a_syn_that_looks_like_an_mss_is_never_touched() -> Result<()> {
    let gateway = Gateway::start()?;
    for shape in Shape::ALL {
        for options in [vec![], vec![1, 1, 1, 1]] {
            let mut packet = syn(shape, options.clone());
            packet.tcp().payload = vec![2, 4, 255, 255, 1, 2, 3];
            check_forward(&gateway, shape, (&packet, options))?;
        }
    }
    proves(&[17], Shape::ALL);
    Ok(())
}
