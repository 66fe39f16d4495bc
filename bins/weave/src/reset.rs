//! `weave reset`: stops, and takes back every trace on this host.

use std::fs;
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::process::ExitCode;

use clap::Args;
use weave_io::StateDir;
use weave_io::host::{Error, Netlink};
use weave_router::{Failure, words};

use crate::attach::{DEVICE, is_port};
use crate::context::Context;
use crate::engine::EngineKind;
use crate::ledger::{Entries, Ledger, warn};
use crate::place::Presence;
use crate::plumbing::{self, bridge_name};
use crate::stop::stop_router;
use crate::{expose, guard, image, launch, rules, run};

/// The flags of `weave reset`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ResetArgs {}

const EXAMPLES: &str = "\
Examples:
  weave reset    router, guard, bridge, the containers' interfaces, exposed addresses, firewall rules, kernel
                 settings, the router's image, the control socket and all that is in the state folder

The containers themselves run on, without this network. The state folder holds this host's identity and what it knows
of its peers: after a reset it is a new host to them. A password has to be given anew.";

/// Runs `weave reset`.
pub(crate) async fn reset(context: &Context, _args: &ResetArgs) -> Result<ExitCode, Failure> {
    context.need_root(WHAT)?;
    let mut ledger = Ledger::lock(&context.state_dir)?;
    let engines = engines(context, &ledger.entries);
    // Without an end to these, all that is removed would come back.
    stop_router(context, &mut ledger).await?;
    let netlink = Netlink::open().map_err(|error| failure(&error))?;
    let bridge = bridge_name(context, &ledger.entries);
    // What can't be removed is told, and kept in the ledger for another try; the rest goes all the same.
    let mut failed = None;
    let mut note = |outcome: Result<(), Failure>| {
        if let Err(failure) = outcome
            && let Some(earlier) = failed.replace(failure)
        {
            warn(&earlier.to_string());
        }
    };
    note(unplug(context, &netlink, &ledger.entries, &bridge).await);
    for cidr in plumbing::exposed(&ledger.entries) {
        note(gone(netlink.remove_address(&bridge, cidr)));
    }
    note(rules::clear(&bridge).await);
    expose::put_settings_back(&netlink, &mut ledger, &bridge).await;
    if ledger.entries.made_bridge {
        note(gone(netlink.delete_link(&bridge)));
    }
    for kind in engines {
        let context = Context {
            engine: Some(kind),
            ..context.clone()
        };
        let engine = context.engine()?;
        // One that does not run has nothing of ours that runs; its images stay until it is asked again.
        if engine.info().await.is_ok() {
            note(image::remove_all(engine.as_ref()).await.map(drop));
        }
    }
    note(remove_socket(&context.control));
    if let Some(failure) = failed {
        ledger.save()?;
        return Err(failure);
    }
    ledger.entries = Entries::default();
    ledger.save()?;
    remove_files(&context.state_dir)?;
    drop(ledger);
    // Not where somebody else keeps something in it.
    let _ = fs::remove_dir(&context.state_dir);
    Ok(ExitCode::SUCCESS)
}

/// Engines that may have an image of ours: those that the ledger names, else the one that is here.
fn engines(context: &Context, entries: &Entries) -> Vec<EngineKind> {
    let launched = entries.launched.as_ref().map(|launched| launched.engine);
    // A router that was launched as a process may have had a container before.
    let here = || context.engine().ok().map(|engine| engine.kind());
    let kind = context.engine.or_else(|| launched.flatten()).or_else(here);
    kind.into_iter().collect()
}

/// Takes the cables of all containers away, also of those that the ledger doesn't know of.
async fn unplug(
    context: &Context,
    netlink: &Netlink,
    entries: &Entries,
    bridge: &str,
) -> Result<(), Failure> {
    for attachment in &entries.attachments {
        if let Presence::Here(place) = Presence::of(context, &attachment.of).await {
            let inside = Netlink::open_in(&place.namespace).map_err(|error| failure(&error))?;
            let device = inside.find_link(DEVICE).map_err(|error| failure(&error))?;
            // One that weave did not make has another address.
            let is_ours = device
                .and_then(|device| device.mac)
                .is_some_and(|mac| crate::ledger::mac_text(mac) == attachment.mac);
            if is_ours {
                gone(inside.delete_link(DEVICE))?;
            }
        }
    }
    let ports = match netlink.bridge_ports(bridge) {
        Ok(ports) => ports,
        Err(Error::NoDevice { .. } | Error::NotABridge { .. }) => return Ok(()),
        Err(error) => return Err(failure(&error)),
    };
    for port in ports {
        if is_port(&port) {
            gone(netlink.delete_link(&port))?;
        }
    }
    Ok(())
}

/// Whatever was to be removed is, or was not there.
fn gone(outcome: Result<bool, Error>) -> Result<(), Failure> {
    match outcome {
        Ok(_) | Err(Error::NoDevice { .. }) => Ok(()),
        Err(error) => Err(failure(&error)),
    }
}

/// What a router that was killed left, and its folder if nothing else is in it.
fn remove_socket(control: &Path) -> Result<(), Failure> {
    let is_socket = fs::symlink_metadata(control).is_ok_and(|found| found.file_type().is_socket());
    if is_socket {
        remove(control)?;
    }
    if let Some(folder) = control.parent() {
        let _ = fs::remove_dir(folder);
    }
    Ok(())
}

/// All files of the state folder that the router or this tool made, the lock last.
fn remove_files(state_dir: &Path) -> Result<(), Failure> {
    let own = [
        launch::PASSWORD,
        launch::LOG,
        guard::LOG,
        run::program::FILE,
    ];
    for name in own.into_iter().chain(StateDir::FILES) {
        remove(&state_dir.join(name))?;
    }
    Ok(())
}

fn remove(path: &Path) -> Result<(), Failure> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Failure::new(
            format!("cannot remove {}", path.display()),
            words(&error),
            "",
        )),
        _ => Ok(()),
    }
}

fn failure(error: &Error) -> Failure {
    Failure::new(WHAT, error.to_string(), "")
}

const WHAT: &str = "cannot reset this host's network";
