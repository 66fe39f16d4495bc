//! `--metrics`, scraped as a collector does, from a router on the loopback device without any right.
#![allow(clippy::unwrap_used)] // a test fails by panicking

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

#[path = "support/exposition.rs"]
mod exposition;
#[path = "support/folder.rs"]
mod folder;
#[path = "support/ports.rs"]
mod ports;
#[path = "support/program.rs"]
mod program;

use folder::Folder;
use ports::free_port;

#[test]
fn a_scrape_is_the_format_and_its_counters_grow() {
    let router = Router::start("format");
    let (head, body) = router.await_scrape();
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert!(
        head.contains("content-type: text/plain; version=0.0.4; charset=utf-8"),
        "{head}"
    );
    let samples = exposition::read(&body);
    assert_eq!(samples["weave_healthy"], 1.0);
    assert_eq!(samples["weave_routers{reachable=\"yes\"}"], 0.0);
    assert!(samples["process_resident_memory_bytes"] > 1e6, "{body}");
    assert!(samples["process_start_time_seconds"] > 1.7e9, "{body}");
    assert!(body.contains("name=\"lone\""), "{body}");
    let metrics = body
        .lines()
        .filter(|line| line.starts_with("# TYPE"))
        .count();
    eprintln!(
        "  {metrics} metrics, {} samples, {} bytes",
        samples.len(),
        body.len()
    );

    let start = Instant::now();
    let (_, again) = router.request("GET /metrics").unwrap();
    eprintln!("  a scrape takes {:?}", start.elapsed());
    let again = exposition::read(&again);
    assert!(again.keys().eq(samples.keys()));
    assert_eq!(
        again["process_start_time_seconds"],
        samples["process_start_time_seconds"]
    );
}

#[test]
fn everything_else_is_refused_and_nothing_is_told() {
    let router = Router::start("refused");
    router.await_scrape();
    for (request, wanted) in [
        ("GET /", "404"),
        ("GET /status", "404"),
        ("POST /metrics", "405"),
        ("DELETE /metrics", "405"),
    ] {
        let (head, body) = router.request(request).unwrap();
        assert!(
            head.starts_with(&format!("HTTP/1.1 {wanted} ")),
            "{request}: {head}"
        );
        assert!(body.len() < 100, "{request}: {body}");
    }
    let (head, body) = router.request("HEAD /metrics").unwrap();
    assert!(
        head.starts_with("HTTP/1.1 200 ") && body.is_empty(),
        "{head}"
    );
    // No HTTP, and far too much of it.
    for bytes in [&b"\x00\x01\x02\r\n\r\n"[..], &[b'x'; 100_000]] {
        let answer = router.raw(bytes).unwrap_or_default();
        assert!(!answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    router.request("GET /metrics").unwrap();
}

#[test]
fn whoever_says_nothing_holds_a_place_for_seconds_only() {
    let router = Router::start("idle");
    router.await_scrape();
    let idle: Vec<TcpStream> = (0..40)
        .map(|_| TcpStream::connect(router.metrics).unwrap())
        .collect();
    let start = Instant::now();
    let (head, _) = router.request("GET /metrics").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    // Forty take the sixteen places two and a half times over, for a second each.
    eprintln!(
        "  scraped behind 40 idle connections after {:?}",
        start.elapsed()
    );
    assert!(start.elapsed() < Duration::from_secs(5));
    drop(idle);
}

#[test]
fn an_address_that_cannot_be_is_refused_in_a_line() {
    for (address, code, wanted) in [
        ("localhost", 2, "not an address and port"),
        ("127.0.0.1:0", 2, "not an address and port"),
        ("203.0.113.1:9", 1, "--metrics"),
    ] {
        let folder = Folder::new("metrics-bad");
        let output = command(&folder, free_port(), address).output().unwrap();
        let line = text(&output);
        assert_eq!(output.status.code(), Some(code), "{line}");
        assert!(line.contains(wanted) && line.lines().count() == 1, "{line}");
        assert!(!line.contains("os error"), "{line}");
        // Nothing was begun.
        assert_eq!(std::fs::read_dir(&folder.0).unwrap().count(), 0);
    }
}

struct Router {
    process: Child,
    metrics: SocketAddr,
    _folder: Folder,
}

impl Router {
    fn start(name: &str) -> Self {
        let folder = Folder::new(&format!("metrics-{name}"));
        let metrics = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let mut command = command(&folder, free_port(), &metrics.to_string());
        Self {
            process: command.spawn().unwrap(),
            metrics,
            _folder: folder,
        }
    }

    /// The first answer, once it listens.
    fn await_scrape(&self) -> (String, String) {
        let start = Instant::now();
        loop {
            match self.request("GET /metrics") {
                Ok(answer) => return answer,
                Err(error) => assert!(start.elapsed() < Duration::from_secs(20), "{error}"),
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Head and body of the answer.
    fn request(&self, line: &str) -> io::Result<(String, String)> {
        let request = format!("{line} HTTP/1.1\r\nHost: weave\r\nContent-Length: 0\r\n\r\n");
        let answer = self.raw(request.as_bytes())?;
        let (head, body) = answer
            .split_once("\r\n\r\n")
            .ok_or_else(|| io::Error::other(format!("no HTTP: {answer:?}")))?;
        Ok((head.to_owned(), body.to_owned()))
    }

    /// Writes these bytes, and reads until the router closes.
    fn raw(&self, bytes: &[u8]) -> io::Result<String> {
        let mut stream = TcpStream::connect(self.metrics)?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        // It may close before it has read all.
        let _ = stream.write_all(bytes);
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    }
}

impl Drop for Router {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn command(folder: &Folder, port: u16, metrics: &str) -> Command {
    let mut command = program::command(env!("CARGO_BIN_EXE_weave-router"));
    command
        .args([
            "--no-port",
            "--name",
            "lone",
            "--log",
            "error",
            "--listen",
            "127.0.0.1",
        ])
        .args(["--port", &port.to_string(), "--metrics", metrics])
        .arg("--control")
        .arg(folder.0.join("weave.sock"))
        .arg("--state-dir")
        .arg(folder.0.join("state"))
        .stdin(Stdio::null());
    command
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}
