//! Turns addresses of the model into the bytes of a map.

use std::net::IpAddr;

use balancer_common::service::{Address, FAMILY_IPV4, FAMILY_IPV6, mapped};

/// IPv6, or IPv4-mapped.
pub(super) fn bytes(address: IpAddr) -> Address {
    match address {
        IpAddr::V4(v4) => mapped(v4.octets()),
        IpAddr::V6(v6) => v6.octets(),
    }
}

/// The family's number in a map.
pub(super) const fn family(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => FAMILY_IPV4,
        IpAddr::V6(_) => FAMILY_IPV6,
    }
}
