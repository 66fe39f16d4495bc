//! Which addresses a router's record gives.

use super::world::World;
use crate::{Address, Subnet};

#[test]
fn where_a_neighbour_sees_us_is_in_the_record_while_the_link_stands() {
    let mut world = behind_nat();
    world.connect(0, 1);
    world.run_ms(1_000);
    let mapped = Address {
        socket: MAPPED.parse().unwrap(),
        observed: true,
    };
    for at in [0, 1] {
        assert!(
            addresses(&world, at).contains(&mapped),
            "in the store of {at}"
        );
    }
    // UDP alone is cut: the packets that the neighbour saw find the way no more.
    world.cut_udp(0, 1);
    world.run_ms(5_000);
    assert!(!addresses(&world, 0).contains(&mapped));
    world.heal();
    world.run_ms(20_000);
    assert!(addresses(&world, 0).contains(&mapped));
    world.kill(1);
    world.run_ms(6_000);
    assert!(!addresses(&world, 0).contains(&mapped), "the link is gone");
}

#[test]
fn an_address_inside_of_an_overlay_is_neither_advertised_nor_dialled() {
    let mut world = behind_nat();
    let overlay = |address: &str| Subnet {
        address: address.parse().unwrap(),
        prefix_bits: 24,
    };
    let own = world.nodes[0].tcp.ip();
    world.with(0, |mesh, now| {
        mesh.handle_overlay_subnets(
            now,
            vec![overlay("203.0.113.77"), overlay(&own.to_string())],
        );
    });
    world.connect(0, 1);
    world.run_ms(2_000);
    assert_eq!(
        addresses(&world, 1),
        [],
        "neither the interface's nor the observed one"
    );
}

fn behind_nat() -> World {
    let mut world = World::new(2);
    world.nodes[0].udp = MAPPED.parse().unwrap();
    world
}

/// What the record of the first router says, in the store of another.
fn addresses(world: &World, at: usize) -> Vec<Address> {
    let record = world.nodes[at].mesh.store().router(&world.id(0));
    record
        .map(|record| record.addresses.clone())
        .unwrap_or_default()
}

/// Where a NAT maps the first router's UDP.
const MAPPED: &str = "203.0.113.1:40001";
