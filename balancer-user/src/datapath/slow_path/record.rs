//! Turns the bytes of a record of the slow path's ring into a frame and what has to be done with it.

use balancer_common::{
    fragment::FragmentKey,
    record::{RECORD_FRAGMENT, RECORD_FRAGMENT_REPLY, RECORD_HOLD, RECORD_OUTER_ERROR, RECORD_SEND, RecordHead},
};

/// What the datapath asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Record<'a> {
    /// Send the IP packet of a finished frame.
    Send {
        /// The frame.
        frame: &'a [u8],
    },
    /// Send the inner packet of a finished VXLAN frame in fragments.
    Fragment {
        /// The frame.
        frame: &'a [u8],
        /// Bytes of the largest inner IP packet.
        inner_mtu: u32,
    },
    /// Send the IPv4 packet of a finished frame to a client in fragments.
    FragmentReply {
        /// The frame.
        frame: &'a [u8],
        /// Bytes of the largest IP packet.
        mtu: u32,
    },
    /// Hold a frame until `FRAGMENTS` knows a key.
    Hold {
        /// The frame as it came.
        frame: &'a [u8],
        /// Interface that it came in by.
        ifindex: u32,
        /// What it waits for.
        key: FragmentKey,
    },
    /// Learn from an ICMP error about an outer packet.
    OuterError {
        /// The frame as it came.
        frame: &'a [u8],
    },
}

impl<'a> Record<'a> {
    /// Reads a [`RecordHead`] and the frame behind it; none when the record is too short for them or of no known kind.
    pub fn read(bytes: &'a [u8]) -> Option<Self> {
        let (head, frame) = bytes.split_first_chunk::<{ size_of::<RecordHead>() }>()?;
        let [length, kind, ifindex, inner_mtu] = [0, 4, 8, 12].map(|at| word(head, at));
        let frame = frame.get(..length as usize)?;
        match kind {
            RECORD_SEND => Some(Self::Send { frame }),
            RECORD_FRAGMENT => Some(Self::Fragment { frame, inner_mtu }),
            RECORD_FRAGMENT_REPLY => Some(Self::FragmentReply { frame, mtu: inner_mtu }),
            RECORD_HOLD => Some(Self::Hold { frame, ifindex, key: key(head) }),
            RECORD_OUTER_ERROR => Some(Self::OuterError { frame }),
            _ => None,
        }
    }
}

fn key(head: &[u8; size_of::<RecordHead>()]) -> FragmentKey {
    FragmentKey {
        source: part(head, 16),
        destination: part(head, 32),
        identification: word(head, 48),
        vni: word(head, 52),
        protocol: head[56],
        reserved: part(head, 57),
    }
}

fn word(head: &[u8; size_of::<RecordHead>()], at: usize) -> u32 {
    u32::from_ne_bytes(part(head, at))
}

fn part<const N: usize>(head: &[u8; size_of::<RecordHead>()], at: usize) -> [u8; N] {
    std::array::from_fn(|position| head[at + position])
}

#[cfg(test)]
pub mod tests {
    use std::mem::offset_of;

    use super::*;

    /// A record as the datapath writes it.
    pub fn written(head: RecordHead, frame: &[u8]) -> Vec<u8> {
        let RecordHead { kind, ifindex, inner_mtu, key, .. } = head;
        let mut bytes = Vec::new();
        for word in [frame.len() as u32, kind, ifindex, inner_mtu] {
            bytes.extend(word.to_ne_bytes());
        }
        bytes.extend([key.source, key.destination].concat());
        bytes.extend([key.identification, key.vni].map(u32::to_ne_bytes).concat());
        bytes.push(key.protocol);
        bytes.extend(key.reserved);
        bytes.extend(frame);
        // The record is as long as the largest frame, whatever stands there.
        bytes.extend([0xee; 32]);
        bytes
    }

    #[test]
    fn every_kind_comes_back_with_its_fields() {
        let key = FragmentKey {
            source: [1; 16],
            destination: [2; 16],
            identification: 0x0102_0304,
            vni: 100,
            protocol: 17,
            reserved: [0; 7],
        };
        let frame = b"frame".as_slice();
        let table = [
            (RECORD_SEND, Record::Send { frame }),
            (RECORD_FRAGMENT, Record::Fragment { frame, inner_mtu: 1450 }),
            (RECORD_FRAGMENT_REPLY, Record::FragmentReply { frame, mtu: 1450 }),
            (RECORD_HOLD, Record::Hold { frame, ifindex: 7, key }),
            (RECORD_OUTER_ERROR, Record::OuterError { frame }),
        ];
        for (kind, expected) in table {
            let bytes = written(RecordHead { kind, ifindex: 7, inner_mtu: 1450, key, length: 0 }, frame);
            assert_eq!(Record::read(&bytes), Some(expected));
        }
    }

    #[test]
    fn fields_stand_where_the_head_has_them() {
        let [kind, ifindex, inner_mtu, key] = [
            offset_of!(RecordHead, kind),
            offset_of!(RecordHead, ifindex),
            offset_of!(RecordHead, inner_mtu),
            offset_of!(RecordHead, key),
        ];
        assert_eq!((offset_of!(RecordHead, length), kind, ifindex, inner_mtu, key), (0, 4, 8, 12, 16));
        let in_key = [
            offset_of!(FragmentKey, source),
            offset_of!(FragmentKey, destination),
            offset_of!(FragmentKey, identification),
            offset_of!(FragmentKey, vni),
            offset_of!(FragmentKey, protocol),
            offset_of!(FragmentKey, reserved),
        ];
        assert_eq!(in_key, [0, 16, 32, 36, 40, 41]);
    }

    #[test]
    fn what_is_cut_off_or_unknown_is_refused() {
        let bytes = written(RecordHead::default(), b"frame");
        for length in 0..size_of::<RecordHead>() + 5 {
            assert_eq!(Record::read(&bytes[..length]), None, "{length}");
        }
        assert_eq!(Record::read(&written(RecordHead { kind: 99, ..RecordHead::default() }, b"frame")), None);
    }
}
