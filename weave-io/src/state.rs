//! The state folder: who this router is, how often it started, and whom it knew.
//!
//! Five small files, each replaced whole: `identity` and `passwords` (secret, mode 0600), `boot-id`, `peers`, and `lock`,
//! which keeps a second router out while one runs; and `identity.bak` where the identity was another router's, too. A file
//! is written beside its place, synced, and renamed, so that
//! a crash leaves the old or the new one.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rand::TryRng;
use rand::rngs::SysRng;
use weave_crypto::Identity;
use zeroize::Zeroizing;

/// An open state folder. No other router can open it while this lives.
#[derive(Debug)]
pub struct StateDir {
    path: PathBuf,
    /// It was not there before.
    is_new: bool,
    /// Holds the lock; the system frees it however the process ends.
    _lock: File,
}

/// What is wrong with a state folder, and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// Another router runs on the folder.
    #[error(
        "another router uses the state folder {0}: stop it, or give this one a folder of its own"
    )]
    InUse(PathBuf),
    /// Others may write in the folder.
    #[error("the state folder {path} may be changed by others (mode {mode:03o}): chmod 700 {path}")]
    FolderOpen {
        /// The folder.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Others may read the key.
    #[error(
        "the key file {path} may be read by others (mode {mode:03o}): chmod 600 {path}; if they may have \
         read it, delete it, and the router makes a new identity"
    )]
    KeyExposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Others may read the passwords.
    #[error(
        "the file {path} may be read by others (mode {mode:03o}): chmod 600 {path}; if they may have read it, change \
         the network's password"
    )]
    PasswordsExposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The key file does not hold a key.
    #[error(
        "the key file {path} is damaged: bring it back from a copy, or delete it, and the router makes a new identity"
    )]
    BadKey {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: weave_crypto::KeyFileError,
    },
    /// A file does not hold what it should.
    #[error("{path} is damaged ({fault}): delete it, and the router starts without")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        fault: String,
    },
    /// The system refused.
    #[error("cannot {doing} {path}")]
    System {
        /// What was tried: `read`, `write`, ...
        doing: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

impl StateDir {
    /// The names of the files that may come to be in the folder; the last one to be removed is the one that keeps others
    /// out of it.
    pub const FILES: [&str; 6] = [
        "identity",
        "identity.bak",
        "passwords",
        "boot-id",
        "peers",
        "lock",
    ];

    /// Peers kept to rejoin after a restart: more than enough to find the mesh again.
    pub const PEERS_MAX: usize = 256;

    /// Opens the folder and locks it; makes it, and those above it, where it is missing.
    ///
    /// # Errors
    /// [`StateError::InUse`], [`StateError::FolderOpen`], or the system's refusal.
    pub fn open(path: &Path) -> Result<Self, StateError> {
        let is_new = !path.exists();
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .map_err(system("make", path))?;
        let mode = mode(path)?;
        if mode & 0o022 != 0 {
            return Err(StateError::FolderOpen {
                path: path.to_owned(),
                mode,
            });
        }
        let lock_path = path.join("lock");
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&lock_path)
            .map_err(system("open", &lock_path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(StateError::InUse(path.to_owned())),
            Err(TryLockError::Error(source)) => return Err(system("lock", &lock_path)(source)),
        }
        Ok(Self {
            path: path.to_owned(),
            is_new,
            _lock: lock,
        })
    }

    /// For a first start that came to nothing: removes the folder and the files of this type in it, if it was
    /// [`StateDir::open`] that made it.
    pub fn discard_if_new(self) {
        if self.is_new {
            // Whatever is left is what the next start finds, and takes.
            for name in Self::FILES {
                let _ = fs::remove_file(self.path.join(name));
            }
            let _ = fs::remove_dir(&self.path);
        }
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The identity in the key file; at the first start a new one from the system's randomness.
    ///
    /// # Errors
    /// [`StateError::KeyExposed`], [`StateError::BadKey`], or the system's refusal.
    pub fn identity(&self) -> Result<Identity, StateError> {
        let path = self.path.join("identity");
        let Some(text) = self.read("identity")? else {
            let seed = Zeroizing::new(os_seed().map_err(system("draw a key for", &path))?);
            let identity = Identity::from_seed(*seed);
            self.replace("identity", identity.seed_file_text().as_bytes())?;
            return Ok(identity);
        };
        let mode = mode(&path)?;
        if mode & 0o077 != 0 {
            return Err(StateError::KeyExposed { path, mode });
        }
        Identity::parse(&text).map_err(|source| StateError::BadKey { path, source })
    }

    /// A new identity in place of the one that another router has, too, stored before it is returned. The former key
    /// is kept aside as `identity.bak`, for whoever finds out that the other router was the copy.
    ///
    /// # Errors
    /// The system's refusal; the former identity stays in place then.
    pub fn renew_identity(&self) -> Result<Identity, StateError> {
        let path = self.path.join("identity");
        if let Some(former) = self.read("identity")? {
            self.replace("identity.bak", former.as_bytes())?;
        }
        let seed = Zeroizing::new(os_seed().map_err(system("draw a key for", &path))?);
        let identity = Identity::from_seed(*seed);
        self.replace("identity", identity.seed_file_text().as_bytes())?;
        Ok(identity)
    }

    /// The boot id for this start, stored before it is returned: the unix time in seconds, or one more than the
    /// last, whichever is larger. So it grows even when the clock was set back.
    ///
    /// # Errors
    /// [`StateError::Damaged`], or the system's refusal.
    pub fn next_boot_id(&self, unix_time: Duration) -> Result<u64, StateError> {
        let next = self.boot_id()?.map_or(0, |last| last.saturating_add(1));
        let boot_id = next.max(unix_time.as_secs());
        self.store_boot_id(boot_id)?;
        Ok(boot_id)
    }

    /// Stores a boot id that the router raised itself.
    ///
    /// # Errors
    /// The system's refusal.
    pub fn store_boot_id(&self, boot_id: u64) -> Result<(), StateError> {
        self.replace("boot-id", format!("{boot_id}\n").as_bytes())
    }

    /// Addresses of peers to rejoin; none at the first start.
    ///
    /// # Errors
    /// [`StateError::Damaged`], or the system's refusal.
    pub fn peers(&self) -> Result<Vec<SocketAddr>, StateError> {
        let Some(text) = self.read("peers")? else {
            return Ok(Vec::new());
        };
        let lines: Vec<&str> = text
            .lines()
            .filter(|line| !line.trim().is_empty())
            .collect();
        if lines.len() > Self::PEERS_MAX {
            return Err(self.damaged("peers", format!("more than {} lines", Self::PEERS_MAX)));
        }
        let address = |line: &&str| {
            line.trim()
                .parse()
                .map_err(|_| self.damaged("peers", format!("{line:?} is no ADDRESS:PORT")))
        };
        lines.iter().map(address).collect()
    }

    /// Stores addresses of peers to rejoin, the first [`StateDir::PEERS_MAX`] of them.
    ///
    /// # Errors
    /// The system's refusal.
    pub fn store_peers(&self, peers: &[SocketAddr]) -> Result<(), StateError> {
        let lines = peers.iter().take(Self::PEERS_MAX);
        let text: String = lines.map(|address| format!("{address}\n")).collect();
        self.replace("peers", text.as_bytes())
    }

    /// The passwords kept, one a line, the newest first; none where none are.
    ///
    /// # Errors
    /// [`StateError::PasswordsExposed`], [`StateError::Damaged`], or the system's refusal.
    pub fn passwords(&self) -> Result<Option<Zeroizing<String>>, StateError> {
        let Some(text) = self.read(PASSWORDS)? else {
            return Ok(None);
        };
        let path = self.passwords_path();
        let mode = mode(&path)?;
        if mode & 0o077 != 0 {
            return Err(StateError::PasswordsExposed { path, mode });
        }
        Ok(Some(text))
    }

    /// Keeps passwords, one a line; none may hold a line end.
    ///
    /// # Errors
    /// The system's refusal.
    pub fn store_passwords(&self, passwords: &[&str]) -> Result<(), StateError> {
        let length = passwords.iter().map(|password| password.len() + 1).sum();
        let mut text = Zeroizing::new(String::with_capacity(length));
        for password in passwords {
            text.push_str(password);
            text.push('\n');
        }
        self.replace(PASSWORDS, text.as_bytes())
    }

    /// Where passwords are kept.
    pub fn passwords_path(&self) -> PathBuf {
        self.path.join(PASSWORDS)
    }

    fn boot_id(&self) -> Result<Option<u64>, StateError> {
        let Some(text) = self.read("boot-id")? else {
            return Ok(None);
        };
        let number = text.trim_end_matches('\n').parse();
        let fault = |_| self.damaged("boot-id", "not one number".to_owned());
        number.map(Some).map_err(fault)
    }

    fn damaged(&self, name: &str, fault: String) -> StateError {
        StateError::Damaged {
            path: self.path.join(name),
            fault,
        }
    }

    /// Reads a file whole; none where there is none.
    fn read(&self, name: &str) -> Result<Option<Zeroizing<String>>, StateError> {
        let path = self.path.join(name);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(system("read", &path)(source)),
        };
        // At its full size from the start: growing would leave copies of the key behind.
        let mut bytes = Zeroizing::new(Vec::with_capacity(FILE_BYTES_MAX + 1));
        file.take(FILE_BYTES_MAX as u64 + 1)
            .read_to_end(&mut bytes)
            .map_err(system("read", &path))?;
        if bytes.len() > FILE_BYTES_MAX {
            return Err(self.damaged(name, format!("more than {FILE_BYTES_MAX} bytes")));
        }
        match str::from_utf8(&bytes) {
            Ok(text) => Ok(Some(Zeroizing::new(text.to_owned()))),
            Err(_) => Err(self.damaged(name, "not text".to_owned())),
        }
    }

    /// Puts a file in place of the old one, durably, readable by the owner only.
    fn replace(&self, name: &str, bytes: &[u8]) -> Result<(), StateError> {
        let path = self.path.join(name);
        let beside = self.path.join(format!("{name}.new"));
        let written = (|| {
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
            file.write_all(bytes)?;
            file.sync_all()?;
            fs::rename(&beside, &path)?;
            File::open(&self.path)?.sync_all()
        })();
        written.map_err(system("write", &path))
    }
}

/// 32 bytes of the system's randomness, for an identity or a generator's seed.
///
/// # Errors
/// When the system has none to give, which a running Linux does not do.
pub fn os_seed() -> io::Result<[u8; 32]> {
    let mut seed = [0; 32];
    SysRng.try_fill_bytes(&mut seed).map_err(io::Error::other)?;
    Ok(seed)
}

/// The file with the passwords.
const PASSWORDS: &str = "passwords";

/// More than [`StateDir::PEERS_MAX`] of the longest addresses (an IPv6 one with scope: 63 bytes).
const FILE_BYTES_MAX: usize = 16 << 10;

fn mode(path: &Path) -> Result<u32, StateError> {
    let metadata = fs::metadata(path).map_err(system("look at", path))?;
    Ok(metadata.mode() & 0o777)
}

fn system(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StateError {
    let path = path.to_owned();
    move |source| StateError::System {
        doing,
        path,
        source,
    }
}

#[cfg(test)]
mod tests;
