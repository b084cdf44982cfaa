//! Turns plain frames into the shapes that are hard: cut into fragments, with IPv4 options, with IPv6 extension headers.

/// Bytes of the Ethernet header.
const ETHERNET: usize = 14;

/// Whether a frame carries IPv4.
fn is_ipv4(frame: &[u8]) -> bool {
    frame[12..14] == [0x08, 0x00]
}

/// Cuts the IP packet of an untagged frame without options into fragments of at most `data` bytes each, a multiple of 8
/// (RFC 791 section 3.2, RFC 8200 section 4.5); `identification` is theirs.
#[must_use]
pub fn fragments(frame: &[u8], data: usize, identification: u32) -> Vec<Vec<u8>> {
    assert!(data.is_multiple_of(8), "{data}");
    let header = ETHERNET + if is_ipv4(frame) { 20 } else { 40 };
    let payload = &frame[header..];
    let count = payload.len().div_ceil(data);
    let piece = |(number, part): (usize, &[u8])| {
        let (offset, more) = (number * data, number + 1 < count);
        fragment(&frame[..header], part, (offset as u16, more), identification)
    };
    payload.chunks(data).enumerate().map(piece).collect()
}

/// One fragment: `headers` are Ethernet's and IP's.
#[must_use]
pub fn fragment(headers: &[u8], data: &[u8], (offset, more): (u16, bool), identification: u32) -> Vec<u8> {
    let mut bytes = headers.to_vec();
    if is_ipv4(headers) {
        let field = (offset / 8) | if more { 0x2000 } else { 0 };
        bytes[16..18].copy_from_slice(&(20 + data.len() as u16).to_be_bytes());
        bytes[18..20].copy_from_slice(&(identification as u16).to_be_bytes());
        bytes[20..22].copy_from_slice(&field.to_be_bytes());
        seal(&mut bytes[ETHERNET..]);
    } else {
        let next = std::mem::replace(&mut bytes[20], 44);
        bytes[18..20].copy_from_slice(&(8 + data.len() as u16).to_be_bytes());
        bytes.extend([next, 0]);
        bytes.extend((offset | u16::from(more)).to_be_bytes());
        bytes.extend(identification.to_be_bytes());
    }
    bytes.extend(data);
    bytes
}

/// Puts IPv4 options, a multiple of 4 bytes, behind the fixed header of an untagged frame.
#[must_use]
pub fn with_options(frame: &[u8], options: &[u8]) -> Vec<u8> {
    let mut bytes = frame.to_vec();
    let length = u16::from_be_bytes([bytes[16], bytes[17]]) + options.len() as u16;
    bytes[14] += (options.len() / 4) as u8;
    bytes[16..18].copy_from_slice(&length.to_be_bytes());
    bytes.splice(34..34, options.iter().copied());
    let header = 20 + options.len();
    seal(&mut bytes[ETHERNET..ETHERNET + header]);
    bytes
}

/// Puts IPv6 extension headers behind the fixed header of an untagged frame: (next header, bytes from its second on), outermost first.
#[must_use]
pub fn with_extensions(frame: &[u8], extensions: &[(u8, &[u8])]) -> Vec<u8> {
    let mut bytes = frame.to_vec();
    let transport = bytes[20];
    let added: usize = extensions.iter().map(|(_, rest)| rest.len() + 1).sum();
    let length = u16::from_be_bytes([bytes[18], bytes[19]]) + added as u16;
    bytes[18..20].copy_from_slice(&length.to_be_bytes());
    let mut chain = Vec::new();
    for (position, (kind, rest)) in extensions.iter().enumerate() {
        if position == 0 {
            bytes[20] = *kind;
        }
        chain.push(extensions.get(position + 1).map_or(transport, |(next, _)| *next));
        chain.extend(*rest);
    }
    bytes.splice(54..54, chain);
    bytes
}

/// Options that change nothing: no-operation and end (RFC 791), hop-by-hop and destination options that pad (RFC 8200 section 4.2).
#[must_use]
pub fn with_harmless_headers(frame: &[u8]) -> Vec<u8> {
    if is_ipv4(frame) {
        with_options(frame, &[1, 1, 7, 7, 4, 0, 0, 0, 0, 0, 0, 0])
    } else {
        let pad: &[u8] = &[0, 1, 4, 0, 0, 0, 0];
        with_extensions(frame, &[(0, pad), (60, &[1, 1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])])
    }
}

/// Fills in the checksum of an IPv4 header.
fn seal(header: &mut [u8]) {
    header[10..12].fill(0);
    let sum: u32 = header.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    let checksum = !((folded & 0xffff) + (folded >> 16)) as u16;
    header[10..12].copy_from_slice(&checksum.to_be_bytes());
}
