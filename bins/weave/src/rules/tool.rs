//! Runs `iptables-save` and `iptables-restore` of a family.

use std::io;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use weave_router::{Failure, words};

use super::wanted::Family;

/// The tools of one family.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tool {
    save: &'static str,
    restore: &'static str,
}

/// Why they did not do it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ToolError {
    /// They are not installed, or the kernel has no such addresses.
    Missing,
    /// Another program held the lock the whole time.
    Busy,
    /// Their own words.
    Refused(String),
}

impl ToolError {
    /// In one line.
    pub(super) fn failure(self, family: Family) -> Failure {
        let program = match family {
            Family::V4 => "iptables",
            Family::V6 => "ip6tables",
        };
        let what = "cannot write the firewall rules";
        match self {
            Self::Missing => Failure::new(
                what,
                format!("there is no {program} here, and what is exposed needs it"),
                "install the package iptables",
            ),
            Self::Busy => Failure::new(
                what,
                format!("other programs keep {program} locked"),
                "try again; `fuser /run/xtables.lock` tells which",
            ),
            Self::Refused(why) => Failure::new(what, why, ""),
        }
    }
}

impl Tool {
    pub(super) fn new(family: Family) -> Self {
        match family {
            Family::V4 => Self {
                save: "iptables-save",
                restore: "iptables-restore",
            },
            Family::V6 => Self {
                save: "ip6tables-save",
                restore: "ip6tables-restore",
            },
        }
    }

    /// All rules of this network namespace.
    pub(super) async fn save(self) -> Result<String, ToolError> {
        // A kernel without IPv6 has nothing to save, and says so as an error.
        if self.save.starts_with("ip6") && !Path::new("/proc/sys/net/ipv6").exists() {
            return Err(ToolError::Missing);
        }
        run(self.save, &[], None).await
    }

    /// Applies a script, all of each table at once, and leaves what the script doesn't name.
    pub(super) async fn restore(self, script: &str) -> Result<(), ToolError> {
        run(self.restore, &["-w", LOCK_WAIT_SECONDS, "-n"], Some(script))
            .await
            .map(drop)
    }
}

/// Whether br_netfilter is loaded, so that bridged frames meet iptables.
pub(super) fn bridged_frames_are_filtered() -> bool {
    Path::new("/proc/sys/net/bridge").exists()
}

/// Runs it, again while it can't get at the rules (exit code 4), and gives what it printed.
async fn run(program: &str, args: &[&str], input: Option<&str>) -> Result<String, ToolError> {
    for attempt in 1.. {
        let done = tokio::time::timeout(RUN_TIME_MAX, run_once(program, args, input)).await;
        let output = match done {
            Ok(Ok(output)) => output,
            Ok(Err(error)) if error.kind() == io::ErrorKind::NotFound => {
                return Err(ToolError::Missing);
            }
            Ok(Err(error)) => {
                return Err(ToolError::Refused(format!(
                    "cannot run {program}: {}",
                    words(&error)
                )));
            }
            Err(_) => return Err(ToolError::Busy),
        };
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        if output.status.code() != Some(BUSY) {
            return Err(ToolError::Refused(said(program, &output.stderr)));
        }
        if attempt == ATTEMPTS {
            break;
        }
        tokio::time::sleep(PAUSE).await;
    }
    Err(ToolError::Busy)
}

async fn run_once(
    program: &str,
    args: &[&str],
    input: Option<&str>,
) -> io::Result<std::process::Output> {
    let mut command = Command::new(program);
    command
        .args(args)
        .stdin(if input.is_some() {
            Stdio::piped()
        } else {
            Stdio::null()
        })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    // They live where only root's PATH leads.
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{path}:/usr/sbin:/sbin"));
    let mut child = command.spawn()?;
    if let (Some(input), Some(mut stdin)) = (input, child.stdin.take()) {
        // One that ends before it read all says why itself.
        let _ = stdin.write_all(input.as_bytes()).await;
    }
    child.wait_with_output().await
}

/// What it complained of, without its usage hints, on one line.
fn said(program: &str, stderr: &[u8]) -> String {
    let text = String::from_utf8_lossy(stderr);
    let line = text
        .lines()
        .map(str::trim)
        .filter(|line| {
            !line.is_empty()
                && !line.starts_with('#')
                && !line.starts_with("Try `")
                && !line.starts_with("Error occurred at line")
        })
        .collect::<Vec<_>>()
        .join(" ");
    if line.is_empty() {
        format!("{program} failed without a word")
    } else {
        line.chars().take(WORDS_CHARS_MAX).collect()
    }
}

/// "A resource problem": the rules changed under it, or somebody else holds the lock.
const BUSY: i32 = 4;
/// How often a busy one is run, and how long apart: 2 s on the whole beside the waiting for the lock.
const ATTEMPTS: u32 = 10;
const PAUSE: Duration = Duration::from_millis(200);
/// How long each waits for the lock that the programs of iptables hold one after the other.
const LOCK_WAIT_SECONDS: &str = "5";
/// Thousands of rules take it a second.
const RUN_TIME_MAX: Duration = Duration::from_secs(20);
const WORDS_CHARS_MAX: usize = 300;
