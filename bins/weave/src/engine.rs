//! The container engine, docker or podman, driven by its command line, so that every `docker run` argument passes
//! through and no engine's API version matters. Nothing else in the tool knows an engine.

mod command_line;
#[cfg(test)]
pub(crate) mod fake;
mod parse;

use std::collections::BTreeMap;
use std::ffi::OsString;

use async_trait::async_trait;
use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use weave_router::Failure;

pub(crate) use command_line::CommandLine;

/// Which engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum EngineKind {
    /// Docker, or what calls itself so
    Docker,
    /// Podman, run as root
    Podman,
}

impl EngineKind {
    /// The program's name.
    pub(crate) fn program(self) -> &'static str {
        match self {
            Self::Docker => "docker",
            Self::Podman => "podman",
        }
    }
}

/// A container, as far as the tool cares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Container {
    /// Its whole id.
    pub(crate) id: String,
    /// Its name, without the slash that docker puts before it.
    pub(crate) name: String,
    /// The process id of its main process as the host sees it, while it runs.
    pub(crate) pid: Option<u32>,
    /// The state in the engine's word: `running`, `exited`, `created`, …
    pub(crate) state: String,
    /// What `--network` asked for: `default`, `bridge`, `host`, `none`, `container:ID`, a network's name.
    pub(crate) network_mode: String,
    /// The program that it runs, and its arguments: image's and user's entry point and command put together.
    pub(crate) command: Vec<String>,
    /// The whole id of its image.
    pub(crate) image: String,
    /// How often the engine has started it again, because it had died.
    pub(crate) restarts: u32,
    /// Its labels and its image's.
    pub(crate) labels: BTreeMap<String, String>,
}

/// What an engine says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct EngineInfo {
    /// The engine's version.
    pub(crate) version: String,
    /// It runs without root: its containers' networks are not the host's.
    pub(crate) rootless: bool,
    /// It maps the containers' users to others (`userns-remap`).
    pub(crate) remapped: bool,
}

/// An image of the engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Image {
    /// Its whole id.
    pub(crate) id: String,
    /// Its size in bytes.
    pub(crate) size: u64,
    /// Its labels.
    pub(crate) labels: BTreeMap<String, String>,
}

/// What went wrong with the engine.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum EngineError {
    /// The program is not installed.
    #[error("{program} is not installed")]
    NotInstalled {
        /// Its name.
        program: &'static str,
    },
    /// The program is there, the engine does not answer it.
    #[error("{program} does not answer: {why}")]
    NotRunning {
        /// Its name.
        program: &'static str,
        /// In its words.
        why: String,
    },
    /// It knows no such container.
    #[error("{program} knows no container {container}")]
    NoContainer {
        /// The engine's name.
        program: &'static str,
        /// The name asked for.
        container: String,
    },
    /// It knows no such image.
    #[error("{program} knows no image {image}")]
    NoImage {
        /// The engine's name.
        program: &'static str,
        /// The name asked for.
        image: String,
    },
    /// Anything else, in the engine's words.
    #[error("{why}")]
    Refused {
        /// Its words, on one line.
        why: String,
    },
}

impl EngineError {
    /// As a failure of what the user wanted, for instance `cannot attach c1`, with what mends it.
    pub(crate) fn while_doing(&self, what: impl Into<String>) -> Failure {
        Failure::new(what, self.to_string(), self.remedy())
    }

    /// What mends it; empty where only the engine's words tell.
    pub(crate) fn remedy(&self) -> String {
        match self {
            Self::NotInstalled { program } => {
                format!("install it: apt-get install {}", package(program))
            }
            Self::NotRunning { why, .. } if why.contains("permission denied") => {
                "run it as root".to_owned()
            }
            Self::NotRunning { program, .. } => format!("start it: systemctl start {program}"),
            Self::NoContainer { program, .. } => format!("{program} ps -a lists those there are"),
            Self::NoImage { program, .. } => format!("{program} images lists those there are"),
            Self::Refused { .. } => String::new(),
        }
    }
}

/// The Debian package that holds an engine's program.
fn package(program: &str) -> &str {
    if program == "docker" {
        "docker.io"
    } else {
        program
    }
}

/// What the tool asks of an engine. Each call runs the engine's program once and waits for it.
#[async_trait]
pub(crate) trait Engine: Send + Sync {
    /// Which it is.
    fn kind(&self) -> EngineKind;
    /// What it says of itself; an error when it is not there.
    async fn info(&self) -> Result<EngineInfo, EngineError>;
    /// Looks a container up by id, the beginning of one, or name.
    async fn inspect(&self, container: &str) -> Result<Container, EngineError>;
    /// All running containers.
    async fn running(&self) -> Result<Vec<Container>, EngineError>;
    /// `run -d ARGS`, and the new container's id.
    async fn run(&self, args: &[OsString]) -> Result<String, EngineError>;
    /// What `run --help` prints: which flags there are, and which of them take a value.
    async fn run_help(&self) -> Result<String, EngineError>;
    /// `create ARGS`, and the new container's id.
    async fn create(&self, args: &[OsString]) -> Result<String, EngineError>;
    /// Starts a created or stopped container.
    async fn start(&self, container: &str) -> Result<(), EngineError>;
    /// Stops a container: SIGTERM, and SIGKILL after `seconds`.
    async fn stop(&self, container: &str, seconds: u32) -> Result<(), EngineError>;
    /// Removes a container, a running one as well.
    async fn remove(&self, container: &str) -> Result<(), EngineError>;
    /// The last lines that a container wrote, to stdout and stderr, at most `lines`.
    async fn logs(&self, container: &str, lines: u32) -> Result<Vec<String>, EngineError>;
    /// Looks up an image.
    async fn image(&self, image: &str) -> Result<Image, EngineError>;
    /// Takes the images of an archive as `save` writes them, with their names.
    async fn load(&self, archive: Vec<u8>) -> Result<(), EngineError>;
    /// The ids of all images that have this label.
    async fn labelled(&self, label: &str) -> Result<Vec<String>, EngineError>;
    /// Removes an image that no container is made of.
    async fn remove_image(&self, image: &str) -> Result<(), EngineError>;
    /// Waits until some container has started, died or gone, or until the engine itself went away (an error: ask again
    /// then, after a while). What happens between two calls is not missed, once the first has been made.
    async fn event(&mut self) -> Result<(), EngineError>;
}
