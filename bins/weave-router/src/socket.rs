//! The Unix socket of the control API: made for root only, one router's at a time, gone when the router is.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use crate::Failure;
use crate::failure::words;

/// A listening socket at a path; the path is removed when this is dropped, unless another's socket stands there
/// by then.
#[derive(Debug)]
pub(crate) struct ControlSocket {
    path: PathBuf,
    /// Device and inode of our socket.
    file: (u64, u64),
}

impl ControlSocket {
    /// Listens at `path`, readable and writable by its owner only. A socket that nobody listens on any more is
    /// replaced.
    ///
    /// # Errors
    /// When a router answers there, when something else is there, or when the system refuses.
    pub(crate) fn bind(path: &Path) -> Result<(Self, UnixListener), Failure> {
        let folder = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        fs::create_dir_all(folder)
            .map_err(|error| failure(path, &error, "give another path with --control"))?;
        Self::clear(path)?;
        // Made under another name, so that it never stands there with more rights than it should have.
        let hidden = folder.join(format!(".{}", std::process::id()));
        let _ = fs::remove_file(&hidden);
        let bound = UnixListener::bind(&hidden).and_then(|listener| {
            fs::set_permissions(&hidden, fs::Permissions::from_mode(0o600))?;
            let metadata = fs::symlink_metadata(&hidden)?;
            fs::rename(&hidden, path)?;
            listener.set_nonblocking(true)?;
            Ok((listener, (metadata.dev(), metadata.ino())))
        });
        match bound {
            Ok((listener, file)) => Ok((
                Self {
                    path: path.to_owned(),
                    file,
                },
                listener,
            )),
            Err(error) => {
                let _ = fs::remove_file(&hidden);
                Err(failure(path, &error, "give another path with --control"))
            }
        }
    }

    /// Makes sure that nobody uses the path.
    fn clear(path: &Path) -> Result<(), Failure> {
        let metadata = match fs::symlink_metadata(path) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(failure(path, &error, "give another path with --control")),
        };
        if !metadata.file_type().is_socket() {
            return Err(Failure::new(
                format!("cannot make the control socket {}", path.display()),
                "there is a file of that name, and it is no socket",
                "remove it, or give another path with --control",
            ));
        }
        match UnixStream::connect(path) {
            Ok(_) => Err(Failure::new(
                format!("cannot make the control socket {}", path.display()),
                "another router answers there",
                "stop that one first, or give this one its own --control, --state-dir, --port and --bridge",
            )),
            // Left by a router that was killed.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(failure(path, &error, "give another path with --control")),
        }
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        let ours = fs::symlink_metadata(&self.path)
            .is_ok_and(|metadata| (metadata.dev(), metadata.ino()) == self.file);
        if ours {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn failure(path: &Path, error: &io::Error, remedy: &str) -> Failure {
    let remedy = if error.kind() == io::ErrorKind::PermissionDenied {
        "run it as root, or give a path in a folder of your own with --control"
    } else {
        remedy
    };
    Failure::new(
        format!("cannot make the control socket {}", path.display()),
        words(error),
        remedy,
    )
}

#[cfg(test)]
mod tests {
    use std::env;

    use super::*;

    #[test]
    fn a_socket_is_for_its_owner_only_and_goes_with_its_guard() {
        let folder = Folder::new("own");
        let path = folder.0.join("deeper/weave.sock");
        let (socket, _listener) = ControlSocket::bind(&path).unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        drop(socket);
        assert!(!path.exists());
    }

    #[test]
    fn a_living_routers_socket_stays_and_a_dead_ones_is_replaced() {
        let folder = Folder::new("stale");
        let path = folder.0.join("weave.sock");
        let (first, listener) = ControlSocket::bind(&path).unwrap();
        let refusal = ControlSocket::bind(&path).unwrap_err().to_string();
        assert!(
            refusal.contains("another router answers there"),
            "{refusal}"
        );
        drop(listener);
        let (second, _listener) = ControlSocket::bind(&path).unwrap();
        // The first one's end must not take the second one's socket along.
        drop(first);
        assert!(path.exists());
        drop(second);
        assert!(!path.exists());
    }

    #[test]
    fn a_file_that_is_no_socket_is_left_alone() {
        let folder = Folder::new("file");
        let path = folder.0.join("weave.sock");
        fs::write(&path, "precious").unwrap();
        let refusal = ControlSocket::bind(&path).unwrap_err().to_string();
        assert!(refusal.contains("it is no socket"), "{refusal}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
        let below = path.join("weave.sock");
        let refusal = ControlSocket::bind(&below).unwrap_err().to_string();
        assert!(!refusal.contains("os error"), "{refusal}");
    }

    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path = env::temp_dir().join(format!("weave-socket-{name}-{}", std::process::id()));
            let _ = fs::remove_dir_all(&path);
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }
}
