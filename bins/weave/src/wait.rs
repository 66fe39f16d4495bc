//! `weave wait`: the entry point that `weave run` puts before a container's own: waits for the network, then becomes it.

use std::process::ExitCode;

use clap::Args;
use weave_router::Failure;

use crate::context::Context;

/// The flags of `weave wait`.
#[derive(Debug, Args)]
pub(crate) struct WaitArgs {}

/// Runs `weave wait`.
pub(crate) async fn wait(context: &Context, args: &WaitArgs) -> Result<ExitCode, Failure> {
    todo!("{context:?} {args:?}")
}
