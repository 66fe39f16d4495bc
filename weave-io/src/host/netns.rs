//! Network namespaces, named as `ip netns` names them.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::ops::Deref;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::Arc;
use std::thread;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::statfs::{NSFS_MAGIC, fstatfs};

use super::Error;
use super::error::refused;

/// A network namespace, held open: it lives at least as long as this value. Clones share the one
/// handle.
#[derive(Debug, Clone)]
pub struct NetNs {
    file: Arc<File>,
    path: PathBuf,
    name: Option<String>,
}

impl NetNs {
    /// Makes a new namespace of this name, as `ip netns add` does: bound to a file in
    /// `/var/run/netns`. Everything in it is down, loopback too.
    ///
    /// # Errors
    /// [`Error::NamespaceExists`], [`Error::BadNamespaceName`], or [`Error::Refused`] (it needs
    /// root).
    pub fn create(name: &str) -> Result<Self, Error> {
        let path = named_path(name)?;
        prepare_directory().map_err(refused("prepare", DIRECTORY))?;
        let marker = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o444)
            .open(&path);
        if let Err(error) = marker {
            return Err(if error.kind() == io::ErrorKind::AlreadyExists {
                Error::NamespaceExists {
                    name: name.to_owned(),
                }
            } else {
                refused("create network namespace", name)(error)
            });
        }
        let bound = on_fresh_thread(|| {
            unshare(CloneFlags::CLONE_NEWNET)?;
            mount(
                Some(THREAD_NAMESPACE),
                &path,
                Some("none"),
                MsFlags::MS_BIND,
                None::<&str>,
            )
        });
        let opened = match bound {
            Ok(Ok(())) => Self::open(name),
            Ok(Err(errno)) => Err(refused("create network namespace", name)(errno)),
            Err(error) => Err(error),
        };
        if opened.is_err() {
            let _ = umount2(&path, MntFlags::MNT_DETACH);
            let _ = fs::remove_file(&path);
        }
        opened
    }

    /// The namespace of this name, made by [`NetNs::create`] or `ip netns add`.
    ///
    /// # Errors
    /// [`Error::NoNamespace`], [`Error::BadNamespaceName`], or [`Error::NotANamespace`] for a
    /// left-over file.
    pub fn open(name: &str) -> Result<Self, Error> {
        let path = named_path(name)?;
        match File::open(&path) {
            Ok(file) => Self::checked(file, path, Some(name.to_owned())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(Error::NoNamespace {
                name: name.to_owned(),
            }),
            Err(error) => Err(refused("open network namespace", name)(error)),
        }
    }

    /// The namespace behind a file, such as Docker's `/var/run/docker/netns/…`.
    ///
    /// # Errors
    /// [`Error::Refused`] if the file can't be opened, [`Error::NotANamespace`] if it is another
    /// kind of file.
    pub fn from_path(path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref();
        let file = File::open(path).map_err(refused(
            "open network namespace",
            path.display().to_string(),
        ))?;
        Self::checked(file, path.to_owned(), None)
    }

    /// The namespace a process is in.
    ///
    /// # Errors
    /// [`Error::Refused`] if there is no such process, or it is another user's.
    pub fn from_pid(pid: u32) -> Result<Self, Error> {
        Self::from_path(format!("/proc/{pid}/ns/net"))
    }

    /// The namespace the calling thread is in.
    ///
    /// # Errors
    /// [`Error::Refused`] if `/proc` isn't there.
    pub fn current() -> Result<Self, Error> {
        Self::from_path(THREAD_NAMESPACE)
    }

    /// Its name, if it was opened by one.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// Where it was opened. For [`NetNs::current`] and [`NetNs::from_pid`] that path may mean
    /// another namespace later.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The kernel's number for the namespace: the same for every handle on it, and no other's while it lives.
    ///
    /// # Errors
    /// [`Error::Refused`].
    pub fn id(&self) -> Result<u64, Error> {
        // All namespaces are files of one file system, so their inode numbers tell them apart.
        let metadata = self
            .file
            .metadata()
            .map_err(refused("look at network namespace", self.label()))?;
        Ok(metadata.ino())
    }

    /// Removes the name, as `ip netns delete` does. What is in the namespace goes when the last
    /// process, socket and handle in it is gone. Fine if the name is gone already.
    ///
    /// # Errors
    /// [`Error::Unnamed`] if it wasn't opened by name, [`Error::Refused`] otherwise.
    pub fn remove(self) -> Result<(), Error> {
        self.unlink()
    }

    /// Runs `work` on a fresh thread inside the namespace, and returns its value. A panic in it
    /// goes on in the caller.
    ///
    /// Threads and processes started by `work` stay in the namespace.
    ///
    /// # Errors
    /// [`Error::Refused`] if the namespace can't be entered (it needs root), or no thread can be
    /// had.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, Error> {
        on_fresh_thread(|| {
            self.enter_current_thread()?;
            Ok(work())
        })?
    }

    /// Moves the calling thread into the namespace, for good. For threads that live in it;
    /// elsewhere use [`NetNs::run`].
    ///
    /// # Errors
    /// [`Error::Refused`] without root.
    pub fn enter_current_thread(&self) -> Result<(), Error> {
        setns(&self.file, CloneFlags::CLONE_NEWNET)
            .map_err(refused("enter network namespace", self.label()))
    }

    /// Starts a program inside the namespace; its children inherit it. Only the network is another:
    /// unlike under `ip netns exec`, `/sys` still shows the devices of the namespace it was mounted
    /// in, and no `/etc/netns` is looked at.
    ///
    /// # Errors
    /// [`Error::Refused`] if the namespace can't be entered or the program can't be started.
    pub fn spawn(&self, command: &mut Command) -> Result<Child, Error> {
        let program = command.get_program().to_string_lossy().into_owned();
        // A process is in the namespace of the thread that made it.
        self.run(|| command.spawn())?
            .map_err(refused("start", program))
    }

    fn checked(file: File, path: PathBuf, name: Option<String>) -> Result<Self, Error> {
        match fstatfs(&file) {
            Ok(stat) if stat.filesystem_type() == NSFS_MAGIC => Ok(Self {
                file: Arc::new(file),
                path,
                name,
            }),
            Ok(_) => Err(Error::NotANamespace { path }),
            Err(errno) => Err(refused(
                "open network namespace",
                path.display().to_string(),
            )(errno)),
        }
    }

    fn label(&self) -> String {
        self.name
            .clone()
            .unwrap_or_else(|| self.path.display().to_string())
    }

    fn unlink(&self) -> Result<(), Error> {
        let Some(name) = &self.name else {
            return Err(Error::Unnamed {
                path: self.path.clone(),
            });
        };
        // Not mounted: somebody else removed it, or only the file is left.
        match umount2(&self.path, MntFlags::MNT_DETACH) {
            Ok(()) | Err(Errno::EINVAL | Errno::ENOENT) => {}
            Err(errno) => return Err(refused("remove network namespace", name)(errno)),
        }
        match fs::remove_file(&self.path) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(refused("remove network namespace", name)(error)),
        }
    }
}

impl AsFd for NetNs {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// A namespace that is removed when this value goes out of scope: for tests and demos, which must
/// leave nothing behind after a failure either.
#[derive(Debug)]
pub struct ScopedNetNs(NetNs);

impl ScopedNetNs {
    /// [`NetNs::create`], removed on drop.
    ///
    /// # Errors
    /// Those of [`NetNs::create`].
    pub fn create(name: &str) -> Result<Self, Error> {
        NetNs::create(name).map(Self)
    }
}

impl Deref for ScopedNetNs {
    type Target = NetNs;

    fn deref(&self) -> &NetNs {
        &self.0
    }
}

impl Drop for ScopedNetNs {
    fn drop(&mut self) {
        if let Err(error) = self.0.unlink() {
            tracing::warn!("{error}");
        }
    }
}

/// Where `ip netns` keeps its names.
const DIRECTORY: &str = "/var/run/netns";
/// `/proc/self` would be the process's first thread.
const THREAD_NAMESPACE: &str = "/proc/thread-self/ns/net";

fn named_path(name: &str) -> Result<PathBuf, Error> {
    // 255 bytes is the longest file name of every Linux file system in use (NAME_MAX).
    let fits = !name.is_empty() && name.len() <= 255 && name != "." && name != "..";
    if !fits || name.contains(['/', '\0']) {
        return Err(Error::BadNamespaceName {
            name: name.to_owned(),
        });
    }
    Ok(Path::new(DIRECTORY).join(name))
}

/// Makes the folder a shared mount point, so that names made in one mount namespace are seen, and
/// can be removed, in others.
///
/// Same steps and same lock as iproute2's, which may be at it at the same time; two binds on top of
/// each other would hide each other's names.
fn prepare_directory() -> Result<(), Errno> {
    fn errno(error: &io::Error) -> Errno {
        Errno::from_raw(error.raw_os_error().unwrap_or_default())
    }
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(DIRECTORY)
        .map_err(|error| errno(&error))?;
    let directory = File::open(DIRECTORY).map_err(|error| errno(&error))?;
    let _lock = Flock::lock(directory, FlockArg::LockExclusive).map_err(|(_, errno)| errno)?;
    let share = || {
        mount(
            Some(""),
            DIRECTORY,
            Some("none"),
            MsFlags::MS_SHARED | MsFlags::MS_REC,
            None::<&str>,
        )
    };
    match share() {
        // Not a mount point yet.
        Err(Errno::EINVAL) => {
            mount(
                Some(DIRECTORY),
                DIRECTORY,
                Some("none"),
                MsFlags::MS_BIND | MsFlags::MS_REC,
                None::<&str>,
            )?;
            share()
        }
        other => other,
    }
}

fn on_fresh_thread<T: Send>(work: impl FnOnce() -> T + Send) -> Result<T, Error> {
    thread::scope(|scope| {
        let thread = thread::Builder::new()
            .name("netns".to_owned())
            .spawn_scoped(scope, work)
            .map_err(refused("start", "a thread for a network namespace"))?;
        thread
            .join()
            .or_else(|panic| std::panic::resume_unwind(panic))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_leave_the_folder_are_refused() {
        for name in [
            "",
            ".",
            "..",
            "a/b",
            "/etc/passwd",
            "a\0b",
            &"x".repeat(256),
        ] {
            assert!(
                matches!(NetNs::open(name), Err(Error::BadNamespaceName { .. })),
                "{name:?}"
            );
            assert!(
                matches!(NetNs::create(name), Err(Error::BadNamespaceName { .. })),
                "{name:?}"
            );
        }
    }

    #[test]
    fn other_files_are_no_namespaces() {
        let error = NetNs::from_path("/proc/self/status").unwrap_err();
        assert_eq!(
            error.to_string(),
            "/proc/self/status is no network namespace"
        );
        let error = NetNs::open("there is no such name").unwrap_err();
        assert_eq!(
            error.to_string(),
            "there is no network namespace there is no such name"
        );
    }

    #[test]
    fn ones_own_namespace_has_no_name_to_remove() {
        let own = NetNs::current().unwrap();
        assert_eq!(own.name(), None);
        assert!(matches!(own.remove(), Err(Error::Unnamed { .. })));
    }
}
