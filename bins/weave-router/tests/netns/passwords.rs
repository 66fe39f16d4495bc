//! Who may join, as the hosts' users see it; and what guessing, changing and stretching a password cost.

use std::fs::{self, OpenOptions, Permissions};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use weave_core::Status;
use weave_crypto::{
    HandshakeError, Identity, LinkHandshake, LinkLocal, NetworkId, PasswordKey, Passwords,
};
use weave_io::host::NetNs;

use super::basics::LINK_TIME_MAX;
use super::lab::ping::Pinger;
use super::lab::{Host, Lab, figure, within};

const RIGHT: &str = "right horse battery staple 7312";
const WRONG: &str = "wrong horse battery staple 7312";
const NEXT: &str = "the next horse battery staple 99";

pub(super) fn who_may_not_join_is_named_on_both_sides_within_two_seconds() {
    let mut lab = Lab::new();
    let [mut a, mut b, mut c, mut d, mut e] = ["a", "b", "c", "d", "e"].map(|name| lab.host(name));
    start(&mut a, Some(RIGHT), &[]);
    start(&mut b, Some(RIGHT), &[a.address()]);
    a.await_links(LINK_TIME_MAX, &[&b]);
    assert!(a.status().unwrap().password);

    // A wrong password, then none; both are told apart.
    start(&mut c, Some(WRONG), &[a.address()]);
    must_be_refused(
        &a,
        &c,
        "its password is not that of this network",
        "wrong password",
    );
    start(&mut d, None, &[a.address()]);
    must_be_refused(
        &a,
        &d,
        "it has no password, and this network has one",
        "the other side has a password and this side has none",
    );
    // One that nobody asked for.
    start(&mut e, Some(RIGHT), &[d.address()]);
    must_be_refused(
        &d,
        &e,
        "it has a password, and this network has none",
        "this side has a password and the other side has none",
    );
    assert_eq!(a.status().unwrap().connections.len(), 1);
    let open = "no password: anyone who reaches the port can join this network";
    assert!(
        d.status()
            .unwrap()
            .warnings
            .iter()
            .any(|warning| warning == open)
    );

    // The back-off: one attempt in the first 10 s, and one line in each log.
    thread::sleep(Duration::from_secs(7));
    assert_eq!(a.status().unwrap().refusals["wrong_passwords"], 1);
    assert_eq!(lines(&a, "its password is not that of this network"), 1);
    assert_eq!(lines(&c, "wrong password"), 1);

    for host in [&a, &b, &c, &e] {
        keeps_its_secret(host);
    }
}

pub(super) fn a_thousand_wrong_guesses_a_second_are_tested_once_a_second() {
    const GUESSED_FOR: Duration = Duration::from_secs(10);
    let mut lab = Lab::new();
    let [mut a, mut b, mut c] = ["a", "b", "c"].map(|name| lab.host(name));
    start(&mut a, Some(RIGHT), &[]);
    start(&mut b, Some(RIGHT), &[a.address()]);
    a.await_links(LINK_TIME_MAX, &[&b]);
    // The stranger's host has its wire, and nothing that runs there.
    let _wire = c.container(&[]);

    let start_at = Instant::now();
    let guessers = Guessers::start(c.namespace(), SocketAddr::new(a.address().into(), 6783));
    let mut back = Vec::new();
    for _ in 0..3 {
        thread::sleep(Duration::from_secs(1));
        b.kill();
        let started = start(&mut b, Some(RIGHT), &[a.address()]);
        b.await_links(LINK_TIME_MAX, &[&a]);
        back.push(started.elapsed());
    }
    thread::sleep(GUESSED_FOR.saturating_sub(start_at.elapsed()));
    let took = start_at.elapsed();
    let (tried, told) = guessers.stop();
    let refusals = a.status().unwrap().refusals;
    let tested = refusals["wrong_passwords"];
    let per_s = tried as f64 / took.as_secs_f64();
    figure(&format!(
        "{per_s:.0} guesses a second for {took:?}: {tested} tested, {told} told that they are wrong; the peer is back after \
         {back:?}; {refusals:?}"
    ));
    assert!(per_s >= 1_000.0, "only {per_s:.0} a second were tried");
    assert!(
        tested as f64 <= took.as_secs_f64() + 1.0,
        "{tested} were tested"
    );
    assert!(tested >= 3, "guesses are tested at all");
    assert!(
        back.iter().all(|back| *back < Duration::from_secs(2)),
        "{back:?}"
    );
    // At most a line in 10 s.
    let said = lines(&a, "its password is not that of this network");
    assert!(said as u64 <= took.as_secs() / 10 + 1, "{said} lines");
}

pub(super) fn a_network_changes_its_password_and_loses_no_ping() {
    let mut lab = Lab::new();
    let [mut a, mut b, mut c] = ["a", "b", "c"].map(|name| lab.host(name));
    let one = a.container(&["10.32.1.1/24"]);
    let two = c.container(&["10.32.1.2/24"]);
    // Two know it from a file, one was told while it ran.
    start(&mut a, Some(RIGHT), &[]);
    start(&mut b, Some(RIGHT), &[a.address()]);
    start(&mut c, None, &[]);
    within(LINK_TIME_MAX, "an answer", || c.status().map(drop));
    must_change(&c, "/passwords/add", Some(RIGHT), 1);
    let kept = fs::metadata(c.state_path().join("passwords")).unwrap();
    assert_eq!(kept.permissions().mode() & 0o777, 0o600);
    c.kill();
    start(&mut c, None, &[a.address()]);
    for (host, others) in [(&a, [&b, &c]), (&b, [&a, &c]), (&c, [&a, &b])] {
        host.await_links(LINK_TIME_MAX, &others);
        host.await_direct(LINK_TIME_MAX, &others);
    }
    one.must_reach(&two, LINK_TIME_MAX);
    thread::sleep(Duration::from_secs(2));
    let before = [&a, &b, &c].map(links_up);

    let pinger = Pinger::start_every(Duration::from_millis(10), &one, two.address(), b"");
    thread::sleep(Duration::from_millis(500));
    for (path, password, count) in [
        ("/passwords/add", Some(NEXT), 2),
        ("/passwords/retire", None, 1),
    ] {
        for host in [&a, &b, &c] {
            must_change(host, path, password, count);
            thread::sleep(Duration::from_millis(300));
        }
    }
    thread::sleep(Duration::from_millis(500));
    let sent = pinger.record().sent;
    thread::sleep(Duration::from_millis(500));
    let record = pinger.record();
    drop(pinger);
    let answered = record
        .answers
        .iter()
        .filter(|(number, _)| *number < sent)
        .count();
    figure(&format!(
        "{answered} of {sent} pings answered while the password was changed"
    ));
    assert_eq!(answered, sent as usize);
    assert_eq!([&a, &b, &c].map(links_up), before, "no link was lost");

    // Started anew, one finds the new password by itself; the other has what its user changed by hand.
    c.kill();
    start(&mut c, None, &[a.address()]);
    c.await_links(LINK_TIME_MAX, &[&a, &b]);
    b.kill();
    start(&mut b, Some(NEXT), &[a.address()]);
    b.await_links(LINK_TIME_MAX, &[&a, &c]);
    for host in [&a, &b, &c] {
        keeps_its_secret(host);
    }
}

pub(super) fn a_password_costs_memory_for_a_moment_only() {
    let mut lab = Lab::new();
    let [mut with, mut without] = ["a", "b"].map(|name| lab.host(name));
    start(&mut with, Some(RIGHT), &[]);
    start(&mut without, None, &[]);
    thread::sleep(Duration::from_secs(30));
    let (peak, kib) = (with.router().peak_kib(), with.router().resident_kib());
    let plain_kib = without.router().resident_kib();
    figure(&format!(
        "with a password VmHWM {peak} KiB, VmRSS {kib} KiB after 30 s; without VmRSS {plain_kib} KiB"
    ));
    assert!(peak <= 96 * 1_000_000 / 1_024, "VmHWM {peak} KiB");
    assert!(
        kib <= plain_kib + 1_000_000 / 1_024,
        "{kib} KiB, {plain_kib} KiB without"
    );
}

/// Starts a router, with a password in a file that its owner alone may read.
fn start(host: &mut Host, password: Option<&str>, peers: &[Ipv4Addr]) -> Instant {
    let Some(password) = password else {
        return host.start(peers);
    };
    let path = host.folder().join("password");
    let mut file = OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(&path)
        .unwrap();
    file.set_permissions(Permissions::from_mode(0o600)).unwrap();
    writeln!(file, "{password}").unwrap();
    let path = path.display().to_string();
    host.start_with(&["--password-file", &path], peers)
}

/// The listener and the dialler say so within 2 s of the attempt, which follows the dialler's start at once.
fn must_be_refused(listener: &Host, dialler: &Host, here: &str, there: &str) {
    within(LINK_TIME_MAX, "an answer", || dialler.status().map(drop));
    let limit = Duration::from_secs(2);
    let asked = Instant::now();
    dialler.await_status(limit, there, |status| {
        status
            .targets
            .iter()
            .any(|target| target.state.contains(there))
    });
    listener.await_status(
        limit.saturating_sub(asked.elapsed()),
        here,
        |status: &Status| {
            status
                .refused
                .iter()
                .any(|refused| refused.from == dialler.address() && refused.reason == here)
                && status.warnings.iter().any(|warning| warning.contains(here))
        },
    );
    assert!(
        lines(listener, here) > 0 && lines(dialler, there) > 0,
        "the logs say so too"
    );
}

/// Lines of a router's log with these words.
fn lines(host: &Host, words: &str) -> usize {
    let log = fs::read_to_string(host.log_path()).unwrap();
    log.lines().filter(|line| line.contains(words)).count()
}

fn links_up(host: &Host) -> u64 {
    host.status().unwrap().gossip["links_up"]
}

/// Has a router change its passwords, and leaves it with so many.
fn must_change(host: &Host, path: &str, password: Option<&str>, count: u8) {
    let body = match password {
        Some(password) => format!("{{\"password\": \"{password}\"}}"),
        None => "{}".to_owned(),
    };
    let answer = host.request("POST", path, body.as_bytes()).unwrap();
    assert_eq!(answer.code, 200, "{}", answer.text());
    assert_eq!(host.status().unwrap().passwords, count);
}

/// No password is where others could see it: in the arguments and variables of the process, in its log, its status, its
/// report, the list of passwords.
fn keeps_its_secret(host: &Host) {
    let pid = host.router().pid();
    let file = |path: String| fs::read(path).unwrap();
    let answer = |path: &str| host.request("GET", path, b"").unwrap().body;
    for (name, bytes) in [
        ("its arguments", file(format!("/proc/{pid}/cmdline"))),
        ("its variables", file(format!("/proc/{pid}/environ"))),
        ("its log", file(host.log_path().display().to_string())),
        ("its status", answer("/status")),
        ("its report", answer("/report")),
        ("its passwords", answer("/passwords")),
    ] {
        let text = String::from_utf8_lossy(&bytes);
        for secret in [RIGHT, WRONG, NEXT] {
            assert!(
                !text.contains(secret),
                "{name} of {} hold a password",
                host.name()
            );
        }
    }
}

/// Strangers who try passwords as fast as they can, from one address.
struct Guessers {
    shared: Arc<Guessed>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Guessed {
    stop: AtomicBool,
    /// Connections opened, each to try one password.
    tried: AtomicU64,
    /// Those that went far enough to be told.
    told: AtomicU64,
}

impl Guessers {
    fn start(namespace: &NetNs, target: SocketAddr) -> Self {
        let shared = Arc::new(Guessed::default());
        let guess = |number: u8| {
            let (namespace, shared) = (namespace.clone(), Arc::clone(&shared));
            thread::spawn(move || {
                namespace.enter_current_thread().unwrap();
                while !shared.stop.load(Ordering::Relaxed) {
                    let Ok(mut stream) = TcpStream::connect(target) else {
                        continue;
                    };
                    shared.tried.fetch_add(1, Ordering::Relaxed);
                    if try_password(&mut stream, number) {
                        shared.told.fetch_add(1, Ordering::Relaxed);
                    }
                }
            })
        };
        let threads = (0..GUESSERS).map(guess).collect();
        Self { shared, threads }
    }

    /// How many were tried, and how many heard that they were wrong.
    fn stop(self) -> (u64, u64) {
        self.shared.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().unwrap();
        }
        let count = |of: &AtomicU64| of.load(Ordering::Relaxed);
        (count(&self.shared.tried), count(&self.shared.told))
    }
}

/// Tries a password on a connection; whether it was told that it is wrong.
fn try_password(stream: &mut TcpStream, number: u8) -> bool {
    let local = LinkLocal {
        identity: Arc::new(Identity::from_seed([number; 32])),
        network: NetworkId::from_name("weave"),
        passwords: Passwords::one(PasswordKey::from_bytes([number; 32])),
        boot_id: 1,
    };
    stream
        .set_read_timeout(Some(Duration::from_secs(2)))
        .unwrap();
    let mut out = Vec::new();
    let mut handshake = LinkHandshake::dialler(local, [number; 32], &mut out);
    let mut buffer = [0; 512];
    loop {
        if stream.write_all(&out).is_err() {
            return false;
        }
        out.clear();
        let Ok(count @ 1..) = stream.read(&mut buffer) else {
            return false;
        };
        match handshake.handle_bytes(&buffer[..count], &mut out) {
            Ok(None) => {}
            Ok(Some(_)) => panic!("a stranger was let in"),
            Err(error) => return error == HandshakeError::WrongPassword,
        }
    }
}

/// Threads that guess.
const GUESSERS: u8 = 8;
