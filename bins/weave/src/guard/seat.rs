//! That there is one guard: a file with its process id, locked for as long as it runs.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use weave_io::host::in_own_session;
use weave_router::{Failure, words};

use super::log;
use crate::context::Context;

/// The place of the one guard of a state folder, given up when dropped.
#[derive(Debug)]
pub(super) struct Seat {
    path: PathBuf,
    _lock: File,
}

impl Seat {
    /// Takes it.
    ///
    /// # Errors
    /// When another guard has it, which is named.
    pub(super) fn take(state_dir: &Path) -> Result<Self, Failure> {
        let path = state_dir.join(FILE);
        let cannot = |error: io::Error| {
            Failure::new(
                format!("cannot write {}", path.display()),
                words(&error),
                "",
            )
        };
        // Whoever ends removes the file, perhaps just after it was opened here.
        for attempt in 1..=TRIES_MAX {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(state_dir)
                .map_err(cannot)?;
            let mut file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .open(&path)
                .map_err(cannot)?;
            match file.try_lock() {
                Ok(()) => {}
                // Somebody who only looks whether a guard runs holds it for a moment.
                Err(TryLockError::WouldBlock) if attempt < LOCKED_TRIES => {
                    std::thread::sleep(LOOK);
                    continue;
                }
                Err(TryLockError::WouldBlock) => {
                    let whose = pid_in(&mut file)
                        .map_or_else(String::new, |pid| format!(", process {pid}"));
                    return Err(Failure::new(
                        "cannot guard this host's network",
                        format!("another guard does already{whose}"),
                        "weave guard --replace takes its place",
                    ));
                }
                Err(TryLockError::Error(error)) => return Err(cannot(error)),
            }
            if is_at(&file, &path) {
                file.set_len(0)
                    .and_then(|()| writeln!(file, "{}", std::process::id()))
                    .map_err(cannot)?;
                return Ok(Self { path, _lock: file });
            }
        }
        Err(cannot(io::Error::other("others remove it all the time")))
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        // Still locked: nobody else has the file at the path.
        let _ = fs::remove_file(&self.path);
    }
}

/// Starts a guard that runs on by itself, with its lines in guard.log; says whether none ran before.
///
/// # Errors
/// What the system refuses, or the last words of a guard that ended at once.
pub(crate) async fn spawn(context: &Context) -> Result<bool, Failure> {
    if holder(&context.state_dir).is_some() {
        return Ok(false);
    }
    let cannot = |error: io::Error| Failure::new("cannot start the guard", words(&error), "");
    let mut child = command(context)
        .and_then(|mut command| command.spawn())
        .map_err(cannot)?;
    let mut waited = Duration::ZERO;
    while waited < START_TIME_MAX {
        if holder(&context.state_dir).is_some() {
            return Ok(true);
        }
        if let Ok(Some(_)) = child.try_wait() {
            return Err(ended(&context.state_dir, &child));
        }
        tokio::time::sleep(LOOK).await;
        waited += LOOK;
    }
    Ok(true)
}

/// Ends the guard, if one runs; says whether one did.
///
/// # Errors
/// One that does not end.
pub(crate) async fn end(context: &Context) -> Result<bool, Failure> {
    let mut ran = false;
    for (signal, patience) in [
        (Signal::SIGTERM, END_TIME_MAX),
        (Signal::SIGKILL, KILL_TIME_MAX),
    ] {
        let mut waited = Duration::ZERO;
        let mut told = None;
        while waited < patience {
            let Some(pid) = holder(&context.state_dir) else {
                // One that was killed leaves its file.
                let _ = fs::remove_file(context.state_dir.join(FILE));
                return Ok(ran);
            };
            ran = true;
            // It may not have written its number yet.
            if pid.is_some() && pid != told {
                told = pid;
                match pid.map(|pid| kill(pid, signal)) {
                    Some(Err(errno)) if errno != Errno::ESRCH => {
                        return Err(Failure::new("cannot end the guard", errno.desc(), ""));
                    }
                    _ => {}
                }
            }
            tokio::time::sleep(LOOK).await;
            waited += LOOK;
        }
    }
    Err(Failure::new("cannot end the guard", "it does not end", ""))
}

/// Who has the seat: its process id, as far as that is written down already.
fn holder(state_dir: &Path) -> Option<Option<Pid>> {
    let mut file = File::open(state_dir.join(FILE)).ok()?;
    match file.try_lock_shared() {
        Err(TryLockError::WouldBlock) => Some(pid_in(&mut file)),
        Ok(()) | Err(TryLockError::Error(_)) => None,
    }
}

fn pid_in(file: &mut File) -> Option<Pid> {
    let mut text = String::new();
    file.take(PID_BYTES_MAX).read_to_string(&mut text).ok()?;
    let pid = text.trim().parse::<i32>().ok()?;
    // 0 and below are whole groups.
    (pid > 0).then(|| Pid::from_raw(pid))
}

fn is_at(file: &File, path: &Path) -> bool {
    match (file.metadata(), fs::metadata(path)) {
        (Ok(held), Ok(there)) => (held.dev(), held.ino()) == (there.dev(), there.ino()),
        _ => false,
    }
}

fn command(context: &Context) -> io::Result<Command> {
    let program = match std::env::current_exe() {
        Ok(path) if path.exists() => path,
        _ => "/proc/self/exe".into(),
    };
    let mut command = Command::new(program);
    command
        .arg("--control")
        .arg(std::path::absolute(&context.control)?)
        .arg("--state-dir")
        .arg(std::path::absolute(&context.state_dir)?);
    if let Some(engine) = context.engine {
        command.args(["--engine", engine.program()]);
    }
    if let Some(bridge) = &context.bridge {
        command.args(["--bridge", bridge]);
    }
    command
        .arg("guard")
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log::open(&context.state_dir)?)
        // Of whoever launches, not of the guard.
        .env_remove("NOTIFY_SOCKET");
    in_own_session(&mut command);
    Ok(command)
}

fn ended(state_dir: &Path, child: &Child) -> Failure {
    let path = state_dir.join(log::LOG);
    let text = fs::read(&path).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let last = text.lines().last().unwrap_or("without a word");
    Failure::new(
        "cannot start the guard",
        format!("process {} ended: {last}", child.id()),
        format!("{} may say more", path.display()),
    )
}

const FILE: &str = "guard.pid";
/// How often a guard that ends may be in the way of one that begins.
const TRIES_MAX: u32 = 100;
const LOCKED_TRIES: u32 = 5;
const PID_BYTES_MAX: u64 = 16;
const LOOK: Duration = Duration::from_millis(20);
const START_TIME_MAX: Duration = Duration::from_secs(5);
/// Longer than the attaching of a container takes, which is finished or taken back first.
const END_TIME_MAX: Duration = Duration::from_secs(8);
const KILL_TIME_MAX: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_one_seat_and_it_is_free_again_when_its_guard_is_gone() {
        let folder = std::env::temp_dir().join(format!("weave-seat-{}", std::process::id()));
        let state_dir = folder.join("state");
        assert_eq!(holder(&state_dir), None);
        let seat = Seat::take(&state_dir).unwrap();
        assert_eq!(holder(&state_dir), Some(Some(Pid::this())));
        assert_eq!(
            Seat::take(&state_dir).unwrap_err().to_string(),
            format!(
                "cannot guard this host's network: another guard does already, process {}; weave guard --replace \
                 takes its place",
                std::process::id()
            )
        );
        drop(seat);
        assert!(!state_dir.join(FILE).exists());
        // One that was killed.
        fs::write(state_dir.join(FILE), "1\n").unwrap();
        assert_eq!(holder(&state_dir), None);
        drop(Seat::take(&state_dir).unwrap());
        for text in ["", "-1", "0", "x"] {
            fs::write(state_dir.join(FILE), text).unwrap();
            let mut file = File::open(state_dir.join(FILE)).unwrap();
            assert_eq!(pid_in(&mut file), None, "{text}");
        }
        fs::remove_dir_all(&folder).unwrap();
    }
}
