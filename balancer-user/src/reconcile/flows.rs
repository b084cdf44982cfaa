//! Turns remembered flows into what they say about slots: which are alive, and on which slot each of them falls.

use std::collections::BTreeMap;

use balancer_common::{
    abi::{Gateway, Service},
    conntrack::{FLOW_CLOSING, FlowEntry, FlowKey},
    flow::FlowHash,
};

use super::{ReconcileError, error::Step as _};
use crate::model::{Protocol, tables::Tables};

/// Most passes over all flows while they are rebound; frames in flight can bring an old reference back once.
const REBIND_PASSES: usize = 3;

/// Whether the datapath still believes the entry.
pub(super) fn is_live(key: &FlowKey, entry: &FlowEntry, gateway: &Gateway, now_ns: u64) -> bool {
    let idle_ns = if key.protocol != Protocol::Tcp.number() {
        gateway.udp_idle_ns
    } else if entry.state == FLOW_CLOSING {
        gateway.closing_idle_ns
    } else {
        gateway.tcp_idle_ns
    };
    now_ns.saturating_sub(entry.last_ns) <= idle_ns
}

/// The slot that the datapath looks at for this flow.
pub(super) fn slot(key: &FlowKey, service: &Service) -> usize {
    let hash = FlowHash::of(service, &key.client, key.client_port, key.vip_port);
    hash.slot(service.table_class as usize) as usize
}

/// Lets the flows of moved containers follow to their new references. Gives how many did.
pub(super) fn rebind(tables: &mut impl Tables, moved: &BTreeMap<u32, u32>) -> Result<usize, ReconcileError> {
    let mut rebound = 0;
    if moved.is_empty() {
        return Ok(rebound);
    }
    for _ in 0..REBIND_PASSES {
        // Frames that read an old slot finish first, and with them what they remember.
        tables.wait_for_readers().step("wait for frames in flight")?;
        let flows = tables.flows().step("read the remembered flows")?;
        let mut left = 0;
        for (key, entry) in flows {
            if let Some(backend) = moved.get(&entry.backend) {
                tables.set_flow(&key, &FlowEntry { backend: *backend, ..entry }).step("rebind a flow")?;
                left += 1;
            }
        }
        rebound += left;
        if left == 0 {
            break;
        }
    }
    Ok(rebound)
}
