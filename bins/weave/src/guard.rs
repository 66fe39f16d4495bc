//! `weave guard`: the resident part. Puts back firewall rules that a reload removed, the bridge, its settings and the
//! host's own addresses, and attaches containers again that the engine restarted.
//!
//! It looks every [`LOOK_EVERY`], and at what its engines tell of their containers. Looking changes nothing and holds
//! nobody up; only where something is amiss it takes the ledger, as any command does, and leaves that for the next look
//! when another command has it. There is one guard for a state folder ([`seat`]).

mod heal;
mod log;
mod seat;

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;
use weave_io::host::Netlink;
use weave_router::{Failure, Notifier, words};

use self::heal::Healer;
use self::seat::Seat;
use crate::context::Context;
use crate::engine::EngineKind;

pub(crate) use self::heal::reattach;
pub(crate) use self::log::LOG;
pub(crate) use self::seat::{end, spawn};

/// The flags of `weave guard`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct GuardArgs {
    /// End a guard that runs already, and take its place
    #[arg(long)]
    replace: bool,
}

const EXAMPLES: &str = "\
Examples:
  weave guard             until Ctrl-C, with what it mends on stderr
  weave guard --replace   as weave-guard.service does

'weave launch' starts one that runs on by itself and writes to guard.log in the state folder; 'weave stop' ends it.";

/// Runs `weave guard`.
pub(crate) async fn guard(context: &Context, args: &GuardArgs) -> Result<ExitCode, Failure> {
    context.need_root(WHAT)?;
    let cannot = |error: std::io::Error| Failure::new(WHAT, words(&error), "");
    // From here on a signal waits for its turn, so that nothing is left half done.
    let mut terminate = signal(SignalKind::terminate()).map_err(cannot)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(cannot)?;
    if args.replace {
        end(context).await?;
    }
    let seat = Seat::take(&context.state_dir)?;
    let netlink = Netlink::open().map_err(|error| Failure::new(WHAT, error.to_string(), ""))?;
    log::line("guards this host's network");
    let notifier = Notifier::from_environment();
    let mut guard = Guard::new(Healer::new(context, &netlink));
    guard.look().await;
    notifier.ready("keeps rules and containers in place");
    let by = guard.run(&mut terminate, &mut interrupt).await;
    notifier.stopping();
    log::line(&format!("ends on {by}"));
    drop(seat);
    Ok(ExitCode::SUCCESS)
}

/// When to look at what.
struct Guard<'a> {
    healer: Healer<'a>,
    /// Engines that are listened to.
    heard: Vec<EngineKind>,
    changed: mpsc::Sender<()>,
    changes: mpsc::Receiver<()>,
    /// Looks until the containers are looked at though nothing was heard of them.
    until_containers: u32,
}

impl<'a> Guard<'a> {
    fn new(healer: Healer<'a>) -> Self {
        // What was told and not looked at yet is told once.
        let (changed, changes) = mpsc::channel(1);
        Self {
            healer,
            heard: Vec::new(),
            changed,
            changes,
            until_containers: 0,
        }
    }

    /// Goes on until a signal, whose name it gives.
    async fn run(&mut self, terminate: &mut Signal, interrupt: &mut Signal) -> &'static str {
        let mut looks = tokio::time::interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        looks.reset();
        loop {
            tokio::select! {
                biased;
                _ = terminate.recv() => return "SIGTERM",
                _ = interrupt.recv() => return "SIGINT",
                Some(()) = self.changes.recv() => self.look_at_containers().await,
                _ = looks.tick() => self.look().await,
            }
            log::trim(&self.healer.context().state_dir);
        }
    }

    async fn look(&mut self) {
        let seen = self.healer.look().await;
        for kind in seen.engines {
            if !self.heard.contains(&kind) {
                self.heard.push(kind);
                listen(self.healer.context().clone(), kind, self.changed.clone());
                self.until_containers = 0;
            }
        }
        if self.until_containers == 0 || seen.is_changed {
            self.look_at_containers().await;
        } else {
            self.until_containers -= 1;
        }
    }

    async fn look_at_containers(&mut self) {
        let is_done = self.healer.look_at_containers().await;
        self.until_containers = if is_done { LOOKS_WITHOUT_CONTAINERS } else { 0 };
    }
}

/// Listens to an engine for good, and tells when something changed about its containers; also when it is there again
/// after it was not.
fn listen(context: Context, kind: EngineKind, changed: mpsc::Sender<()>) {
    tokio::spawn(async move {
        let context = Context {
            engine: Some(kind),
            ..context
        };
        let Ok(mut engine) = context.engine() else {
            return;
        };
        let mut is_new = true;
        let mut pause = PAUSE_MIN;
        loop {
            let outcome = {
                let mut event = std::pin::pin!(engine.event());
                loop {
                    tokio::select! {
                        outcome = &mut event => break outcome,
                        // It listens by now: what came before that is to be looked at.
                        () = tokio::time::sleep(CONNECT_TIME), if is_new => {
                            is_new = false;
                            let _ = changed.try_send(());
                        }
                    }
                }
            };
            match outcome {
                Ok(()) => {
                    pause = PAUSE_MIN;
                    let _ = changed.try_send(());
                }
                Err(error) => {
                    if pause == PAUSE_MIN {
                        log::line(&format!("listens to {} no more: {error}", kind.program()));
                    }
                    is_new = true;
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(PAUSE_MAX);
                }
            }
            if changed.is_closed() {
                return;
            }
        }
    });
}

const WHAT: &str = "cannot guard this host's network";
/// Three times in the ten seconds within which a reload of the firewall is to be repaired. A look runs iptables-save
/// and ip6tables-save, some milliseconds.
const LOOK_EVERY: Duration = Duration::from_secs(3);
/// Each minute, should an engine have told nothing.
const LOOKS_WITHOUT_CONTAINERS: u32 = 20;
/// How long an engine's program takes to begin to listen, with room to spare.
const CONNECT_TIME: Duration = Duration::from_secs(2);
/// Between attempts to listen to an engine that is not there.
const PAUSE_MIN: Duration = Duration::from_millis(500);
const PAUSE_MAX: Duration = Duration::from_secs(8);
