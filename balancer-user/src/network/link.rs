//! Turns an interface's name into what the kernel knows of it.

use super::{NetworkError, kernel::Kernel};

/// What the kernel knows of an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkInfo {
    /// Interface index.
    pub ifindex: u32,
    /// MAC; none for interfaces without Ethernet addresses, such as tun.
    pub mac: Option<[u8; 6]>,
    /// MTU, bytes of IP packet.
    pub mtu: u32,
    /// Kind of virtual device as `ip -d link` names it (veth, tun, vxlan); none for hardware.
    pub kind: Option<String>,
    /// Administratively up; says nothing about the carrier.
    pub up: bool,
}

/// Asks the kernel for the interface of that name in the current network namespace.
///
/// # Errors
///
/// [`NetworkError::NoLink`] when there is none, the other variants when the kernel cannot be asked.
pub async fn link_info(name: &str) -> Result<LinkInfo, NetworkError> {
    Kernel::open()?.link(name).await
}
