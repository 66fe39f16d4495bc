//! The tool's command line, and what each command does.

use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;
use std::pin::Pin;
use std::process::ExitCode;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{Args, Parser, Subcommand, ValueHint};
use serde::Deserialize;
use serde_json::Value;
use weave_core::Status;
use weave_mesh::{Target, TargetError};
use weave_router::{CONTROL, Failure, STATE_DIR, is_answer, usage_line, words};

use crate::attach::{AttachArgs, DetachArgs, attach_command, detach};
use crate::client::{Client, ClientError};
use crate::context::Context;
use crate::demo::{DemoArgs, demo};
use crate::engine::EngineKind;
use crate::expose::{ExposeArgs, HideArgs, expose, hide};
use crate::guard::{GuardArgs, guard};
use crate::image::{ImageArgs, image};
use crate::launch::{LaunchArgs, launch, translated};
use crate::names;
use crate::output::Output;
use crate::pages::{CompletionArgs, ManArgs, completion, man};
use crate::password::{GenkeyArgs, PasswordArgs, genkey, password};
use crate::ping::{PingArgs, ping};
use crate::ps::{PsArgs, ps};
use crate::render::{self, Section};
use crate::reset::{ResetArgs, reset};
use crate::run::{RunArgs, run as run_container};
use crate::setup::{SetupArgs, setup};
use crate::start::{StartArgs, start};
use crate::stop::{StopArgs, stop};
use crate::trace::{TraceArgs, trace};
use crate::wait;

/// Runs the tool on a command line, the program's name first, and says how it ended.
pub(crate) fn main_with(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let mut args = args.into_iter().peekable();
    let program = args.next();
    if args.next_if(|first| first == "wait").is_some() {
        return wait::main_with(std::iter::once("weave wait".into()).chain(args));
    }
    let cli = match Cli::try_parse_from(translated(program.into_iter().chain(args))) {
        Ok(cli) => cli,
        Err(error) if is_answer(&error) => {
            let _ = write!(std::io::stdout(), "{error}");
            return ExitCode::SUCCESS;
        }
        Err(error) if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            complain(&Failure::usage(
                "no command given",
                "",
                "'weave --help' lists what there is",
            ));
            return ExitCode::from(2);
        }
        Err(error) => {
            let line = usage_line("weave", &error);
            complain(&Failure::usage(line, "", ""));
            return ExitCode::from(2);
        }
    };
    match run(cli) {
        Ok(code) => code,
        Err(failure) => {
            if failure.is_worth_saying() {
                complain(&failure);
            }
            failure.exit_code()
        }
    }
}

/// Puts containers of several hosts on one virtual Ethernet switch.
#[derive(Debug, Parser)]
#[command(name = "weave", version, arg_required_else_help = true, after_help = EXAMPLES)]
pub(crate) struct Cli {
    /// Unix socket of the router's control API
    #[arg(long, global = true, env = "WEAVE_CONTROL", hide_env = true, value_name = "PATH", default_value = CONTROL, value_hint = ValueHint::FilePath)]
    control: PathBuf,

    /// The router's state folder, for commands that start one
    #[arg(
        long,
        global = true,
        env = "WEAVE_STATE_DIR",
        hide_env = true,
        value_name = "DIR",
        value_hint = ValueHint::DirPath
    )]
    state_dir: Option<PathBuf>,

    /// The container engine [default: docker if it is installed, else podman]
    #[arg(long, global = true, env = "WEAVE_ENGINE", hide_env = true, value_enum)]
    engine: Option<EngineKind>,

    /// The bridge that containers are put on [default: weave]
    #[arg(
        long,
        global = true,
        env = "WEAVE_BRIDGE",
        hide_env = true,
        value_name = "NAME"
    )]
    bridge: Option<String>,

    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Starts the router of this host, in a container
    Launch(LaunchArgs),
    /// Runs a container on the network: docker run -d, and attach
    Run(RunArgs),
    /// Starts a stopped container, and attaches it
    Start(StartArgs),
    /// Puts a running container on the network, or gives it a further address
    Attach(AttachArgs),
    /// Takes an address from a container, and with the last one the interface
    Detach(DetachArgs),
    /// Gives this host an address on the network
    Expose(ExposeArgs),
    /// Takes such an address from this host
    Hide(HideArgs),
    /// Lists what is attached on this host
    Ps(PsArgs),
    /// Stops the router; containers of this host keep talking to each other
    Stop(StopArgs),
    /// Stops the router and removes every trace of the network from this host
    Reset(ResetArgs),
    /// Keeps firewall rules and attachments in place, until it is ended
    Guard(GuardArgs),
    /// Checks what this host needs, and says what mends it
    Setup(SetupArgs),
    /// Makes the router's image out of this program
    Image(ImageArgs),
    /// Says how the router and its mesh are; exits 0 when healthy, 3 when degraded, 4 when not running
    Status(StatusArgs),
    /// Measures how long the way to a router and back takes, hop by hop
    Ping(PingArgs),
    /// Shows by which path frames reach a router or MAC address, and why by that one
    Trace(TraceArgs),
    /// Tells the router to connect to a peer, and to stay connected
    Connect(PeerArgs),
    /// Tells the router to connect to a peer no more
    Forget(PeerArgs),
    /// Prints a new password of 256 bits for a network, in words
    Genkey(GenkeyArgs),
    /// Changes the network's password while the router runs
    Password(PasswordArgs),
    /// Prints everything there is to know about the router as one JSON document, without secrets
    Report,
    /// Shows on this one machine what weave does: three hosts, two of them cut off from each other
    Demo(DemoArgs),
    /// Prints the version of this tool and of the running router
    Version {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Prints what makes a shell complete the command line
    Completion(CompletionArgs),
    /// Writes the manual pages of both programs to a folder, for packages
    #[command(hide = true)]
    Man(ManArgs),
    /// The router daemon itself
    #[command(hide = true, disable_help_flag = true, disable_version_flag = true)]
    Router {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
}

#[derive(Debug, Args)]
struct StatusArgs {
    /// Show this part only
    #[arg(value_enum)]
    section: Option<Section>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Show it anew each second, until Ctrl-C
    #[arg(long)]
    watch: bool,
}

#[derive(Debug, Args)]
struct PeerArgs {
    /// The peer, as HOST or HOST:PORT
    peer: String,
}

const EXAMPLES: &str = "\
Examples:
  weave setup                   is everything here that weave needs?
  weave launch host1            this host's router, and a peer of it; one is enough
  weave run 10.0.1.1/24 --name c1 -ti busybox
                                a container on the network; the rest is docker run's
  weave attach 10.0.2.1/24 c1   one that runs already
  weave expose 10.0.1.100/24    this host, too
  weave status                  is all well, and who is there?
  weave status routes --watch   how frames travel, each second
  weave ping host2              how long the way there and back takes, hop by hop
  weave trace host2             how frames get there, and why that way
  weave connect 192.0.2.7       meet one more host
  weave genkey                  a password for the network, to give to launch --password-file
  weave report > report.json    everything, for somebody who helps
  weave demo                    see it work, without a second machine
  source <(weave completion bash)

Colours are left out where NO_COLOR is set or stdout is no terminal.";

/// Exit codes of `weave status`.
const DEGRADED: u8 = 3;
const NOT_RUNNING: u8 = 4;

fn run(cli: Cli) -> Result<ExitCode, Failure> {
    let output = Output::new();
    let client = Client::new(&cli.control);
    let context = Context {
        control: cli.control.clone(),
        state_dir: cli.state_dir.clone().unwrap_or_else(|| STATE_DIR.into()),
        engine: cli.engine,
        bridge: cli.bridge,
        output,
    };
    match cli.command {
        Command::Launch(args) => in_runtime(async move { launch(&context, &args).await }),
        Command::Run(args) => in_runtime(async move { run_container(&context, &args).await }),
        Command::Start(args) => in_runtime(async move { start(&context, &args).await }),
        Command::Attach(args) => in_runtime(async move { attach_command(&context, &args).await }),
        Command::Detach(args) => in_runtime(async move { detach(&context, &args).await }),
        Command::Expose(args) => in_runtime(async move { expose(&context, &args).await }),
        Command::Hide(args) => in_runtime(async move { hide(&context, &args).await }),
        Command::Ps(args) => in_runtime(async move { ps(&context, &args).await }),
        Command::Stop(args) => in_runtime(async move { stop(&context, &args).await }),
        Command::Reset(args) => in_runtime(async move { reset(&context, &args).await }),
        Command::Guard(args) => in_runtime(async move { guard(&context, &args).await }),
        Command::Setup(args) => in_runtime(async move { setup(&context, &args).await }),
        Command::Image(args) => in_runtime(async move { image(&context, &args).await }),
        Command::Router { args } => Ok(router(cli.control, cli.state_dir, args)),
        Command::Status(args) => in_runtime(async move {
            if args.watch {
                watch(&client, &args, output).await
            } else {
                let (text, code) = status(&client, &args, output).await?;
                output.line(&text)?;
                Ok(code)
            }
        }),
        Command::Ping(args) => in_runtime(async move { ping(&client, &args, output).await }),
        Command::Trace(args) => in_runtime(async move { trace(&client, &args, output).await }),
        Command::Connect(args) => in_runtime(async move {
            let target = target(&args.peer)?;
            names::check(std::slice::from_ref(&target)).await?;
            tell(&client, "/connect", &target.to_string()).await?;
            Ok(ExitCode::SUCCESS)
        }),
        Command::Forget(args) => in_runtime(async move {
            let target = target(&args.peer)?;
            tell(&client, "/forget", &target.to_string()).await?;
            Ok(ExitCode::SUCCESS)
        }),
        Command::Genkey(GenkeyArgs {}) => genkey(output),
        Command::Password(args) => {
            in_runtime(async move { password(&client, &args, output).await })
        }
        Command::Report => in_runtime(async move {
            let report: Value = client.get("/report").await?;
            output.line(&pretty(&report))?;
            Ok(ExitCode::SUCCESS)
        }),
        Command::Demo(args) => in_runtime(async move { demo(&args, output).await }),
        Command::Completion(args) => {
            output.line(&completion(&args))?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Man(args) => {
            man(&args)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Version { json } => in_runtime(async move {
            version(&client, json, output).await?;
            Ok(ExitCode::SUCCESS)
        }),
    }
}

/// The daemon, with the flags given before its name handed on.
fn router(control: PathBuf, state_dir: Option<PathBuf>, args: Vec<OsString>) -> ExitCode {
    let mut all: Vec<OsString> = vec!["weave router".into()];
    // A default is the router's own too; one given again in `args` would be given twice.
    let given = |flag: &str| {
        args.iter().any(|arg| {
            let bytes = arg.as_encoded_bytes();
            bytes == flag.as_bytes()
                || bytes
                    .strip_prefix(flag.as_bytes())
                    .is_some_and(|rest| rest.starts_with(b"="))
        })
    };
    if !given("--control") {
        all.extend(["--control".into(), control.into()]);
    }
    if let Some(folder) = state_dir
        && !given("--state-dir")
    {
        all.extend(["--state-dir".into(), folder.into()]);
    }
    all.extend(args);
    weave_router::main_with(all)
}

async fn status(
    client: &Client,
    args: &StatusArgs,
    output: Output,
) -> Result<(String, ExitCode), Failure> {
    // As it came: fields that this tool does not know stay in.
    let document: Value = match client.get("/status").await {
        Ok(document) => document,
        Err(ClientError::NotRunning(failure)) if args.json => {
            let json = serde_json::json!({ "running": false, "error": failure.to_string() });
            return Ok((json.to_string(), ExitCode::from(NOT_RUNNING)));
        }
        Err(ClientError::NotRunning(failure)) => {
            let text = output.paint().bad(&failure.to_string());
            return Ok((text, ExitCode::from(NOT_RUNNING)));
        }
        Err(error) => return Err(error.into()),
    };
    let status = Status::deserialize(&document).map_err(|error| {
        Failure::new(
            "cannot read the router's status",
            error.to_string(),
            "use the tool and the router of one version",
        )
    })?;
    let code = if status.verdict().healthy {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(DEGRADED)
    };
    let text = match (args.json, args.section) {
        (false, section) => render::status(&status, section, output.paint()),
        (true, section) => {
            let part = part(&document, section);
            if args.watch {
                part.to_string()
            } else {
                pretty(&part)
            }
        }
    };
    Ok((text, code))
}

/// The document, or what a section shows of it: the field itself, or an object of several.
fn part(document: &Value, section: Option<Section>) -> Value {
    let field = |name: &str| document.get(name).cloned().unwrap_or_default();
    match section.map(Section::fields) {
        None => document.clone(),
        Some([only]) => field(only),
        Some(fields) => fields
            .iter()
            .map(|name| ((*name).to_owned(), field(name)))
            .collect(),
    }
}

async fn watch(client: &Client, args: &StatusArgs, output: Output) -> Result<ExitCode, Failure> {
    if !args.json {
        output.clear()?;
    }
    let mut second = tokio::time::interval(Duration::from_secs(1));
    loop {
        tokio::select! {
            _ = second.tick() => {}
            _ = tokio::signal::ctrl_c() => return Ok(ExitCode::SUCCESS),
        }
        let (text, _) = status(client, args, output).await?;
        if args.json {
            output.line(&text)?;
        } else {
            output.redraw(&text)?;
        }
    }
}

async fn version(client: &Client, json: bool, output: Output) -> Result<(), Failure> {
    #[derive(Deserialize)]
    struct Version {
        version: String,
    }
    let tool = env!("CARGO_PKG_VERSION");
    let router = match client.get::<Version>("/version").await {
        Ok(answer) => Some(answer.version),
        Err(ClientError::NotRunning(_)) => None,
        Err(error) => return Err(error.into()),
    };
    if json {
        return output.line(&serde_json::json!({ "tool": tool, "router": router }).to_string());
    }
    let mut text = format!("weave {tool}\n");
    match router {
        None => text.push_str("router not running\n"),
        Some(router) => {
            text.push_str(&format!("router {router}\n"));
            if router != tool {
                let line = "! they differ: restart the router with the version that is installed";
                text.push_str(&output.paint().bad(line));
            }
        }
    }
    output.line(&text)
}

fn target(peer: &str) -> Result<Target, Failure> {
    peer.parse().map_err(|error: TargetError| {
        Failure::usage(
            format!("{peer:?} is no peer"),
            error.to_string(),
            "give HOST, HOST:PORT or [IPV6]:PORT",
        )
    })
}

/// Tells the router something about a peer.
async fn tell(client: &Client, path: &str, peer: &str) -> Result<(), ClientError> {
    let request = serde_json::json!({ "peer": peer });
    let _: Value = client.post(path, &request, Duration::ZERO).await?;
    Ok(())
}

fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).unwrap_or_else(|_| value.to_string())
}

/// Boxed, so that the runtime's machinery is there once and not for each command: that saves half a megabyte.
fn in_runtime(work: impl Future<Output = Result<ExitCode, Failure>>) -> Result<ExitCode, Failure> {
    let work: Pin<Box<dyn Future<Output = _> + '_>> = Box::pin(work);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new("cannot start", words(&error), ""))?;
    let outcome = runtime.block_on(work);
    // A name that is looked up may keep a thread for long: it is not waited for.
    runtime.shutdown_background();
    outcome
}

fn complain(failure: &Failure) {
    // Nowhere is left to complain when stderr fails.
    let _ = writeln!(std::io::stderr(), "weave: {failure}");
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_peer_is_checked_before_the_router_is_asked() {
        assert_eq!(target("host").unwrap().to_string(), "host:6783");
        assert_eq!(target("[::1]:7").unwrap().to_string(), "[::1]:7");
        let line = target("host:port").unwrap_err().to_string();
        assert!(line.contains("is no peer"), "{line}");
    }

    #[test]
    fn a_part_of_the_document_is_what_its_section_shows() {
        let document = serde_json::json!({ "peers": [1], "refusals": { "a": 1 }, "gossip": {} });
        assert_eq!(part(&document, None), document);
        let part = |section| part(&document, Some(section)).to_string();
        assert_eq!(part(Section::Peers), "[1]");
        assert_eq!(
            part(Section::Control),
            r#"{"gossip":{},"refusals":{"a":1}}"#
        );
    }

    #[test]
    fn the_router_gets_its_own_arguments_untouched() {
        let cli = Cli::try_parse_from([
            "weave",
            "--state-dir",
            "/s",
            "router",
            "--port",
            "7000",
            "--control",
            "/c",
            "peer",
        ])
        .unwrap();
        let Command::Router { args } = cli.command else {
            panic!("not the router");
        };
        assert_eq!(cli.state_dir.as_deref(), Some("/s".as_ref()));
        assert!(
            args.contains(&"--port".into()) && args.contains(&"peer".into()),
            "{args:?}"
        );
    }
}
