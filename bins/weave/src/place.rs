//! What the user calls a container: an engine's container by id or name, `pid:N`, or `netns:PATH`.

use std::path::{Path, PathBuf};
use std::{fs, io};

use nix::errno::Errno;
use nix::unistd::Uid;
use weave_io::host::{Error, NetNs};
use weave_router::{Failure, words};

use crate::context::Context;
use crate::engine::{Container, Engine, EngineError, EngineKind};
use crate::ledger::{Entries, Subject};

/// A running container, or another network namespace, that can be put on the network.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    /// How the ledger names it.
    pub(crate) subject: Subject,
    /// How the user sees it named: a container's name, or what was typed.
    pub(crate) name: String,
    /// Its network namespace.
    pub(crate) namespace: NetNs,
    /// The container that was asked for, where its network is another one's (`--network container:X`), which is the
    /// one found then.
    pub(crate) asked_for: Option<String>,
}

impl Place {
    /// Finds what `text` names, and its namespace.
    ///
    /// # Errors
    /// An unknown container, a stopped one, one on the host's network (whose namespace is the host's), a process or
    /// path that is none: each with its own sentence.
    pub(crate) async fn find(context: &Context, text: &str) -> Result<Self, Failure> {
        check_root()?;
        if let Some(pid) = text.strip_prefix("pid:") {
            return Self::of_process(pid);
        }
        if let Some(path) = text.strip_prefix("netns:") {
            return Self::of_path(path);
        }
        let engine = context.engine()?;
        Self::ask(engine.as_ref(), text).await
    }

    /// Looks a container up by name or id.
    async fn ask(engine: &dyn Engine, text: &str) -> Result<Self, Failure> {
        let container = engine
            .inspect(text)
            .await
            .map_err(|error| error.while_doing(format!("cannot find container {text}")))?;
        if let Some(owner) = network_owner(engine, &container).await {
            // Its own namespace may be left when the owner is not there any more.
            if let Ok(place) = Self::of_container(engine, &owner) {
                return Ok(Self {
                    asked_for: Some(container.name),
                    ..place
                });
            }
        }
        Self::of_container(engine, &container)
    }

    /// A container that the engine has told of.
    ///
    /// # Errors
    /// One that does not run, or is paused, or is on the host's network.
    pub(crate) fn of_container(
        engine: &dyn Engine,
        container: &Container,
    ) -> Result<Self, Failure> {
        if container.state == "paused" {
            return Err(idle(engine.kind().program(), &container.name, "paused"));
        }
        Self::enter(engine.kind(), container)
    }

    /// A container with a process, paused or not.
    ///
    /// # Errors
    /// One that does not run, or is on the host's network.
    pub(crate) fn enter(engine: EngineKind, container: &Container) -> Result<Self, Failure> {
        let name = &container.name;
        let program = engine.program();
        let pid = match (container.state.as_str(), container.pid) {
            ("running" | "paused", Some(pid)) if pid != 0 => pid,
            (state, _) => return Err(idle(program, name, state)),
        };
        let namespace = match NetNs::from_pid(pid) {
            Ok(namespace) => namespace,
            // It ended in this very moment.
            Err(_) if !Path::new(&format!("/proc/{pid}")).exists() => {
                return Err(idle(program, name, "exited"));
            }
            Err(error) => {
                let what = format!("cannot enter the network of container {name}");
                return Err(Failure::new(what, error.to_string(), ""));
            }
        };
        check_not_ours(&namespace, &format!("container {name}"))?;
        Ok(Self {
            subject: Subject::Container {
                engine,
                id: container.id.clone(),
                name: name.clone(),
            },
            name: name.clone(),
            namespace,
            asked_for: None,
        })
    }

    fn of_process(text: &str) -> Result<Self, Failure> {
        let name = format!("pid:{text}");
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        let pid = match text.parse::<u32>() {
            Ok(pid) if digits && pid != 0 => pid,
            _ => {
                return Err(Failure::usage(
                    format!("{name:?} names no process"),
                    "",
                    "give a process id, as in pid:1234",
                ));
            }
        };
        let gone = || {
            Failure::new(
                format!("there is no process {pid}"),
                "",
                "name one that runs, as in pid:1234",
            )
        };
        let started = started(pid).ok_or_else(gone)?;
        let namespace = NetNs::from_pid(pid).map_err(|error| {
            if Path::new(&format!("/proc/{pid}")).exists() {
                let what = format!("cannot enter the network of process {pid}");
                Failure::new(what, error.to_string(), "")
            } else {
                gone()
            }
        })?;
        check_not_ours(&namespace, &format!("process {pid}"))?;
        Ok(Self {
            subject: Subject::Process { pid, started },
            name,
            namespace,
            asked_for: None,
        })
    }

    fn of_path(text: &str) -> Result<Self, Failure> {
        let name = format!("netns:{text}");
        if text.is_empty() {
            return Err(Failure::usage(
                format!("{name:?} names no network namespace"),
                "",
                "give a path, or a name that 'ip netns' lists, as in netns:a",
            ));
        }
        // One word is a name of `ip netns`.
        let path = if text.contains('/') {
            PathBuf::from(text)
        } else {
            Path::new(NAMED).join(text)
        };
        let missing = |why: String| {
            Failure::new(
                format!("there is no network namespace {text}"),
                why,
                "'ip netns' lists those that have a name",
            )
        };
        let path = resolved(&path)
            .map_err(|error| missing(format!("{}: {}", path.display(), words(&error))))?;
        if let Some(pid) = process_of(&path) {
            return Ok(Self {
                name,
                ..Self::of_process(pid)?
            });
        }
        let namespace = NetNs::from_path(&path).map_err(|error| {
            if matches!(error, Error::NotANamespace { .. }) {
                missing(format!("{} is another file", path.display()))
            } else {
                let what = format!("cannot enter the network namespace {text}");
                Failure::new(what, error.to_string(), "")
            }
        })?;
        check_not_ours(&namespace, &format!("the network namespace {text}"))?;
        Ok(Self {
            subject: Subject::Namespace { path },
            name,
            namespace,
            asked_for: None,
        })
    }
}

/// Whether what the ledger names is there.
#[derive(Debug)]
pub(crate) enum Presence {
    /// It is, and has a network of its own. A paused container counts as well.
    Here(Place),
    /// It is a container that does not run.
    Idle,
    /// It is no more, and will not be again, unless a namespace is made at the same path.
    Gone,
    /// Its engine does not tell.
    Unknown(Failure),
}

impl Presence {
    /// Looks for what the ledger names, asking the engine that it names.
    pub(crate) async fn of(context: &Context, subject: &Subject) -> Self {
        let Subject::Container { engine, .. } = subject else {
            return Self::with(None, subject).await;
        };
        let context = Context {
            engine: Some(*engine),
            ..context.clone()
        };
        match context.engine() {
            Ok(engine) => Self::with(Some(engine.as_ref()), subject).await,
            Err(failure) => Self::Unknown(failure),
        }
    }

    /// The same of `engine`; another one's containers count as not running.
    pub(crate) async fn with(engine: Option<&dyn Engine>, subject: &Subject) -> Self {
        let found = match subject {
            Subject::Container {
                engine: kind,
                id,
                name,
            } => {
                let Some(engine) = engine.filter(|engine| engine.kind() == *kind) else {
                    return Self::Idle;
                };
                return match engine.inspect(id).await {
                    Ok(container) => Place::enter(*kind, &container).map_or(Self::Idle, Self::Here),
                    Err(EngineError::NoContainer { .. }) => Self::Gone,
                    Err(error) => {
                        Self::Unknown(error.while_doing(format!("cannot find container {name}")))
                    }
                };
            }
            Subject::Namespace { path } => Place::of_path(&path.display().to_string()),
            Subject::Process { pid, .. } => Place::of_process(&pid.to_string()),
        };
        match found {
            // Another process may have got its id.
            Ok(place) if place.subject == *subject => Self::Here(place),
            Ok(_) | Err(_) => Self::Gone,
        }
    }
}

impl Subject {
    /// Whether both are the same thing, whatever it is called now.
    pub(crate) fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (
                Self::Container { engine, id, .. },
                Self::Container {
                    engine: other_engine,
                    id: other_id,
                    ..
                },
            ) => engine == other_engine && id == other_id,
            _ => self == other,
        }
    }

    /// As the user would name it.
    pub(crate) fn label(&self) -> String {
        match self {
            Self::Container { name, .. } => name.clone(),
            Self::Namespace { path } => {
                let named = path
                    .strip_prefix(NAMED)
                    .or_else(|_| path.strip_prefix("/run/netns"));
                format!("netns:{}", named.unwrap_or(path).display())
            }
            Self::Process { pid, .. } => format!("pid:{pid}"),
        }
    }

    /// Whether the user may mean it by `text`: a container's name, id or the beginning of that, or its label.
    pub(crate) fn answers_to(&self, text: &str) -> bool {
        match self {
            Self::Container { id, name, .. } => {
                name == text || (text.len() >= ID_DIGITS_MIN && id.starts_with(text))
            }
            Self::Namespace { path } => text
                .strip_prefix("netns:")
                .is_some_and(|named| Path::new(named) == path || self.label() == text),
            Self::Process { .. } => self.label() == text,
        }
    }
}

impl Entries {
    /// Where among the attachments that of `subject` is.
    pub(crate) fn position_of(&self, subject: &Subject) -> Option<usize> {
        self.attachments
            .iter()
            .position(|attachment| attachment.of.is(subject))
    }
}

/// Refuses whoever may not change networks, before anything else is looked at.
///
/// # Errors
/// For everybody but root.
pub(crate) fn check_root() -> Result<(), Failure> {
    if Uid::effective().is_root() {
        return Ok(());
    }
    Err(Failure::new(
        "cannot change this host's network",
        "only root may",
        "run it with sudo",
    ))
}

/// The container whose network this one has.
async fn network_owner(engine: &dyn Engine, container: &Container) -> Option<Container> {
    let mut owner = None;
    let mut mode = container.network_mode.clone();
    // An owner may share another's in its turn; no engine makes circles.
    for _ in 0..OWNERS_MAX {
        let Some(id) = mode.strip_prefix("container:") else {
            break;
        };
        let next = engine.inspect(id).await.ok()?;
        mode.clone_from(&next.network_mode);
        owner = Some(next);
    }
    owner
}

/// Why a container in this state can't be attached, and what to do.
fn idle(program: &str, name: &str, state: &str) -> Failure {
    let what = format!("container {name} does not run");
    match state {
        "created" | "configured" | "initialized" => Failure::new(
            what,
            "it was never started",
            format!("'weave start CIDR {name}' starts and attaches it"),
        ),
        "paused" => Failure::new(
            format!("container {name} is paused"),
            "",
            format!("'{program} unpause {name}' lets it go on"),
        ),
        "restarting" => Failure::new(
            what,
            format!("{program} is restarting it"),
            format!("'{program} logs {name}' may say why"),
        ),
        "dead" | "removing" => Failure::new(
            what,
            format!("it is {state}"),
            format!("'{program} rm -f {name}' removes what is left of it"),
        ),
        // "exited" and podman's "stopped", and a running one without a process.
        _ => Failure::new(
            what,
            "it has ended",
            format!("'weave start CIDR {name}' starts and attaches it"),
        ),
    }
}

/// Refuses the host's own namespace.
fn check_not_ours(namespace: &NetNs, whose: &str) -> Result<(), Failure> {
    let same = NetNs::current()
        .and_then(|own| Ok(own.id()? == namespace.id()?))
        .map_err(|error| {
            Failure::new(
                format!("cannot look at the network of {whose}"),
                error.to_string(),
                "",
            )
        })?;
    if same {
        return Err(Failure::new(
            format!("{whose} has no network of its own"),
            "it is on the host's",
            "give the host an address with: weave expose CIDR",
        ));
    }
    Ok(())
}

/// The whole path of a namespace's file, wherever the next command is run. `fs::canonicalize` would follow the links in
/// `/proc`, which lead to what has no path.
fn resolved(path: &Path) -> io::Result<PathBuf> {
    let mut path = std::path::absolute(path)?;
    for _ in 0..LINKS_MAX {
        let (Some(folder), Some(file)) = (path.parent(), path.file_name()) else {
            break;
        };
        let folder = fs::canonicalize(folder)?;
        path = folder.join(file);
        let is_link = fs::symlink_metadata(&path)?.is_symlink();
        if !is_link || folder.starts_with("/proc") {
            return Ok(path);
        }
        path = folder.join(fs::read_link(&path)?);
    }
    Err(Errno::ELOOP.into())
}

/// The process whose namespace a path below `/proc` is.
fn process_of(path: &Path) -> Option<&str> {
    let text = path.to_str()?;
    let pid = text.strip_prefix("/proc/")?.strip_suffix("/ns/net")?;
    // Of a thread: `N/task/M`.
    pid.split('/').next_back()
}

/// When a process was started: clock ticks since the boot, and which boot that was. None when it is not there.
fn started(pid: u32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the program's name in brackets, which may hold anything; this is the 22nd (proc(5)).
    let (_, fields) = stat.rsplit_once(')')?;
    let ticks = fields.split_whitespace().nth(19)?;
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    Some(format!("{ticks} ticks after boot {}", boot.trim()))
}

/// Where `ip netns` keeps its names.
const NAMED: &str = "/var/run/netns";
/// A shorter beginning of an id could be meant for a name.
const ID_DIGITS_MIN: usize = 4;
/// How many links are followed to a namespace's file, as many as the kernel follows.
const LINKS_MAX: usize = 40;
/// How far networks shared with one that shares one are followed.
const OWNERS_MAX: usize = 4;

#[cfg(test)]
mod tests;
