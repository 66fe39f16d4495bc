//! Tracked connections of a port.

use std::net::{TcpListener, TcpStream, UdpSocket};
use std::process::Command;

use weave_io::host::{NetNs, Netlink, ScopedNetNs};

use super::unique_name;

pub(super) fn what_is_remembered_of_a_port_is_dropped_and_nothing_else() {
    let host = ScopedNetNs::create(&unique_name()).unwrap();
    let netlink = Netlink::open_in(&host).unwrap();
    netlink.set_up("lo").unwrap();
    assert_eq!(
        netlink.drop_conntrack(6783).unwrap(),
        0,
        "nothing is tracked"
    );
    // Connections are tracked where a rule asks for it.
    for program in ["iptables", "ip6tables"] {
        let args = "-A INPUT -m conntrack --ctstate ESTABLISHED -j ACCEPT";
        let ran = host
            .run(|| Command::new(program).args(args.split(' ')).output())
            .unwrap()
            .unwrap();
        assert!(
            ran.status.success(),
            "{}",
            String::from_utf8_lossy(&ran.stderr)
        );
    }
    let tracked = || {
        let count = netlink.setting("netfilter/nf_conntrack_count").unwrap();
        count.parse::<u32>().unwrap()
    };
    // One of UDP each way and family, one of TCP; and three of another port.
    let sockets: Vec<_> = ["127.0.0.1", "[::1]"]
        .into_iter()
        .flat_map(|address| {
            let ours = udp(&host, &format!("{address}:6783"));
            let other = udp(&host, &format!("{address}:6784"));
            let third = udp(&host, &format!("{address}:6785"));
            ours.send_to(b"x", other.local_addr().unwrap()).unwrap();
            third.send_to(b"x", ours.local_addr().unwrap()).unwrap();
            third.send_to(b"x", other.local_addr().unwrap()).unwrap();
            [ours, other, third]
        })
        .collect();
    let listener = |port| {
        host.run(|| TcpListener::bind(("127.0.0.1", port)))
            .unwrap()
            .unwrap()
    };
    let listeners = [6783, 6784].map(listener);
    let streams = [6783, 6784].map(|port| {
        host.run(|| TcpStream::connect(("127.0.0.1", port)))
            .unwrap()
            .unwrap()
    });
    assert_eq!(tracked(), 8);
    assert_eq!(netlink.drop_conntrack(6783).unwrap(), 5);
    assert_eq!(tracked(), 3);
    assert_eq!(netlink.drop_conntrack(6783).unwrap(), 0);
    drop((sockets, listeners, streams));
}

fn udp(namespace: &NetNs, address: &str) -> UdpSocket {
    namespace.run(|| UdpSocket::bind(address)).unwrap().unwrap()
}
