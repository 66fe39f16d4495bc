//! `weave image`: the router's image, made of this very program, and its tar.

use std::process::ExitCode;

use clap::Args;
use weave_router::Failure;

use crate::context::Context;

/// The flags of `weave image`.
#[derive(Debug, Args)]
pub(crate) struct ImageArgs {}

/// Runs `weave image`.
pub(crate) async fn image(context: &Context, args: &ImageArgs) -> Result<ExitCode, Failure> {
    todo!("{context:?} {args:?}")
}
