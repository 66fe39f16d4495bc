//! What a service manager hears of the daemon, without any right.
#![allow(clippy::unwrap_used)] // a test fails by panicking

use std::os::unix::net::UnixDatagram;
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

#[path = "support/folder.rs"]
mod folder;
#[path = "support/ports.rs"]
mod ports;
#[path = "support/program.rs"]
mod program;

use folder::Folder;
use ports::free_port;

#[test]
fn the_manager_is_told_when_it_is_ready_how_it_is_and_that_it_ends() {
    let folder = Folder::new("notify");
    let socket = folder.0.join("manager");
    let manager = UnixDatagram::bind(&socket).unwrap();
    manager
        .set_read_timeout(Some(Duration::from_secs(30)))
        .unwrap();
    let heard = || {
        let mut buffer = [0; 1000];
        let length = manager.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    };
    let port = free_port().to_string();
    let control = folder.0.join("weave.sock");
    let mut router = program::command(env!("CARGO_BIN_EXE_weave-router"))
        .args(["--no-port", "--listen", "127.0.0.1", "--port", &port])
        .arg("--control")
        .arg(&control)
        .arg("--state-dir")
        .arg(folder.0.join("state"))
        .env("NOTIFY_SOCKET", &socket)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    assert_eq!(heard(), "READY=1\nSTATUS=healthy: no other router known\n");
    assert!(control.exists(), "what is ready can be asked");
    let pid = Pid::from_raw(router.id().try_into().unwrap());
    kill(pid, Signal::SIGTERM).unwrap();
    assert_eq!(heard(), "STOPPING=1\n");
    assert!(router.wait().unwrap().success());
}
