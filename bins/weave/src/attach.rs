//! `weave attach`, `detach` and `start`: a container's interface `ethwe`, and its addresses.

use std::process::ExitCode;

use clap::Args;
use weave_io::host::Cidr;
use weave_router::Failure;

use crate::context::Context;
use crate::place::Place;

/// How an attachment is made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct How {
    /// Whether to ask the network first if somebody has the address already (RFC 5227).
    pub(crate) probe: bool,
}

/// Puts a container on the network with these addresses: bridge, veth, MTU, addresses, multicast route, announcement,
/// ledger. What it has already is left. All of it, or nothing.
///
/// # Errors
/// Each reason by its own sentence; nothing is changed then.
pub(crate) async fn attach(
    context: &Context,
    place: &Place,
    addresses: &[Cidr],
    how: How,
) -> Result<(), Failure> {
    todo!("{context:?} {place:?} {addresses:?} {how:?}")
}

/// The flags of `weave attach`.
#[derive(Debug, Args)]
pub(crate) struct AttachArgs {}

/// Runs `weave attach`.
pub(crate) async fn attach_command(
    context: &Context,
    args: &AttachArgs,
) -> Result<ExitCode, Failure> {
    todo!("{context:?} {args:?}")
}

/// The flags of `weave detach`.
#[derive(Debug, Args)]
pub(crate) struct DetachArgs {}

/// Runs `weave detach`.
pub(crate) async fn detach(context: &Context, args: &DetachArgs) -> Result<ExitCode, Failure> {
    todo!("{context:?} {args:?}")
}
