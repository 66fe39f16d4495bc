//! The firewall rules that the network needs beside Docker's, by `iptables` and `ip6tables`, in chains of our own.

use weave_io::host::Cidr;
use weave_router::Failure;

/// What [`put`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rules {
    /// All as it must be.
    Stood,
    /// Something was missing and is there now.
    Repaired,
    /// This host has no iptables: nothing can drop bridged frames by it, and nothing can be masqueraded.
    NoFirewall,
}

/// Makes sure that frames cross `bridge` whatever Docker's rules say, and that the `exposed` addresses of the host
/// reach what lies behind them; rules of addresses no longer exposed go. Idempotent.
///
/// # Errors
/// What iptables says, and when it is missing though something is exposed.
pub(crate) async fn put(bridge: &str, exposed: &[Cidr]) -> Result<Rules, Failure> {
    todo!("{bridge} {exposed:?}")
}

/// Takes all of them back.
///
/// # Errors
/// What iptables says.
pub(crate) async fn clear(bridge: &str) -> Result<(), Failure> {
    todo!("{bridge}")
}
