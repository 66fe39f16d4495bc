//! `weave ps`: what is there, and what should be.

use serde_json::Value;

use super::lab::{Container, Host, text, wait_for};

pub(super) fn it_lists_what_is_there_and_says_what_is_wrong() {
    let host = Host::new();
    assert_eq!(host.done(&["ps"]), "", "nothing was attached yet");
    assert_eq!(host.done(&["ps", "--json"]).trim(), "[]");
    assert!(!host.state().exists());
    let [a, b, c] = [Container::new(), Container::new(), Container::new()];
    host.done(&["attach", "10.2.1.1/24", "fd00:2::1/64", &a.place()]);
    host.done(&["attach", "10.2.1.2/24", &b.place()]);
    host.done(&["attach", "10.2.1.3/24", &c.place()]);
    let mac = |container: &Container| {
        let mac = container.device().mac.unwrap();
        mac.map(|byte| format!("{byte:02x}")).join(":")
    };
    let lines = |said: String| -> Vec<String> {
        let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
        said.lines().map(words).collect()
    };
    let [first, second, third] = [&a, &b, &c].map(|it| format!("{} - {}", it.place(), mac(it)));
    assert_eq!(
        lines(host.done(&["ps"])),
        [
            format!("{first} 10.2.1.1/24 fd00:2::1/64"),
            format!("{second} 10.2.1.2/24"),
            format!("{third} 10.2.1.3/24"),
        ]
    );

    // One loses an address, one its place on the bridge, and one goes.
    a.netlink
        .remove_address("ethwe", "10.2.1.1/24".parse().unwrap())
        .unwrap();
    let port = format!("vethwe{:08x}", b.namespace.id().unwrap());
    host.netlink.detach(&port).unwrap();
    drop(c);
    wait_for("the end of the namespace's devices", || {
        host.netlink.bridge_ports("weave").unwrap().len() == 1
    });
    assert_eq!(
        lines(host.done(&["ps"])),
        [
            format!("{first} fd00:2::1/64 (lacks 10.2.1.1/24: attach it again)"),
            format!("{second} 10.2.1.2/24 (is not on the bridge: attach it again)"),
            format!("{third} 10.2.1.3/24 (gone)"),
        ]
    );
    let document: Value = serde_json::from_str(&host.done(&["ps", "--json"])).unwrap();
    assert_eq!(document[0]["attached"][0], "10.2.1.1/24");
    assert_eq!(document[0]["addresses"][0], "fd00:2::1/64");
    assert_eq!(document[1]["port"], port);
    assert_eq!(document[2]["state"], "gone");

    // The ledger is lost, and what is attached is there all the same.
    std::fs::remove_file(host.state().join("host.json")).unwrap();
    let output = host.weave(&["ps"]);
    assert!(output.status.success());
    let said = text(&output.stderr);
    assert!(
        said.contains("belong to no container that weave knows"),
        "{said}"
    );
    host.done(&["attach", "10.2.1.2/24", &b.place()]);
    assert_eq!(
        lines(text(&host.weave(&["ps"]).stdout)),
        [format!("{second} 10.2.1.2/24")]
    );
}
