//! That `reset` leaves nothing.

use std::fs;

use crate::lab::{Host, assert_same, pings};

pub(crate) fn no_trace_is_left() {
    let host = Host::new();
    let a = host.bare_container();
    let b = host.bare_container();
    fs::remove_dir(host.state_dir()).unwrap();
    let before = host.snapshot();
    host.done(&format!("attach 10.0.1.1/24 netns:{}", a.name().unwrap()));
    host.done(&format!(
        "attach 10.0.1.2/24 fd00:1::2/64 netns:{}",
        b.name().unwrap()
    ));
    host.done("expose 10.0.1.102/24 fd00:1::66/64");
    host.done("launch --no-container --port 6799 192.168.7.2");
    assert!(pings(&a, "10.0.1.2") && pings(&b, "10.0.1.102"));
    let left = host.snapshot();
    assert!(left["ip -o link"].contains("weave-tap") || left["ip -o link"].contains("weave"));
    host.done("reset");
    assert_same(&before, &host.snapshot());
    // Twice is once.
    let output = host.weave(&["reset"]);
    assert!(output.status.success());
    assert_same(&before, &host.snapshot());
}
