//! A status as a router might give it, for the tests of what is made from one.

use std::collections::BTreeMap;

use weave_core::{
    ConnectionStatus, MacStatus, PeerStatus, RefusedStatus, RouteStatus, SegmentStatus, Status,
    TargetStatus, Traffic,
};

/// With so many neighbours and MAC addresses; the last neighbour has no tunnel yet, and one router is lost.
pub(crate) fn status(neighbours: usize, macs: usize) -> Status {
    let mut peers = vec![peer("self", true), peer("lost", false)];
    peers.extend((0..neighbours).map(|number| peer(&number.to_string(), true)));
    Status {
        version: "0.1.0".into(),
        name: "self".into(),
        nickname: String::new(),
        peer_id: "id_self".into(),
        network: "weave".into(),
        password: false,
        passwords: 0,
        boot_id: 1,
        uptime_ms: 1000,
        port: 6783,
        frame_port: "none".into(),
        mtu_bytes: 1390,
        peers,
        connections: (0..neighbours)
            .map(|number| connection(number, number + 1 < neighbours))
            .collect(),
        targets: vec![TargetStatus {
            target: "198.18.0.9:6783".into(),
            state: "waiting".into(),
            connected: false,
            retry_in_ms: Some(500),
        }],
        macs: (0..macs)
            .map(|number| MacStatus {
                mac: format!("02:00:00:00:{:02x}:{:02x}", number / 256, number % 256),
                peer: "0".into(),
                local: number == 0,
                age_s: 1,
                damped: false,
            })
            .collect(),
        segment: vec![SegmentStatus {
            name: "0".into(),
            peer_id: "id_0".into(),
            reachable: true,
        }],
        routes: vec![route("0", true), route("1", false)],
        traffic: Traffic {
            frames_in: 3,
            drops: BTreeMap::from([("no_route".to_owned(), 2)]),
            ..Traffic::default()
        },
        refusals: BTreeMap::from([("a_router_s_own".to_owned(), 7)]),
        gossip: BTreeMap::from([("links_up".to_owned(), 4)]),
        refused: vec![RefusedStatus {
            from: [198, 18, 0, 9].into(),
            name: None,
            reason: "its password is not that of this network".into(),
            count: 3,
            last_s: 1,
        }],
        warnings: vec![],
    }
}

/// A router of the mesh.
pub(crate) fn peer(name: &str, reachable: bool) -> PeerStatus {
    PeerStatus {
        name: name.into(),
        nickname: String::new(),
        peer_id: format!("id_{name}"),
        version: "0.1.0".into(),
        reachable,
        unreachable_reason: None,
        addresses: vec![],
        neighbours: vec![],
    }
}

fn connection(number: usize, usable: bool) -> ConnectionStatus {
    ConnectionStatus {
        name: format!("n{number}"),
        peer_id: format!("id{number}"),
        remote: "198.18.0.2:6783".parse().unwrap(),
        udp_remote: None,
        dialled: true,
        state: "established".into(),
        carrier: usable.then(|| "udp".to_owned()),
        usable,
        rtt_us: Some(250),
        loss: 0.5,
        cost_us: 1250,
        path_mtu_bytes: 1472,
        path_mtu_state: String::new(),
        cipher: usable.then(|| "AES-256-GCM".to_owned()),
    }
}

/// To a neighbour, or by a direct path.
pub(crate) fn route(name: &str, direct: bool) -> RouteStatus {
    RouteStatus {
        destination: name.into(),
        peer_id: format!("id_{name}"),
        next_hop: "0".into(),
        direct,
        hops: 1,
        cost_us: 1,
        carrier: "udp".into(),
        carrier_reason: None,
        tunnel: true,
        direct_remote: (!direct).then(|| "198.18.0.7:6783".parse().unwrap()),
        direct_path: None,
    }
}
