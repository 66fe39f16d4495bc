//! What the tool did to this host, kept in the state folder: what is attached and exposed, what was made, and which
//! kernel settings were otherwise before. `reset` takes back what stands here, `launch` and `guard` put it back after
//! a reboot.
//!
//! One file, `host.json`, written whole (temporary file, fsync, rename) under a lock that one command holds at a time
//! ([`Ledger::lock`]), so that two commands that run at once don't undo each other.

use std::fs::File;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use weave_io::host::Cidr;
use weave_router::Failure;

use crate::engine::EngineKind;

/// What stands in the file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Entries {
    /// The bridge that the rest is about.
    pub(crate) bridge: Option<String>,
    /// Whether the tool made the bridge (reset removes it then).
    pub(crate) made_bridge: bool,
    /// How the router was launched last, while it is meant to run.
    pub(crate) launched: Option<Launched>,
    /// What is on the network.
    pub(crate) attachments: Vec<Attachment>,
    /// Addresses of the host on the network.
    pub(crate) exposed: Vec<String>,
    /// Kernel settings that were changed, in the order in which they were.
    pub(crate) settings: Vec<Setting>,
}

/// How the router was launched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Launched {
    /// The engine whose container it is; a host process without.
    pub(crate) engine: Option<EngineKind>,
    /// Its arguments, never a password.
    pub(crate) args: Vec<String>,
}

/// A container, or another namespace, and its addresses on the network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Attachment {
    /// Whose it is.
    pub(crate) of: Subject,
    /// The Ethernet address of its `ethwe`, as `02:…`.
    pub(crate) mac: String,
    /// Its addresses with prefix lengths.
    pub(crate) addresses: Vec<String>,
}

/// What is attached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub(crate) enum Subject {
    /// A container of an engine.
    Container {
        /// The engine.
        engine: EngineKind,
        /// The container's whole id.
        id: String,
        /// Its name.
        name: String,
    },
    /// A network namespace, by its path.
    Namespace {
        /// As `/run/netns/a`, or `/proc/N/ns/net`.
        path: PathBuf,
    },
}

/// A kernel setting that the tool changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Setting {
    /// As `ipv4/ip_forward`, below `/proc/sys/net`.
    pub(crate) key: String,
    /// What it was before.
    pub(crate) before: String,
    /// What it was set to: what somebody else changed since is left alone.
    pub(crate) set: String,
}

/// The file, held by this command alone until dropped.
#[derive(Debug)]
pub(crate) struct Ledger {
    path: PathBuf,
    _lock: File,
    /// What stands in it; [`Ledger::save`] writes it.
    pub(crate) entries: Entries,
}

impl Ledger {
    /// Waits until no other command holds the file of this state folder (making the folder, 0700, if need be), and
    /// reads it.
    ///
    /// # Errors
    /// When the folder can't be made or the file is damaged; it is left as it is then.
    pub(crate) fn lock(state_dir: &Path) -> Result<Self, Failure> {
        todo!("{}", state_dir.display())
    }

    /// Reads the file without holding it; empty when there is none.
    ///
    /// # Errors
    /// When it can't be read, or is damaged.
    pub(crate) fn peek(state_dir: &Path) -> Result<Entries, Failure> {
        todo!("{}", state_dir.display())
    }

    /// Writes the file: a temporary file, fsync, rename. An empty one is removed.
    ///
    /// # Errors
    /// When it can't be written; what stood in it stands then.
    pub(crate) fn save(&mut self) -> Result<(), Failure> {
        todo!("{}", self.path.display())
    }
}

impl Attachment {
    /// Its addresses, parsed.
    pub(crate) fn cidrs(&self) -> Vec<Cidr> {
        self.addresses
            .iter()
            .filter_map(|text| text.parse().ok())
            .collect()
    }
}
