//! The router in a container: with the rights it needs and no more.

use std::ffi::OsString;

use weave_router::Failure;

use super::Plan;
use super::ready::{last_words, not_started, until_ready};
use super::running::container_name;
use crate::client::Client;
use crate::engine::{Engine, EngineError};
use crate::image::{self, Program};
use crate::ledger::warn;
use crate::undo::Undo;

/// Refuses an engine whose containers are not on this host's network, or not root's.
///
/// # Errors
/// Such an engine by its name, or one that does not answer.
pub(super) async fn check(engine: &dyn Engine) -> Result<(), Failure> {
    let program = engine.kind().program();
    let what = "cannot launch the router";
    let info = engine.info().await.map_err(|error| match error {
        EngineError::NotInstalled { .. } | EngineError::NotRunning { .. } => Failure::new(
            what,
            error.to_string(),
            format!(
                "{}, or run it without one: weave launch --no-container",
                error.remedy()
            ),
        ),
        EngineError::NoContainer { .. }
        | EngineError::NoImage { .. }
        | EngineError::Refused { .. } => error.while_doing(what),
    })?;
    if info.rootless {
        return Err(Failure::new(
            what,
            format!("this {program} is rootless, and its containers' network is not the host's"),
            format!(
                "use the {program} of root, or run it without one: weave launch --no-container"
            ),
        ));
    }
    if info.remapped {
        return Err(Failure::new(
            what,
            format!("this {program} maps the users of its containers to others (userns-remap)"),
            format!(
                "switch userns-remap off in {program}'s configuration, or run it without one: weave launch --no-container"
            ),
        ));
    }
    Ok(())
}

/// Starts it, and waits until it answers; gives the container's id. `dead` is what is left of an earlier one.
///
/// # Errors
/// What the engine says, or the router's own last words; what was made is on `undo`.
pub(super) async fn start<'a>(
    engine: &'a dyn Engine,
    plan: &Plan,
    dead: Option<&str>,
    client: &Client,
    undo: &mut Undo<'a>,
) -> Result<String, Failure> {
    let program = Program::own()?;
    if image::ensure(engine, &program).await? {
        undo.push(async move {
            match engine.remove_image(&image::name()).await {
                Ok(()) | Err(EngineError::NoImage { .. }) => Ok(()),
                Err(error) => Err(error.while_doing("cannot remove the router's image")),
            }
        });
        warn(&format!("made the image {} of this program", image::name()));
    }
    let cannot = |error: EngineError| error.while_doing("cannot launch the router");
    if let Some(dead) = dead {
        engine.remove(dead).await.map_err(cannot)?;
    }
    let name = container_name(&plan.bridge);
    let removed = name.clone();
    // An engine that can't start what it has created leaves it there: before the start, for that case.
    undo.push(async move {
        match engine.remove(&removed).await {
            Ok(()) | Err(EngineError::NoContainer { .. }) => Ok(()),
            Err(error) => Err(error.while_doing("cannot remove the router's container")),
        }
    });
    let id = engine.run(&run_args(plan)).await.map_err(cannot)?;
    until_ready(client, async || {
        let container = engine.inspect(&id).await.ok()?;
        let runs = container.state == "running" && container.restarts == 0;
        if runs {
            return None;
        }
        let lines = engine.logs(&id, LOG_LINES).await.unwrap_or_default();
        Some(not_started(&last_words(&lines)))
    })
    .await?;
    Ok(id)
}

/// What `run` is given: the flags of the container, image and arguments.
pub(super) fn run_args(plan: &Plan) -> Vec<OsString> {
    let name = container_name(&plan.bridge);
    let mut args: Vec<OsString> = ["--name", &name].map(OsString::from).into();
    args.extend(FLAGS.iter().copied().map(OsString::from));
    if plan.options.port < PRIVILEGED_PORTS_END {
        args.extend(["--cap-add", "NET_BIND_SERVICE"].map(OsString::from));
    }
    for folder in [Some(plan.state_dir.as_path()), plan.control.parent()]
        .into_iter()
        .flatten()
    {
        let mut mount = folder.as_os_str().to_owned();
        mount.push(":");
        mount.push(folder);
        args.extend(["--volume".into(), mount]);
    }
    args.push(image::name().into());
    args.extend(plan.args.iter().map(OsString::from));
    args
}

/// On the host's network, with the rights to make a TAP there and to use it; nothing else of the host.
const FLAGS: [&str; 17] = [
    "--network",
    "host",
    "--userns",
    "host",
    "--cap-drop",
    "ALL",
    "--cap-add",
    "NET_ADMIN",
    "--cap-add",
    "NET_RAW",
    "--device",
    "/dev/net/tun",
    "--security-opt",
    "no-new-privileges",
    "--read-only",
    "--restart",
    "unless-stopped",
];
/// Ports below need a right of their own (`net.ipv4.ip_unprivileged_port_start`).
const PRIVILEGED_PORTS_END: u16 = 1024;
/// Enough to hold the router's last line, whatever comes after it.
const LOG_LINES: u32 = 5;

#[cfg(test)]
mod tests;
