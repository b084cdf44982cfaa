//! Turns random choices into frames: of all kinds that come to a gateway, those that continue or answer earlier ones, and broken ones.

use std::collections::VecDeque;

use balancer_common::verdict::Reason;
use balancer_tests::{
    frames::packet::{Body, Packet},
    reference::Prediction,
};
use balancer_user::model::Desired;

use super::{back, client, mutate, odd, random::Random, story::Frame};

/// By which interface it comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Public,
    Underlay,
}

/// How many earlier packets are remembered to be continued or answered.
const REMEMBERED: usize = 200;
/// How many fragments wait to be sent among other frames.
const WAITING: usize = 12;
/// Bytes that lie in the first buffer at least: real drivers and veth put so many there.
const FIRST_BUFFER_MIN: usize = 128;

/// Makes frames.
#[derive(Default)]
pub struct Maker {
    /// Clients' packets.
    sent: VecDeque<Packet>,
    /// Frames to hosts.
    delivered: VecDeque<Vec<u8>>,
    /// Frames to clients.
    returned: VecDeque<Vec<u8>>,
    /// Packets that were made.
    made: u32,
    /// Made, and not sent yet.
    waiting: VecDeque<(Vec<u8>, Side)>,
}

impl Maker {
    pub fn frame(&mut self, random: &mut Random, desired: &Desired) -> Frame {
        if self.waiting.is_empty() || self.waiting.len() < WAITING && random.flip() {
            self.make(random, desired);
        }
        // Mostly in order, with others in between.
        let position = if random.one_in(3) { random.below(self.waiting.len()) } else { 0 };
        let (mut bytes, mut side) = self.waiting.remove(position).expect("something was made");
        if random.one_in(5) {
            mutate::run(random, &mut bytes);
        }
        if random.one_in(20) {
            side = random.pick(&[Side::Public, Side::Underlay]);
        }
        let splits = bytes.len() > FIRST_BUFFER_MIN && random.one_in(6);
        let linear = if splits { FIRST_BUFFER_MIN + random.below(bytes.len() - FIRST_BUFFER_MIN) } else { bytes.len() };
        Frame { bytes, side, linear }
    }

    /// Keeps what left the gateway.
    pub fn learn(&mut self, prediction: &Prediction) {
        let reason = prediction.verdict.reason();
        if reason != Reason::Forwarded && reason != Reason::Replied {
            return;
        }
        let kept = if reason == Reason::Forwarded { &mut self.delivered } else { &mut self.returned };
        kept.push_back(prediction.frame.clone());
        if kept.len() > REMEMBERED {
            kept.pop_front();
        }
        if self.sent.len() > REMEMBERED {
            self.sent.pop_front();
        }
    }

    /// Makes one frame, or all fragments of a packet.
    fn make(&mut self, random: &mut Random, desired: &Desired) {
        let delivered = |made: &mut Random, from: &VecDeque<Vec<u8>>| {
            (!from.is_empty()).then(|| from[made.below(from.len())].clone())
        };
        self.made += 1;
        match random.below(40) {
            0..=9 => {
                let packet = client::packet(random, desired);
                self.sent.push_back(packet.clone());
                self.send(random, &packet);
            }
            10..=19 => self.again(random, desired),
            20..=29 => {
                let Some(frame) = delivered(random, &self.delivered) else { return self.again(random, desired) };
                let frames = back::answers(random, &frame, self.made).unwrap_or_default();
                self.waiting.extend(frames.into_iter().map(|frame| (frame, Side::Underlay)));
            }
            30 | 31 => {
                let packet = client::message(random, desired);
                self.send(random, &packet);
            }
            32 => {
                let packet = client::stranger(random, desired);
                self.send(random, &packet);
            }
            33 | 34 => {
                let frame = delivered(random, &self.returned);
                if let Some(packet) = frame.and_then(|frame| back::notice(random, &frame)) {
                    self.send(random, &packet);
                }
            }
            35 | 36 => {
                let frame = delivered(random, &self.delivered);
                if let Some(frame) = frame.and_then(|frame| back::complaint(random, &frame)) {
                    self.waiting.push_back((frame, Side::Underlay));
                }
            }
            37 => {
                let frame = delivered(random, &self.delivered);
                if let Some(packet) = frame.and_then(|frame| back::underlay(random, &frame)) {
                    self.waiting.push_back((packet.bytes(), Side::Underlay));
                }
            }
            _ => self.waiting.push_back((mutate::garbage(random), Side::Public)),
        }
        if self.waiting.is_empty() {
            self.again(random, desired);
        }
    }

    /// Another packet of a flow that was seen.
    fn again(&mut self, random: &mut Random, desired: &Desired) {
        if self.sent.is_empty() {
            self.sent.push_back(client::packet(random, desired));
        }
        let position = random.below(self.sent.len());
        let packet = &mut self.sent[position];
        if let Body::Tcp(tcp) = &mut packet.body {
            tcp.flags = random.pick(&client::FLAGS);
            tcp.options = if tcp.flags & 2 == 0 { vec![] } else { client::options(random) };
        }
        let packet = packet.clone();
        self.send(random, &packet);
    }

    /// A client's packet as it is, dressed up, or in fragments.
    fn send(&mut self, random: &mut Random, packet: &Packet) {
        let mut ip = packet.ip();
        if random.one_in(6) {
            ip = odd::dressed(random, &ip);
        }
        let parts = if random.one_in(6) { odd::fragments(random, &ip, self.made) } else { vec![ip] };
        let whole = packet.bytes();
        let link = &whole[..whole.len() - packet.ip().len()];
        self.waiting.extend(parts.into_iter().map(|part| ([link, &part].concat(), Side::Public)));
    }
}
