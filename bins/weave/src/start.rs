//! `weave start`: `docker start`, then attach.

use std::process::ExitCode;

use clap::Args;
use weave_io::host::Cidr;
use weave_router::Failure;

use crate::attach::{How, attach, check_addresses};
use crate::context::Context;
use crate::engine::{Container, Engine};
use crate::ledger::warn;
use crate::place::{Place, check_root};
use crate::run::{program, waits};
use crate::wait;

/// The flags of `weave start`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct StartArgs {
    /// Don't ask the network whether somebody has the address already
    #[arg(long)]
    no_probe: bool,
    /// The container's addresses on the network
    #[arg(required = true, value_name = "CIDR")]
    addresses: Vec<Cidr>,
    /// The container, by its id or name
    #[arg(value_name = "CONTAINER")]
    container: String,
}

const EXAMPLES: &str = "\
Examples:
  weave start 10.0.1.1/24 web               a container that was stopped
  weave start 10.0.1.1/24 10.0.2.1/24 web   on two networks

The program of a container that 'weave run' made waits for the network again. One that can't be
attached is stopped again; one that ran already is only attached, as by 'weave attach'.";

/// Runs `weave start`.
pub(crate) async fn start(context: &Context, args: &StartArgs) -> Result<ExitCode, Failure> {
    let what = || format!("cannot start {}", args.container);
    check_addresses(&what(), &args.addresses)?;
    check_root()?;
    let engine = context.engine()?;
    let engine = engine.as_ref();
    let failed = |error: crate::engine::EngineError| error.while_doing(what());
    let container = engine.inspect(&args.container).await.map_err(failed)?;
    // Before it is started for nothing.
    if container.network_mode == "host" {
        return Err(Failure::new(
            what(),
            "it shares the host's network, so its interfaces are the host's own",
            "'weave expose' gives the host an address",
        ));
    }
    let runs = container.pid.is_some();
    if !runs {
        if is_ours(&container) {
            // A reset took it away, or a newer release has another.
            program::put(&program::folder(&context.state_dir)?)?;
        }
        engine.start(&container.id).await.map_err(failed)?;
    }
    if let Err(failure) = finish(context, engine, args, &container.id, runs).await {
        if !runs && let Err(error) = engine.stop(&container.id, STOP_SECONDS).await {
            warn(
                &error
                    .while_doing(format!("cannot stop {} again", args.container))
                    .to_string(),
            );
        }
        return Err(failure);
    }
    context.output.line(&args.container)?;
    Ok(ExitCode::SUCCESS)
}

async fn finish(
    context: &Context,
    engine: &dyn Engine,
    args: &StartArgs,
    id: &str,
    runs: bool,
) -> Result<(), Failure> {
    if !runs {
        let started = engine.inspect(id).await;
        let started = started
            .map_err(|error| error.while_doing(format!("cannot start {}", args.container)))?;
        if is_ours(&started) {
            waits(engine, &started, wait::without(&started.command)).await?;
        }
    }
    let place = Place::find(context, id).await?;
    let how = How {
        probe: !args.no_probe,
    };
    attach(context, &place, &args.addresses, how).await
}

/// Whether `weave run` made it, and it waits for its network.
fn is_ours(container: &Container) -> bool {
    wait::without(&container.command).len() < container.command.len()
}

/// How long its program has to end, as docker has it.
const STOP_SECONDS: u32 = 10;
