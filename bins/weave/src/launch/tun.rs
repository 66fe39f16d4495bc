//! The kernel's module for the router's port: loaded by the host, since a container may not.

use std::fs::OpenOptions;
use std::io;
use std::process::{Command, Stdio};

use weave_router::{Failure, words};

/// Makes sure that a TAP can be made.
///
/// # Errors
/// When the device is not there even after `modprobe tun`.
pub(super) fn ensure() -> Result<(), Failure> {
    let Err(before) = open() else {
        return Ok(());
    };
    let loaded = Command::new("modprobe")
        .arg("tun")
        .stdin(Stdio::null())
        .output();
    let Err(error) = open() else {
        return Ok(());
    };
    let modprobe = match loaded {
        Ok(output) if output.status.success() => "the module tun is loaded".to_owned(),
        Ok(output) => one_line(&String::from_utf8_lossy(&output.stderr)),
        Err(error) => format!("modprobe cannot be run, {}", words(&error)),
    };
    let remedy = if error.kind() == io::ErrorKind::NotFound && before.kind() == error.kind() {
        "make it: mkdir -p /dev/net && mknod /dev/net/tun c 10 200; or relay only, with --no-port"
    } else {
        "run modprobe tun, or a kernel that has it; or relay only, with --no-port"
    };
    Err(Failure::new(
        "cannot launch the router",
        format!(
            "/dev/net/tun cannot be opened, {} ({modprobe})",
            words(&error)
        ),
        remedy,
    ))
}

/// Opening it also has the kernel load the module, where it can.
fn open() -> io::Result<()> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/net/tun")
        .map(drop)
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
