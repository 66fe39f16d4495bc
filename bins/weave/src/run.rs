//! `weave run`: `docker run -d`, with the network up before the container's program starts.

use std::process::ExitCode;

use clap::Args;
use weave_router::Failure;

use crate::context::Context;

/// The flags of `weave run`.
#[derive(Debug, Args)]
pub(crate) struct RunArgs {}

/// Runs `weave run`.
pub(crate) async fn run(context: &Context, args: &RunArgs) -> Result<ExitCode, Failure> {
    todo!("{context:?} {args:?}")
}
