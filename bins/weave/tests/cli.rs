//! The host tool as a user meets it, without a router and without any right.
#![allow(clippy::unwrap_used)] // a test fails by panicking

use std::io::{Read, Write};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Output, Stdio};

#[path = "../../weave-router/tests/support/folder.rs"]
mod folder;
#[path = "../../weave-router/tests/support/program.rs"]
mod program;

use folder::Folder;

#[test]
fn without_a_router_status_says_how_to_start_one_and_exits_4() {
    let folder = Folder::new("cli-none");
    let socket = folder.0.join("weave.sock");
    let output = weave(&socket, &["status"]);
    assert_eq!(output.status.code(), Some(4));
    let said = text(&output.stdout);
    assert!(said.starts_with("not running: "), "{said}");
    assert!(said.contains("weave launch"), "{said}");
    assert!(said.contains(socket.to_str().unwrap()), "{said}");

    let output = weave(&socket, &["status", "peers", "--json"]);
    assert_eq!(output.status.code(), Some(4));
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["running"], false);

    for command in [
        vec!["connect", "198.18.0.1"],
        vec!["forget", "host"],
        vec!["ping", "host"],
        vec!["trace", "host"],
        vec!["report"],
    ] {
        refused(&weave(&socket, &command), 1, "no router answers");
    }
    let output = weave(&socket, &["version"]);
    assert!(output.status.success());
    assert!(text(&output.stdout).contains(env!("CARGO_PKG_VERSION")));
    assert!(text(&output.stdout).contains("router not running"));
}

#[test]
fn a_socket_that_a_dead_router_left_counts_as_not_running() {
    let folder = Folder::new("cli-dead");
    let socket = folder.0.join("weave.sock");
    drop(UnixListener::bind(&socket).unwrap());
    assert_eq!(weave(&socket, &["status"]).status.code(), Some(4));
}

#[test]
fn a_command_line_that_cannot_be_is_refused_in_one_line() {
    let socket = Path::new("/nonexistent/weave.sock");
    refused(&weave(socket, &[]), 2, "--help");
    refused(&weave(socket, &["dance"]), 2, "dance");
    refused(&weave(socket, &["status", "weather"]), 2, "routes");
    refused(&weave(socket, &["connect"]), 2, "PEER");
    refused(&weave(socket, &["connect", "host:port"]), 2, "host:port");
    refused(&weave(socket, &["trace"]), 2, "ROUTER|MAC");
    refused(&weave(socket, &["ping", "-c", "-1", "a"]), 2, "'-1'");
    refused(
        &weave(socket, &["ping", "-i", "0", "a"]),
        2,
        "from 0.1 to 3600",
    );
    refused(
        &weave(socket, &["ping", "-W", "11", "a"]),
        2,
        "from 0.01 to 10",
    );
    for verb in ["ping", "trace"] {
        let output = weave(socket, &[verb, "--help"]);
        assert!(text(&output.stdout).contains("Examples:"), "{verb}");
    }
    let output = weave(socket, &["--help"]);
    assert!(output.status.success());
    let help = text(&output.stdout);
    assert!(
        help.contains("Examples:") && help.contains("status"),
        "{help}"
    );
    assert!(!help.contains("router daemon itself"), "{help}");
}

#[test]
fn the_router_is_in_the_tool() {
    let socket = Path::new("/nonexistent/weave.sock");
    let output = weave(socket, &["router", "--hub"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).starts_with("weave router: "));
    let output = weave(socket, &["router", "--help"]);
    assert!(output.status.success());
    assert!(text(&output.stdout).contains("--no-discovery"));
}

#[test]
fn an_answer_that_is_none_is_no_panic() {
    for (name, answer) in [
        ("closed", ""),
        ("noise", "\x00\x01\x02 no HTTP\r\n\r\n"),
        ("empty", "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"),
        ("list", "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n[]"),
        ("cut", "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{"),
        ("failed", "HTTP/1.1 500 Oh\r\ncontent-length: 2\r\n\r\nno"),
        (
            "refused",
            "HTTP/1.1 503 No\r\ncontent-length: 34\r\n\r\n{\"error\": \"the router is ending...\"}",
        ),
    ] {
        let folder = Folder::new(&format!("cli-{name}"));
        let socket = folder.0.join("weave.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let router = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(answer.as_bytes());
        });
        refused(&weave(&socket, &["status"]), 1, "router");
        router.join().unwrap();
    }
}

fn weave(socket: &Path, args: &[&str]) -> Output {
    program::command(env!("CARGO_BIN_EXE_weave"))
        .env("WEAVE_CONTROL", socket)
        .args(args)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

/// It gave up with this exit code, and one line that holds `wanted`.
fn refused(output: &Output, code: i32, wanted: &str) {
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{said}");
    assert!(said.starts_with("weave: "), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(said.contains(wanted), "{said}");
    assert!(
        !said.contains("os error") && !said.contains("panicked"),
        "{said}"
    );
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
