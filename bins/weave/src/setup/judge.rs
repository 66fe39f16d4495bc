//! What the facts mean for weave: a line for each prerequisite, and the command that mends what is missing.

mod folder;
mod reach;

use serde::Serialize;

use super::facts::{Clock, Devices, EngineFound, Facts, Program, Rights, Tun};
use super::system::{Package, Packages};
use crate::engine::EngineKind;

/// A prerequisite, and how it is with it here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Check {
    /// What is looked at.
    pub(crate) name: &'static str,
    /// How it is.
    pub(crate) state: State,
    /// What was found.
    pub(crate) found: String,
    /// What mends it: a command as it would be typed, or what to do where there is no single one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) mend: Option<String>,
}

/// How it is with a prerequisite.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum State {
    /// As it must be.
    Ok,
    /// weave works, but somebody should know this; or it can't be told.
    Note,
    /// weave does not work like this, or not all of it.
    Missing,
}

/// All lines, in the order in which they are mended best.
pub(crate) fn judge(facts: &Facts) -> Vec<Check> {
    vec![
        rights(facts),
        tun(facts),
        devices(facts),
        engine(facts),
        iptables(facts),
        bridged(facts),
        reach::port(facts),
        reach::firewall(facts),
        reach::reverse_path(facts),
        reach::mtu(facts),
        clock(facts),
        folder::state_folder(facts),
        folder::identity(facts),
        folder::disk(facts),
    ]
}

fn ok(name: &'static str, found: impl Into<String>) -> Check {
    Check {
        name,
        state: State::Ok,
        found: found.into(),
        mend: None,
    }
}

fn note(name: &'static str, found: impl Into<String>) -> Check {
    Check {
        state: State::Note,
        ..ok(name, found)
    }
}

fn missing(name: &'static str, found: impl Into<String>, mend: impl Into<String>) -> Check {
    Check {
        state: State::Missing,
        mend: Some(mend.into()),
        ..ok(name, found)
    }
}

impl Check {
    fn with(self, mend: impl Into<String>) -> Self {
        Self {
            mend: Some(mend.into()),
            ..self
        }
    }
}

/// Says why nothing can be told to whoever is not root.
const NEEDS_ROOT: &str = "it takes root to find out";

fn rights(facts: &Facts) -> Check {
    match facts.rights {
        Rights::Root => ok("rights", "root"),
        Rights::Caged => missing(
            "rights",
            "root without the rights to change the network, as in a container",
            "run weave on the host itself, or give the container --privileged --network host --pid host",
        ),
        Rights::User(id) => missing(
            "rights",
            format!("user {id}, and weave changes the network of this host"),
            "sudo weave setup",
        ),
    }
}

fn tun(facts: &Facts) -> Check {
    match &facts.tun {
        Tun::Opens => ok("tun", "/dev/net/tun opens"),
        Tun::Absent => missing(
            "tun",
            "there is no /dev/net/tun",
            facts.system.load(&["tun"]),
        ),
        Tun::Refused(why) if facts.rights != Rights::Root => {
            note("tun", format!("/dev/net/tun: {why}; {NEEDS_ROOT}"))
        }
        // The node is there without the driver.
        Tun::Refused(why) if why.contains("no such") => missing(
            "tun",
            format!("/dev/net/tun is there and leads nowhere: {why}"),
            facts.system.load(&["tun"]),
        ),
        Tun::Refused(why) => missing(
            "tun",
            format!("/dev/net/tun can't be opened: {why}"),
            "in a container, start it with --device /dev/net/tun",
        ),
    }
}

fn devices(facts: &Facts) -> Check {
    let kernel = &facts.kernel;
    match &facts.devices {
        Devices::Made => ok("kernel", format!("Linux {kernel} makes bridges and veths")),
        Devices::Refused(why) => missing(
            "kernel",
            format!("Linux {kernel} makes no bridge and veth: {why}"),
            facts.system.load(&["bridge", "veth"]),
        ),
        Devices::Untried => note(
            "kernel",
            format!("Linux {kernel}; whether it makes bridges and veths, {NEEDS_ROOT}"),
        ),
    }
}

fn engine(facts: &Facts) -> Check {
    match &facts.engine {
        EngineFound::Unwanted => ok("engine", "none wanted: weave launch --no-container"),
        EngineFound::Answers {
            kind,
            version,
            rootless,
            remapped,
        } => {
            let program = kind.program();
            let name = format!("{program} {version}");
            match (rootless, remapped) {
                (true, _) => missing(
                    "engine",
                    format!("{name} runs without root: its containers are not on this host's network"),
                    match kind {
                        EngineKind::Docker => {
                            "use the system's engine: unset DOCKER_HOST; docker context use default; ".to_owned()
                                + &facts.system.start("docker")
                        }
                        EngineKind::Podman => "run weave and podman as root: sudo weave setup".into(),
                    },
                ),
                (false, true) => missing(
                    "engine",
                    format!("{name} maps the users of its containers (userns-remap), which weave can't enter"),
                    "take userns-remap out of /etc/docker/daemon.json and start the engine anew, or weave launch --no-container",
                ),
                (false, false) => ok("engine", format!("{name} answers")),
            }
        }
        EngineFound::NotInstalled(kind) => {
            let package = match kind {
                Some(EngineKind::Podman) => Package::Podman,
                None if facts.system.packages == Packages::Rhel => Package::Podman,
                Some(EngineKind::Docker) | None => Package::Docker,
            };
            let found = match kind {
                Some(kind) => format!("there is no {} here", kind.program()),
                None => "there is neither docker nor podman here; a host without containers takes weave launch --no-container".into(),
            };
            missing("engine", found, facts.system.install(package))
        }
        EngineFound::Silent { kind, why } if matches!(facts.rights, Rights::User(_)) => note(
            "engine",
            format!("{} does not answer this user: {why}", kind.program()),
        ),
        EngineFound::Silent { kind, why } => missing(
            "engine",
            format!("{} does not answer: {why}", kind.program()),
            match kind {
                EngineKind::Docker => facts.system.start("docker"),
                EngineKind::Podman => "podman info".into(),
            },
        ),
    }
}

/// Who makes rules that drop frames, which takes iptables to make an exception from.
fn iptables(facts: &Facts) -> Check {
    if facts.iptables {
        return ok("iptables", "there");
    }
    let docker = matches!(
        facts.engine,
        EngineFound::Answers {
            kind: EngineKind::Docker,
            ..
        }
    );
    let needed = if docker {
        Some(
            "Docker drops what crosses bridges that are not its own, and weave can't say otherwise",
        )
    } else if facts.bridge_netfilter.is_some_and(|on| on.contains(&true)) {
        Some("bridged packets meet the firewall here, and weave can't make its exception")
    } else {
        None
    };
    let install = facts.system.install(Package::Iptables);
    match needed {
        Some(why) => missing("iptables", format!("not there: {why}"), install),
        None => note(
            "iptables",
            "not there, which does no harm until something is exposed (weave expose)",
        )
        .with(install),
    }
}

fn bridged(facts: &Facts) -> Check {
    let found = match facts.bridge_netfilter {
        None => "br_netfilter is not loaded: bridged packets meet no firewall",
        Some([false, false]) => "br_netfilter is off: bridged packets meet no firewall",
        Some(_) if facts.iptables => {
            "bridged packets meet the firewall (br_netfilter); weave's rules let them pass"
        }
        Some(_) => "bridged packets meet the firewall (br_netfilter): see iptables",
    };
    ok("bridged", found)
}

/// A program as a user looks for it.
fn named(program: &Program) -> String {
    format!("{} (process {})", program.name, program.pid)
}

fn clock(facts: &Facts) -> Check {
    // No handshake and no key depends on the time of day.
    let harm = "a clock that jumps makes the router set up its links anew, and log lines of several hosts don't compare";
    match facts.clock {
        Clock::Synchronised => ok("clock", "synchronised"),
        Clock::Free => note("clock", format!("not synchronised: {harm}"))
            .with(facts.system.install(Package::Chrony)),
        Clock::Unknown => note(
            "clock",
            format!("nobody here tells if it is synchronised: {harm}"),
        ),
    }
}

#[cfg(test)]
mod tests;
