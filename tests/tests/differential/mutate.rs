//! Turns sound frames into broken ones: flipped bits, lengths that lie, cut and padded ends; and random bytes into frames of a sort.

use super::random::Random;

/// Bytes of the shortest frame that a test run takes.
const FRAME_MIN: usize = 14;
/// Bytes in which most headers lie.
const HEADERS: usize = 140;

/// Breaks a frame in one to three places.
pub fn run(random: &mut Random, frame: &mut Vec<u8>) {
    for _ in 0..=random.below(3) {
        let headers = frame.len().min(HEADERS);
        match random.below(10) {
            0..=2 => {
                let (at, bit) = (random.below(headers), random.below(8));
                frame[at] ^= 1 << bit;
            }
            3 => {
                let (at, byte) = (random.below(headers), random.byte());
                frame[at] = byte;
            }
            4 => {
                let at = random.below(headers);
                frame[at] = random.pick(&[0, 1, 0x7f, 0x80, 0xff]);
            }
            5 => {
                let length = FRAME_MIN + random.below(frame.len() - FRAME_MIN + 1);
                frame.truncate(length);
            }
            6 | 7 => {
                let padding = 1 + random.below(40);
                let bytes = random.bytes(padding);
                frame.extend(bytes);
            }
            8 => lie(random, frame),
            _ => {
                frame.resize(frame.len().max(60), 0);
            }
        }
    }
}

/// Another number in one of the fields that hold lengths, where they stand without tags, in VXLAN or not.
fn lie(random: &mut Random, frame: &mut [u8]) {
    let at = random.pick(&[16, 18, 38, 46, 58, 66, 68, 88, 86, 94, 106, 114]);
    if at + 2 > frame.len() {
        return;
    }
    let said = u16::from_be_bytes([frame[at], frame[at + 1]]);
    let lie = match random.below(4) {
        0 => random.number() as u16,
        1 => random.below(64) as u16,
        2 => said.wrapping_add(random.below(9) as u16),
        _ => said.wrapping_sub(random.below(9) as u16),
    };
    frame[at..at + 2].copy_from_slice(&lie.to_be_bytes());
}

/// Random bytes behind an ethertype that means something.
pub fn garbage(random: &mut Random) -> Vec<u8> {
    let length = FRAME_MIN + random.below(200);
    let mut frame = random.bytes(length);
    match random.below(6) {
        0 => {}
        1 => frame[12..14].copy_from_slice(&[0x08, 0x06]),
        2 | 3 => {
            frame[12..14].copy_from_slice(&[0x08, 0x00]);
            if frame.len() > 34 {
                frame[14] = 0x45;
                frame[30..34].copy_from_slice(&[203, 0, 113, 10]);
            }
        }
        _ => {
            frame[12..14].copy_from_slice(&[0x86, 0xdd]);
            if frame.len() > 54 {
                frame[14] = 0x60;
                frame[38..54].copy_from_slice(&[0x20, 1, 0xd, 0xb8, 0, 0xf, 0, 0, 0, 0, 0, 0, 0, 0, 0, 10]);
            }
        }
    }
    frame
}
