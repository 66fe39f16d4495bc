//! The router as a process of the host, where there is no container engine: detached, logging to a file of the state folder.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use clap::CommandFactory;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use weave_io::host::in_own_session;
use weave_router::{Failure, Options, words};

use super::Plan;
use super::ready::{last_words, not_started, until_ready};
use crate::client::Client;
use crate::undo::Undo;

/// The log's name in the state folder.
pub(crate) const LOG: &str = "router.log";

/// Starts it, and waits until it answers; gives its process id.
///
/// # Errors
/// What the system refuses, or the router's own last words; what was made is on `undo`.
pub(super) async fn start(
    plan: &Plan,
    client: &Client,
    undo: &mut Undo<'_>,
) -> Result<u32, Failure> {
    let path = plan.state_dir.join(LOG);
    let cannot = |error: io::Error| not_started(&words(&error));
    let log = open_log(&path, undo).map_err(|error| {
        not_started(&format!(
            "cannot write {}: {}",
            path.display(),
            words(&error)
        ))
    })?;
    let mut command = Command::new(program());
    command
        .arg("router")
        .args(&plan.args)
        .stdin(Stdio::null())
        .stdout(log.try_clone().map_err(cannot)?)
        .stderr(log);
    // All of it stands in the arguments, or in the password's file.
    for arg in Options::command().get_arguments() {
        if let Some(variable) = arg.get_env() {
            command.env_remove(variable);
        }
    }
    command
        .env_remove("WEAVE_PASSWORD")
        .env_remove("WEAVE_PASSWORD_FILE");
    in_own_session(&mut command);
    let mut child = command.spawn().map_err(cannot)?;
    let pid = child.id();
    undo.push(async move {
        // Not there any more, where that was the reason.
        let _ = kill(Pid::from_raw(pid.cast_signed()), Signal::SIGKILL);
        Ok(())
    });
    until_ready(client, async || {
        child.try_wait().ok().flatten()?;
        let lines = last_lines(&path).unwrap_or_default();
        Some(not_started(&last_words(&lines)))
    })
    .await?;
    Ok(pid)
}

/// This program's file, by its name if it still has one, so that the process list shows it.
fn program() -> PathBuf {
    match std::env::current_exe() {
        Ok(path) if path.exists() => path,
        _ => "/proc/self/exe".into(),
    }
}

/// Opens the log at its end, or anew where it has grown large.
fn open_log(path: &Path, undo: &mut Undo<'_>) -> io::Result<File> {
    let is_new = !path.exists();
    let file = OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(path)?;
    if file.metadata()?.len() > LOG_BYTES_MAX {
        file.set_len(0)?;
    }
    if is_new {
        let path = path.to_owned();
        undo.push(async move {
            let _ = std::fs::remove_file(path);
            Ok(())
        });
    }
    Ok(file)
}

fn last_lines(path: &Path) -> io::Result<Vec<String>> {
    let mut file = File::open(path)?;
    let start = file.metadata()?.len().saturating_sub(TAIL_BYTES);
    file.seek(SeekFrom::Start(start))?;
    let mut bytes = Vec::new();
    file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes)
        .lines()
        .map(str::to_owned)
        .collect())
}

/// A month or so of a quiet router's log; a launch begins a new one then.
const LOG_BYTES_MAX: u64 = 4 << 20;
/// Holds several lines of a log.
const TAIL_BYTES: u64 = 4096;
