//! The command line of `weave launch`: the router's own options, a leading address, and the spelling of 2014.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command, CommandFactory, FromArgMatches, Parser};
use weave_router::{Failure, Options, Secret, usage_line};

use crate::cli::Cli;
use crate::context::Context;

/// The flags of `weave launch`: the router's, as its own definition has them, and `--no-container`.
#[derive(Debug)]
pub(crate) struct LaunchArgs {
    /// Run the router as a process of the host.
    pub(super) no_container: bool,
    /// What was given to the router, by flags or environment, written out as its own flags; neither a password nor what
    /// the tool's global flags say.
    pub(super) router: Vec<String>,
    /// What `--password` says.
    pub(super) password: Option<Secret>,
    /// What `--password-file` says.
    pub(super) password_file: Option<PathBuf>,
}

impl LaunchArgs {
    /// The router's options as they will be, but for a bridge that the ledger knows; and its arguments.
    ///
    /// # Errors
    /// What the router would refuse in them.
    pub(super) fn options(&self, context: &Context) -> Result<(Options, Vec<String>), Failure> {
        let mut args = Vec::new();
        let absolute = |path: &std::path::Path, flag: &str| {
            let path = std::path::absolute(path).ok();
            let path = path.and_then(|path| path.into_os_string().into_string().ok());
            path.ok_or_else(|| Failure::usage(format!("{flag} is no path in UTF-8"), "", ""))
        };
        for (flag, path) in [
            ("--control", &context.control),
            ("--state-dir", &context.state_dir),
        ] {
            args.extend([flag.to_owned(), absolute(path, flag)?]);
        }
        if let Some(bridge) = &context.bridge {
            args.extend(["--bridge".to_owned(), bridge.clone()]);
        }
        args.extend(self.router.iter().cloned());
        let words = std::iter::once(PROGRAM.to_owned()).chain(args.iter().cloned());
        let options = Options::try_parse_from(words)
            .map_err(|error| Failure::usage(usage_line(PROGRAM, &error), "", ""))?;
        options.check()?;
        Ok((options, args))
    }
}

impl clap::Args for LaunchArgs {
    fn augment_args(command: Command) -> Command {
        let mut command = command.arg(
            Arg::new(NO_CONTAINER)
                .long("no-container")
                .action(ArgAction::SetTrue)
                .help("Run the router as a process of this host; needs no container engine"),
        );
        for arg in Options::command().get_arguments() {
            if !GLOBAL.contains(&arg.get_id().as_str()) {
                command = command.arg(arg.clone());
            }
        }
        command.override_usage(USAGE).after_help(EXAMPLES)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for LaunchArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        Ok(Self {
            no_container: matches.get_flag(NO_CONTAINER),
            router: router_args(matches),
            password: matches.get_one(PASSWORD).cloned(),
            password_file: matches.get_one(PASSWORD_FILE).cloned(),
        })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// What was given for the router, written out: the environment's part too, which its container does not see.
fn router_args(matches: &ArgMatches) -> Vec<String> {
    let mut args = Vec::new();
    let mut peers = Vec::new();
    for arg in Options::command().get_arguments() {
        let id = arg.get_id().as_str();
        let is_ours = GLOBAL.contains(&id) || [PASSWORD, PASSWORD_FILE].contains(&id);
        if is_ours || !is_given(matches, id) {
            continue;
        }
        let values = matches.get_raw(id).into_iter().flatten();
        let values = values.map(|value| value.to_string_lossy().into_owned());
        match arg.get_long() {
            // The parsers have refused what is not text.
            Some(long) if arg.get_action().takes_values() => {
                args.extend(values.map(|value| format!("--{long}={value}")));
            }
            Some(long) => {
                if matches.get_flag(id) {
                    args.push(format!("--{long}"));
                }
            }
            None => peers.extend(values),
        }
    }
    args.extend(peers);
    args
}

fn is_given(matches: &ArgMatches, id: &str) -> bool {
    matches!(
        matches.value_source(id),
        Some(ValueSource::CommandLine | ValueSource::EnvVariable)
    )
}

/// A command line of the tool, with what follows `launch` in today's spelling: `-password X` and `-debug` get their second
/// dash, and a network address before the first peer its `--address`.
pub(crate) fn translated(args: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut args = args.into_iter();
    let mut done: Vec<OsString> = args.by_ref().take(1).collect();
    let global = Cli::command();
    // What comes before the command, and the command.
    while let Some(arg) = args.next() {
        let flag = Flag::read(&arg, &global);
        let is_command = !arg.as_encoded_bytes().starts_with(b"-");
        let is_launch = arg == "launch";
        done.push(arg);
        match flag {
            Some(Flag {
                wants_value: true, ..
            }) => done.extend(args.next()),
            _ if is_launch => return translated_launch(done, args, &global),
            _ if is_command => break,
            _ => {}
        }
    }
    done.extend(args);
    done
}

fn translated_launch(
    mut done: Vec<OsString>,
    mut args: impl Iterator<Item = OsString>,
    global: &Command,
) -> Vec<OsString> {
    let globals = global.get_arguments().filter(|arg| arg.is_global_set());
    let launch = <LaunchArgs as clap::Args>::augment_args(Command::new("launch")).args(globals);
    let mut before_peers = true;
    while let Some(arg) = args.next() {
        if arg == "--" {
            done.push(arg);
            break;
        }
        if let Some(flag) = Flag::read(&arg, &launch) {
            if flag.single_dash {
                let mut long = OsString::from("-");
                long.push(&arg);
                done.push(long);
            } else {
                done.push(arg);
            }
            if flag.wants_value {
                done.extend(args.next());
            }
        } else if before_peers && is_address(&arg) {
            done.extend(["--address".into(), arg]);
        } else {
            before_peers &= arg.as_encoded_bytes().starts_with(b"-");
            done.push(arg);
        }
    }
    done.extend(args);
    done
}

/// A long flag that a command knows.
struct Flag {
    /// Written with one dash, as the original's were.
    single_dash: bool,
    /// Its value is the next argument.
    wants_value: bool,
}

impl Flag {
    fn read(arg: &OsStr, command: &Command) -> Option<Self> {
        let text = arg.to_str()?;
        let (name, single_dash) = match (text.strip_prefix("--"), text.strip_prefix('-')) {
            (Some(name), _) => (name, false),
            // One letter is a flag of its own.
            (None, Some(name)) if name.len() > 1 => (name, true),
            (None, _) => return None,
        };
        let (name, has_value) = match name.split_once('=') {
            Some((name, _)) => (name, true),
            None => (name, false),
        };
        if name == "help" {
            return Some(Self {
                single_dash,
                wants_value: false,
            });
        }
        let known = command
            .get_arguments()
            .find(|arg| arg.get_long() == Some(name))?;
        Some(Self {
            single_dash,
            wants_value: known.get_action().takes_values() && !has_value,
        })
    }
}

/// Whether it is meant for a network address: no peer has a slash in it, and `--address` says what is wrong with one.
fn is_address(arg: &OsStr) -> bool {
    arg.as_encoded_bytes().contains(&b'/')
}

const PROGRAM: &str = "weave launch";
const NO_CONTAINER: &str = "no_container";
const PASSWORD: &str = "password";
const PASSWORD_FILE: &str = "password_file";

/// Options of the router that are flags of every command of the tool.
const GLOBAL: [&str; 3] = ["control", "state_dir", "bridge"];

const USAGE: &str = "weave launch [CIDR] [OPTIONS] [PEER]...";

const EXAMPLES: &str = "\
Examples:
  weave launch                          the first host of a network
  weave launch 192.0.2.1                joins the network of which that host is part
  weave launch --password-file /etc/weave.password 192.0.2.1 host3.example.com
                                        only hosts with the same password join (make one: weave genkey)
  weave launch 10.2.0.1/16 192.0.2.1    the router itself answers at 10.2.0.1, too
  weave launch -password secret -debug  as it was written in 2014
  weave launch --no-container           without Docker: a process, which logs to router.log in the state folder
  weave launch --engine podman
  weave launch --bridge blue --port 7000 --state-dir /var/lib/blue --control /run/blue/weave.sock
                                        a second network on this host

The router is a container named weave (weave-BRIDGE on another bridge), which the engine starts again when it dies:
docker logs weave shows its log, weave status what it does, weave stop ends it. Its image is made of this program.";

#[cfg(test)]
mod tests;
