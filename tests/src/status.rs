//! Turns the JSON of `balancer status --json` into what tests ask of it.

use balancer_common::{case::Case, verdict::Reason};
use serde_json::Value;

/// The first service port of a VIP, whatever its protocol; `Null` when it is not published.
#[must_use]
pub fn service_port<'status>(status: &'status Value, vip: &str) -> &'status Value {
    service_ports(status, vip).next().unwrap_or(&Value::Null)
}

/// A backend of any service port of a VIP; `Null` when it is not one.
#[must_use]
pub fn backend<'status>(status: &'status Value, vip: &str, container: &str) -> &'status Value {
    let mut backends = service_ports(status, vip).flat_map(|port| list(&port["backends"]));
    backends.find(|backend| backend["container"] == container).unwrap_or(&Value::Null)
}

/// Whether a backend of a VIP is in this state: `active`, `draining`, `dead`.
#[must_use]
pub fn has_state(status: &Value, vip: &str, container: &str, state: &str) -> bool {
    backend(status, vip, container)["state"] == state
}

/// Whether a VIP has this backend.
#[must_use]
pub fn has_backend(status: &Value, vip: &str, container: &str) -> bool {
    !backend(status, vip, container).is_null()
}

/// Frames that ended for this reason.
#[must_use]
pub fn frames(status: &Value, reason: Reason) -> u64 {
    status["reasons"][reason.name()].as_u64().unwrap_or(0)
}

/// Frames that were of this case.
#[must_use]
pub fn cases(status: &Value, case: Case) -> u64 {
    status["cases"][case.name()].as_u64().unwrap_or(0)
}

fn service_ports<'status>(status: &'status Value, vip: &str) -> impl Iterator<Item = &'status Value> {
    list(&status["service_ports"]).iter().filter(move |port| port["vip"] == vip)
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}
