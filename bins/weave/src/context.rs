//! What every command about this host is given: where state and router are, which engine, where to print.

use std::path::PathBuf;

use weave_router::Failure;

use crate::client::Client;
use crate::engine::{CommandLine, Engine, EngineKind};
use crate::output::Output;

/// The global flags, and what is made of them.
#[derive(Debug, Clone)]
pub(crate) struct Context {
    /// Socket of the router's control API.
    pub(crate) control: PathBuf,
    /// The state folder.
    pub(crate) state_dir: PathBuf,
    /// The engine that `--engine` names.
    pub(crate) engine: Option<EngineKind>,
    /// The bridge that `--bridge` (WEAVE_BRIDGE) names; the ledger's, or `weave`, without.
    pub(crate) bridge: Option<String>,
    /// Where to print.
    pub(crate) output: Output,
}

impl Context {
    /// The running router's control API.
    pub(crate) fn client(&self) -> Client {
        Client::new(&self.control)
    }

    /// Refuses to go on without root.
    ///
    /// # Errors
    /// That it is not root's, of `what` the user wanted.
    pub(crate) fn need_root(&self, what: &str) -> Result<(), Failure> {
        if nix::unistd::geteuid().is_root() {
            return Ok(());
        }
        Err(Failure::new(what, "only root may", "run it with sudo"))
    }

    /// The engine that was named, or the one that is installed: docker first.
    ///
    /// # Errors
    /// When there is none.
    pub(crate) fn engine(&self) -> Result<Box<dyn Engine>, Failure> {
        let kind = match self.engine {
            Some(kind) => kind,
            None => [EngineKind::Docker, EngineKind::Podman]
                .into_iter()
                .find(|kind| CommandLine::is_installed(*kind))
                .ok_or_else(no_engine)?,
        };
        Ok(Box::new(CommandLine::new(kind)))
    }
}

fn no_engine() -> Failure {
    Failure::new(
        "there is no container engine here",
        "neither docker nor podman is installed",
        "install one: apt-get install docker.io; the router needs none: weave launch --no-container",
    )
}
