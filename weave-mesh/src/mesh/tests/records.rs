//! Records that should not have been sent: refused, counted, and named by origin and sender.

use std::time::Duration;

use weave_crypto::{Identity, NetworkId};

use super::world::World;
use crate::{
    Body, Event, LinkEntry, LinksBody, Record, RecordFault, RecordKind, RouterBody, SEQUENCE_BITS,
};

/// Routers 0 and 1 with a link, and the identity of a third one, far away, of whom router 0 learnt by 1.
struct Scene {
    world: World,
    far: Identity,
}

impl Scene {
    fn new() -> Self {
        let mut world = World::new(2);
        world.connect(0, 1);
        world.run_ms(500);
        let mut scene = Self {
            world,
            far: Identity::from_seed([77; 32]),
        };
        scene.say(&scene.links(5, 1, 3_000));
        scene.world.clear_events();
        scene
    }

    /// Router 1 hands a record to router 0.
    fn say(&mut self, bytes: &[u8]) {
        let via = self.world.id(1);
        self.world
            .with(0, |mesh, now| mesh.handle_record(now, via, bytes));
    }

    /// A record of the far router: it has a link to router 1.
    fn links(&self, boot_id: u64, count: u64, cost: u32) -> Vec<u8> {
        let body = Body::Links(LinksBody {
            boot_id,
            links: vec![LinkEntry {
                neighbour: self.world.id(1),
                cost,
                path_mtu_bytes: 1_400,
                carrier: crate::Carrier::Udp,
            }],
        });
        self.signed(&network(), boot_id << SEQUENCE_BITS | count, &body)
    }

    fn signed(&self, network: &NetworkId, seq: u64, body: &Body) -> Vec<u8> {
        Record::sign_unchecked(&self.far, network, seq, body).unwrap()
    }

    /// Faults of those that router 0 suspects; each is of the far router by router 1.
    fn faults(&self) -> Vec<(RecordFault, u64)> {
        let mesh = &self.world.nodes[0].mesh;
        mesh.suspects(self.world.now)
            .map(|suspect| {
                assert_eq!(suspect.origin, Some(self.far.peer_id()));
                assert_eq!(suspect.via, self.world.id(1));
                (suspect.fault, suspect.count)
            })
            .collect()
    }

    fn reports(&self) -> usize {
        self.world
            .count(0, |event| matches!(event, Event::RecordsRefused { .. }))
    }

    fn held_cost(&self) -> Option<u32> {
        let store = self.world.nodes[0].mesh.store();
        store
            .links(&self.far.peer_id())
            .map(|links| links.links[0].cost)
    }
}

#[test]
fn a_forged_record_is_refused_and_its_sender_named() {
    let mut scene = Scene::new();
    let mut forged = scene.links(6, 1, 3_000);
    let last = forged.len() - 65;
    forged[last] ^= 1;
    scene.say(&forged);
    assert_eq!(scene.faults(), [(RecordFault::Forged, 1)]);
    // So is one of another network, and one that another router signed.
    let body = Body::Links(LinksBody {
        boot_id: 6,
        links: Vec::new(),
    });
    let other = NetworkId::from_name("another");
    scene.say(&scene.signed(&other, 6 << SEQUENCE_BITS | 1, &body));
    let mut stolen = Record::sign_unchecked(
        &Identity::from_seed([78; 32]),
        &network(),
        6 << SEQUENCE_BITS | 2,
        &body,
    )
    .unwrap();
    stolen[..32].copy_from_slice(scene.far.peer_id().as_bytes());
    scene.say(&stolen);
    assert_eq!(scene.faults(), [(RecordFault::Forged, 3)]);
    assert_eq!(scene.held_cost(), Some(3_000));
    assert_eq!(scene.world.nodes[0].mesh.stats().records_bad_signature, 3);
    assert_eq!(scene.reports(), 1, "one line in ten seconds");
    // It came by chance, and is forgotten.
    scene.world.run(Duration::from_secs(601));
    assert_eq!(scene.faults(), []);
}

#[test]
fn a_record_that_contradicts_itself_is_refused_though_it_is_signed() {
    let mut scene = Scene::new();
    scene.say(&scene.links(6, 1, 0));
    let far = &scene.far;
    let router = |noise: &Identity| RouterBody {
        boot_id: 6,
        start_boot_id: 6,
        start_random: 1,
        noise_public: noise.noise_public(),
        noise_binding: noise.noise_binding(),
        name: None,
        nickname: "far".into(),
        version: "1".into(),
        listen_port: 6783,
        addresses: Vec::new(),
        capabilities: 0,
        other_random: None,
    };
    let seq = 6 << SEQUENCE_BITS | 1;
    let stolen = Body::Router(router(&Identity::from_seed([78; 32])));
    let good = Body::Router(router(far));
    let (stolen, good) = (
        scene.signed(&network(), seq, &stolen),
        scene.signed(&network(), seq + 1, &good),
    );
    scene.say(&stolen);
    assert_eq!(scene.faults(), [(RecordFault::Contradictory, 2)]);
    assert_eq!(scene.world.nodes[0].mesh.stats().records_contradictory, 2);
    scene.say(&good);
    assert_eq!(scene.faults(), [(RecordFault::Contradictory, 2)]);
    let store = scene.world.nodes[0].mesh.store();
    assert!(store.router(&scene.far.peer_id()).is_some());
}

#[test]
fn what_does_not_decode_or_is_too_long_is_refused() {
    let mut scene = Scene::new();
    let links = scene.links(6, 1, 3_000);
    let mut long = links.clone();
    long.resize(crate::RECORD_BYTES_MAX + 1, 0);
    scene.say(&links[..links.len() - 70]);
    assert_eq!(scene.faults(), [(RecordFault::Malformed, 1)]);
    scene.say(&long);
    scene.say(&links[..40]);
    // A later release's is nobody's fault.
    let mut later = links.clone();
    later[32] = 9;
    scene.say(&later);
    let mesh = &scene.world.nodes[0].mesh;
    assert_eq!(mesh.stats().records_malformed, 3);
    assert_eq!(mesh.stats().records_unknown_kind, 1);
    let nameless = mesh
        .suspects(scene.world.now)
        .filter(|suspect| suspect.origin.is_none())
        .map(|suspect| suspect.count);
    assert_eq!(nameless.sum::<u64>(), 2);
}

#[test]
fn of_two_records_under_one_number_everybody_keeps_the_same() {
    for turn in [false, true] {
        let mut scene = Scene::new();
        let mut both = [scene.links(6, 1, 4_000), scene.links(6, 1, 5_000)];
        both.sort();
        if turn {
            both.reverse();
        }
        let greater = if (both[0] > both[1]) == (both[0] == scene.links(6, 1, 4_000)) {
            4_000
        } else {
            5_000
        };
        for bytes in &both {
            scene.say(bytes);
        }
        assert_eq!(scene.held_cost(), Some(greater));
        assert_eq!(scene.faults(), [(RecordFault::Equivocal, 1)]);
        assert_eq!(scene.reports(), 1);
        assert_eq!(scene.world.nodes[0].mesh.stats().records_equivocal, 1);
        if !turn {
            continue;
        }
        // Who said the lesser one last, here without taking it, is told of what router 0 keeps.
        scene.world.run_ms(500);
        let far = scene.far.peer_id();
        let kept = scene.world.nodes[1].mesh.store().links(&far);
        assert_eq!(kept.map(|links| links.links[0].cost), Some(greater));
    }
}

#[test]
fn an_old_record_is_a_replay_only_where_the_sender_must_know_better() {
    let mut scene = Scene::new();
    scene.say(&scene.links(6, 1, 3_000));
    scene.say(&scene.links(5, 9, 3_000));
    assert_eq!(scene.faults(), [], "it may have been under way");
    scene.world.run(Duration::from_secs(61));
    scene.say(&scene.links(5, 9, 3_000));
    assert_eq!(scene.faults(), [], "who is out of reach is not compared");
    let far = scene.far.peer_id();
    let reachable = [scene.world.id(1), far].into();
    scene
        .world
        .with(0, |mesh, now| mesh.handle_reachable(now, &reachable));
    scene.say(&scene.links(5, 9, 3_000));
    assert_eq!(scene.faults(), [(RecordFault::Replayed, 1)]);
    assert_eq!(scene.world.nodes[0].mesh.stats().records_replayed, 1);
    let held = scene.world.nodes[0]
        .mesh
        .store()
        .record(&far, RecordKind::Links);
    assert_eq!(held.map(Record::boot_id), Some(6));
}

#[test]
fn an_origin_that_never_stops_talking_is_not_listened_to_all_the_time() {
    let mut scene = Scene::new();
    for count in 1..=200 {
        let bytes = scene.links(6, count, 3_000);
        scene.say(&bytes);
    }
    let taken = scene.world.nodes[0].mesh.stats().records_too_often;
    assert_eq!(taken, 161, "40 at once, one of them at the start");
    assert_eq!(scene.faults(), [(RecordFault::TooOften, 161)]);
    // The newest one is taken later.
    scene.world.run(Duration::from_secs(1));
    scene.say(&scene.links(6, 200, 5_000));
    assert_eq!(scene.held_cost(), Some(5_000));
}

#[test]
fn a_neighbour_that_sends_nothing_else_is_not_listened_to_for_ever() {
    let mut world = World::new(2);
    world.connect(0, 1);
    world.run_ms(500);
    let via = world.id(1);
    let mut forged = Record::sign_unchecked(
        &Identity::from_seed([77; 32]),
        &network(),
        5 << SEQUENCE_BITS | 1,
        &Body::Links(LinksBody {
            boot_id: 5,
            links: Vec::new(),
        }),
    )
    .unwrap();
    let last = forged.len() - 1;
    forged[last] ^= 1;
    let patience = (0..300).take_while(|_| {
        let record = crate::wire::RecordBytes(forged.clone().into());
        let now = world.now;
        world.nodes[0].mesh.take_records(now, via, &[record])
    });
    assert_eq!(patience.count(), 100);
}

fn network() -> NetworkId {
    NetworkId::from_name("test")
}
