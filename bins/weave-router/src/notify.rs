//! Tells systemd how a service is doing (sd_notify(3)): ready, a line for `systemctl status`, about to end.
//!
//! The whole protocol is a datagram of lines to the socket that the variable NOTIFY_SOCKET names. Without the
//! variable nobody asked, and nothing is sent.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// Where the manager of this service listens, if there is one.
#[derive(Debug, Default)]
pub struct Notifier {
    manager: Option<(UnixDatagram, SocketAddr)>,
}

impl Notifier {
    /// The manager that NOTIFY_SOCKET names; a log line where it names none that there could be.
    pub fn from_environment() -> Self {
        let Some(name) = std::env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty()) else {
            return Self::default();
        };
        match address(&name).and_then(|address| Ok((UnixDatagram::unbound()?, address))) {
            Ok((socket, address)) => {
                // A manager that reads nothing must not hold up the service.
                let _ = socket.set_nonblocking(true);
                Self {
                    manager: Some((socket, address)),
                }
            }
            Err(error) => {
                tracing::warn!("cannot tell the service manager anything: {error}");
                Self::default()
            }
        }
    }

    /// Whether there is anybody to tell.
    pub fn is_heard(&self) -> bool {
        self.manager.is_some()
    }

    /// The service does its work from now on. With a line about it.
    pub fn ready(&self, status: &str) {
        self.send(&format!("READY=1\nSTATUS={}\n", one_line(status)));
    }

    /// How it is now.
    pub fn status(&self, status: &str) {
        self.send(&format!("STATUS={}\n", one_line(status)));
    }

    /// It is about to end.
    pub fn stopping(&self) {
        self.send("STOPPING=1\n");
    }

    fn send(&self, text: &str) {
        if let Some((socket, address)) = &self.manager
            && let Err(error) = socket.send_to_addr(text.as_bytes(), address)
        {
            tracing::debug!("the service manager does not listen: {error}");
        }
    }
}

/// A path, or after an `@` a name in the kernel's own space of names.
fn address(name: &OsStr) -> io::Result<SocketAddr> {
    match name.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name),
        [b'/', ..] => SocketAddr::from_pathname(name),
        _ => Err(io::Error::other(
            "NOTIFY_SOCKET is neither an absolute path nor begins with @",
        )),
    }
}

/// A line end would begin another assignment. As long as a terminal shows well.
fn one_line(text: &str) -> String {
    let printed = |c: char| if c.is_control() { ' ' } else { c };
    text.chars().map(printed).take(STATUS_CHARS_MAX).collect()
}

const STATUS_CHARS_MAX: usize = 300;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manager_hears_what_is_said_at_a_path_and_at_a_name() {
        let name = format!("weave-notify-{}", std::process::id());
        let path = std::env::temp_dir().join(&name);
        let abstract_name = SocketAddr::from_abstract_name(&name).unwrap();
        for (variable, listening) in [
            (path.display().to_string(), UnixDatagram::bind(&path)),
            (format!("@{name}"), UnixDatagram::bind_addr(&abstract_name)),
        ] {
            let listening = listening.unwrap();
            let notifier = Notifier {
                manager: Some((
                    UnixDatagram::unbound().unwrap(),
                    address(variable.as_ref()).unwrap(),
                )),
            };
            assert!(notifier.is_heard());
            let heard = || {
                let mut buffer = [0; 200];
                let length = listening.recv(&mut buffer).unwrap();
                String::from_utf8(buffer[..length].to_vec()).unwrap()
            };
            notifier.ready("all\nis well");
            assert_eq!(heard(), "READY=1\nSTATUS=all is well\n");
            notifier.status("still");
            assert_eq!(heard(), "STATUS=still\n");
            notifier.stopping();
            assert_eq!(heard(), "STOPPING=1\n");
        }
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn without_a_manager_nothing_is_said() {
        let notifier = Notifier::default();
        assert!(!notifier.is_heard());
        notifier.ready("");
        for name in ["relative", "vsock:2:1234", ""] {
            assert!(address(name.as_ref()).is_err(), "{name}");
        }
    }
}
