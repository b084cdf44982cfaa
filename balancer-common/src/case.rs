//! What was special about frames, counted beside the reasons: which of the hard cases occur, and how often.

macro_rules! cases {
    ($($variant:ident, $name:literal, $number:literal, $meaning:literal;)*) => {
        /// A hard case; the position in the `CASES` map. A frame may count under several, or none.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u32)]
        pub enum Case {
            $(#[doc = $meaning] $variant,)*
        }

        impl Case {
            /// Every case, in the order of the map.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The label in metrics and CLI.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// The row of the list of datapath cases (`docs/conformance.md`) that it belongs to.
            #[must_use]
            pub const fn number(self) -> u8 {
                match self { $(Self::$variant => $number,)* }
            }

            /// What happened.
            #[must_use]
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$variant => $meaning,)* }
            }
        }
    };
}

cases! {
    Careful, "careful", 20, "Handed to the careful program, whatever came of it.";
    VlanTagged, "vlan_tagged", 3, "Carried one or two VLAN tags.";
    PaddingCut, "padding_cut", 4, "Longer than its IP packet: the padding was cut off.";
    HeadersSplit, "headers_split", 5, "Headers lay in more than one buffer.";
    PreviousOwner, "previous_owner", 11, "Of an unknown flow on a slot in transition: sent to the slot's previous owner.";
    OtherBackend, "other_backend", 9, "The slot's owner takes no new flows: another backend was chosen.";
    FlowRemembered, "flow_remembered", 10, "Its flow was remembered, because the slot alone would be wrong later.";
    FlowStateless, "flow_stateless", 10, "Its flow was not remembered, because the budget for new flows is spent: placed by hash alone.";
    ReplyRemembered, "reply_remembered", 12, "Several service ports publish its container port: the way back was remembered.";
    IpOptions, "ip_options", 20, "Carried IPv4 options.";
    ExtensionHeaders, "extension_headers", 20, "Carried IPv6 extension headers other than the fragment header.";
    FragmentFirst, "fragment_first", 19, "The first fragment of a packet.";
    FragmentLater, "fragment_later", 19, "Another fragment that followed its first.";
    FragmentEarly, "fragment_early", 19, "A fragment that came before its first: held by the daemon.";
    MssClamped, "mss_clamped", 17, "The MSS of a SYN was lowered to what fits.";
    PortRange, "port_range", 12, "For a service port that is a range of ports.";
    ErrorFromClient, "error_from_client", 18, "An ICMP error from the client's side, translated for the container.";
    ErrorFromContainer, "error_from_container", 18, "An ICMP error from the container's side, translated for the client.";
}

/// Entries of the `CASES` map.
pub const CASES_COUNT: u32 = Case::ALL.len() as u32;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_unique_and_positions_are_dense() {
        let names: BTreeSet<_> = Case::ALL.iter().map(|case| case.name()).collect();
        assert_eq!(names.len(), Case::ALL.len());
        for (position, case) in Case::ALL.iter().enumerate() {
            assert_eq!(*case as usize, position);
            assert!((1..=25).contains(&case.number()) && !case.meaning().is_empty());
        }
    }
}
