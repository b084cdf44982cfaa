//! Turns fragments that came before their first one into frames to run again, for a bounded time and in bounded memory.

use std::{
    collections::{HashMap, VecDeque},
    time::{Duration, Instant},
};

use balancer_common::fragment::FragmentKey;

/// Frames that are held at once.
pub const FRAMES_MAX: usize = 1024;
/// Their bytes.
pub const BYTES_MAX: usize = 4 << 20;
/// Frames of one packet that are taken until [`WAIT_MAX`] after its first one, whether they are still here or not: neither
/// copies of a fragment nor one that is handed back again and again cost more.
pub const FRAMES_PER_KEY_MAX: usize = 64;
/// Packets whose frames are counted at once.
pub const KEYS_MAX: usize = 1024;
/// How long the frames of a packet wait, from the first of them that came.
pub const WAIT_MAX: Duration = Duration::from_secs(1);

/// A frame as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// With tags and padding.
    pub frame: Vec<u8>,
    /// Interface that it came in by.
    pub ifindex: u32,
}

/// There is no room: the frame is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("as many fragments wait for their first one as may")]
pub struct Full;

/// The frames that wait.
#[derive(Debug, Default)]
pub struct Hold {
    packets: HashMap<FragmentKey, Packet>,
    /// Every key of `packets`, in the order of their ends.
    ends: VecDeque<(Instant, FragmentKey)>,
    frames: usize,
    bytes: usize,
}

/// What came of one fragmented packet.
#[derive(Debug, Default)]
struct Packet {
    waiting: Vec<Held>,
    taken: usize,
}

impl Hold {
    /// Takes a frame that waits for `key`.
    ///
    /// # Errors
    /// [`Full`]: one of the limits is reached.
    pub fn take(&mut self, now: Instant, key: FragmentKey, held: Held) -> Result<(), Full> {
        let length = held.frame.len();
        if self.frames >= FRAMES_MAX || self.bytes + length > BYTES_MAX {
            return Err(Full);
        }
        if !self.packets.contains_key(&key) {
            if self.packets.len() >= KEYS_MAX {
                return Err(Full);
            }
            self.ends.push_back((now + WAIT_MAX, key));
        }
        let packet = self.packets.entry(key).or_default();
        if packet.taken >= FRAMES_PER_KEY_MAX {
            return Err(Full);
        }
        packet.taken += 1;
        packet.waiting.push(held);
        self.frames += 1;
        self.bytes += length;
        Ok(())
    }

    /// Drops the frames whose time is over and returns how many they were.
    pub fn expire(&mut self, now: Instant) -> usize {
        let before = self.frames;
        while let Some((_, key)) = self.ends.pop_front_if(|(end, _)| *end <= now) {
            let _dropped = self.release(&key);
            self.packets.remove(&key);
        }
        before - self.frames
    }

    /// Whether no frame waits.
    pub const fn is_empty(&self) -> bool {
        self.frames == 0
    }

    /// What frames wait for.
    pub fn keys(&self) -> Vec<FragmentKey> {
        self.packets.iter().filter(|(_, packet)| !packet.waiting.is_empty()).map(|(key, _)| *key).collect()
    }

    /// Hands out the frames that wait for a key, in the order they came.
    pub fn release(&mut self, key: &FragmentKey) -> Vec<Held> {
        let waiting = self.packets.get_mut(key).map(|packet| std::mem::take(&mut packet.waiting)).unwrap_or_default();
        self.frames -= waiting.len();
        self.bytes -= waiting.iter().map(|held| held.frame.len()).sum::<usize>();
        waiting
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(identification: u32) -> FragmentKey {
        FragmentKey { identification, ..FragmentKey::default() }
    }

    fn held(length: usize) -> Held {
        Held { frame: vec![length as u8; length], ifindex: 3 }
    }

    #[test]
    fn frames_are_handed_out_once_in_the_order_they_came() {
        let (mut hold, now) = (Hold::default(), Instant::now());
        for (number, length) in [(1, 60), (2, 61), (1, 62)] {
            assert_eq!(hold.take(now, key(number), held(length)), Ok(()));
        }
        let mut keys = hold.keys();
        keys.sort_by_key(|key| key.identification);
        assert_eq!(keys, [key(1), key(2)]);
        assert_eq!(hold.release(&key(1)), [held(60), held(62)]);
        assert_eq!(hold.release(&key(1)), []);
        assert_eq!(hold.release(&key(3)), []);
        assert_eq!(hold.keys(), [key(2)]);
        assert!(!hold.is_empty());
        assert_eq!(hold.release(&key(2)), [held(61)]);
        assert!(hold.is_empty());
    }

    #[test]
    fn frames_expire_with_the_first_of_their_packet() {
        let (mut hold, now) = (Hold::default(), Instant::now());
        let later = |ms| now + Duration::from_millis(ms);
        hold.take(now, key(1), held(60)).unwrap();
        hold.take(later(900), key(1), held(60)).unwrap();
        hold.take(later(500), key(2), held(60)).unwrap();
        assert_eq!(hold.expire(later(999)), 0);
        assert_eq!(hold.expire(later(1000)), 2);
        assert_eq!(hold.keys(), [key(2)]);
        assert_eq!(hold.expire(later(1500)), 1);
        assert!(hold.is_empty() && hold.packets.is_empty() && hold.ends.is_empty() && hold.bytes == 0);
    }

    #[test]
    fn copies_and_frames_that_come_back_are_bounded_until_their_packet_s_time_is_over() {
        let (mut hold, now) = (Hold::default(), Instant::now());
        for _ in 0..FRAMES_PER_KEY_MAX {
            hold.take(now, key(1), held(60)).unwrap();
            assert_eq!(hold.release(&key(1)), [held(60)]);
        }
        assert_eq!(hold.take(now, key(1), held(60)), Err(Full));
        assert_eq!(hold.take(now, key(2), held(60)), Ok(()));
        assert_eq!(hold.expire(now + WAIT_MAX), 1);
        assert_eq!(hold.take(now + WAIT_MAX, key(1), held(60)), Ok(()));
    }

    #[test]
    fn frames_bytes_and_keys_are_bounded() {
        let now = Instant::now();
        let fill = |keys: u32, length| {
            let mut hold = Hold::default();
            let taken = (0..4096).filter(|number| hold.take(now, key(number % keys), held(length)).is_ok()).count();
            (taken, hold)
        };
        assert_eq!(fill(64, 60).0, FRAMES_MAX);
        assert_eq!(fill(4096, 60).0, FRAMES_MAX);
        let (taken, mut hold) = fill(128, 8192);
        assert_eq!((taken, hold.bytes), (512, BYTES_MAX));
        let first = hold.release(&key(0)).len();
        assert_eq!(hold.take(now, key(0), held(8192)), Ok(()));
        assert_eq!(first, 4);

        // Released packets are still counted.
        let mut hold = Hold::default();
        for number in 0..KEYS_MAX as u32 {
            hold.take(now, key(number), held(60)).unwrap();
            hold.release(&key(number));
        }
        assert_eq!(hold.take(now, key(5000), held(60)), Err(Full));
        assert_eq!(hold.take(now, key(5), held(60)), Ok(()));
        hold.expire(now + WAIT_MAX);
        assert_eq!(hold.take(now + WAIT_MAX, key(5000), held(60)), Ok(()));
    }
}
