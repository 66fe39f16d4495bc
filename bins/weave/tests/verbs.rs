//! The host tool beside real routers: three of them in a chain on the loopback device, without any right.
#![allow(clippy::unwrap_used)] // a test fails by panicking

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

#[path = "../../weave-router/tests/support/folder.rs"]
mod folder;
#[path = "../../weave-router/tests/support/ports.rs"]
mod ports;
#[path = "../../weave-router/tests/support/program.rs"]
mod program;

use folder::Folder;
use ports::free_port;

#[test]
fn ping_and_trace_tell_the_way_over_a_relay() {
    let chain = Chain::start("verbs");
    let a = &chain.routers[0];

    let output = a.weave(&["ping", "-c", "3", "-i", "0.1", "c"]);
    let said = done(&output);
    eprintln!("{said}");
    let lines: Vec<&str> = said.lines().collect();
    assert!(
        lines[0].starts_with("to c by way of b: 2 hops, path MTU "),
        "{said}"
    );
    assert!(
        lines[1].contains("b (udp, MTU ") && lines[1].contains("c (udp, MTU "),
        "{said}"
    );
    for (line, number) in lines[2..5].iter().zip(1..) {
        let words: Vec<&str> = line.split_whitespace().collect();
        assert_eq!(words[0], number.to_string(), "{said}");
        assert_eq!(
            [words[1], words[3], words[4], words[6]],
            ["b", "ms", "c", "ms"],
            "{said}"
        );
        // Both are measured from here, and b is on the way.
        let [b, c]: [f64; 2] = [words[2], words[5]].map(|ms| ms.parse().unwrap());
        assert!(b > 0.0 && c > 0.0 && c < 1000.0, "{said}");
    }
    assert_eq!(lines[5], "3 sent, 3 answered, 0 % lost");
    assert!(said.contains("c       3 of 3"), "{said}");

    let output = a.weave(&["ping", "-c", "1", "--json", "b"]);
    let json: Value = serde_json::from_str(&done(&output)).unwrap();
    assert_eq!((&json["seq"], &json["to"]), (&1.into(), &"b".into()));
    assert_eq!(json["hops"].as_array().unwrap().len(), 1);
    assert!(json["rtt_us"].as_u64().unwrap() > 0);

    let said = done(&a.weave(&["ping", "a"]));
    assert_eq!(said, "a is this router itself\n");

    let said = done(&a.weave(&["trace", "c"]));
    eprintln!("{said}");
    assert!(
        said.starts_with("to c: by way of b, 2 hops, cost "),
        "{said}"
    );
    for wanted in [
        "1    b       udp",
        "2    c       udp",
        "why this way\n  no link to c: ",
        "other ways\n  none\n",
    ] {
        assert!(said.contains(wanted), "{wanted:?} is not in\n{said}");
    }
    let json: Value = serde_json::from_str(&done(&a.weave(&["trace", "--json", "c"]))).unwrap();
    assert_eq!(json["hops"][1]["name"], "c");
    assert_eq!(json["reachable"], true);
}

#[test]
fn who_is_not_known_or_not_told_apart_is_refused_with_a_way_out() {
    let chain = Chain::start("whom");
    let a = &chain.routers[0];
    for verb in ["ping", "trace"] {
        let line = refused(&a.weave(&[verb, "d"]), 1);
        assert!(
            line.starts_with(&format!("weave: cannot {verb} d: ")),
            "{line}"
        );
        assert!(line.contains("`weave status peers`"), "{line}");
        // All three have this nickname, a its name besides.
        let line = refused(&a.weave(&[verb, "same"]), 1);
        for wanted in [
            "may be any of",
            "a (same, ",
            "b (same, ",
            "c (same, ",
            "give more of the identity",
        ] {
            assert!(line.contains(wanted), "{line}");
        }
        let line = refused(&a.weave(&[verb, "02:00:00:00:00:99"]), 1);
        assert!(line.contains("`weave status macs`"), "{line}");
    }
    // The beginning of an identity, as the refusal shows it, tells them apart.
    let status: Value = serde_json::from_str(&done(&a.weave(&["status", "--json"]))).unwrap();
    let peers = status["peers"].as_array().unwrap();
    let c = peers.iter().find(|peer| peer["name"] == "c").unwrap();
    let said = done(&a.weave(&["ping", "-c", "1", &c["peer_id"].as_str().unwrap()[..12]]));
    assert!(said.starts_with("to c by way of b"), "{said}");
}

#[test]
fn a_router_that_is_gone_is_told_with_the_reason_and_exit_1() {
    let mut chain = Chain::start("gone");
    chain.routers[2].kill();
    let a = &chain.routers[0];
    let output = a.weave(&["ping", "-c", "2", "-i", "0.1", "-W", "0.2", "c"]);
    let said = text(&output.stdout);
    eprintln!("{said}");
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains("no answer from c within 0.2 s") || said.contains("no path leads to c"),
        "{said}"
    );
    assert!(said.contains("2 sent, 0 answered, 100 % lost"), "{said}");
    within(Duration::from_secs(10), "c is out of reach", || {
        let output = a.weave(&["trace", "c"]);
        let said = text(&output.stdout);
        if output.status.code() != Some(1) {
            return None;
        }
        assert!(said.starts_with("to c: no path\n"), "{said}");
        assert!(said.contains("why there is none\n"), "{said}");
        Some(())
    });
}

#[test]
fn the_password_is_changed_by_the_tool_and_taken_from_no_argument() {
    let genkey = || done(&weave().arg("genkey").output().unwrap());
    let [first, second] = [genkey(), genkey()];
    assert_eq!(first.split_whitespace().count(), 24, "24 words");
    assert_ne!(first, second);

    let folder = Folder::new("password");
    let router = Router::start(&folder, "a", None);
    within(Duration::from_secs(10), "the router runs", || {
        router.weave(&["status"]).status.success().then_some(())
    });
    let said = done(&router.weave(&["password", "list"]));
    assert!(said.contains("there is no password"), "{said}");
    let said = refused(&router.weave(&["password", "retire"]), 1);
    assert!(said.contains("no password to retire"), "{said}");
    for args in [
        &["password", "add", "hunter2"][..],
        &["password", "add", "hunter2", "x"],
    ] {
        let said = refused(&router.weave(args), 2);
        assert!(
            said.contains("process list") && !said.contains("hunter2"),
            "{said}"
        );
    }
    // Standard input is empty here.
    let said = refused(&router.weave(&["password", "add"]), 1);
    assert!(said.contains("it is empty"), "{said}");

    let file = folder.0.join("first");
    std::fs::write(&file, &first).unwrap();
    let add = ["password", "add", "--password-file", file.to_str().unwrap()];
    let said = refused(&router.weave(&add), 1);
    assert!(said.contains("chmod 600"), "{said}");
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o600)).unwrap();
    let said = done(&router.weave(&add));
    assert!(said.contains("newest") && !said.contains("older"), "{said}");
    assert!(said.contains("kept for the next start in "), "{said}");
    let said = refused(&router.weave(&add), 1);
    assert!(said.contains("accepted already"), "{said}");
    let said = refused(&router.weave(&["password", "retire"]), 1);
    assert!(said.contains("add its successor first"), "{said}");
    let said = done(&router.piped(&["password", "add"], &second));
    assert!(said.contains("newest") && said.contains("older"), "{said}");
    assert!(done(&router.weave(&["status"])).contains("2 passwords are accepted"));
    let said = refused(
        &router.piped(&["password", "add"], "a third one of its kind"),
        1,
    );
    assert!(
        said.contains("two passwords are accepted already"),
        "{said}"
    );
    done(&router.weave(&["password", "retire"]));
    let list = done(&router.weave(&["password", "list", "--json"]));
    let json: Value = serde_json::from_str(&list).unwrap();
    assert_eq!(json["passwords"].as_array().unwrap().len(), 1);
    let kept = std::fs::read_to_string(folder.0.join("a").join("passwords")).unwrap();
    assert_eq!(kept, second, "the newest, with its line end");
    let report = done(&router.weave(&["report"]));
    for words in [first.trim_end(), second.trim_end()] {
        assert!(!report.contains(words) && !list.contains(words));
    }
}

/// Routers a, b and c; a and c know of b only, and stay so.
struct Chain {
    routers: Vec<Router>,
    _folder: Folder,
}

impl Chain {
    /// Once a and c reach each other.
    fn start(name: &str) -> Self {
        let folder = Folder::new(name);
        let mut routers = Vec::new();
        let mut middle = None;
        for name in ["b", "a", "c"] {
            let router = Router::start(&folder, name, middle);
            middle.get_or_insert(router.port);
            routers.push(router);
        }
        routers.swap(0, 1);
        for (at, far) in [(0, "c"), (2, "a")] {
            within(Duration::from_secs(20), "the far end is reached", || {
                let answer = routers[at].weave(&["ping", "-c", "1", "-W", "1", far]);
                answer.status.success().then_some(())
            });
        }
        Self {
            routers,
            _folder: folder,
        }
    }
}

struct Router {
    process: Child,
    port: u16,
    socket: PathBuf,
}

impl Router {
    fn start(folder: &Folder, name: &str, peer: Option<u16>) -> Self {
        let port = free_port();
        let socket = folder.0.join(format!("{name}.sock"));
        let mut command = weave();
        command
            .arg("--control")
            .arg(&socket)
            .arg("--state-dir")
            .arg(folder.0.join(name))
            .args([
                "router",
                "--no-port",
                "--no-discovery",
                "--listen",
                "127.0.0.1",
            ])
            .args(["--log", "error", "--nickname", "same", "--name", name])
            .args(["--port", &port.to_string()])
            .args(peer.map(|peer| format!("127.0.0.1:{peer}")));
        let process = command.stdin(Stdio::null()).spawn().unwrap();
        Self {
            process,
            port,
            socket,
        }
    }

    fn weave(&self, args: &[&str]) -> Output {
        let mut command = weave();
        command.arg("--control").arg(&self.socket).args(args);
        command.stdin(Stdio::null()).output().unwrap()
    }

    /// The tool, with a text to read from its standard input.
    fn piped(&self, args: &[&str], input: &str) -> Output {
        let mut command = weave();
        command.arg("--control").arg(&self.socket).args(args);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        // It may refuse before it has read all.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        child.wait_with_output().unwrap()
    }

    fn kill(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Drop for Router {
    fn drop(&mut self) {
        self.kill();
    }
}

fn weave() -> Command {
    program::command(env!("CARGO_BIN_EXE_weave"))
}

fn within<T>(limit: Duration, what: &str, mut attempt: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = attempt() {
            return value;
        }
        assert!(start.elapsed() < limit, "{what}: not within {limit:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn done(output: &Output) -> String {
    assert!(
        output.status.success(),
        "{}{}",
        text(&output.stdout),
        text(&output.stderr)
    );
    text(&output.stdout)
}

/// The one line with which it gave up.
fn refused(output: &Output, code: i32) -> String {
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    said
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
