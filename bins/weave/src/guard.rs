//! `weave guard`: the resident part: puts firewall rules back, attaches containers again that the engine restarted.

use std::process::ExitCode;

use clap::Args;
use weave_router::Failure;

use crate::context::Context;

/// The flags of `weave guard`.
#[derive(Debug, Args)]
pub(crate) struct GuardArgs {}

/// Runs `weave guard`.
pub(crate) async fn guard(context: &Context, args: &GuardArgs) -> Result<ExitCode, Failure> {
    todo!("{context:?} {args:?}")
}
