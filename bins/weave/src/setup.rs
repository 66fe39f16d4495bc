//! `weave setup`: checks what this host needs, and says what mends it.

use std::process::ExitCode;

use clap::Args;
use weave_router::Failure;

use crate::context::Context;

/// The flags of `weave setup`.
#[derive(Debug, Args)]
pub(crate) struct SetupArgs {}

/// Runs `weave setup`.
pub(crate) async fn setup(context: &Context, args: &SetupArgs) -> Result<ExitCode, Failure> {
    todo!("{context:?} {args:?}")
}
