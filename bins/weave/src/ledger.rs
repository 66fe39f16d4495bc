//! What the tool did to this host, kept in the state folder: what is attached and exposed, what was made, and which
//! kernel settings were otherwise before. `reset` takes back what stands here, `launch` and `guard` put it back after
//! a reboot.
//!
//! One file, `host.json`, written whole (temporary file, fsync, rename) under a lock that one command holds at a time
//! ([`Ledger::lock`]), so that two commands that run at once don't undo each other.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use weave_io::host::Cidr;
use weave_router::{Failure, words};

use crate::engine::EngineKind;
use crate::machine;

/// What stands in the file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
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
    /// A network namespace that has a path of its own, which may lead to it again after a reboot.
    Namespace {
        /// As `/run/netns/a`.
        path: PathBuf,
    },
    /// The network namespace of a process.
    Process {
        /// Its process id.
        pid: u32,
        /// When it was started, in the kernel's words, so that another process that got its id is not taken for it.
        started: String,
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
    folder: PathBuf,
    made_folder: bool,
    _lock: File,
    /// The mark of the machine on which the file was begun.
    machine: Option<String>,
    /// What stands in it; [`Ledger::save`] writes it.
    pub(crate) entries: Entries,
}

impl Ledger {
    /// Waits until no other command holds the file of this state folder (making the folder, 0700, if need be), and
    /// reads it. Says on stderr whom it waits for when that takes 2 s.
    ///
    /// # Errors
    /// When the folder can't be made or the file is damaged; it is left as it is then.
    pub(crate) fn lock(state_dir: &Path) -> Result<Self, Failure> {
        let ledger = Self::acquire(state_dir, wait_for)?;
        Ok(ledger.expect("whoever waits gets it"))
    }

    /// [`Ledger::lock`] without waiting: nothing, when another command holds the file.
    ///
    /// # Errors
    /// Those of [`Ledger::lock`].
    pub(crate) fn try_lock(state_dir: &Path) -> Result<Option<Self>, Failure> {
        Self::acquire(state_dir, |lock| match lock.try_lock() {
            Ok(()) => Ok(true),
            Err(TryLockError::WouldBlock) => Ok(false),
            Err(TryLockError::Error(error)) => Err(error),
        })
    }

    /// With how to lock the file, which tells whether it is held then.
    fn acquire(
        state_dir: &Path,
        hold: impl Fn(&File) -> io::Result<bool>,
    ) -> Result<Option<Self>, Failure> {
        let unusable = |error: io::Error| folder_failure(state_dir, &error);
        let mut tries = 0;
        let (lock, made_folder) = loop {
            tries += 1;
            let made_folder = make_folder(state_dir).map_err(unusable)?;
            let path = state_dir.join(LOCK);
            let opened = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .open(&path);
            let lock = match opened {
                Ok(lock) => lock,
                // The command before took away the folder that it had made for nothing.
                Err(error) if error.kind() == io::ErrorKind::NotFound && tries < TRIES_MAX => {
                    continue;
                }
                Err(error) => return Err(unusable(error)),
            };
            if !hold(&lock).map_err(unusable)? {
                return Ok(None);
            }
            // One who held it may have removed it, and a third one made and locked another.
            if is_at(&lock, &path).map_err(unusable)? {
                break (lock, made_folder);
            }
        };
        // For the message of whoever waits; nothing depends on it.
        let _ = sign(&lock);
        let mut ledger = Self {
            folder: state_dir.to_owned(),
            made_folder,
            _lock: lock,
            machine: None,
            entries: Entries::default(),
        };
        (ledger.entries, ledger.machine) = read(state_dir)?;
        Ok(Some(ledger))
    }

    /// Reads the file without holding it; empty when there is none.
    ///
    /// # Errors
    /// When it can't be read, or is damaged.
    pub(crate) fn peek(state_dir: &Path) -> Result<Entries, Failure> {
        read(state_dir).map(|(entries, _)| entries)
    }

    /// The mark of the machine on which the file was begun ([`machine::mark`]).
    ///
    /// # Errors
    /// As for [`Ledger::peek`].
    pub(crate) fn machine(state_dir: &Path) -> Result<Option<String>, Failure> {
        read(state_dir).map(|(_, machine)| machine)
    }

    /// Writes the file: a temporary file, fsync, rename. An empty one is removed.
    ///
    /// # Errors
    /// When it can't be written; what stood in it stands then.
    pub(crate) fn save(&mut self) -> Result<(), Failure> {
        let path = self.folder.join(FILE);
        let written = if self.entries == Entries::default() {
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                _ => Ok(()),
            }
        } else {
            self.text().and_then(|text| replace(&self.folder, &text))
        };
        written.map_err(|error| {
            Failure::new(
                format!("cannot write {}", path.display()),
                words(&error),
                "",
            )
        })
    }

    /// Puts back what stood in it before something failed. The failure is what the user hears of: that this could
    /// not be written is only a line on stderr.
    pub(crate) fn put_back(&mut self, before: Entries) {
        if self.entries == before {
            return;
        }
        self.entries = before;
        if let Err(failure) = self.save() {
            warn(&failure.to_string());
        }
    }

    fn text(&self) -> io::Result<Vec<u8>> {
        let mut document = serde_json::to_value(&self.entries)?;
        if let Value::Object(fields) = &mut document {
            fields.insert(VERSION.to_owned(), FORMAT.into());
            if let Some(mark) = self.machine.clone().or_else(machine::mark) {
                fields.insert(MACHINE.to_owned(), mark.into());
            }
        }
        let mut text = serde_json::to_vec_pretty(&document)?;
        text.push(b'\n');
        // What is written must be read again.
        if text.len() as u64 > FILE_BYTES_MAX {
            return Err(io::Error::other("more is attached than it can hold"));
        }
        Ok(text)
    }
}

impl Drop for Ledger {
    /// A command that did nothing leaves nothing behind, but for an empty folder where another one waited in it.
    fn drop(&mut self) {
        if !self.folder.join(FILE).exists() {
            // Held until after that: the next one sees that its file is not the one at the path any more.
            let _ = fs::remove_file(self.folder.join(LOCK));
            if self.made_folder {
                let _ = fs::remove_dir(&self.folder);
            }
        }
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

/// A line on stderr, for what is no reason to stop.
pub(crate) fn warn(text: &str) {
    // Nowhere is left to complain when stderr fails.
    let _ = writeln!(io::stderr(), "weave: {text}");
}

/// Whether it had to be made.
fn make_folder(folder: &Path) -> io::Result<bool> {
    if let Some(parent) = folder.parent() {
        DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(parent)?;
    }
    match DirBuilder::new().mode(0o700).create(folder) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error),
    }
}

fn wait_for(lock: &File) -> io::Result<bool> {
    for _ in 0..QUIET_TRIES {
        match lock.try_lock() {
            Ok(()) => return Ok(true),
            Err(TryLockError::WouldBlock) => std::thread::sleep(TRY_EVERY),
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
    let mut holder = String::new();
    let _ = lock.take(16).read_to_string(&mut holder);
    let holder = holder.trim().parse::<u32>().map_or_else(
        |_| "another weave command".to_owned(),
        |pid| format!("another weave command (process {pid})"),
    );
    warn(&format!("waits until {holder} is done with this host"));
    lock.lock().map(|()| true)
}

/// Writes the process id into the file.
fn sign(mut lock: &File) -> io::Result<()> {
    lock.rewind()?;
    lock.set_len(0)?;
    lock.write_all(format!("{}\n", std::process::id()).as_bytes())
}

fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    let held = file.metadata()?;
    match fs::metadata(path) {
        Ok(there) => Ok((held.dev(), held.ino()) == (there.dev(), there.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// What stands in the file, and the mark of the machine on which it was begun.
fn read(state_dir: &Path) -> Result<(Entries, Option<String>), Failure> {
    let path = state_dir.join(FILE);
    let mut text = Vec::new();
    match File::open(&path) {
        Ok(file) => file
            .take(FILE_BYTES_MAX + 1)
            .read_to_end(&mut text)
            .map_err(|error| folder_failure(state_dir, &error))?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Ok((Entries::default(), None));
        }
        Err(error) => return Err(folder_failure(state_dir, &error)),
    };
    understood(&text).map_err(|fault| {
        let (why, remedy) = match fault {
            Fault::Newer(version) => (
                format!("it is of a newer weave (format {version}, this one knows {FORMAT})"),
                "use that version of weave",
            ),
            Fault::Damaged(fault) => (
                format!("it is damaged ({fault})"),
                "mend it, or move it away and attach the containers again",
            ),
        };
        Failure::new(format!("cannot read {}", path.display()), why, remedy)
    })
}

/// Why a file is not understood.
#[derive(Debug, PartialEq, Eq)]
enum Fault {
    Newer(u64),
    Damaged(String),
}

fn understood(text: &[u8]) -> Result<(Entries, Option<String>), Fault> {
    let damaged = |fault: &dyn ToString| Fault::Damaged(fault.to_string());
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(damaged(&"it is larger than any that weave writes"));
    }
    let mut document: Value = serde_json::from_slice(text).map_err(|error| damaged(&error))?;
    let version = document
        .as_object_mut()
        .and_then(|fields| fields.remove(VERSION))
        .and_then(|version| version.as_u64());
    match version {
        Some(FORMAT) => {}
        Some(newer) if newer > FORMAT => return Err(Fault::Newer(newer)),
        _ => return Err(damaged(&"it does not say its format")),
    }
    let machine = document
        .as_object_mut()
        .and_then(|fields| fields.remove(MACHINE))
        .and_then(|mark| mark.as_str().map(str::to_owned));
    let entries = Entries::deserialize(document).map_err(|error| damaged(&error))?;
    let addresses = entries
        .attachments
        .iter()
        .flat_map(|attachment| &attachment.addresses)
        .chain(&entries.exposed);
    for address in addresses {
        address.parse::<Cidr>().map_err(|error| damaged(&error))?;
    }
    for attachment in &entries.attachments {
        if parse_mac(&attachment.mac).is_none() {
            return Err(damaged(&format!("{:?} is no MAC address", attachment.mac)));
        }
    }
    Ok((entries, machine))
}

/// Reads `02:00:00:00:00:01`.
pub(crate) fn parse_mac(text: &str) -> Option<[u8; 6]> {
    let mut mac = [0; 6];
    let mut parts = text.split(':');
    for byte in &mut mac {
        let digits = |part: &&str| part.len() == 2 && part.bytes().all(|b| b.is_ascii_hexdigit());
        let part = parts.next().filter(digits)?;
        *byte = u8::from_str_radix(part, 16).ok()?;
    }
    parts.next().is_none().then_some(mac)
}

/// Writes it so.
pub(crate) fn mac_text(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

/// Puts the file in place of the old one, durably, readable by the owner only.
fn replace(folder: &Path, text: &[u8]) -> io::Result<()> {
    let beside = folder.join(format!("{FILE}.new"));
    // One left by a crash may have other permissions.
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&beside)?;
    let written = file
        .write_all(text)
        .and_then(|()| file.sync_all())
        .and_then(|()| fs::rename(&beside, folder.join(FILE)));
    if written.is_err() {
        let _ = fs::remove_file(&beside);
    }
    written?;
    File::open(folder)?.sync_all()
}

fn folder_failure(folder: &Path, error: &io::Error) -> Failure {
    let remedy = if error.kind() == io::ErrorKind::PermissionDenied {
        "run it as root"
    } else {
        "name another one with --state-dir"
    };
    Failure::new(
        format!("cannot use the state folder {}", folder.display()),
        words(error),
        remedy,
    )
}

/// The file, and the one that is locked for it, which is never replaced.
const FILE: &str = "host.json";
const LOCK: &str = "host.lock";
/// The field with the file's format, and the format that is written and read here.
const VERSION: &str = "version";
const FORMAT: u64 = 1;
/// The field with the machine's mark.
const MACHINE: &str = "machine";
/// A bridge has 1,023 ports at most, an attachment a few hundred bytes.
const FILE_BYTES_MAX: u64 = 4 << 20;
/// How often the folder may go between its making and the opening of the file in it. A link that leads nowhere looks
/// the same, each time.
const TRIES_MAX: u32 = 1000;
/// 2 s: what most commands take is over by then.
const QUIET_TRIES: u32 = 100;
const TRY_EVERY: Duration = Duration::from_millis(20);

#[cfg(test)]
mod tests;
