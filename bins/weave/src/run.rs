//! `weave run`: `docker run -d`, with the network up before the container's program starts.
//!
//! An engine has no moment between a container's network and its program that another could use. So the program is
//! another: this one ([`wait`]), which waits and then becomes what was asked for. That needs the whole command of the
//! container, which is the image's and the user's put together by the engine's rules; so the engine is asked, by
//! creating a container that is never started.
//!
//! ```text
//!  create IMAGE COMMAND      ──▶ inspect: the command that it would run ──▶ remove
//!  run -d --entrypoint weave ARGS IMAGE wait -- the command
//!     │    └─ starts, and waits                                 on failure: the container is removed again
//!  attach ──▶ alias on ethwe ──▶ the container becomes its program
//! ```

mod arguments;
pub(crate) mod program;

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{Args, CommandFactory};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;
use weave_io::host::Cidr;
use weave_router::{Failure, words};

use crate::attach::{How, attach_held, check_addresses};
use crate::cli::Cli;
use crate::context::Context;
use crate::engine::{Container, Engine, EngineError, EngineKind};
use crate::ledger::{Ledger, warn};
use crate::place::{Place, check_root};
use crate::wait::{self, Step};

use self::arguments::{Arguments, Unreadable};

/// The flags of `weave run`.
#[derive(Debug, Args)]
#[command(
    override_usage = "weave run [OPTIONS] <CIDR>... [DOCKER RUN ARGS]...",
    after_help = EXAMPLES
)]
pub(crate) struct RunArgs {
    /// Start the container's program at once, before its network is there
    #[arg(long)]
    no_wait: bool,
    /// Don't ask the network whether somebody has the address already
    #[arg(long)]
    no_probe: bool,
    /// The container's addresses on the network, then the arguments of 'docker run'
    #[arg(
        required = true,
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "CIDR"
    )]
    words: Vec<OsString>,
}

const EXAMPLES: &str = "\
Examples:
  weave run 10.0.1.1/24 -t -i ubuntu                a shell, to 'docker attach' to
  weave run 10.0.1.2/24 --name web -p 80:80 nginx   docker's network is there as well
  weave run 10.0.1.3/24 10.0.2.3/24 fd00::3/64 nginx
                                                    on several networks
  weave run --no-wait 10.0.1.4/24 nginx             nginx may start before its network
  C=$(weave run 10.0.1.5/24 --rm busybox ping 10.0.1.1)

The arguments after the addresses are those of 'docker run', all of them, for a container in the
background (-d). Its program starts when the network is up: until then this tool's own copy is the
container's entry point, which 'docker ps' shows. When the container is started again later
('docker restart', a restart policy) it waits again, for 'weave guard' or 'weave start' to attach
it, for 120 seconds; then it exits with code 125.

Prints the container's id. A container that can't be attached is removed again. Exit codes are the
tool's, and 126 and 127 for a program that can't be started or isn't there, as docker has them.";

/// Runs `weave run`.
pub(crate) async fn run(context: &Context, args: &RunArgs) -> Result<ExitCode, Failure> {
    let order = Order::read(args)?;
    if order.help {
        context.output.line(&help())?;
        return Ok(ExitCode::SUCCESS);
    }
    check_addresses("cannot run the container", &order.addresses)?;
    check_root()?;
    let engine = context.engine()?;
    let engine = engine.as_ref();
    let plan = match plan(engine, &context.state_dir, &order).await {
        Ok(plan) => plan,
        Err(failure) => {
            // It was made for nothing, if it is empty.
            let _ = fs::remove_dir(&context.state_dir);
            return Err(failure);
        }
    };
    // From here on something may have to be taken back, so Ctrl-C is only noted until it can be.
    let mut interrupts = Interrupts::new()?;
    let id = started(engine, &plan).await?;
    if let Err(failure) = finish(context, engine, &order, &plan, &id, &mut interrupts).await {
        remove(engine, &plan, &id).await;
        return Err(failure);
    }
    context.output.line(&id)?;
    Ok(ExitCode::SUCCESS)
}

/// What the command line asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Order {
    addresses: Vec<Cidr>,
    wait: bool,
    probe: bool,
    help: bool,
    /// For the engine's `run`.
    words: Vec<OsString>,
}

impl Order {
    fn read(args: &RunArgs) -> Result<Self, Failure> {
        let mut order = Self {
            addresses: Vec::new(),
            wait: !args.no_wait,
            probe: !args.no_probe,
            help: false,
            words: Vec::new(),
        };
        let mut words = args.words.iter().peekable();
        while let Some(word) = words.peek() {
            // Our own flags are understood after the addresses as well; docker has none of these names.
            match word.to_str() {
                Some("--no-wait") => order.wait = false,
                Some("--no-probe") => order.probe = false,
                Some("--help") => order.help = true,
                text => match address(text.unwrap_or_default()) {
                    Some(address) => order.addresses.push(address?),
                    None => break,
                },
            }
            words.next();
        }
        if order.addresses.is_empty() && !order.help {
            let what = match words.peek() {
                Some(word) => format!("{:?} is no address", word.display().to_string()),
                None => "no address given".to_owned(),
            };
            return Err(Failure::usage(what, "", ADDRESS_FIRST));
        }
        order.words = words.cloned().collect();
        Ok(order)
    }
}

/// The address that a word is, or is meant to be: what no image is called.
fn address(word: &str) -> Option<Result<Cidr, Failure>> {
    let bare = word.split_once('/').map_or(word, |(bare, _)| bare);
    let meant = bare.parse::<std::net::IpAddr>().is_ok();
    match word.parse::<Cidr>() {
        Ok(cidr) => Some(Ok(cidr)),
        Err(error) if meant => Some(Err(Failure::usage(error.to_string(), "", ""))),
        Err(_) => None,
    }
}

/// What the engine is to run.
#[derive(Debug, PartialEq, Eq)]
struct Plan {
    image: String,
    /// The command that the container comes to, where it waits before it.
    command: Option<Vec<String>>,
    args: Vec<OsString>,
    /// Where the engine writes the container's id as soon as there is one, and whether the user wants that file.
    id_file: PathBuf,
    keeps_id_file: bool,
}

async fn plan(engine: &dyn Engine, state_dir: &Path, order: &Order) -> Result<Plan, Failure> {
    let help;
    let arguments = match Arguments::read(&order.words, None) {
        Err(Unreadable::Unknown { .. }) => {
            let asked = engine.run_help().await;
            help = asked.map_err(|error| error.while_doing("cannot run the container"))?;
            Arguments::read(&order.words, Some(&help))
        }
        read => read,
    };
    let arguments = arguments.map_err(unreadable)?;
    check(&arguments)?;
    let image = arguments.image().display().to_string();

    let folder = program::folder(state_dir)?;
    let (keeps_id_file, id_file) = match arguments.values("cidfile").last() {
        Some(file) => (true, PathBuf::from(file)),
        None => (false, folder.join(format!("run-{}.id", std::process::id()))),
    };
    // Whoever's container that is.
    if keeps_id_file && id_file.exists() {
        let what = format!("cannot run {image}");
        let why = format!("{} of --cidfile is there already", id_file.display());
        return Err(Failure::new(what, why, "remove it"));
    }
    let mut before: Vec<OsString> = Vec::new();
    if !keeps_id_file {
        let mut option = OsString::from("--cidfile=");
        option.push(&id_file);
        before.push(option);
    }

    // Others have no such program to lend to a container that may have no libraries at all.
    let lends = cfg!(target_feature = "crt-static");
    if order.wait && !lends {
        warn(
            "the container's program does not wait for the network: this tool is linked dynamically",
        );
    }
    if !(order.wait && lends) {
        let command = None;
        let args = before.into_iter().chain(order.words.iter().cloned());
        return Ok(Plan {
            image,
            command,
            args: args.collect(),
            id_file,
            keeps_id_file,
        });
    }
    let command = command(engine, &arguments, &image).await?;
    let program = program::put(&folder)?;
    before.extend(["--entrypoint".into(), wait::ENTRY.into(), "--mount".into()]);
    before.push(mount(engine.kind(), &program));
    Ok(Plan {
        args: arguments.with_entry(before, wait::arguments(&command)),
        command: Some(command),
        image,
        id_file,
        keeps_id_file,
    })
}

/// The command that the engine makes of image and arguments.
async fn command(
    engine: &dyn Engine,
    arguments: &Arguments<'_>,
    image: &str,
) -> Result<Vec<String>, Failure> {
    let failed = |error: EngineError| refused(&error, image);
    let id = engine
        .create(&arguments.command_only())
        .await
        .map_err(failed)?;
    let inspected = engine.inspect(&id).await;
    let removed = engine.remove(&id).await;
    let container = inspected.map_err(failed)?;
    removed.map_err(failed)?;
    Ok(wait::without(&container.command).to_vec())
}

/// Starts the container; whatever an engine leaves of one that did not start is removed.
async fn started(engine: &dyn Engine, plan: &Plan) -> Result<String, Failure> {
    let ran = engine.run(&plan.args).await;
    let written = fs::read_to_string(&plan.id_file).ok();
    if !plan.keeps_id_file {
        let _ = fs::remove_file(&plan.id_file);
    }
    match ran {
        Ok(id) => Ok(id),
        Err(error) => {
            if let Some(id) = written.filter(|id| !id.is_empty()) {
                remove(engine, plan, &id).await;
            }
            Err(refused(&error, &plan.image))
        }
    }
}

/// Puts the container on the network once it waits for it.
async fn finish(
    context: &Context,
    engine: &dyn Engine,
    order: &Order,
    plan: &Plan,
    id: &str,
    interrupts: &mut Interrupts,
) -> Result<(), Failure> {
    let container = engine.inspect(id).await;
    let container = container.map_err(|error| refused(&error, &plan.image))?;
    let ready = async {
        if let Some(command) = &plan.command {
            waits(engine, &container, command).await?;
        }
        let place = if container.network_mode.starts_with("container:") {
            Place::find(context, id).await?
        } else {
            Place::of_container(engine, &container)?
        };
        Ok::<_, Failure>((place, ledger(&context.state_dir).await?))
    };
    let (place, mut ledger) = tokio::select! {
        ready = ready => ready?,
        code = interrupts.next() => return Err(interrupted(code)),
    };
    let how = How { probe: order.probe };
    // It takes back what it did when it is interrupted, so nothing may end it in between.
    attach_held(context, &mut ledger, &place, &order.addresses, how).await
}

/// The ledger, on a thread of its own: another command may hold it for long, and this one is to hear Ctrl-C meanwhile.
async fn ledger(state_dir: &Path) -> Result<Ledger, Failure> {
    let (tell, told) = oneshot::channel();
    let state_dir = state_dir.to_owned();
    // Nobody waits for it at the end, as the runtime would for one of its own.
    std::thread::spawn(move || {
        let _ = tell.send(Ledger::lock(&state_dir));
    });
    told.await.unwrap_or_else(|_| {
        Err(Failure::new(
            "cannot hold the ledger",
            "its thread ended",
            "",
        ))
    })
}

/// Waits until the container has found its program and waits for the network.
pub(crate) async fn waits(
    engine: &dyn Engine,
    container: &Container,
    command: &[String],
) -> Result<(), Failure> {
    let program = command.first().map_or("", String::as_str);
    let began = Instant::now();
    while let Some(pid) = container.pid {
        match wait::step(pid) {
            Some(Step::Waiting) => return Ok(()),
            Some(step) => {
                let (why, remedy) = match step {
                    Step::Missing => ("there is no such program in the image", "look at its PATH"),
                    Step::Waiting | Step::Denied => (
                        "the container's user may not execute it",
                        "look at its mode",
                    ),
                };
                let what = format!("cannot start {program:?} in the container");
                return Err(Failure::new(what, why, remedy).with_code(step.exit_code()));
            }
            // The kernel hides nothing of its containers from the host's root, so this only ends early when the
            // process did.
            None if began.elapsed() > STEP_TIME_MAX => return Ok(()),
            None if !Path::new("/proc").join(pid.to_string()).exists() => break,
            None => tokio::time::sleep(STEP_INTERVAL).await,
        }
    }
    // With --rm there is nobody left to ask.
    let said = engine.logs(&container.id, 1).await.unwrap_or_default();
    let why = said.into_iter().next_back().unwrap_or_default();
    Err(Failure::new(
        "the container ended before its network was up",
        why.strip_prefix("weave: ").unwrap_or(&why),
        "",
    ))
}

/// Takes the container back. The failure that led here is what the user must hear of.
async fn remove(engine: &dyn Engine, plan: &Plan, id: &str) {
    match engine.remove(id).await {
        Ok(()) | Err(EngineError::NoContainer { .. }) => {}
        Err(error) => warn(
            &error
                .while_doing(format!("cannot remove container {id}"))
                .to_string(),
        ),
    }
    if plan.keeps_id_file {
        let _ = fs::remove_file(&plan.id_file);
    }
}

/// What can't be had, before anything is made.
fn check(arguments: &Arguments<'_>) -> Result<(), Failure> {
    let networks = arguments.values("network").chain(arguments.values("net"));
    for network in networks {
        if is_host_network(network) {
            return Err(Failure::usage(
                "cannot put a container on the network that shares the host's (--network host)",
                "its interfaces are the host's own",
                "leave --network out, or 'weave expose' an address of the host",
            ));
        }
    }
    if arguments.values("attach").next().is_some() {
        return Err(Failure::usage(
            "cannot attach to the container's streams (-a)",
            "'weave run' runs it in the background, as 'docker run -d' does",
            "leave -a out, and 'docker attach' to it afterwards",
        ));
    }
    if arguments.has_off("detach") {
        return Err(Failure::usage(
            "cannot run the container in the foreground (--detach=false)",
            "'weave run' runs it in the background, as 'docker run -d' does",
            "leave it out, and 'docker attach' to it afterwards",
        ));
    }
    Ok(())
}

/// `host`, or docker's long form `name=host,alias=…`.
fn is_host_network(network: &OsStr) -> bool {
    let network = network.to_string_lossy();
    network
        .split(',')
        .any(|part| part == "host" || part == "name=host")
}

fn unreadable(unreadable: Unreadable) -> Failure {
    let what = match unreadable {
        Unreadable::NoImage => "no image given".to_owned(),
        Unreadable::NoValue { flag } | Unreadable::Unknown { flag } => {
            format!("{flag} lacks its value")
        }
    };
    Failure::usage(what, "", "'weave run --help' has examples")
}

/// The engine's refusal to run it, with the exit code that `docker run` would have.
fn refused(error: &EngineError, image: &str) -> Failure {
    let failure = error.while_doing(format!("cannot run {image}"));
    let EngineError::Refused { why } = error else {
        return failure;
    };
    let has = |parts: &[&str]| parts.iter().any(|part| why.contains(part));
    // Of the run time alone: a volume's path may lack as well.
    if !has(&["exec: ", "starting container process"]) {
        failure
    } else if has(&["executable file not found", "no such file or directory"]) {
        failure.with_code(Step::Missing.exit_code())
    } else if has(&["permission denied", "is a directory"]) {
        failure.with_code(Step::Denied.exit_code())
    } else {
        failure
    }
}

/// A bind mount of the waiting program. Not by `--volume`: that has docker make a folder in place of a file that is
/// missing, after `weave reset` for instance, where this gives an error that names it.
fn mount(engine: EngineKind, program: &Path) -> OsString {
    let source = format!("source={}", program.display());
    // The option is a line of CSV.
    let source = match source.contains([',', '"']) {
        true => format!("\"{}\"", source.replace('"', "\"\"")),
        false => source,
    };
    let mut mount = format!("type=bind,{source},target={},readonly", wait::ENTRY);
    if engine == EngineKind::Podman {
        // Where SELinux rules, a container may not execute what is labelled as the host's state.
        mount.push_str(",relabel=shared");
    }
    mount.into()
}

fn help() -> String {
    let mut cli = Cli::command();
    cli.build();
    let command = cli.find_subcommand_mut("run");
    command.map_or_else(String::new, |command| command.render_help().to_string())
}

/// Signals that end the tool, while there is a container to remove first.
struct Interrupts([(Signal, u8); 3]);

impl Interrupts {
    fn new() -> Result<Self, Failure> {
        let listen = |kind: SignalKind| -> io::Result<(Signal, u8)> {
            let code = u8::try_from(128 + kind.as_raw_value()).unwrap_or(u8::MAX);
            Ok((signal(kind)?, code))
        };
        let all = || -> io::Result<Self> {
            Ok(Self([
                listen(SignalKind::interrupt())?,
                listen(SignalKind::terminate())?,
                listen(SignalKind::hangup())?,
            ]))
        };
        all().map_err(|error| Failure::new("cannot wait for signals", words(&error), ""))
    }

    /// The exit code for the one that comes first.
    async fn next(&mut self) -> u8 {
        let [(interrupt, a), (terminate, b), (hangup, c)] = &mut self.0;
        tokio::select! {
            _ = interrupt.recv() => *a,
            _ = terminate.recv() => *b,
            _ = hangup.recv() => *c,
        }
    }
}

fn interrupted(code: u8) -> Failure {
    let what = "interrupted before the container's network was up";
    Failure::new(what, "it was removed again", "").with_code(code)
}

const ADDRESS_FIRST: &str =
    "begin with the container's address, as in 'weave run 10.0.1.1/24 -t -i ubuntu'";

/// How often to look how far a container is; it takes some milliseconds.
const STEP_INTERVAL: Duration = Duration::from_millis(2);
/// A host so loaded that a process takes longer to start gets less exact words, if any are due.
const STEP_TIME_MAX: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests;
