//! Turns a request into the backend that its slot names, without touching any state, when the slot is settled and its owner usable.

use balancer_common::{
    abi::{Host, Service},
    flow::FlowHash,
    id::BackendRef,
    service::SERVICE_CLIENT_AFFINITY,
    verdict::{Reason, Verdict},
    wire::{ip::Ip, transport::Transport},
};

use crate::{
    frame::{Frame, Header, Packet},
    maps,
    value::{Choice, Request, Selection, Tags},
};

/// A keyed hash, an array read and one comparison: `active` equals the slot's owner only for a settled slot whose owner
/// is active, of the same generation, and without exceptions.
#[inline(always)]
pub fn run<I, T>(frame: &Frame, request: &Request, tags: Tags) -> Result<Selection, Verdict>
where
    I: Ip + Header,
    T: Transport + Header,
{
    let service = request.service;
    learn(service, request.service_id, tags);
    let Some(packet) = frame.view::<Packet<I, T>>(0) else { return Err(Verdict::Drop(Reason::Truncated)) };
    let port = if service.flags & SERVICE_CLIENT_AFFINITY == 0 { packet.transport.source_port() } else { [0; 2] };
    let hash = packet.ip.flow_hash(service.hash_key, port);
    look(service, request.service_id, hash)
}

/// The tags that replies of this service port go back with.
#[inline(always)]
pub fn learn(service: &Service, service_id: u32, tags: Tags) {
    if tags.outer != service.vlan_outer || tags.inner != service.vlan_inner {
        maps::learn_tags(service_id, tags.outer, tags.inner);
    }
}

/// What the slot of a flow says.
#[inline(always)]
pub fn look(service: &Service, service_id: u32, hash: FlowHash) -> Result<Selection, Verdict> {
    let Some(slot) = maps::slot(u32::from(service.table_class), service_id, hash) else {
        return Err(Verdict::Drop(Reason::Internal));
    };
    let backend_id = slot.owner & BackendRef::ID_MAX;
    let Some(backend) = maps::backend(backend_id) else { return Err(Verdict::Drop(Reason::Internal)) };
    let settled = backend.active == slot.owner && slot.owner != 0 && backend.service == service_id;
    if settled && backend.vni != service.vni {
        return Err(Verdict::Drop(Reason::VniMismatch));
    }
    Ok(Selection { slot, hash, settled, backend })
}

/// The choice of a settled slot: its owner.
#[inline(always)]
pub fn owner(selection: &Selection) -> Choice {
    let backend_id = selection.slot.owner & BackendRef::ID_MAX;
    Choice { backend_id, backend: selection.backend, hash: selection.hash }
}

/// The choice of a backend by id, as the conntrack decided.
#[inline(always)]
pub fn at(backend_id: u32, hash: FlowHash) -> Result<Choice, Verdict> {
    let Some(backend) = maps::backend(backend_id) else { return Err(Verdict::Drop(Reason::Internal)) };
    Ok(Choice { backend_id, backend, hash })
}

/// The host that a backend runs on.
#[inline(always)]
pub fn host(choice: &Choice) -> Result<&'static Host, Verdict> {
    maps::host(choice.backend.host).ok_or(Verdict::Drop(Reason::Internal))
}
