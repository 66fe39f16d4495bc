//! `weave setup --ssh HOST`: copies this program to another machine, and checks that one.
//!
//! One ssh session does it all, so that whoever types a password types it once. A script over there says what machine it
//! is and waits; this side answers with the program, or that what is there already is the same; then the program's own
//! `setup` runs, and its answer is what is shown.

use std::ffi::OsString;
use std::io::{IsTerminal, Write};
use std::process::{ExitCode, Stdio};

use ring::digest::{SHA256, digest};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::Command;
use weave_router::{Failure, words};

use super::{MISSING, PORT, SetupArgs};
use crate::context::Context;
use crate::ledger::warn;

/// Where it is put.
const PLACE: &str = "/usr/local/bin/weave";
/// What a line of the script begins with, among whatever a login shell prints.
const MARK: &str = "weave-setup ";
/// What is said over there, at most: a setup's answer has some thousand bytes.
const ANSWER_BYTES_MAX: u64 = 1 << 20;

/// In a single line and without single quotes, which stand around it: any login shell passes it on.
const SCRIPT: &str = "\
say() { echo \"weave-setup $*\"; }; \
s=; if [ \"$(id -u)\" != 0 ]; then s=\"sudo -n\"; fi; \
say system \"$(uname -s)\"; say machine \"$(uname -m)\"; \
if $s true 2>/dev/null; then say root yes; else say root no; fi; \
if command -v sha256sum >/dev/null; then say sum \"$(sha256sum PLACE 2>/dev/null)\"; else say nosum; fi; \
say ready; \
read answer want || exit 70; \
case $answer in \
keep) ;; \
copy) t=$(mktemp /tmp/weave.XXXXXXXX) || exit 71; trap \"rm -f $t\" EXIT; cat > $t || exit 71; \
is=$(sha256sum $t); [ \"${is%% *}\" = \"$want\" ] || exit 72; \
$s mkdir -p DIR && $s cp $t PLACE.new && $s chmod 755 PLACE.new && $s mv -f PLACE.new PLACE || exit 73; \
rm -f $t; say copied;; \
*) exit 70;; \
esac; \
say runs; \
$s PLACE ARGS";

/// What a host says before anything is copied to it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Host {
    /// As `Linux`.
    system: String,
    /// As `x86_64`.
    machine: String,
    /// Whether the user is root, or becomes it without a password.
    root: bool,
    /// Whether it can make checksums, and the one of what is at [`PLACE`].
    sum: Option<String>,
}

/// Copies and checks.
///
/// # Errors
/// When the host can't be reached, is no Linux of this processor, gives no root, or does not take the program.
pub(super) async fn setup(
    context: &Context,
    args: &SetupArgs,
    host: &str,
) -> Result<ExitCode, Failure> {
    // ssh would take it for an option.
    if host.is_empty() || host.starts_with('-') {
        return Err(Failure::usage(
            format!("{host:?} is no host"),
            "",
            "weave setup --ssh HOST, as one gives it to ssh",
        ));
    }
    let program = std::fs::read("/proc/self/exe")
        .map_err(|error| Failure::new("cannot read this program", words(&error), ""))?;
    let sum = hexadecimal(digest(&SHA256, &program).as_ref());

    let mut session = Command::new("ssh")
        .args(ssh_args(args, host, std::io::stdin().is_terminal()))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| {
            if error.kind() == std::io::ErrorKind::NotFound {
                return Failure::new(
                    "cannot reach another host",
                    "there is no program ssh here",
                    "install it: openssh-client",
                );
            }
            Failure::new("cannot start ssh", words(&error), "")
        })?;
    let (Some(mut stdin), Some(stdout), Some(stderr)) = (
        session.stdin.take(),
        session.stdout.take(),
        session.stderr.take(),
    ) else {
        return Err(Failure::new("cannot talk to ssh", "it has no output", ""));
    };
    let complaints = tokio::spawn(whole(stderr));
    let mut lines = BufReader::new(stdout.take(ANSWER_BYTES_MAX));

    let refused = match heard(&mut lines).await {
        None => None,
        Some(found) => match same(&found, &sum, host) {
            Err(refusal) => Some(refusal),
            Ok(is_there) => {
                let answer = if is_there {
                    "keep\n".to_owned()
                } else {
                    format!("copy {sum}\n")
                };
                // What a script that has ended does not take is told by how it ended.
                let _ = stdin.write_all(answer.as_bytes()).await;
                if !is_there {
                    let _ = stdin.write_all(&program).await;
                }
                None
            }
        },
    };
    drop(stdin);
    let mut said = Said::default();
    let mut runs = false;
    let mut line = Vec::new();
    while matches!(lines.read_until(b'\n', &mut line).await, Ok(1..)) {
        let text = String::from_utf8_lossy(&line);
        match text.strip_prefix(MARK) {
            _ if runs => said.text += &text,
            Some("copied\n") => said.copied = true,
            Some("runs\n") => runs = true,
            _ => {}
        }
        line.clear();
    }
    said.runs = runs;
    let status = session
        .wait()
        .await
        .map_err(|error| Failure::new("cannot wait for ssh", words(&error), ""))?;
    said.complaints = complaints.await.unwrap_or_default();
    if let Some(refusal) = refused {
        return Err(refusal);
    }
    let code = concluded(&said, status.code(), host, &way(args, host))?;
    if said.copied {
        warn(&format!(
            "copied weave {} to {host}:{PLACE}",
            env!("CARGO_PKG_VERSION")
        ));
    }
    // What the program over there warned of, and ssh.
    if !said.complaints.is_empty() {
        let _ = write!(std::io::stderr(), "{}", said.complaints);
    }
    context.output.line(&said.text)?;
    Ok(ExitCode::from(code))
}

/// What came back.
#[derive(Debug, Default)]
struct Said {
    /// The program arrived and was put in place.
    copied: bool,
    /// The program there was started.
    runs: bool,
    /// What it printed.
    text: String,
    /// What ssh, the script and the program printed on stderr.
    complaints: String,
}

/// The program's arguments for ssh. Those of the user come first: for ssh the first one counts.
fn ssh_args(args: &SetupArgs, host: &str, terminal: bool) -> Vec<OsString> {
    let mut all = args.ssh_args.clone();
    if !terminal {
        // Nobody is there to be asked for a password.
        all.extend(["-o".into(), "BatchMode=yes".into()]);
    }
    all.extend(["-o".into(), "ConnectTimeout=15".into(), "--".into()]);
    all.push(host.into());
    let folder = PLACE.rsplit_once('/').map_or("/", |(folder, _)| folder);
    let script = SCRIPT
        .replace("PLACE", PLACE)
        .replace("DIR", folder)
        .replace("ARGS", &remote_args(args));
    all.push(format!("sh -c '{script}'").into());
    all
}

fn remote_args(args: &SetupArgs) -> String {
    let mut text = "setup".to_owned();
    if args.port != PORT {
        text += &format!(" --port {}", args.port);
    }
    if args.no_container {
        text += " --no-container";
    }
    if args.json {
        text += " --json";
    }
    text
}

/// Listens until the host waits for an answer; `None` if it never did.
async fn heard(lines: &mut (impl AsyncBufReadExt + Unpin)) -> Option<Host> {
    let mut host = Host::default();
    let mut line = Vec::new();
    loop {
        line.clear();
        if !matches!(lines.read_until(b'\n', &mut line).await, Ok(1..)) {
            return None;
        }
        let text = String::from_utf8_lossy(&line);
        let Some(said) = text.trim_end().strip_prefix(MARK) else {
            continue;
        };
        let (name, value) = said.split_once(' ').unwrap_or((said, ""));
        match name {
            "system" => value.clone_into(&mut host.system),
            "machine" => value.clone_into(&mut host.machine),
            "root" => host.root = value == "yes",
            "sum" => {
                let sum = value.split_whitespace().next().unwrap_or_default();
                host.sum = Some(sum.to_owned());
            }
            "ready" => return Some(host),
            _ => {}
        }
    }
}

/// Whether this very program is there already, on a host that it can be copied to.
fn same(found: &Host, sum: &str, host: &str) -> Result<bool, Failure> {
    let cannot =
        |why: String, remedy: &str| Err(Failure::new(format!("cannot set up {host}"), why, remedy));
    if found.system != "Linux" {
        return cannot(
            format!(
                "it runs {}, and weave runs on Linux",
                or_unknown(&found.system)
            ),
            "name the virtual machine in which its containers run",
        );
    }
    if !fits(std::env::consts::ARCH, &found.machine) {
        return cannot(
            format!(
                "its processor is {}, and this weave is for {}",
                or_unknown(&found.machine),
                std::env::consts::ARCH
            ),
            "build weave there, or take a release for that processor",
        );
    }
    if !found.root {
        return cannot(
            "its user is not root, and does not become it by sudo without a password".into(),
            "name another user (--ssh root@HOST), or let this one use sudo without a password",
        );
    }
    match &found.sum {
        Some(there) => Ok(there == sum),
        None => cannot(
            "it has no sha256sum, by which a copy is checked".into(),
            "install coreutils there",
        ),
    }
}

fn or_unknown(text: &str) -> &str {
    if text.is_empty() {
        "something unknown"
    } else {
        text
    }
}

/// Whether a program for `arch`, in Rust's word, runs on `machine`, in the kernel's.
fn fits(arch: &str, machine: &str) -> bool {
    match arch {
        "x86_64" => machine == "x86_64" || machine == "amd64",
        "x86" => matches!(machine, "i386" | "i586" | "i686" | "x86_64"),
        "aarch64" => machine == "aarch64" || machine == "arm64",
        "arm" => machine.starts_with("armv") || machine == "aarch64",
        other => machine == other,
    }
}

/// How the user would reach the host.
fn way(args: &SetupArgs, host: &str) -> String {
    let mut words = vec!["ssh".into()];
    words.extend(args.ssh_args.iter().map(|word| word.to_string_lossy()));
    words.push(host.into());
    words.join(" ")
}

/// The exit code, or why there is no answer; `way` is how the user would reach the host.
fn concluded(said: &Said, code: Option<i32>, host: &str, way: &str) -> Result<u8, Failure> {
    let why = said
        .complaints
        .lines()
        .map(str::trim)
        .rfind(|line| !line.is_empty())
        .unwrap_or("it gave no reason");
    match code {
        Some(0) if said.runs => return Ok(0),
        Some(3) if said.runs => return Ok(MISSING),
        _ => {}
    }
    let failed = |what: String, why: &str, remedy: String| Err(Failure::new(what, why, remedy));
    match code {
        Some(255) | None => failed(
            format!("cannot reach {host}"),
            why,
            format!("see that this works, without a question: {way} true"),
        ),
        Some(71) => failed(
            format!("cannot copy weave to {host}"),
            why,
            format!("see if its disk is full: {way} df -h /tmp"),
        ),
        Some(72) => failed(
            format!("cannot copy weave to {host}"),
            "what arrived is not what was sent",
            "try once more; if it stays so, see if its disk is full".into(),
        ),
        Some(73) => failed(
            format!("cannot put weave in its place on {host}"),
            why,
            format!("see if {PLACE} can be written there"),
        ),
        Some(126 | 127) if said.runs => failed(
            format!("cannot run weave on {host}"),
            why,
            "see if it is a static program: file $(command -v weave)".into(),
        ),
        _ if said.runs => failed(format!("weave setup failed on {host}"), why, String::new()),
        _ => failed(format!("cannot set up {host}"), why, String::new()),
    }
}

async fn whole(stream: impl AsyncRead + Unpin) -> String {
    let mut bytes = Vec::new();
    let _ = stream.take(ANSWER_BYTES_MAX).read_to_end(&mut bytes).await;
    String::from_utf8_lossy(&bytes).into_owned()
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests;
