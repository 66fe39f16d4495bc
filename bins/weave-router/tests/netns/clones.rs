//! A copied state folder: two routers with one identity at once.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use weave_core::Status;

use super::lab::{Container, Host, Lab, figure};

pub(super) fn a_copied_state_folder_is_noticed_and_the_copy_takes_a_new_identity() {
    let mut scene = Scene::new();
    scene.start(0, &[]);
    let (a, b) = (scene.hosts[0].address(), scene.hosts[1].address());
    scene.start(1, &[a]);
    scene.hosts[0].await_links(STARTED_WITHIN, &[&scene.hosts[1]]);
    let before = scene.status(0).peer_id;
    copy(
        &scene.hosts[0].state_path(),
        &scene.hosts[2].state_path(),
        &["identity", "boot-id", "peers"],
    );
    // The boot id counts seconds: the later one is later by it.
    std::thread::sleep(Duration::from_millis(1_100));
    let started = scene.start(2, &[b]);
    let took = scene.await_said(started, [0, 2]);
    figure(&format!(
        "both said so, and the copy had a new identity, {took:?} after its start"
    ));
    assert!(took < SAID_WITHIN, "{took:?}");

    let (first, copy) = (scene.status(0), scene.status(2));
    assert_eq!(first.peer_id, before, "the first keeps its own");
    assert_ne!(copy.peer_id, before);
    assert!(warns(
        &first,
        "the other, which started later, takes a new identity"
    ));
    assert!(warns(
        &copy,
        "this router has a new identity since it met another"
    ));
    scene.assert_logged(0, "this one keeps its own");
    scene.assert_logged(2, "started later, and takes a new identity");
    scene.assert_kept_aside(2);
    scene.assert_whole();

    // The new identity is stored: the next start has no more to say of it.
    scene.hosts[2].kill();
    scene.start(2, &[b]);
    scene.hosts[2].await_links(STARTED_WITHIN, &[&scene.hosts[0], &scene.hosts[1]]);
    let again = scene.status(2);
    assert_eq!(again.peer_id, copy.peer_id);
    assert!(!warns(&again, "identity"));
}

pub(super) fn of_two_copies_of_a_machine_that_start_at_once_one_takes_a_new_identity() {
    let mut scene = Scene::new();
    // The machine as it was copied: it had run before.
    scene.start(0, &[]);
    scene.status(0);
    scene.hosts[0].kill();
    copy(
        &scene.hosts[0].state_path(),
        &scene.hosts[2].state_path(),
        &["identity", "boot-id"],
    );
    scene.start(1, &[]);
    scene.status(1);
    let b = scene.hosts[1].address();
    scene.start(0, &[b]);
    let started = scene.start(2, &[b]);
    let took = scene.await_said(started, [0, 2]);
    figure(&format!(
        "both said so, and one had a new identity, {took:?} after the start"
    ));
    assert!(took < SAID_WITHIN, "{took:?}");
    scene.assert_whole();
}

/// Three hosts with a container each, the first and the last to have one identity.
struct Scene {
    // Before the lab, so that routers end first.
    hosts: Vec<Host>,
    containers: Vec<Container>,
    _lab: Lab,
}

impl Scene {
    fn new() -> Self {
        let mut lab = Lab::new();
        let mut hosts: Vec<Host> = ["a", "b", "c"].iter().map(|name| lab.host(name)).collect();
        let containers = hosts
            .iter_mut()
            .zip(1..)
            .map(|(host, number)| host.container(&[&format!("10.32.1.{number}/24")]))
            .collect();
        Self {
            hosts,
            containers,
            _lab: lab,
        }
    }

    fn start(&mut self, host: usize, peers: &[std::net::Ipv4Addr]) -> Instant {
        self.hosts[host].start(peers)
    }

    fn status(&self, host: usize) -> Status {
        self.hosts[host].await_status(STARTED_WITHIN, "a status", |_| true);
        self.hosts[host].status().expect("it answered")
    }

    /// Waits until both have something to say of identities, and are not of one any more: how long after `started`.
    fn await_said(&self, started: Instant, both: [usize; 2]) -> Duration {
        for host in both {
            self.hosts[host].await_status(SAID_WITHIN, "a word of the clone", |status| {
                warns(status, "a state folder or a machine was copied")
            });
        }
        let [first, copy] = both;
        loop {
            let ids = [first, copy].map(|host| self.status(host).peer_id);
            if ids[0] != ids[1] {
                return started.elapsed();
            }
            assert!(started.elapsed() < SAID_WITHIN, "both are {}", ids[0]);
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn assert_logged(&self, host: usize, words: &str) {
        let log = fs::read_to_string(self.hosts[host].folder().join("log")).unwrap();
        let line = log
            .lines()
            .find(|line| line.contains("another router runs with the identity of this one"));
        assert!(line.is_some_and(|line| line.contains(words)), "{log}");
    }

    /// The former key is there, for its owner alone.
    fn assert_kept_aside(&self, host: usize) {
        let state = self.hosts[host].state_path();
        let former = fs::read(state.join("identity.bak")).unwrap();
        assert_ne!(former, fs::read(state.join("identity")).unwrap());
        for name in ["identity", "identity.bak"] {
            let mode = fs::metadata(state.join(name)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{name}");
        }
    }

    fn assert_whole(&self) {
        for host in &self.hosts {
            let others: Vec<&Host> = self
                .hosts
                .iter()
                .filter(|other| other.name() != host.name())
                .collect();
            host.await_links(STARTED_WITHIN, &others);
        }
        for one in &self.containers {
            for other in &self.containers {
                if one.address() != other.address() {
                    one.must_reach(other, Duration::from_secs(2));
                }
            }
        }
    }
}

fn warns(status: &Status, words: &str) -> bool {
    status
        .warnings
        .iter()
        .any(|warning| warning.contains(words))
}

fn copy(from: &Path, to: &Path, names: &[&str]) {
    fs::create_dir(to).unwrap();
    fs::set_permissions(to, fs::Permissions::from_mode(0o700)).unwrap();
    for name in names {
        // Peers are stored a moment after the first link.
        if from.join(name).exists() {
            fs::copy(from.join(name), to.join(name)).unwrap();
        }
    }
}

const STARTED_WITHIN: Duration = Duration::from_secs(8);
/// Features.md row 26: recognised, and said on both, within ten seconds.
const SAID_WITHIN: Duration = Duration::from_secs(10);
