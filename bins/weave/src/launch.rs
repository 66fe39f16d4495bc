//! `weave launch`: makes the bridge and starts the router, in a container of its own or as a process.

mod args;
mod container;
mod password;
mod process;
mod ready;
pub(crate) mod running;
mod tun;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use weave_io::StateDir;
use weave_io::host::Netlink;
use weave_router::{Failure, Options, words};

use crate::context::Context;
use crate::engine::Engine;
use crate::guard;
use crate::image::{self, Program};
use crate::ledger::{Launched, Ledger, warn};
use crate::names;
use crate::plumbing::{self, bridge_name};
use crate::undo::Undo;

pub(crate) use args::{LaunchArgs, translated};
pub(crate) use password::FILE as PASSWORD;
pub(crate) use process::LOG;
use running::Router;

/// Runs `weave launch`.
pub(crate) async fn launch(context: &Context, args: &LaunchArgs) -> Result<ExitCode, Failure> {
    let (options, _) = args.options(context)?;
    let secrets = password::given(args)?;
    context.need_root("cannot launch the router")?;
    names::check(&options.targets()).await?;
    let engine = match args.no_container {
        true => None,
        false => {
            let engine = context.engine()?;
            container::check(engine.as_ref()).await?;
            Some(engine)
        }
    };
    let engine = engine.as_deref();
    let mut ledger = Ledger::lock(&context.state_dir)?;
    let mut plan = Plan::new(context, args, options, &ledger)?;
    let dead = match Router::find(engine, &plan.bridge, &plan.control).await? {
        Router::None => None,
        Router::Dead(container) => Some(container.id),
        running @ (Router::Container(_) | Router::Process(_)) => {
            return mend(context, engine, ledger, &running).await;
        }
    };
    let netlink = Netlink::open()
        .map_err(|error| Failure::new("cannot launch the router", error.to_string(), ""))?;
    let before = ledger.entries.clone();
    let mut undo = Undo::new();
    let started = async {
        if plan.has_tap() {
            tun::ensure()?;
        }
        if plan.is_on_bridge() {
            plumbing::ensure(&netlink, &mut ledger, &plan.bridge, &mut undo).await?;
        }
        make_folder_of(&plan.control, &mut undo)?;
        if let Some(file) = password::keep(&plan.state_dir, &secrets, &mut undo)? {
            plan.add_password_file(&file)?;
        }
        remember_state(&plan.state_dir, &mut undo);
        let client = context.client();
        let id = match engine {
            Some(engine) => {
                container::start(engine, &plan, dead.as_deref(), &client, &mut undo).await?
            }
            None => process::start(&plan, &client, &mut undo).await?.to_string(),
        };
        ledger.entries.launched = Some(Launched {
            engine: engine.map(Engine::kind),
            args: plan.args.clone(),
        });
        ledger.save()?;
        Ok(id)
    };
    match started.await {
        Ok(id) => {
            undo.keep();
            put_back(context, engine, ledger).await.tell();
            context.output.line(&id)?;
            Ok(ExitCode::SUCCESS)
        }
        Err(failure) => {
            undo.back().await;
            ledger.put_back(before);
            Err(failure)
        }
    }
}

/// What is to be started.
#[derive(Debug)]
pub(crate) struct Plan {
    options: Options,
    /// The router's arguments, with the peers last.
    args: Vec<String>,
    /// The bridge that this host's network is on, whether or not the router is.
    bridge: String,
    /// Absolute, as below.
    state_dir: PathBuf,
    control: PathBuf,
}

impl Plan {
    fn new(
        context: &Context,
        args: &LaunchArgs,
        options: Options,
        ledger: &Ledger,
    ) -> Result<Self, Failure> {
        let bridge = bridge_name(context, &ledger.entries);
        let is_on_bridge = is_on_bridge(&options);
        let known = Context {
            bridge: is_on_bridge.then(|| bridge.clone()),
            ..context.clone()
        };
        let (options, args) = args.options(&known)?;
        let plan = Self {
            state_dir: options.state_dir.clone(),
            control: options.control.clone(),
            options,
            args,
            bridge,
        };
        plan.check_folders()?;
        Ok(plan)
    }

    /// The folders are mounted into the container, by a syntax in which a colon ends a path.
    fn check_folders(&self) -> Result<(), Failure> {
        let folder = parent(&self.control);
        if folder == Path::new("/") {
            return Err(Failure::usage(
                format!(
                    "cannot put the control socket at {}",
                    self.control.display()
                ),
                "its folder is shared with the router's container",
                "give it a folder of its own with --control PATH",
            ));
        }
        for path in [&self.state_dir, folder] {
            if path.as_os_str().as_encoded_bytes().contains(&b':') {
                return Err(Failure::usage(
                    format!("cannot use the folder {}", path.display()),
                    "there is a colon in its name, which container engines take for its end",
                    "give another one with --state-dir or --control",
                ));
            }
        }
        Ok(())
    }

    fn add_password_file(&mut self, file: &Path) -> Result<(), Failure> {
        // Before the peers.
        let at = self.args.len() - self.options.peers.len().min(self.args.len());
        self.args
            .insert(at, format!("--password-file={}", file.display()));
        Ok(())
    }

    fn is_on_bridge(&self) -> bool {
        is_on_bridge(&self.options)
    }

    fn has_tap(&self) -> bool {
        !self.options.no_port && self.options.pcap.is_none()
    }
}

fn is_on_bridge(options: &Options) -> bool {
    !options.no_port && options.tap.is_none() && options.pcap.is_none()
}

/// One that runs already: what is missing beside it is put back; where nothing was, it is an error to launch another.
async fn mend(
    context: &Context,
    engine: Option<&dyn Engine>,
    ledger: Ledger,
    running: &Router,
) -> Result<ExitCode, Failure> {
    let done = put_back(context, engine, ledger).await;
    if done.attached.is_empty() && !done.guard {
        return Err(runs_already(running));
    }
    done.tell();
    if done.guard {
        warn("started the guard again, the router runs");
    }
    let id = match running {
        Router::Container(container) => container.id.clone(),
        Router::Process(Some(pid)) => pid.to_string(),
        Router::Process(None) | Router::Dead(_) | Router::None => running.words(),
    };
    context.output.line(&id)?;
    Ok(ExitCode::SUCCESS)
}

/// What stands beside the router and was missing.
struct PutBack {
    /// What was attached again, each as `c1 (10.2.1.1/24)`.
    attached: Vec<String>,
    /// Whether no guard ran.
    guard: bool,
}

impl PutBack {
    /// Says on stderr what was attached again.
    fn tell(&self) {
        for name in &self.attached {
            warn(&format!("attached {name} again"));
        }
    }
}

/// Attaches again what the ledger holds and runs, after a reboot for instance, and starts the guard if none runs. What
/// could not be done is a line on stderr, for the router runs without it.
async fn put_back(context: &Context, engine: Option<&dyn Engine>, mut ledger: Ledger) -> PutBack {
    let attached = guard::reattach(context, engine, &mut ledger).await;
    // The guard wants it.
    drop(ledger);
    let guard = guard::spawn(context).await;
    let complain = |failure: Failure| warn(&failure.to_string());
    PutBack {
        attached: attached.map_err(complain).unwrap_or_default(),
        guard: guard.map_err(complain).unwrap_or_default(),
    }
}

fn runs_already(running: &Router) -> Failure {
    let mut why = format!("it runs already: {}", running.words());
    if let Router::Container(container) = running
        && let Ok(program) = Program::own()
        && container.labels.get(image::LABEL).map(String::as_str) != Some(program.digest())
    {
        why.push_str(", of another build than this tool");
    }
    Failure::new("cannot launch the router", why, "weave stop ends it")
}

/// What a router that dies at its start leaves in the state folder was not there before.
fn remember_state(state_dir: &Path, undo: &mut Undo<'_>) {
    let paths = StateDir::FILES.iter().map(|name| state_dir.join(name));
    let absent: Vec<PathBuf> = paths.filter(|path| !path.exists()).collect();
    undo.push(async move {
        for path in absent {
            let _ = fs::remove_file(path);
        }
        Ok(())
    });
}

/// The folder of the control socket, which the engine mounts into the container.
fn make_folder_of(control: &Path, undo: &mut Undo<'_>) -> Result<(), Failure> {
    let folder = parent(control);
    let made = fs::create_dir_all(parent(folder)).and_then(|()| match fs::create_dir(folder) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error),
    });
    match made {
        Ok(false) => Ok(()),
        Ok(true) => {
            let folder = folder.to_owned();
            undo.push(async move {
                // Somebody may have put something there meanwhile.
                let _ = fs::remove_dir(folder);
                Ok(())
            });
            Ok(())
        }
        Err(error) => Err(Failure::new(
            format!("cannot make the folder {}", folder.display()),
            words(&error),
            "give another one with --control PATH",
        )),
    }
}

/// The folder that an absolute path is in.
fn parent(path: &Path) -> &Path {
    path.parent().unwrap_or(path)
}
