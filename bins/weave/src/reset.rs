//! `weave reset`: stops, and takes back every trace on this host.

use std::process::ExitCode;

use clap::Args;
use weave_router::Failure;

use crate::context::Context;

/// The flags of `weave reset`.
#[derive(Debug, Args)]
pub(crate) struct ResetArgs {}

/// Runs `weave reset`.
pub(crate) async fn reset(context: &Context, args: &ResetArgs) -> Result<ExitCode, Failure> {
    todo!("{context:?} {args:?}")
}
