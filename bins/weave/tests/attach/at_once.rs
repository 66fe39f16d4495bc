//! Several commands at one time, and ones that come to a sudden end.

use std::process::{Child, Output};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::lab::{Container, Host, text, wait_for};

fn ended(children: Vec<Child>) -> Vec<Output> {
    let outputs = children.into_iter().map(Child::wait_with_output);
    outputs.map(Result::unwrap).collect()
}

pub(super) fn ten_containers_are_attached() {
    let host = Host::new();
    let containers: Vec<Container> = (0..10).map(|_| Container::new()).collect();
    let address = |n: usize| format!("10.2.1.{}/24", n + 1);
    let attach = |(n, container): (usize, &Container)| {
        host.spawn(&["attach", &address(n), &container.place()])
    };
    for output in ended(containers.iter().enumerate().map(attach).collect()) {
        assert!(output.status.success(), "{}", text(&output.stderr));
    }
    let ledger = host.ledger();
    for (n, container) in containers.iter().enumerate() {
        assert_eq!(container.addresses(), [address(n)]);
        assert!(ledger.contains(&container.name) && ledger.contains(&address(n)));
    }
    assert!(containers[0].reaches("10.2.1.1", &containers[9], "10.2.1.10"));
    // And taken away again, while others are given more.
    let detach = |(n, container): (usize, &Container)| {
        let verb = if n % 2 == 0 { "detach" } else { "attach" };
        host.spawn(&[verb, &address(n), &container.place()])
    };
    for output in ended(containers.iter().enumerate().map(detach).collect()) {
        assert!(output.status.success(), "{}", text(&output.stderr));
    }
    assert_eq!(host.netlink.bridge_ports("weave").unwrap().len(), 5);
}

pub(super) fn of_ten_that_want_one_address_one_gets_it() {
    let host = Host::new();
    let containers: Vec<Container> = (0..10).map(|_| Container::new()).collect();
    let attach = |container: &Container| host.spawn(&["attach", "10.2.1.1/24", &container.place()]);
    let outputs = ended(containers.iter().map(attach).collect());
    let got = outputs.iter().filter(|output| output.status.success());
    assert_eq!(got.count(), 1, "{outputs:?}");
    let have = containers.iter().filter(|c| !c.addresses().is_empty());
    assert_eq!(have.count(), 1);
    assert_eq!(host.netlink.bridge_ports("weave").unwrap().len(), 1);
    for output in outputs.iter().filter(|output| !output.status.success()) {
        let said = text(&output.stderr);
        assert!(said.contains("10.2.1.1 belongs to netns:"), "{said}");
    }
}

pub(super) fn one_that_is_interrupted_leaves_nothing_behind() {
    let host = Host::new();
    let container = Container::new();
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let before = host.snapshot(&[&container]);
        let child = host.spawn(&["attach", "10.2.1.1/24", &container.place()]);
        // It asks the network now.
        wait_for("the interface", || {
            container
                .netlink
                .find_link("ethwe")
                .unwrap()
                .is_some_and(|link| link.up)
        });
        kill(Pid::from_raw(child.id().try_into().unwrap()), signal).unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        assert_eq!(
            text(&output.stderr),
            format!(
                "weave: cannot attach {}: it was interrupted; nothing was changed\n",
                container.place()
            )
        );
        host.is_as_before(&[&container], &before, "nothing changes");
    }
}

pub(super) fn one_that_is_killed_leaves_nothing_that_the_next_cannot_mend() {
    let host = Host::new();
    let [a, b] = [Container::new(), Container::new()];
    for verb in ["attach", "detach"] {
        let mut child = host.spawn(&["attach", "10.2.1.1/24", &a.place()]);
        wait_for("the interface", || {
            a.netlink.find_link("ethwe").unwrap().is_some()
        });
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(a.addresses(), [""; 0]);
        host.done(&[verb, "10.2.1.1/24", &a.place()]);
        if verb == "attach" {
            assert_eq!(a.addresses(), ["10.2.1.1/24"]);
            host.done(&["attach", "10.2.1.2/24", &b.place()]);
            assert!(a.reaches("10.2.1.1", &b, "10.2.1.2"));
            host.done(&["detach", "10.2.1.1/24", &a.place()]);
        }
        assert_eq!(a.netlink.find_link("ethwe").unwrap(), None);
    }
}

pub(super) fn one_that_waits_says_for_whom() {
    let host = Host::new();
    let container = Container::new();
    std::fs::create_dir(host.state()).unwrap();
    let lock = std::fs::File::create(host.state().join("host.lock")).unwrap();
    lock.lock().unwrap();
    std::io::Write::write_all(&mut &lock, b"1234\n").unwrap();
    let child = host.spawn(&["attach", "10.2.1.1/24", &container.place()]);
    std::thread::sleep(Duration::from_millis(2500));
    lock.unlock().unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(
        text(&output.stderr),
        "weave: waits until another weave command (process 1234) is done with this host\n"
    );
}
