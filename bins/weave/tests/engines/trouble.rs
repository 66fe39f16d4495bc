//! Passwords, and what one finds out when something is wrong.

use super::lab::Lab;

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
