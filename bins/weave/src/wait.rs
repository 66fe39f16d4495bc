//! `weave wait`: the entry point that `weave run` puts before a container's own: waits for the network, then becomes
//! the container's program.
//!
//! It runs in somebody else's container, as somebody else's user, with any rights, limits and environment: so it reads
//! no variable but PATH, starts no thread, writes no file, and asks nothing of the kernel that a container may not. The
//! network is up when `ethwe` bears the alias that [`attach`](crate::attach) gives it last; sysfs shows it to anybody.
//!
//! ```text
//!  weave run:   docker run ──▶ wait for [`step`] ──▶ attach (bridge, veth, addresses, alias) ──▶ print the id
//!  container:   looks PROGRAM up in PATH ──▶ Waiting ─────────── alias there ──▶ exec PROGRAM
//!                        └─▶ Missing, Denied (as docker: exit 127, 126)  └─ 120 s: exit 125
//! ```
//!
//! How far it is, [`step`] reads on the host from the process's own name (PR_SET_NAME), which needs no file, socket or
//! right in the container. On `docker restart` the same happens again, and `weave guard` attaches.

use std::ffi::{CStr, CString, OsStr, OsString};
use std::fs;
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use clap::Parser;
use nix::errno::Errno;
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl;
use nix::sys::signal::{SigSet, SigmaskHow};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::{AccessFlags, access};
use weave_router::{Failure, is_answer, usage_line, words};

use crate::attach::{DEVICE, READY};

/// Where `weave run` mounts this program in a container. A file at the root, as `/.dockerenv` is: a container made of
/// nothing has no folder that it could be in.
pub(crate) const ENTRY: &str = "/.weave-wait";

/// The command line for [`ENTRY`] that waits and then runs `command`. Containers keep it for as long as they live, and
/// newer releases must understand it.
pub(crate) fn arguments(command: &[String]) -> impl Iterator<Item = OsString> {
    ["wait", "--"]
        .into_iter()
        .map(OsString::from)
        .chain(command.iter().map(OsString::from))
}

/// The command without the waiting before it: that of a container which `weave run` made, or of an image that was
/// committed from one.
pub(crate) fn without(command: &[String]) -> &[String] {
    match command {
        [entry, wait, dashes, rest @ ..]
            if entry == ENTRY && wait == "wait" && dashes == "--" && !rest.is_empty() =>
        {
            rest
        }
        whole => whole,
    }
}

/// How far a container's `weave wait` is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// It found the program, and waits for the network.
    Waiting,
    /// There is no such program in the container.
    Missing,
    /// The program is no file that the container's user may execute.
    Denied,
}

impl Step {
    const ALL: [Self; 3] = [Self::Waiting, Self::Missing, Self::Denied];

    /// The name of the process: 15 bytes at most (TASK_COMM_LEN).
    const fn process_name(self) -> &'static CStr {
        match self {
            Self::Waiting => c"weave: waits",
            Self::Missing => c"weave: missing",
            Self::Denied => c"weave: denied",
        }
    }

    fn of(process_name: &[u8]) -> Option<Self> {
        let name = process_name.trim_ascii_end();
        Self::ALL
            .into_iter()
            .find(|step| step.process_name().to_bytes() == name)
    }

    /// What the container exits with, as docker has it.
    pub(crate) fn exit_code(self) -> u8 {
        match self {
            Self::Waiting => GAVE_UP,
            Self::Missing => MISSING,
            Self::Denied => DENIED,
        }
    }
}

/// How far the container is whose main process this is; an init (`--init`) has the waiting as its child. `None` while
/// it has yet to say, and when it waits no more.
pub(crate) fn step(pid: u32) -> Option<Step> {
    let process = PathBuf::from(format!("/proc/{pid}"));
    let name = |process: &Path| fs::read(process.join("comm")).ok();
    if let Some(step) = name(&process).and_then(|name| Step::of(&name)) {
        return Some(step);
    }
    let children = fs::read_to_string(process.join(format!("task/{pid}/children"))).ok()?;
    children
        .split_whitespace()
        .find_map(|child| Step::of(&name(&Path::new("/proc").join(child))?))
}

/// Runs `weave wait` with its command line, the program's name and `wait` first: apart from the tool's other commands,
/// whose flags would read variables of a stranger's environment.
pub(crate) fn main_with(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args = match WaitCli::try_parse_from(args) {
        Ok(args) => args,
        Err(error) if is_answer(&error) => {
            let _ = write!(io::stdout(), "{error}");
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            complain(&Failure::usage(usage_line("weave wait", &error), "", ""));
            return ExitCode::from(2);
        }
    };
    wait(&args.command, Duration::from_secs(args.seconds))
}

/// Waits for a container's network, then becomes its program. `weave run` makes it the entry point.
#[derive(Debug, Parser)]
#[command(name = "weave wait")]
struct WaitCli {
    /// Give up after so many seconds, with exit code 125
    #[arg(long = "for", value_name = "SECONDS", default_value_t = PATIENCE_SECONDS)]
    seconds: u64,
    /// The program, and its arguments
    #[arg(last = true, required = true, value_name = "PROGRAM")]
    command: Vec<OsString>,
}

fn wait(command: &[OsString], patience: Duration) -> ExitCode {
    let Some((name, arguments)) = command.split_first() else {
        return ExitCode::from(2);
    };
    let signals = match Signals::hold() {
        Ok(signals) => signals,
        Err(error) => {
            let why = words(&io::Error::from(error));
            complain(&Failure::new("cannot wait for the network", why, NO_WAIT));
            return ExitCode::from(GAVE_UP);
        }
    };
    // Before the waiting, so that a word mistyped is told at once, and to whoever ran the container.
    let program = match look_up(name, std::env::var_os("PATH").as_deref()) {
        Ok(program) => program,
        Err((step, why)) => {
            complain(&cannot_start(name, why));
            be(step);
            // Time for `weave run` to see it; nobody else waits for a container that can't start.
            return signals
                .pause(LINGER)
                .unwrap_or_else(|| ExitCode::from(step.exit_code()));
        }
    };
    be(Step::Waiting);
    if let Err(code) = network(&signals, Path::new(DEVICES), patience) {
        return code;
    }
    if let Some(code) = signals.release() {
        return code;
    }
    // It puts back SIGPIPE, too, which Rust ignores.
    let error = Command::new(&program).arg0(name).args(arguments).exec();
    complain(&cannot_start(name, words(&error)));
    ExitCode::from(if error.kind() == io::ErrorKind::NotFound {
        MISSING
    } else {
        DENIED
    })
}

/// Waits until the alias is there, or says with which code to exit.
fn network(signals: &Signals, devices: &Path, patience: Duration) -> Result<(), ExitCode> {
    // Each namespace has one: not to see it is not to see any.
    if !devices.join("lo").exists() {
        let why = format!("{} shows no device here", devices.display());
        complain(&Failure::new("cannot wait for the network", why, NO_WAIT));
        return Err(ExitCode::from(GAVE_UP));
    }
    let alias = devices.join(DEVICE).join("ifalias");
    let began = Instant::now();
    loop {
        // The device may come, go and come again while it is being set up.
        if fs::read(&alias).is_ok_and(|alias| alias.trim_ascii_end() == READY.as_bytes()) {
            return Ok(());
        }
        let waited = began.elapsed();
        if waited >= patience {
            let what = format!(
                "no network within {} s, so the container's program was not started",
                patience.as_secs()
            );
            let why = "nothing attached this container";
            let remedy = "'weave launch' attaches what it knows, or start it with 'weave start CIDR CONTAINER'";
            complain(&Failure::new(what, why, remedy));
            return Err(ExitCode::from(GAVE_UP));
        }
        let pause = if waited < SOON { LOOK_SOON } else { LOOK_LATER };
        if let Some(code) = signals.pause(pause.min(patience - waited)) {
            return Err(code);
        }
    }
}

/// All signals, held back so that they can be answered: to the first process of a container the kernel delivers none
/// that it has no handler for, and `docker stop` would take its ten seconds.
struct Signals {
    held: SignalFd,
    /// What was held back when this program began: the container's program is to begin so, too.
    before: SigSet,
}

impl Signals {
    fn hold() -> Result<Self, Errno> {
        let all = SigSet::all();
        let before = all.thread_swap_mask(SigmaskHow::SIG_SETMASK)?;
        let held = SignalFd::with_flags(&all, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
        Ok(Self { held, before })
    }

    /// Holds them back no more, unless one has asked to end.
    fn release(self) -> Option<ExitCode> {
        let code = self.pause(Duration::ZERO);
        // Refused for no mask that there ever was.
        let _ = self.before.thread_set_mask();
        code
    }

    /// Waits so long, or until a signal asks to end: then the code to exit with, as a shell has it.
    fn pause(&self, time: Duration) -> Option<ExitCode> {
        let until = Instant::now() + time;
        loop {
            let rest = until.saturating_duration_since(Instant::now());
            let milliseconds = u16::try_from(rest.as_micros().div_ceil(1000)).unwrap_or(u16::MAX);
            let mut fds = [PollFd::new(self.held.as_fd(), PollFlags::POLLIN)];
            let _ = poll(&mut fds, PollTimeout::from(milliseconds));
            while let Ok(Some(info)) = self.held.read_signal() {
                if let Some(code) = exit_code(info.ssi_signo, io::stdin().is_terminal()) {
                    return Some(ExitCode::from(code));
                }
            }
            if Instant::now() >= until {
                return None;
            }
        }
    }
}

/// What a signal makes of the wait: nothing, or its end. The window's change of size is no reason to end, but where
/// there is no window it is the stop signal of some images (Apache's).
fn exit_code(signal: u32, terminal: bool) -> Option<u8> {
    let number = i32::try_from(signal).ok()?;
    match number {
        libc::SIGWINCH if !terminal => {}
        libc::SIGWINCH
        | libc::SIGCHLD
        | libc::SIGCONT
        | libc::SIGURG
        | libc::SIGPIPE
        | libc::SIGTSTP
        | libc::SIGTTIN
        | libc::SIGTTOU => return None,
        _ => {}
    }
    u8::try_from(128 + number).ok()
}

/// The file that a name means, by the rule of docker's run time: as it is if there is a slash in it, else in the
/// folders of PATH. Or why there is none.
fn look_up(name: &OsStr, path: Option<&OsStr>) -> Result<PathBuf, (Step, String)> {
    if name.as_encoded_bytes().contains(&b'/') {
        let file = PathBuf::from(name);
        return match executable(&file) {
            Ok(()) => Ok(file),
            Err(error) if error == Errno::ENOENT || error == Errno::ENOTDIR => {
                Err((Step::Missing, "there is no such file".to_owned()))
            }
            Err(error) => Err((Step::Denied, words(&io::Error::from(error)))),
        };
    }
    let folders = path.unwrap_or_default();
    // An empty list has one empty entry, and an empty entry is the folder where the process is.
    std::env::split_paths(folders)
        .filter(|_| !folders.is_empty())
        .map(|folder| match folder.as_os_str().is_empty() {
            true => Path::new(".").join(name),
            false => folder.join(name),
        })
        .find(|file| executable(file).is_ok())
        .ok_or_else(|| {
            let why = format!("it is not in PATH ({})", folders.display());
            (Step::Missing, why)
        })
}

fn executable(file: &Path) -> Result<(), Errno> {
    let metadata = fs::metadata(file)
        .map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(libc::ENOENT)))?;
    if metadata.is_dir() {
        return Err(Errno::EISDIR);
    }
    access(file, AccessFlags::X_OK)
}

/// Tells the host how far it is.
fn be(step: Step) {
    // Refused by no kernel; without it `weave run` would only be less exact in its words.
    let _ = prctl::set_name(&CString::from(step.process_name()));
}

fn cannot_start(name: &OsStr, why: String) -> Failure {
    Failure::new(format!("cannot start {}", name.display()), why, "")
}

fn complain(failure: &Failure) {
    // Nowhere is left to complain when stderr fails.
    let _ = writeln!(io::stderr(), "weave: {failure}");
}

const NO_WAIT: &str = "'weave run --no-wait' does without";

/// Where the kernel shows the devices of the container's namespace.
const DEVICES: &str = "/sys/class/net";

/// How long until it gives up. A host that boots starts its containers when the engine is up and the router a few
/// seconds after that; what is not there in two minutes needs somebody to look, and an exit code can be seen (and
/// acted upon: `--restart`) where a process that hangs can't.
const PATIENCE_SECONDS: u64 = 120;

/// How often to look: attaching takes a second with its probes, and nobody should notice the waiting; later it must
/// not cost anything either. A look takes 10 microseconds.
const LOOK_SOON: Duration = Duration::from_millis(10);
const LOOK_LATER: Duration = Duration::from_millis(100);
const SOON: Duration = Duration::from_secs(10);

/// How long a program that can't be started lets its process live.
const LINGER: Duration = Duration::from_millis(500);

/// Docker's codes: the engine failed, the program can't be executed, there is no such program.
const GAVE_UP: u8 = 125;
const DENIED: u8 = 126;
const MISSING: u8 = 127;

#[cfg(test)]
mod tests;
