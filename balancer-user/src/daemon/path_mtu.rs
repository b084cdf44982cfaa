//! Turns what the underlay says about packets that were too big into the path MTU of each host, for as long as that may be true.
//!
//! Sources: RFC 1191 section 6.3 and RFC 8201 section 4. Anybody on the underlay can send such an error, so one only ever
//! lowers the MTU, never below [`FLOOR`], and is forgotten after [`KEPT_FOR`].

use std::{
    collections::BTreeMap,
    net::IpAddr,
    time::{Duration, Instant},
};

use crate::{
    datapath::OuterError,
    model::{Desired, Host, NetworkView},
};

/// Least outer MTU that is believed, bytes: what every IPv6 link has (RFC 8200 section 5).
const FLOOR: u16 = 1_280;
/// When the larger MTU is tried again.
const KEPT_FOR: Duration = Duration::from_secs(600);

/// At most one path MTU for each host.
#[derive(Debug, Default)]
pub(super) struct PathMtus(BTreeMap<IpAddr, Learnt>);

#[derive(Clone, Copy, Debug)]
struct Learnt {
    mtu: u16,
    until: Instant,
}

impl PathMtus {
    /// Takes what an error says of the way to a host, where config and route say `before`. Returns whether the path MTU is
    /// lower now.
    pub(super) fn lower(&mut self, host: IpAddr, said: u16, before: Option<u32>, now: Instant) -> bool {
        let mtu = match host {
            // RFC 8201 section 4: less than an IPv6 link has must be discarded.
            IpAddr::V6(_) if said < FLOOR => return false,
            IpAddr::V6(_) | IpAddr::V4(_) => said.max(FLOOR),
        };
        let learnt = self.0.get(&host).map(|learnt| u32::from(learnt.mtu));
        let known = learnt.into_iter().chain(before).min();
        if known.is_some_and(|known| u32::from(mtu) >= known) {
            return false;
        }
        self.0.insert(host, Learnt { mtu, until: now + KEPT_FOR });
        true
    }

    /// Forgets what is too old.
    pub(super) fn expire(&mut self, now: Instant) {
        self.0.retain(|_, learnt| learnt.until > now);
    }

    /// Forgets hosts that are not in the config any more.
    pub(super) fn keep_only(&mut self, hosts: &[Host]) {
        self.0.retain(|vtep, _| hosts.iter().any(|host| host.vtep == *vtep));
    }

    /// In the form of [`NetworkView::path_mtus`].
    pub(super) fn known(&self) -> BTreeMap<IpAddr, u16> {
        self.0.iter().map(|(host, learnt)| (*host, learnt.mtu)).collect()
    }
}

/// The host of the config that an error is about; none when it is not about VXLAN from a VTEP of ours.
pub(super) fn host_of<'a>(error: &OuterError, desired: &'a Desired) -> Option<&'a Host> {
    let gateway = &desired.gateway;
    let ours = [gateway.vtep_ipv4.map(IpAddr::V4), gateway.vtep_ipv6.map(IpAddr::V6)];
    let about_ours = ours.contains(&Some(error.source)) && error.port == gateway.vxlan_port;
    desired.hosts.iter().find(|host| about_ours && host.vtep == error.host)
}

/// What config and route say of the outer MTU to a host; none when neither says anything.
pub(super) fn before(host: &Host, view: &NetworkView) -> Option<u32> {
    let route = view.hosts.get(&host.vtep).map(|hop| hop.mtu);
    host.mtu.map(u32::from).into_iter().chain(route).min()
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use super::*;

    const V4: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 99, 0, 11));
    const V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfd00, 0x99, 0, 0, 0, 0, 0, 11));

    fn host(vtep: IpAddr, mtu: Option<u16>) -> Host {
        Host { name: "host1".into(), vtep, mtu }
    }

    #[test]
    fn an_error_only_lowers_and_never_below_the_floor() {
        let now = Instant::now();
        // (host, said, said by config or route, learnt)
        let table = [
            (V4, 1400, Some(1550), Some(1400)),
            (V4, 1400, None, Some(1400)),
            (V4, 1550, Some(1550), None),
            (V4, 9000, Some(1550), None),
            (V4, 68, Some(1550), Some(1280)),
            (V4, 0, Some(1280), None),
            (V4, 68, Some(1000), None),
            (V6, 1400, Some(1550), Some(1400)),
            (V6, 1280, Some(1550), Some(1280)),
            (V6, 1279, Some(1550), None),
            (V6, 0, Some(1550), None),
        ];
        for (host, said, before, expected) in table {
            let mut mtus = PathMtus::default();
            assert_eq!(mtus.lower(host, said, before, now), expected.is_some(), "{host} {said}");
            assert_eq!(mtus.known().get(&host).copied(), expected, "{host} {said}");
        }
    }

    #[test]
    fn the_lowest_stays_until_its_own_time_is_over() {
        let (mut mtus, now) = (PathMtus::default(), Instant::now());
        let later = |seconds| now + Duration::from_secs(seconds);
        assert!(mtus.lower(V4, 1500, Some(1600), now));
        assert!(!mtus.lower(V4, 1500, Some(1600), later(10)));
        assert!(mtus.lower(V4, 1400, Some(1600), later(100)));
        assert!(mtus.lower(V6, 1300, Some(1600), later(300)));
        assert!(!mtus.lower(V4, 1450, Some(1600), later(500)));
        mtus.expire(later(699));
        assert_eq!(mtus.known(), [(V4, 1400), (V6, 1300)].into());
        mtus.expire(later(700));
        assert_eq!(mtus.known(), [(V6, 1300)].into());
        assert!(mtus.lower(V4, 1500, Some(1600), later(700)));
    }

    #[test]
    fn hosts_that_leave_the_config_are_forgotten() {
        let (mut mtus, now) = (PathMtus::default(), Instant::now());
        mtus.lower(V4, 1400, None, now);
        mtus.lower(V6, 1400, None, now);
        mtus.keep_only(&[host(V6, None)]);
        assert_eq!(mtus.known(), [(V6, 1400)].into());
    }

    #[test]
    fn only_errors_about_vxlan_from_our_vtep_to_a_host_are_believed() {
        let text = include_str!("../../../examples/demo.toml").to_owned();
        let source = crate::config::Source { file: "demo.toml".into(), text };
        let desired = crate::config::parse(&[source], "gw1").unwrap().desired;
        let vtep = IpAddr::V4(Ipv4Addr::new(10, 99, 0, 1));
        let right = OuterError { source: vtep, host: V4, port: 4789, mtu: 1400 };
        assert_eq!(host_of(&right, &desired).map(|host| host.name.as_str()), Some("host1"));
        for wrong in [
            OuterError { source: V4, ..right },
            OuterError { source: V6, ..right },
            OuterError { host: vtep, ..right },
            OuterError { port: 8472, ..right },
        ] {
            assert_eq!(host_of(&wrong, &desired), None, "{wrong:?}");
        }
    }

    #[test]
    fn the_lower_of_config_and_route_was_known_before() {
        let mut view = NetworkView::default();
        assert_eq!(before(&host(V4, None), &view), None);
        assert_eq!(before(&host(V4, Some(1500)), &view), Some(1500));
        let hop = crate::model::NextHop { ifindex: 2, source_mac: [2; 6], destination_mac: None, mtu: 1450 };
        view.hosts.insert(V4, hop);
        assert_eq!(before(&host(V4, Some(1500)), &view), Some(1450));
        assert_eq!(before(&host(V4, None), &view), Some(1450));
        assert_eq!(before(&host(V4, Some(1400)), &view), Some(1400));
    }
}
