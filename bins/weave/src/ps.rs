//! `weave ps`: what is on the network here.

use std::process::ExitCode;

use clap::Args;
use weave_router::Failure;

use crate::context::Context;

/// The flags of `weave ps`.
#[derive(Debug, Args)]
pub(crate) struct PsArgs {}

/// Runs `weave ps`.
pub(crate) async fn ps(context: &Context, args: &PsArgs) -> Result<ExitCode, Failure> {
    todo!("{context:?} {args:?}")
}
