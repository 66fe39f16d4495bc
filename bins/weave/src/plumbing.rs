//! The bridge and the kernel settings that the network needs on this host, made if they are not there.

use weave_io::host::Netlink;
use weave_router::Failure;

use crate::ledger::Ledger;

/// The bridge's name without `--bridge`.
pub(crate) const BRIDGE: &str = "weave";

/// Makes sure of the bridge, its settings, and the firewall's leave for what crosses it; notes in the ledger what was
/// made. Before `launch` as well: containers of one host talk without a router.
///
/// # Errors
/// What the kernel refuses; nothing is left half done.
pub(crate) async fn ensure(
    netlink: &Netlink,
    ledger: &mut Ledger,
    bridge: &str,
) -> Result<(), Failure> {
    todo!("{netlink:?} {ledger:?} {bridge}")
}
