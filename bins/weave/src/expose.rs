//! `weave expose` and `weave hide`: an address of the host on the network, and the rules that service export and import need.

use std::process::ExitCode;

use clap::Args;
use weave_router::Failure;

use crate::context::Context;

/// The flags of `weave expose`.
#[derive(Debug, Args)]
pub(crate) struct ExposeArgs {}

/// Runs `weave expose`.
pub(crate) async fn expose(context: &Context, args: &ExposeArgs) -> Result<ExitCode, Failure> {
    todo!("{context:?} {args:?}")
}

/// The flags of `weave hide`.
#[derive(Debug, Args)]
pub(crate) struct HideArgs {}

/// Runs `weave hide`.
pub(crate) async fn hide(context: &Context, args: &HideArgs) -> Result<ExitCode, Failure> {
    todo!("{context:?} {args:?}")
}
