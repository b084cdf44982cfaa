//! Turns the datapath's counters, one for each CPU, into their sums.

use std::io;

use balancer_common::{
    abi::Counters,
    case::Case,
    id::{BackendId, ServiceId},
    verdict::Reason,
};

use super::{Datapath, error::io_error, maps::CountersByCpu, mmap::Raw};

impl Datapath {
    /// How many frames ended for each reason, since the maps were made; all reasons, in the order of the map.
    ///
    /// # Errors
    /// The kernel's.
    pub fn reasons(&self) -> io::Result<Vec<(Reason, u64)>> {
        let count = |reason: &Reason| {
            let by_cpu = self.maps.reasons.get(&(*reason as u32), 0).map_err(|error| io_error(&error))?;
            Ok((*reason, by_cpu.iter().sum()))
        };
        Reason::ALL.iter().map(count).collect()
    }

    /// How many frames were of each hard case, likewise.
    ///
    /// # Errors
    /// The kernel's.
    pub fn cases(&self) -> io::Result<Vec<(Case, u64)>> {
        let count = |case: &Case| {
            let by_cpu = self.maps.cases.get(&(*case as u32), 0).map_err(|error| io_error(&error))?;
            Ok((*case, by_cpu.iter().sum()))
        };
        Case::ALL.iter().map(count).collect()
    }

    /// The counters of service ports, in the order of `ids`.
    ///
    /// # Errors
    /// The kernel's; an id behind the end of the map.
    pub fn service_counters(&self, ids: &[ServiceId]) -> io::Result<Vec<Counters>> {
        ids.iter().map(|id| folded(&self.maps.service_counters, id.0)).collect()
    }

    /// The counters of backends, in the order of `ids`.
    ///
    /// # Errors
    /// As [`service_counters`](Datapath::service_counters).
    pub fn backend_counters(&self, ids: &[BackendId]) -> io::Result<Vec<Counters>> {
        ids.iter().map(|id| folded(&self.maps.backend_counters, id.0)).collect()
    }
}

fn folded(counters: &CountersByCpu, id: u32) -> io::Result<Counters> {
    let by_cpu = counters.get(&id, 0).map_err(|error| io_error(&error))?;
    Ok(by_cpu.iter().fold(Counters::default(), |sum, Raw(cpu)| Counters {
        forward_packets: sum.forward_packets + cpu.forward_packets,
        forward_bytes: sum.forward_bytes + cpu.forward_bytes,
        reply_packets: sum.reply_packets + cpu.reply_packets,
        reply_bytes: sum.reply_bytes + cpu.reply_bytes,
    }))
}
