//! Connections of strangers, which must cost little and keep nobody out.

use std::net::SocketAddr;

use super::world::World;
use crate::{Action, ConnId, HALF_OPEN_MAX};

#[test]
fn ten_thousand_half_open_strangers_keep_no_peer_out() {
    let mut world = World::new(2);
    world.connect(0, 1);
    world.run(std::time::Duration::from_secs(3));
    let now = world.now;
    let known = world.nodes[1].tcp;
    let mesh = &mut world.nodes[0].mesh;
    let mut closed = 0;
    for number in 0..10_000_u32 {
        let stranger = SocketAddr::from(((0xC613_0000 + number).to_be_bytes(), 40_000));
        mesh.handle_opened(
            now,
            ConnId::accepted(1_000 + u64::from(number)),
            stranger,
            false,
        );
        while let Some(action) = mesh.poll_action() {
            closed += usize::from(matches!(action, Action::Close { .. }));
        }
    }
    assert!(closed >= 10_000 - HALF_OPEN_MAX / 2, "{closed}");
    let peer = SocketAddr::new(known.ip(), 50_000);
    mesh.handle_opened(now, ConnId::accepted(20_000), peer, false);
    while let Some(action) = mesh.poll_action() {
        let is_close = matches!(action, Action::Close { conn } if conn == ConnId::accepted(20_000));
        assert!(!is_close, "the peer was refused");
    }
    let stats = mesh.stats();
    assert_eq!(stats.refused_rate + stats.refused_half_open, closed as u64);
}
