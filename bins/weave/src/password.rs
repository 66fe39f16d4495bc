//! `weave genkey` and `weave password`: making the network's password, and changing it while the routers run.

use std::io::{self, BufRead, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use bip39::Mnemonic;
use clap::{Args, Subcommand, ValueHint};
use nix::sys::termios::{LocalFlags, SetArg, tcgetattr, tcsetattr};
use serde::{Deserialize, Serialize};
use weave_router::{Failure, Secret, read, read_file, words};
use zeroize::Zeroizing;

use crate::client::{Client, ClientError};
use crate::output::Output;
use crate::render::Table;

/// The flags of `weave genkey`.
#[derive(Debug, Args)]
#[command(after_help = GENKEY_EXAMPLES)]
pub(crate) struct GenkeyArgs {}

/// The flags of `weave password`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, arg_required_else_help = true, disable_help_subcommand = true)]
pub(crate) struct PasswordArgs {
    #[command(subcommand)]
    command: PasswordCommand,
}

#[derive(Debug, Subcommand)]
enum PasswordCommand {
    /// Accepts one more password, and meets others with it from now on; links that stand go on
    Add(AddArgs),
    /// Accepts the older of two passwords no more; links that stand go on
    Retire,
    /// Lists the passwords that are accepted: how many, and since when
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Args)]
struct AddArgs {
    /// Take the password from this file, instead of standard input; only its owner may be able to read it
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    password_file: Option<PathBuf>,
    /// Passwords are not taken from the command line
    #[arg(hide = true, num_args = 0..)]
    given: Vec<Secret>,
}

const GENKEY_EXAMPLES: &str = "\
The 24 words hold 256 bits, drawn at random, and a checksum (BIP-39, English list). They are the password as they
stand, spaces and all: the same on every host of the network.

Examples:
  (umask 077; weave genkey > /etc/weave/password)
  weave-router --password-file /etc/weave/password";

const EXAMPLES: &str = "\
Changing the password of a network without losing a link:
  (umask 077; weave genkey > new)
  weave password add < new      on every host, one after the other
  weave password retire         on every host, once all have the new one

A router accepts two passwords at most. See what is in force with: weave password list";

/// Prints a new password.
pub(crate) fn genkey(output: Output) -> Result<ExitCode, Failure> {
    let cannot = |why: String| Failure::new("cannot make a password", why, "");
    let entropy = weave_io::os_seed()
        .map(Zeroizing::new)
        .map_err(|error| cannot(words(&error)))?;
    let words =
        Mnemonic::from_entropy(entropy.as_ref()).map_err(|error| cannot(error.to_string()))?;
    let text = Zeroizing::new(words.to_string());
    output.line(&text)?;
    Ok(ExitCode::SUCCESS)
}

/// Changes or lists the passwords of the running router.
pub(crate) async fn password(
    client: &Client,
    args: &PasswordArgs,
    output: Output,
) -> Result<ExitCode, Failure> {
    let (answer, json) = match &args.command {
        PasswordCommand::Add(add) => {
            let secret = add.secret()?;
            let request = serde_json::json!({ "password": secret.text() });
            let answer = client.post("/passwords/add", &request, STRETCHING).await;
            (answer, false)
        }
        PasswordCommand::Retire => {
            let request = serde_json::json!({});
            (
                client
                    .post("/passwords/retire", &request, Duration::ZERO)
                    .await,
                false,
            )
        }
        PasswordCommand::List { json } => (client.get("/passwords").await, *json),
    };
    let listed: Listed = answer.map_err(|error: ClientError| match args.command {
        PasswordCommand::List { .. } => error.while_doing("cannot list the passwords"),
        PasswordCommand::Add(_) | PasswordCommand::Retire => {
            error.while_doing("the password is not changed")
        }
    })?;
    if json {
        let text = serde_json::to_string_pretty(&listed)
            .map_err(|error| Failure::new("cannot print the answer", error.to_string(), ""))?;
        output.line(&text)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut text = String::new();
    if !listed.passwords.is_empty() {
        let mut table = Table::new(["PASSWORD", "SINCE", "FROM"]);
        for password in &listed.passwords {
            let age = format!("{} ago", crate::render::duration(password.age_s * 1_000));
            table.row([&password.rank, &age, &password.from]);
        }
        text = table.render(output.paint());
    }
    text.push_str(&crate::render::clean(&listed.next_start));
    if let Some(warning) = &listed.warning {
        text.push_str(&format!("\n{} {warning}", output.paint().bad("!")));
    }
    output.line(&text)?;
    Ok(ExitCode::SUCCESS)
}

impl AddArgs {
    /// The password, from wherever it is to be had.
    fn secret(&self) -> Result<Secret, Failure> {
        if !self.given.is_empty() {
            return Err(Failure::usage(
                "a password is not taken from the command line",
                "others on this host see it in the process list",
                "pipe it in (weave password add < FILE), or name its file with --password-file FILE",
            ));
        }
        let unusable =
            |why: String| Failure::new("no password to add", why, "weave genkey prints one");
        if let Some(path) = &self.password_file {
            let mut secrets = read_file(path)?;
            let newest = secrets.swap_remove(0);
            return match secrets.is_empty() {
                true => Ok(newest),
                false => Err(unusable(format!("{} holds two", path.display()))),
            };
        }
        let stdin = io::stdin();
        let text = if stdin.is_terminal() {
            ask().map_err(|error| unusable(words(&error)))?
        } else {
            read(stdin.lock()).map_err(|error| unusable(words(&error)))?
        };
        Secret::line(&text).map_err(unusable)
    }
}

/// Asks for a password on the terminal, which does not show it.
fn ask() -> io::Result<Zeroizing<String>> {
    let stdin = io::stdin();
    let shown = tcgetattr(&stdin)?;
    let mut hidden = shown.clone();
    hidden.local_flags.remove(LocalFlags::ECHO);
    hidden.local_flags.insert(LocalFlags::ECHONL);
    write!(io::stderr(), "New password of the network: ")?;
    tcsetattr(&stdin, SetArg::TCSAFLUSH, &hidden)?;
    // At its full size from the start: growing would leave copies behind.
    let mut text = Zeroizing::new(String::with_capacity(LINE_BYTES_MAX));
    let line = stdin.lock().read_line(&mut text);
    tcsetattr(&stdin, SetArg::TCSAFLUSH, &shown)?;
    line.map(|_| text)
}

/// What the router answers; see docs/control-api.md.
#[derive(Debug, Serialize, Deserialize)]
struct Listed {
    passwords: Vec<ListedPassword>,
    next_start: String,
    warning: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
struct ListedPassword {
    rank: String,
    from: String,
    age_s: u64,
}

/// A terminal gives a line of so many bytes at most (N_TTY_BUF_SIZE).
const LINE_BYTES_MAX: usize = 4_096;
/// How long the router may be at a password, on a busy machine of the smallest kind.
const STRETCHING: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generated_password_is_24_words_with_their_checksum() {
        let words = Mnemonic::from_entropy(&[7; 32]).unwrap().to_string();
        assert_eq!(words.split(' ').count(), 24);
        let parsed = Mnemonic::parse_normalized(&words).unwrap();
        let (entropy, length) = parsed.to_entropy_array();
        assert_eq!(entropy[..length], [7; 32]);
        // The vector of BIP-39 with all bits clear.
        let zero = Mnemonic::from_entropy(&[0; 32]).unwrap().to_string();
        assert!(
            zero.starts_with("abandon abandon ") && zero.ends_with(" abandon art"),
            "{zero}"
        );
    }

    #[test]
    fn a_password_on_the_command_line_is_refused_and_not_repeated() {
        let args = AddArgs {
            password_file: None,
            given: vec![Secret::new("hunter2")],
        };
        let line = args.secret().unwrap_err().to_string();
        assert!(
            line.contains("process list") && !line.contains("hunter2"),
            "{line}"
        );
    }
}
