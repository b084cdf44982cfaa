//! Turns lists of prefixes into entries of `SOURCES`, under an id that follows from what they say.

use std::{
    collections::{BTreeMap, HashMap},
    net::Ipv4Addr,
    sync::Arc,
};

use balancer_common::{
    service::{Address, mapped},
    source::{SOURCE_ALLOW, SOURCE_DENY, SourceKey},
};
use ipnet::IpNet;
use sha2::{Digest as _, Sha256};

use super::address;
use crate::model::{ServicePort, Sources};

/// Lists by id, each once however many service ports use it.
pub(in crate::reconcile) type Lists = BTreeMap<u64, Arc<Sources>>;

/// The id of each service port's list, 0 where everybody may, and the lists.
pub(super) fn render(ports: &[ServicePort]) -> (Vec<u64>, Lists) {
    let mut lists = Lists::new();
    // The config makes equal lists one, so that each is looked through once.
    let mut known: HashMap<*const Sources, u64> = HashMap::new();
    let mut id_of = |port: &ServicePort| {
        if port.sources.is_open() {
            return 0;
        }
        *known.entry(Arc::as_ptr(&port.sources)).or_insert_with(|| {
            let id = id(&port.sources);
            lists.entry(id).or_insert_with(|| Arc::clone(&port.sources));
            id
        })
    };
    let ids = ports.iter().map(&mut id_of).collect();
    (ids, lists)
}

/// Every entry of a list. Clients of IPv4 are looked up in mapped form, below which IPv6 prefixes such as ::/0 lie too: these
/// must not decide about IPv4 clients.
pub(in crate::reconcile) fn entries(id: u64, sources: &Sources) -> BTreeMap<SourceKey, u32> {
    said(sources).into_iter().map(|((bits, address), verdict)| (SourceKey::of(id, address, bits), verdict)).collect()
}

/// What a list says of each prefix, as bits and address.
fn said(sources: &Sources) -> BTreeMap<(u32, Address), u32> {
    let others = if sources.lets_others_in() { SOURCE_ALLOW } else { SOURCE_DENY };
    let mut said = BTreeMap::from([((0, [0; 16]), others)]);
    if sources.hides_ipv4() {
        said.insert((SourceKey::MAPPED_BITS, mapped(Ipv4Addr::UNSPECIFIED.octets())), others);
    }
    let allowed = sources.allow.iter().map(|prefix| (prefix, SOURCE_ALLOW));
    let denied = sources.deny.iter().map(|prefix| (prefix, SOURCE_DENY));
    said.extend(allowed.chain(denied).map(|(prefix, verdict)| (place(prefix), verdict)));
    said
}

fn place(prefix: &IpNet) -> (u32, Address) {
    let front = match prefix {
        IpNet::V4(_) => SourceKey::MAPPED_BITS,
        IpNet::V6(_) => 0,
    };
    (front + u32::from(prefix.prefix_len()), address::bytes(prefix.network()))
}

/// The first eight bytes of the SHA-256 that are not all 0: the same list has the same id on every gateway and after a restart.
fn id(sources: &Sources) -> u64 {
    let mut digest = Sha256::new();
    for ((bits, address), verdict) in said(sources) {
        digest.update(bits.to_be_bytes());
        digest.update(address);
        digest.update(verdict.to_be_bytes());
    }
    let digest = digest.finalize();
    let words = digest.chunks_exact(8).map(|word| word.iter().fold(0, |id, byte| id << 8 | u64::from(*byte)));
    words.into_iter().find(|word| *word != 0).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources(allow: &[&str], deny: &[&str]) -> Sources {
        let nets = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
        Sources { allow: nets(allow), deny: nets(deny) }
    }

    fn check(sources: &Sources, expected: &[(&str, u32, u32)]) {
        let found: Vec<(u32, Address, u32)> =
            said(sources).into_iter().map(|((bits, address), verdict)| (bits, address, verdict)).collect();
        let address = |text: &str| address::bytes(text.parse().unwrap());
        let expected: Vec<_> = expected.iter().map(|(text, bits, verdict)| (*bits, address(text), *verdict)).collect();
        assert_eq!(found, expected, "{sources:?}");
        assert_eq!(sources.entries_count(), found.len(), "{sources:?}");
    }

    #[test]
    fn a_list_says_what_holds_for_the_others() {
        check(&sources(&["10.0.0.0/8"], &[]), &[("::", 0, SOURCE_DENY), ("10.0.0.0", 104, SOURCE_ALLOW)]);
        check(&sources(&[], &["fd00::/8"]), &[("::", 0, SOURCE_ALLOW), ("fd00::", 8, SOURCE_DENY)]);
    }

    #[test]
    fn a_prefix_of_ipv6_decides_about_no_ipv4_client() {
        let none = "::ffff:0:0";
        check(&sources(&[], &["::/0"]), &[("::", 0, SOURCE_DENY), (none, 96, SOURCE_ALLOW)].map(v4));
        check(
            &sources(&["::/1"], &[]),
            &[("::", 0, SOURCE_DENY), ("::", 1, SOURCE_ALLOW), (none, 96, SOURCE_DENY)].map(v4),
        );
        check(&sources(&["0.0.0.0/0"], &["::/0"]), &[("::", 0, SOURCE_DENY), (none, 96, SOURCE_ALLOW)].map(v4));
    }

    /// The mapped form of 0.0.0.0, which parses as IPv6.
    fn v4((text, bits, verdict): (&'static str, u32, u32)) -> (&'static str, u32, u32) {
        (if text == "::ffff:0:0" { "0.0.0.0" } else { text }, bits, verdict)
    }

    #[test]
    fn ids_follow_from_what_is_said() {
        let one = id(&sources(&["10.0.0.0/8"], &["10.1.0.0/16"]));
        assert_eq!(one, id(&sources(&["10.0.0.0/8"], &["10.1.0.0/16"])));
        assert_ne!(one, id(&sources(&["10.1.0.0/16"], &["10.0.0.0/8"])));
        assert_ne!(one, id(&sources(&["10.0.0.0/8"], &[])));
    }
}
