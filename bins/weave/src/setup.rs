//! `weave setup`: checks what this host, or another one over ssh, needs for weave, and says what mends what is missing.
//!
//! [`mod@look`] finds the [`facts`], [`mod@judge`] says what they mean; only the first touches the host, and changes nothing.

mod facts;
mod firewall;
mod judge;
mod look;
mod owners;
mod ssh;
mod system;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Args, ValueHint};
use weave_router::Failure;

use crate::context::Context;
use crate::output::Paint;
use crate::setup::judge::{Check, State, judge};
use crate::setup::look::look;

/// The flags of `weave setup`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct SetupArgs {
    /// Check that host over ssh, after copying this program to its /usr/local/bin/weave
    #[arg(long, value_name = "HOST", value_hint = ValueHint::Hostname)]
    ssh: Option<String>,
    /// The router's TCP and UDP port
    #[arg(
        long,
        env = "WEAVE_PORT",
        hide_env = true,
        value_name = "N",
        default_value_t = PORT,
        value_parser = clap::value_parser!(u16).range(1..)
    )]
    port: u16,
    /// There is no container engine, and none is needed: weave launch --no-container
    #[arg(long)]
    no_container: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// What ssh is to be given besides, as -p 2222
    #[arg(
        value_name = "SSH ARGS",
        requires = "ssh",
        trailing_var_arg = true,
        allow_hyphen_values = true
    )]
    ssh_args: Vec<OsString>,
}

const EXAMPLES: &str = "\
Examples:
  sudo weave setup                            is everything there that weave needs?
  weave setup --no-container                  for a host without Docker and podman
  weave setup --ssh root@host2                copy weave to host2, and check it
  weave setup --ssh admin@host2 -p 2222       what follows HOST goes to ssh
  weave setup --ssh default -F ssh.config     a virtual machine, with what vagrant ssh-config says
  weave setup --json                          for programs

Each line says ok, note (weave works, but know this) or missing, and below it what mends it.
A user other than root of another host must get through sudo there without a password.
Exits 0 when nothing is missing, 3 when something is, 1 when that can't be told.";

/// The port that routers have unless told otherwise.
const PORT: u16 = 6783;
/// The exit code for a host that lacks something.
const MISSING: u8 = 3;

/// Runs `weave setup`.
pub(crate) async fn setup(context: &Context, args: &SetupArgs) -> Result<ExitCode, Failure> {
    if let Some(host) = &args.ssh {
        return ssh::setup(context, args, host).await;
    }
    let facts = look(context, args.port, !args.no_container).await;
    let checks = judge(&facts);
    let missing = checks.iter().any(|check| check.state == State::Missing);
    let text = if args.json {
        serde_json::json!({
            "ok": !missing,
            "version": env!("CARGO_PKG_VERSION"),
            "checks": checks,
        })
        .to_string()
    } else {
        rendered(&checks, context.output.paint())
    };
    context.output.line(&text)?;
    Ok(if missing {
        ExitCode::from(MISSING)
    } else {
        ExitCode::SUCCESS
    })
}

/// The verdict, then a line for each check, and what mends it below.
fn rendered(checks: &[Check], paint: Paint) -> String {
    let missing = checks
        .iter()
        .filter(|check| check.state == State::Missing)
        .count();
    let mut text = match missing {
        0 => paint.good("all well: this host has what weave needs"),
        1 => paint.bad("one thing is missing"),
        n => paint.bad(&format!("{n} things are missing")),
    };
    text.push('\n');
    let width = checks.iter().map(|check| check.name.len()).max();
    let width = width.unwrap_or_default();
    for check in checks {
        // Padded before it is painted: colours count as letters.
        let state = match check.state {
            State::Ok => paint.dim("ok     "),
            State::Note => paint.bold("note   "),
            State::Missing => paint.bad("missing"),
        };
        text += &format!("  {state}  {:width$}  {}\n", check.name, check.found);
        if let Some(mend) = &check.mend {
            text += &format!("{:11}{:width$}  {}\n", "", "", paint.bold(mend));
        }
    }
    text
}

#[cfg(test)]
mod tests;
