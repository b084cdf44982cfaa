//! Turns the frame builders and the reference model into the first inputs of the fuzz targets, one file each, below a directory.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use balancer_common::record::{RECORD_FRAGMENT, RECORD_HOLD, RECORD_OUTER_ERROR, RECORD_SEND, RecordHead};
use balancer_tests::{
    frames::{
        packet::{Body, Icmp, Packet},
        world::{self, Shape},
    },
    reference::{Arrival, Prediction, Reference},
};
use clap::Parser;

/// Writes the corpus that `fuzz/corpus` holds.
#[derive(Debug, Parser)]
struct Arguments {
    /// Where to: a directory for each target is made there.
    #[arg(default_value = "fuzz/corpus")]
    directory: PathBuf,
}

fn main() -> Result<()> {
    let Arguments { directory } = Arguments::parse();
    let mut corpus = Corpus { directory: &directory };
    for (at, shape) in Shape::ALL.into_iter().enumerate() {
        let (segment, datagram) = (shape.segment(0), shape.datagram(0));
        for (name, packet) in [("segment", &segment), ("datagram", &datagram)] {
            let ip = packet.ip();
            for target in ["walk", "headers"] {
                corpus.write(target, &format!("{name}-{at}"), &ip)?;
            }
            corpus.write("walk", &format!("{name}-odd-{at}"), &odd(&ip))?;
            let error = [&[3, 4, 0, 0, 0, 0, 5, 20], &ip[..]].concat();
            corpus.write("quote", &format!("{name}-{at}"), &error)?;
            corpus.write("quote", &format!("{name}-short-{at}"), &error[..if shape.vip_ipv4 { 36 } else { 56 }])?;
        }
        for (name, kind, frame) in records(shape)? {
            corpus.write("record", &format!("{name}-{at}"), &record(kind, &frame))?;
        }
    }
    let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/demo.toml");
    corpus.write("config", "demo", &fs::read(&demo).with_context(|| demo.display().to_string())?)?;
    corpus.write("config", "mistakes", b"[gateway]\nname = 3\nvtep = \"10.0.0.1/33\"\n[[projects]]\nvni = 0\nvni = 1\n")
}

struct Corpus<'a> {
    directory: &'a Path,
}

impl Corpus<'_> {
    fn write(&mut self, target: &str, name: &str, bytes: &[u8]) -> Result<()> {
        let directory = self.directory.join(target);
        fs::create_dir_all(&directory).with_context(|| directory.display().to_string())?;
        fs::write(directory.join(name), bytes).with_context(|| format!("{target}/{name}"))
    }
}

/// The packet with a router alert option or a destination options header.
fn odd(packet: &[u8]) -> Vec<u8> {
    let mut odd = packet.to_vec();
    if packet[0] >> 4 == 4 {
        odd[0] = 0x46;
        odd[3] += 4;
        odd.splice(20..20, [148, 4, 0, 0]);
    } else {
        let next = std::mem::replace(&mut odd[6], 60);
        odd[5] += 8;
        odd.splice(40..40, [next, 0, 1, 4, 0, 0, 0, 0]);
    }
    odd
}

/// Frames that the daemon gets, of every kind.
fn records(shape: Shape) -> Result<Vec<(&'static str, u32, Vec<u8>)>> {
    let (public, underlay) = (1, 2);
    let desired = world::desired(PathBuf::from("/nonexistent"));
    let mut model = Reference::new(&desired, &world::view(public, underlay), &[public, underlay]);
    let mut become_of = |packet: &Packet| {
        let bytes = packet.bytes();
        model.frame(Arrival { frame: &bytes, first_buffer: bytes.len(), ingress: public })
    };
    let mut large = shape.segment(0);
    large.tcp().payload = vec![0x5a; 2000];
    large.fragment = 0;
    let Prediction { frame: sent, .. } = become_of(&shape.segment(0));
    let mut records = vec![("send", RECORD_SEND, sent.clone()), ("hold", RECORD_HOLD, shape.datagram(0).bytes())];
    records.extend(become_of(&large).record.map(|record| ("fragment", RECORD_FRAGMENT, record.frame)));
    let underlay_shape = Shape { vip_ipv4: shape.underlay_ipv4, ..shape };
    let kind = if shape.underlay_ipv4 { [3, 4] } else { [2, 0] };
    let quoted = sent.get(14..).context("a segment is forwarded")?.to_vec();
    let error = Body::Icmp(Icmp { kind, rest: [0, 0, 5, 20], payload: quoted });
    let error = Packet { destination: shape.gateway_vtep(), ..underlay_shape.packet(0, error) };
    records.push(("outer-error", RECORD_OUTER_ERROR, error.bytes()));
    Ok(records)
}

/// A record as it stands in the ring.
fn record(kind: u32, frame: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; size_of::<RecordHead>()];
    for (word, value) in bytes.chunks_exact_mut(4).zip([frame.len() as u32, kind, 3, 1400]) {
        word.copy_from_slice(&value.to_ne_bytes());
    }
    bytes.extend(frame);
    bytes
}
