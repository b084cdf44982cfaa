//! Turns the ports that services publish at each VIP into who has them already.

use std::{collections::BTreeMap, net::IpAddr};

use super::super::{error::ErrorKind, report::Finding, text::PortRange};
use crate::model::Protocol;

/// Every port and range that is published. Exact ports may lie within ranges, and ranges within "any"; nothing else overlaps.
#[derive(Default)]
pub(crate) struct Taken {
    /// Owner by VIP, protocol, first and last port.
    owners: BTreeMap<(IpAddr, Protocol, u16, u16), String>,
    /// Last port and owner of ranges other than "any", by VIP, protocol and first port. They do not overlap.
    ranges: BTreeMap<(IpAddr, Protocol, u16), (u16, String)>,
}

impl Taken {
    /// Gives the ports at `vip` to `service`.
    ///
    /// # Errors
    /// What is in the way; then nothing is taken.
    pub(crate) fn take(
        &mut self,
        (vip, protocol, ports): (IpAddr, Protocol, PortRange),
        service: &str,
    ) -> Result<(), Finding> {
        let PortRange { first, last } = ports;
        let name = protocol.name();
        if let Some(owner) = self.owners.get(&(vip, protocol, first, last)) {
            let (what, verb) = if ports.is_range() { ("ports", "are") } else { ("port", "is") };
            let message = format!("{name} {what} {} at {vip} {verb} service \"{owner}\"'s already", ports.shown());
            return Err(Finding::new(ErrorKind::Duplicate, message).value(ports.shown()));
        }
        if ports.is_range() && ports != PortRange::ANY {
            let before = self.ranges.range(..=(vip, protocol, last)).next_back();
            if let Some(((_, _, from), (to, owner))) =
                before.filter(|((at, of, _), (to, _))| (*at, *of) == (vip, protocol) && *to >= first)
            {
                let message = format!(
                    "{name} ports {} at {vip} overlap with {from}-{to} of service \"{owner}\": no port may be in two ranges, but for \"any\"",
                    ports.shown()
                );
                return Err(Finding::new(ErrorKind::Conflict, message).value(format!("{:?}", ports.shown())));
            }
            self.ranges.insert((vip, protocol, first), (last, service.to_owned()));
        }
        self.owners.insert((vip, protocol, first, last), service.to_owned());
        Ok(())
    }
}
