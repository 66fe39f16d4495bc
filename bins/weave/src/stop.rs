//! `weave stop`: ends the router and leaves the bridge and the containers as they are.

use std::process::ExitCode;

use clap::Args;
use weave_router::Failure;

use crate::context::Context;

/// The flags of `weave stop`.
#[derive(Debug, Args)]
pub(crate) struct StopArgs {}

/// Runs `weave stop`.
pub(crate) async fn stop(context: &Context, args: &StopArgs) -> Result<ExitCode, Failure> {
    todo!("{context:?} {args:?}")
}
