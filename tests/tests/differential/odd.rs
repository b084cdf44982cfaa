//! Turns plain IP packets into odd ones that mean the same: with options, extension headers, in fragments.

use super::random::Random;

/// Adds options or extension headers to an IP packet, sound ones mostly.
pub fn dressed(random: &mut Random, packet: &[u8]) -> Vec<u8> {
    if packet[0] >> 4 == 4 { with_options(random, packet) } else { with_extensions(random, packet) }
}

/// IPv4 options: none, padding, router alert, record route, timestamp, and now and then a source route.
fn with_options(random: &mut Random, packet: &[u8]) -> Vec<u8> {
    let mut options = Vec::new();
    for _ in 0..=random.below(3) {
        match random.below(12) {
            0..=3 => options.extend([1]),
            4..=6 => options.extend([148, 4, 0, 0]),
            7 | 8 => options.extend([7, 7, 4, 0, 0, 0, 0]),
            9 => options.extend([68, 12, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
            10 if random.one_in(3) => options.extend([random.pick(&[131, 137]), 7, 4, 192, 0, 2, 1]),
            11 if random.one_in(4) => options.extend([random.byte(), random.byte()]),
            _ => options.extend([0]),
        }
    }
    options.truncate(40);
    options.resize(options.len().next_multiple_of(4), 0);
    let mut odd = packet[..20].to_vec();
    odd[0] = 0x45 + (options.len() / 4) as u8;
    let length = packet.len() + options.len();
    odd[2..4].copy_from_slice(&(length as u16).to_be_bytes());
    odd.extend(&options);
    seal(&mut odd);
    [odd, packet[20..].to_vec()].concat()
}

/// The header checksum of an IPv4 header.
fn seal(header: &mut [u8]) {
    header[10..12].fill(0);
    let mut sum = 0_u32;
    for pair in header.chunks(2) {
        sum += u32::from(pair[0]) << 8 | u32::from(pair[1]);
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    header[10..12].copy_from_slice(&(!(sum as u16)).to_be_bytes());
}

/// IPv6 extension headers: one to three, seldom more than anyone walks over, seldom a route.
fn with_extensions(random: &mut Random, packet: &[u8]) -> Vec<u8> {
    let count = if random.one_in(10) { 7 + random.below(4) } else { 1 + random.below(3) };
    let kinds: Vec<u8> = (0..count).map(|_| random.pick(&[0, 43, 44, 51, 60, 60, 60, 135])).collect();
    let mut chain = Vec::new();
    for (position, kind) in kinds.iter().enumerate() {
        let next = kinds.get(position + 1).copied().unwrap_or(packet[6]);
        let extra = random.below(3);
        match *kind {
            44 => chain.extend([next, 0, 0, 0, 1, 2, 3, 4]),
            51 => {
                chain.extend([next, 1 + 2 * extra as u8, 0, 0]);
                chain.extend(random.bytes(8 + 8 * extra));
            }
            43 => {
                chain.extend([next, extra as u8, 0, u8::from(random.one_in(5))]);
                chain.extend(random.bytes(4 + 8 * extra));
            }
            _ => {
                chain.extend([next, extra as u8]);
                chain.extend(random.bytes(6 + 8 * extra));
            }
        }
    }
    let mut odd = packet[..40].to_vec();
    odd[6] = kinds[0];
    let length = packet.len() - 40 + chain.len();
    odd[4..6].copy_from_slice(&(length as u16).to_be_bytes());
    [odd, chain, packet[40..].to_vec()].concat()
}

/// The fragments of an IP packet, in order; the packet itself when it is too short for two. The identification must be no other
/// packet's: how long the program remembers one is a matter of the machine's clock.
pub fn fragments(random: &mut Random, packet: &[u8], identification: u32) -> Vec<Vec<u8>> {
    let ipv4 = packet[0] >> 4 == 4;
    let header = if ipv4 { usize::from(packet[0] & 0xf) * 4 } else { 40 };
    let data = &packet[header..];
    let unit = if random.one_in(4) { 8 * (1 + random.below(4)) } else { 8 * (3 + random.below(80)) };
    if data.len() <= unit {
        return vec![packet.to_vec()];
    }
    let last = data.len().div_ceil(unit) - 1;
    let fragment = |(number, part): (usize, &[u8])| {
        let (offset, more) = ((number * unit) as u16, number != last);
        let place = (offset, more, identification);
        if ipv4 { part4(&packet[..header], part, place) } else { part6(packet, part, place) }
    };
    data.chunks(unit).enumerate().map(fragment).collect()
}

fn part4(header: &[u8], data: &[u8], (offset, more, identification): (u16, bool, u32)) -> Vec<u8> {
    let mut header = header.to_vec();
    let length = header.len() + data.len();
    header[2..4].copy_from_slice(&(length as u16).to_be_bytes());
    header[4..6].copy_from_slice(&(identification as u16).to_be_bytes());
    header[6..8].copy_from_slice(&((offset / 8) | (u16::from(more) << 13)).to_be_bytes());
    seal(&mut header);
    [&header, data].concat()
}

fn part6(packet: &[u8], data: &[u8], (offset, more, identification): (u16, bool, u32)) -> Vec<u8> {
    let mut header = packet[..40].to_vec();
    let next = std::mem::replace(&mut header[6], 44);
    header[4..6].copy_from_slice(&(8 + data.len() as u16).to_be_bytes());
    header.extend([next, 0]);
    header.extend((offset | u16::from(more)).to_be_bytes());
    header.extend(identification.to_be_bytes());
    [&header, data].concat()
}
