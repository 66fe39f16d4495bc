//! The router's own addresses on the overlay.

use std::net::IpAddr;

use weave_mesh::Subnet;

use super::*;
use crate::announcement::announcement;

#[test]
fn own_addresses_are_announced_at_the_start_and_to_those_who_come_into_reach() {
    let mut net = Net::new(&["a", "b", "c"]);
    net.give_address(0, "10.2.1.250", 24);
    let mac = EthernetAddress(net.nodes[0].router.peer_id().mac());
    let wanted = announcement(mac, ip("10.2.1.250"));
    net.run(Duration::from_secs(10));
    assert_eq!(net.announced_ms(0), [0, 2_000]);

    // Who comes later has not heard it.
    net.connect(1, 0);
    net.run(Duration::from_secs(5));
    let received = net.received(1);
    assert_eq!(received, [wanted.clone(), wanted.clone()]);
    assert_eq!(net.nodes[1].router.macs().lookup(mac), net.site(1, 0));
    net.connect(2, 1);
    net.run(Duration::from_secs(5));
    assert_eq!(net.received(2), [wanted.clone(), wanted.clone()]);
    assert_eq!(net.announced_ms(0).len(), 6);

    // Then there is quiet.
    net.run(Duration::from_secs(120));
    assert_eq!(net.announced_ms(0).len(), 6);
    assert!(net.announced_ms(1).is_empty() && net.announced_ms(2).is_empty());
}

#[test]
fn many_who_come_and_go_make_one_announcement_a_second() {
    let mut net = Net::new(&["a", "b"]);
    net.give_address(0, "fd00::250", 64);
    net.connect(1, 0);
    net.run(Duration::from_secs(10));
    let before = net.announced_ms(0).len();
    for _ in 0..10 {
        net.restart(1);
        net.connect(1, 0);
        net.run(Duration::from_millis(700));
    }
    let count = net.announced_ms(0).len() - before;
    assert!((1..=8).contains(&count), "{count} in 7 s");
}

#[test]
fn no_address_in_the_subnet_of_an_own_one_is_told_to_peers() {
    let mut net = Net::new(&["a", "b"]);
    // The subnet that the nodes' own addresses are in.
    net.give_address(0, "198.18.0.250", 24);
    let node = &mut net.nodes[0];
    let (inside, outside) = (node.address.ip(), ip("192.0.2.7"));
    let now = net.now;
    node.router
        .handle_local_addresses(now, vec![inside, outside]);
    net.run(Duration::from_millis(100));
    let router = &net.nodes[0].router;
    let told: Vec<IpAddr> = router
        .mesh()
        .store()
        .router(&router.peer_id())
        .unwrap()
        .addresses
        .iter()
        .map(|address| address.socket.ip())
        .collect();
    assert_eq!(told, [outside]);
    let status = router.status(net.now, Default::default());
    let warning = format!("{inside} of this host lies in a subnet of the overlay");
    assert!(
        status
            .warnings
            .iter()
            .any(|text| text.starts_with(&warning)),
        "{:?}",
        status.warnings
    );

    // Nor when the host's other overlays change.
    let other = Subnet {
        address: ip("192.0.2.1"),
        prefix_bits: 24,
    };
    net.nodes[0].router.handle_overlay_subnets(now, vec![other]);
    let hidden: Vec<IpAddr> = net.nodes[0].router.mesh().hidden_addresses().collect();
    assert_eq!(hidden, [outside, inside]);
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

impl Net {
    /// Starts a router anew with an address of its own on the overlay.
    fn give_address(&mut self, number: usize, address: &str, prefix_bits: u8) {
        let own = Subnet {
            address: ip(address),
            prefix_bits,
        };
        self.nodes[number] = node_with(self.now, number, "a", 2, self.rekey_after, vec![own]);
        self.start = self.now;
    }

    fn announced_ms(&self, number: usize) -> Vec<u128> {
        let announced = self.nodes[number].announced.iter();
        announced
            .map(|(at, _)| at.duration_since(self.start).as_millis())
            .collect()
    }

    fn site(&self, at: usize, of: usize) -> Option<Site> {
        let peer = self.nodes[of].router.peer_id();
        self.nodes[at].router.sites.site(&peer)
    }
}
