//! Turns frames through BPF_PROG_TEST_RUN into actions, to show that frames go in and come out whole.

use super::lab::PinDir;
use balancer_common::verdict::Reason;

const XDP_PASS: u32 = 2;

#[test]
fn root_frames_of_one_and_of_several_buffers_pass_unchanged() {
    let pins = PinDir::new();
    let datapath = pins.open();
    let status = datapath.status().unwrap();
    assert!(status.id > 0 && status.jited_bytes > 0 && status.verified_instructions > Some(0), "{status:?}");
    // 802.3 frames of an unknown type are nobody's.
    for length in [60, 1514, 3000, 9000] {
        let mut frame: Vec<u8> = (0..length).map(|position| position as u8).collect();
        frame[12..14].copy_from_slice(&[0x88, 0xb5]);
        let run = datapath.test_run(&frame, 1).unwrap();
        assert_eq!((run.action, run.frame.len()), (XDP_PASS, frame.len()));
        assert!(run.frame == frame, "{length}");
    }
    let reasons = datapath.reasons().unwrap();
    assert!(reasons.contains(&(Reason::NotOurs, 4)), "{reasons:?}");
    assert!(datapath.test_run(&[0; 60], 0x7fff_0000).is_err());
}
