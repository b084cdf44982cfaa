//! Turns any bytes into every header that is read from packets, and asks each of them everything.
#![no_main]

mod packet;

use balancer_common::{
    checksum::{Delta, fold},
    conntrack::Signal,
    service::mapped,
    wire::{bytes::Bytes as _, ip::Ip, tcp::TcpHeader, vlan::VlanTag, vxlan::VxlanHeader},
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Some(ip) = packet::ipv4(bytes, 0) {
        check(ip);
        let sealed = balancer_common::wire::ipv4::Ipv4Header { checksum: ip.computed_checksum(), ..ip };
        // A packet whose time ends here is never forwarded.
        if ip.ttl == 0 {
            return;
        }
        let mut hop = sealed;
        let to = mapped([10, 1, 0, 7]);
        hop.forward_to(&to, Delta::of(&sealed.destination, &[10, 1, 0, 7]));
        assert_eq!(fold(sealed.header_sum()) % 0xffff, fold(hop.header_sum()) % 0xffff);
    }
    if let Some(ip) = packet::ipv6(bytes, 0) {
        check(ip);
    }
    if let Some([tpid_high, tpid_low, tci_high, tci_low]) = bytes.load(0) {
        let tag = VlanTag { tpid: [tpid_high, tpid_low], tci: [tci_high, tci_low] };
        assert_eq!(VlanTag::from_word(tag.word()), tag);
    }
    if let Some(head) = bytes.load::<8>(0) {
        let [a, b, c, d, e, f, g, h] = head;
        assert!(VxlanHeader { flags: [a, b, c, d], vni_field: [e, f, g, h] }.vni() <= 0x00ff_ffff);
    }
    if let Some(head) = bytes.load::<20>(0) {
        let tcp = TcpHeader { data_offset: head[12], flags: head[13], ..TcpHeader::default() };
        assert!(tcp.length() <= 60);
        assert!(matches!(Signal::of_tcp(tcp.flags), Signal::Opens | Signal::Closes | Signal::Continues));
    }
});

fn check<I: Ip>(ip: I) {
    assert!(ip.packet_length() <= 65_535 + 40);
    assert!(ip.source_is(&ip.source()) && ip.destination_is(&ip.destination()));
    for ecn in 0..=3 {
        let mut marked = ip;
        marked.set_ecn(ecn);
        assert_eq!(marked.traffic_class(), ip.traffic_class() & !3 | ecn);
    }
    let mut answer = ip;
    answer.answer(17, 100);
    assert!(answer.is_plain() && answer.source_is(&ip.destination()) && answer.destination_is(&ip.source()));
}
