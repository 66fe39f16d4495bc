//! `weave launch`: makes the bridge and starts the router, in a container of its own or as a process.

use std::process::ExitCode;

use clap::Args;
use weave_router::Failure;

use crate::context::Context;

/// The flags of `weave launch`.
#[derive(Debug, Args)]
pub(crate) struct LaunchArgs {}

/// Runs `weave launch`.
pub(crate) async fn launch(context: &Context, args: &LaunchArgs) -> Result<ExitCode, Failure> {
    todo!("{context:?} {args:?}")
}
