//! Turns text into IP addresses, networks, MAC addresses and listen addresses.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ipnet::{IpNet, Ipv4Net};

use super::TextFormat;

/// A unicast MAC address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Mac(pub(crate) [u8; 6]);

/// Where to listen, or not at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Listen(pub(crate) Option<SocketAddr>);

/// Whether one machine can be reached at `address`: unicast, and neither loopback nor link-local.
pub(crate) fn is_usable(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            v4.octets()[0] != 0 && !v4.is_multicast() && !v4.is_broadcast() && !v4.is_loopback() && !v4.is_link_local()
        }
        IpAddr::V6(v6) => {
            !v6.is_unspecified() && !v6.is_multicast() && !v6.is_loopback() && !v6.is_unicast_link_local()
        }
    }
}

impl TextFormat for IpAddr {
    const FORMAT: &'static str = "ip";
    const ALLOWED: &'static str = "an IPv4 or IPv6 address such as \"203.0.113.10\" or \"2001:db8::10\"";
    const EXAMPLES: &'static [&'static str] = &["203.0.113.10", "2001:db8::10"];

    fn parse(text: &str) -> Result<Self, String> {
        match text.parse() {
            Ok(Self::V4(v4)) => Ok(Self::V4(v4)),
            Ok(Self::V6(v6)) => plain(v6).map(Self::V6),
            Err(_) => Err("is not an IP address".to_owned()),
        }
    }
}

impl TextFormat for Ipv4Addr {
    const FORMAT: &'static str = "ipv4";
    const ALLOWED: &'static str = "an IPv4 address such as \"10.99.0.1\"";
    const EXAMPLES: &'static [&'static str] = &["10.99.0.1"];

    fn parse(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| "is not an IPv4 address".to_owned())
    }
}

impl TextFormat for Ipv6Addr {
    const FORMAT: &'static str = "ipv6";
    const ALLOWED: &'static str = "an IPv6 address such as \"2001:db8::1\"";
    const EXAMPLES: &'static [&'static str] = &["2001:db8::1"];

    fn parse(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| "is not an IPv6 address".to_owned()).and_then(plain)
    }
}

/// The maps store IPv4 addresses as IPv4-mapped ones (RFC 4291 section 2.5.5.2), so those cannot mean IPv6 too.
fn plain(address: Ipv6Addr) -> Result<Ipv6Addr, String> {
    match address.to_ipv4_mapped() {
        Some(v4) => Err(format!("is an IPv4-mapped address: write \"{v4}\"")),
        None => Ok(address),
    }
}

/// The IPv4 network that an IPv6 one of IPv4-mapped addresses stands for.
fn mapped(network: &IpNet) -> Option<Ipv4Net> {
    /// Bits in front of the IPv4 address.
    const MAPPED_BITS: u8 = 96;
    let IpNet::V6(v6) = network else { return None };
    let bits = v6.prefix_len().checked_sub(MAPPED_BITS)?;
    Ipv4Net::new(v6.network().to_ipv4_mapped()?, bits).ok()
}

impl TextFormat for IpNet {
    const FORMAT: &'static str = "ip-network";
    const ALLOWED: &'static str = "a network such as \"10.1.0.0/24\" or \"fd01::/64\"";
    const EXAMPLES: &'static [&'static str] = &["10.1.0.0/24", "fd01::/64"];

    fn parse(text: &str) -> Result<Self, String> {
        let network: Self = text.parse().map_err(|_| "is not a network in the form address/prefix".to_owned())?;
        if network.trunc() != network {
            return Err(format!("has bits set behind its prefix: write \"{}\"", network.trunc()));
        }
        match mapped(&network) {
            Some(v4) => Err(format!("is a network of IPv4-mapped addresses: write \"{v4}\"")),
            None => Ok(network),
        }
    }
}

impl TextFormat for Mac {
    const FORMAT: &'static str = "mac";
    const ALLOWED: &'static str = "a unicast MAC address such as \"02:01:00:00:00:11\"";
    const PATTERN: Option<&'static str> = Some("^[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}$");
    const EXAMPLES: &'static [&'static str] = &["02:01:00:00:00:11"];

    fn parse(text: &str) -> Result<Self, String> {
        let mut mac = [0; 6];
        let mut parts = text.split(':');
        for byte in &mut mac {
            let part =
                parts.next().filter(|part| part.len() == 2 && part.bytes().all(|digit| digit.is_ascii_hexdigit()));
            *byte = part.and_then(|part| u8::from_str_radix(part, 16).ok()).ok_or("is not a MAC address")?;
        }
        if parts.next().is_some() {
            return Err("is not a MAC address".to_owned());
        }
        if mac[0] & 1 == 1 {
            return Err("is a multicast MAC address: the first byte must be even".to_owned());
        }
        if mac == [0; 6] {
            return Err("is no machine's MAC address".to_owned());
        }
        Ok(Self(mac))
    }
}

impl TextFormat for Listen {
    const FORMAT: &'static str = "listen-address";
    const ALLOWED: &'static str = "address:port such as \"127.0.0.1:9100\" or \"[::1]:9100\", or \"off\"";
    const EXAMPLES: &'static [&'static str] = &["127.0.0.1:9100", "[::]:9100", "off"];

    fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() || text == "off" {
            return Ok(Self(None));
        }
        let address: SocketAddr = text.parse().map_err(|_| "is not an address and port".to_owned())?;
        if address.port() == 0 {
            return Err("has port 0".to_owned());
        }
        Ok(Self(Some(address)))
    }
}

#[cfg(test)]
mod tests {
    use super::{super::check::check, *};

    #[test]
    fn addresses_are_read_or_refused() {
        check::<IpAddr>([
            ("10.0.0.1", Some(Ipv4Addr::new(10, 0, 0, 1).into())),
            ("fd01::11", Some(Ipv6Addr::new(0xfd01, 0, 0, 0, 0, 0, 0, 0x11).into())),
            ("::ffff:10.0.0.1", None),
            ("10.0.0.256", None),
            ("010.0.0.1", None),
            ("", None),
        ]);
        check::<Ipv4Addr>([("fd01::1", None)]);
        check::<Ipv6Addr>([("10.0.0.1", None)]);
        check::<IpNet>([
            ("10.1.0.5/24", None),
            ("10.1.0.0", None),
            ("10.1.0.0/33", None),
            ("::ffff:10.0.0.0/104", None),
            ("::ffff:0:0/96", None),
        ]);
        assert!(IpNet::parse("::ffff:10.0.0.0/104").is_err_and(|reason| reason.contains("write \"10.0.0.0/8\"")));
        assert!(IpNet::parse("::/0").is_ok());
    }

    #[test]
    fn macs_are_unicast_and_complete() {
        check([
            ("02:01:00:00:00:11", Some(Mac([2, 1, 0, 0, 0, 0x11]))),
            ("02:01:00:00:00", None),
            ("02:01:00:00:00:11:12", None),
            ("02-01-00-00-00-11", None),
            ("2:1:0:0:0:11", None),
            ("+2:01:00:00:00:11", None),
            ("01:00:5e:00:00:01", None),
            ("00:00:00:00:00:00", None),
        ]);
    }

    #[test]
    fn listen_address_can_be_switched_off() {
        check([
            ("", Some(Listen(None))),
            ("off", Some(Listen(None))),
            ("[::1]:9100", Some(Listen("[::1]:9100".parse().ok()))),
            ("127.0.0.1:0", None),
            ("localhost:9100", None),
        ]);
    }

    #[test]
    fn usable_addresses_are_unicast_and_not_local() {
        for (text, expected) in [
            ("203.0.113.1", true),
            ("10.0.0.1", true),
            ("0.1.2.3", false),
            ("127.0.0.1", false),
            ("169.254.1.1", false),
            ("224.0.0.1", false),
            ("255.255.255.255", false),
            ("2001:db8::1", true),
            ("fd01::1", true),
            ("::", false),
            ("::1", false),
            ("fe80::1", false),
            ("ff02::1", false),
        ] {
            assert_eq!(is_usable(text.parse().expect("address")), expected, "{text}");
        }
    }
}
