//! `weave stop`: ends the router and leaves the bridge and the containers as they are.

use std::fs;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser};
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use weave_io::host::Netlink;
use weave_router::{Failure, Options};

use crate::context::Context;
use crate::engine::{Engine, EngineError};
use crate::guard;
use crate::launch::running::Router;
use crate::ledger::{Launched, Ledger, warn};
use crate::plumbing::bridge_name;

/// The flags of `weave stop`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct StopArgs {}

const EXAMPLES: &str = "\
Examples:
  weave stop                    the router says goodbye to its peers, and its container goes
  weave stop && weave launch …  what is attached stays so, and connections between containers outlast it

The bridge and the containers on it are left alone: those of this host keep talking to each other. weave reset removes
all of it.";

/// Runs `weave stop`.
pub(crate) async fn stop(context: &Context, _args: &StopArgs) -> Result<ExitCode, Failure> {
    context.need_root(WHAT)?;
    let mut ledger = Ledger::lock(&context.state_dir)?;
    if !stop_router(context, &mut ledger).await? {
        warn("the router is not running");
    }
    Ok(ExitCode::SUCCESS)
}

/// Ends guard and router, and what the kernel remembers of its port; says whether a router ran. Its state, its log and
/// its password stay in the state folder.
///
/// # Errors
/// What the engine says, or a process that can't be ended; what is launched stays noted then.
pub(crate) async fn stop_router(context: &Context, ledger: &mut Ledger) -> Result<bool, Failure> {
    // First, so that it puts nothing back.
    guard::end(context).await?;
    let launched = ledger.entries.launched.clone();
    let engine = engine(context, launched.as_ref()).await?;
    let bridge = bridge_name(context, &ledger.entries);
    let router = Router::find(engine.as_deref(), &bridge, &context.control).await?;
    let ran = match (&router, engine.as_deref()) {
        (Router::Container(container) | Router::Dead(container), Some(engine)) => {
            remove(engine, &container.id).await?;
            matches!(router, Router::Container(_))
        }
        (Router::Process(pid), _) => {
            let pid = ours(*pid, launched.is_some())?;
            end(pid).await?;
            true
        }
        (Router::Container(_) | Router::Dead(_) | Router::None, _) => false,
    };
    let port = port_of(launched.as_ref());
    // Entries of addresses that lead nowhere any more would catch the next router's packets. A kernel without
    // conntrack has none.
    if let Err(error) = Netlink::open().and_then(|netlink| netlink.drop_conntrack(port)) {
        warn(&format!(
            "cannot drop the tracked connections of port {port}: {error}"
        ));
    }
    ledger.entries.launched = None;
    ledger.save()?;
    Ok(ran)
}

/// The engine that has the router's container, if any can: the one it was launched with, else one that is here and
/// answers.
async fn engine(
    context: &Context,
    launched: Option<&Launched>,
) -> Result<Option<Box<dyn Engine>>, Failure> {
    let named = match (context.engine, launched) {
        (Some(kind), _) => Some(kind),
        (None, Some(Launched { engine: None, .. })) => return Ok(None),
        (None, Some(Launched { engine, .. })) => *engine,
        (None, None) => None,
    };
    let context = Context {
        engine: named,
        ..context.clone()
    };
    let Ok(engine) = context.engine() else {
        return Ok(None);
    };
    if named.is_some() {
        return Ok(Some(engine));
    }
    match engine.info().await {
        Ok(_) => Ok(Some(engine)),
        // It has no container that runs then.
        Err(EngineError::NotInstalled { .. } | EngineError::NotRunning { .. }) => Ok(None),
        Err(error) => Err(error.while_doing(WHAT)),
    }
}

/// Stops and removes the router's container.
async fn remove(engine: &dyn Engine, id: &str) -> Result<(), Failure> {
    for step in [
        engine.stop(id, GOODBYE_SECONDS).await,
        engine.remove(id).await,
    ] {
        match step {
            Ok(()) | Err(EngineError::NoContainer { .. }) => {}
            Err(error) => return Err(error.while_doing(WHAT)),
        }
    }
    Ok(())
}

/// The process, if ending it is all there is to it: nobody would start it again.
fn ours(pid: Option<i32>, is_launched: bool) -> Result<Pid, Failure> {
    let namespace = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
    let pid = pid.filter(|pid| namespace(&pid.to_string()) == namespace("self"));
    let Some(pid) = pid.map(Pid::from_raw) else {
        return Err(Failure::new(
            WHAT,
            "it runs in a container that this engine does not know",
            "name the other engine with --engine",
        ));
    };
    let cgroup = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    match service(&cgroup) {
        Some(service) if !is_launched => Err(Failure::new(
            WHAT,
            format!("it is systemd's service {service}, which would be started again"),
            format!("systemctl stop {service}"),
        )),
        _ => Ok(pid),
    }
}

/// The service of systemd that a process belongs to, by its cgroups.
fn service(cgroup: &str) -> Option<&str> {
    let mut units = cgroup.lines().filter_map(|line| {
        let (_, path) = line.split_once("/system.slice/")?;
        path.split('/').next()?.strip_suffix(".service")
    });
    units.next()
}

/// Ends a process: SIGTERM, so that it says goodbye; SIGKILL when it does not end by that.
async fn end(pid: Pid) -> Result<(), Failure> {
    for (signal, patience) in [(Signal::SIGTERM, GOODBYE), (Signal::SIGKILL, GOODBYE)] {
        match kill(pid, signal) {
            Ok(()) => {}
            Err(Errno::ESRCH) => return Ok(()),
            Err(errno) => {
                return Err(Failure::new(
                    WHAT,
                    format!("process {pid}: {}", errno.desc()),
                    "",
                ));
            }
        }
        let mut waited = Duration::ZERO;
        while waited < patience {
            if has_ended(pid) {
                return Ok(());
            }
            tokio::time::sleep(LOOK).await;
            waited += LOOK;
        }
    }
    Err(Failure::new(
        WHAT,
        format!("process {pid} does not end"),
        "",
    ))
}

/// Whether a process is gone, or only waits for its parent to hear of it.
fn has_ended(pid: Pid) -> bool {
    match fs::read(format!("/proc/{pid}/stat")) {
        // The state stands behind the name, which is in parentheses and may hold some.
        Ok(stat) => {
            let mut parts = stat.rsplit(|byte| *byte == b')');
            parts
                .next()
                .is_some_and(|rest| rest.starts_with(b" Z") || rest.starts_with(b" X"))
        }
        Err(_) => true,
    }
}

/// The port that the router was launched on.
fn port_of(launched: Option<&Launched>) -> u16 {
    let args = launched
        .into_iter()
        .flat_map(|launched| launched.args.iter().cloned());
    let words = std::iter::once(String::new()).chain(args);
    let options = Options::try_parse_from(words).or_else(|_| Options::try_parse_from([""]));
    options.map_or(DEFAULT_PORT, |options| options.port)
}

const WHAT: &str = "cannot stop the router";
/// A router says goodbye within 1.5 s.
const GOODBYE_SECONDS: u32 = 5;
const GOODBYE: Duration = Duration::from_secs(GOODBYE_SECONDS as u64);
/// Between looks whether a process has ended.
const LOOK: Duration = Duration::from_millis(20);
const DEFAULT_PORT: u16 = weave_mesh::DEFAULT_PORT;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::EngineKind;

    #[test]
    fn a_service_of_systemd_is_known_by_its_cgroup() {
        let service_of = |cgroup| service(cgroup).map(str::to_owned);
        assert_eq!(
            service_of("0::/system.slice/weave.service\n").as_deref(),
            Some("weave")
        );
        let old = "2:cpu:/\n1:name=systemd:/system.slice/weave.service\n";
        assert_eq!(service_of(old).as_deref(), Some("weave"));
        for other in [
            "0::/user.slice/user-0.slice/user@0.service/app.slice/x.scope\n",
            "0::/system.slice/docker-ab.scope\n",
            "0::/\n",
        ] {
            assert_eq!(service_of(other), None, "{other}");
        }
    }

    #[test]
    fn the_port_is_the_one_it_was_launched_on() {
        let launched = |args: &[&str]| Launched {
            engine: Some(EngineKind::Docker),
            args: args.iter().map(|arg| (*arg).to_owned()).collect(),
        };
        assert_eq!(port_of(None), 6783);
        assert_eq!(port_of(Some(&launched(&["--port=7000", "host1"]))), 7000);
        assert_eq!(port_of(Some(&launched(&["--nonsense"]))), 6783);
    }
}
