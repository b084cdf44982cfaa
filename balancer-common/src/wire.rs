//! Packet headers as they stand in memory: byte arrays in network order, alignment 1, accessors that say what the bytes mean.

pub mod bytes;
pub mod ethernet;
pub mod icmp;
pub mod ip;
pub mod ipv4;
pub mod ipv6;
pub mod quote;
pub mod tcp;
pub mod transport;
pub mod udp;
pub mod vlan;
pub mod vxlan;
pub mod walk;

const _: () = {
    assert!(size_of::<ethernet::EthernetHeader>() == 14);
    assert!(size_of::<vlan::VlanTag>() == 4);
    assert!(size_of::<ipv4::Ipv4Header>() == 20);
    assert!(size_of::<ipv6::Ipv6Header>() == 40);
    assert!(size_of::<tcp::TcpHeader>() == 20);
    assert!(size_of::<udp::UdpHeader>() == 8);
    assert!(size_of::<icmp::IcmpHeader>() == 8);
    assert!(size_of::<vxlan::VxlanHeader>() == 8);
};
