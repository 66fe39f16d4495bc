//! Passwords, and what one finds out when something is wrong.

use super::lab::Lab;
use super::lab::network::LINK_TIME_MAX;

pub(super) fn those_who_share_a_password_meet_and_it_is_seen_nowhere() {
    let mut lab = Lab::new();
    let [a, b] = lab.docker_hosts(["a", "b"]);
    a.weave(&["launch", "10.0.0.1/16", "-password", "wEaVe"])
        .ok();
    b.weave(&["launch", "10.0.0.2/16", "-password", "wEaVe", &a.address()])
        .ok();
    a.weave(&["run", "10.0.1.1/24", "--name", "one", "bb", "idle"])
        .ok();
    b.weave(&["run", "10.0.1.2/24", "--name", "other", "bb", "idle"])
        .ok();
    a.container("one").must_reach("10.0.1.2", LINK_TIME_MAX);
    assert!(a.status().unwrap().password);
    let told =
        a.sh("docker inspect weave; docker logs weave; ps -e -o args=; weave report; weave status");
    assert!(!(told.stdout + &told.stderr).contains("wEaVe"));
}

pub(super) fn a_wrong_password_is_named_on_both_sides() {
    let mut lab = Lab::new();
    let [a, b] = lab.docker_hosts(["a", "b"]);
    a.weave(&["launch", "-password", "wEaVe"]).ok();
    b.weave(&["launch", "-password", "weave", &a.address()])
        .ok();
    let (here, there) = ("its password is not that of this network", "wrong password");
    b.await_status(there, |status| {
        status
            .targets
            .iter()
            .any(|target| target.state.contains(there))
    });
    a.await_status(here, |status| {
        status.warnings.iter().any(|warning| warning.contains(here))
    });
    // For people, and in the logs. To be told no is not to be in order; to tell somebody no is.
    for (host, words, code) in [(&a, here, 0), (&b, there, 3)] {
        let status = host.weave(&["status"]);
        assert_eq!(status.code, Some(code), "{status}");
        assert!(status.stdout.contains(words), "{status}");
        let logs = host.docker(&["logs", "weave"]).ok();
        assert!(logs.stderr.contains(words), "{logs}");
    }
}

pub(super) fn status_version_and_logs_tell_how_it_is() {
    let mut lab = Lab::new();
    let [a] = lab.docker_hosts(["a"]);
    let status = a.weave(&["status"]);
    assert_eq!(status.code, Some(4), "{status}");
    a.weave(&["launch", "10.0.0.1/16", "-debug"]).ok();
    a.await_status("an answer", |_| true);
    let status = a.weave(&["status"]);
    assert!(matches!(status.code, Some(0 | 3)), "{status}");
    let version = env!("CARGO_PKG_VERSION");
    let said = a.weave(&["version"]).ok();
    assert_eq!(said.stdout, format!("weave {version}\nrouter {version}\n"));
    // Each packet is logged.
    a.weave(&["run", "10.0.1.1/16", "--name", "one", "bb", "idle"])
        .ok();
    a.container("one").must_reach("10.0.0.1", LINK_TIME_MAX);
    let logs = a.docker(&["logs", "weave"]).ok();
    assert!(logs.stderr.contains("EtherType 0x0800"), "{logs}");
    // A second one is refused, and the first goes on.
    let _ = a.weave(&["launch", "10.0.0.1/16"]).refused(1);
    assert!(a.status().is_some());
}
