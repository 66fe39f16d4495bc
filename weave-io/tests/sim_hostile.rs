//! A hostile member: it was let in, and forges, replays, equivocates, floods, drops and delays. What the others say of
//! themselves, and the frames between those that need not cross it, come to no harm.
//!
//! Everything runs over several seeds, which move the phase of probes, timers and mischief.

use std::time::Duration;

use weave_io::sim::{Fault, HostId, Mischief, RouterId, World};

/// Four routers that all know each other, the last of them hostile later, with a container and beacons each.
struct Scene {
    world: World,
    routers: Vec<RouterId>,
    hosts: Vec<HostId>,
}

const HOSTILE: usize = 3;

impl Scene {
    fn new(seed: u64) -> Self {
        let mut world = World::new(seed);
        let routers: Vec<RouterId> = (0..4)
            .map(|number| world.add_router(&format!("r{number}")))
            .collect();
        for router in &routers[1..] {
            world.connect(*router, routers[0]);
        }
        let hosts: Vec<HostId> = (0..4)
            .map(|number| world.add_host(routers[number], &format!("10.0.0.{}/24", number + 1)))
            .collect();
        for (index, from) in hosts.iter().enumerate() {
            for to in &hosts[index + 1..] {
                world.watch(*from, *to, Duration::from_millis(200));
            }
        }
        world.run_for(Duration::from_secs(5));
        Self {
            world,
            routers,
            hosts,
        }
    }

    fn misbehave(&mut self, mischief: Mischief) {
        let router = self.routers[HOSTILE];
        self.world.apply(&Fault::Misbehave(router, mischief));
    }

    /// Lets the mischief go on, then looks at everything.
    fn end(&mut self) {
        self.world.run_for(Duration::from_secs(30));
        self.world.look_at_end(&[]);
        self.world.assert_clean();
        for honest in &self.routers[..HOSTILE] {
            let others = self.routers[..HOSTILE]
                .iter()
                .filter(|other| *other != honest);
            for other in others {
                let route = self.world.route_of(*honest, *other);
                assert_eq!(route, Some(format!("r{}", other.0)), "the direct way");
            }
        }
        for (from, to) in [(0, 1), (1, 2), (2, 0)] {
            assert!(
                self.world.ping(self.hosts[from], self.hosts[to]).is_some(),
                "{from} {to}"
            );
        }
    }

    /// Refusals of this name at all honest routers.
    fn refused(&self, name: &str) -> u64 {
        self.honest()
            .filter_map(|status| status.refusals.get(name).copied())
            .sum()
    }

    fn honest(&self) -> impl Iterator<Item = weave_core::Status> {
        self.routers[..HOSTILE]
            .iter()
            .filter_map(|router| self.world.status(*router))
    }

    /// Warnings of honest routers that have this in them.
    fn warned(&self, words: &str) -> Vec<String> {
        self.honest()
            .flat_map(|status| status.warnings)
            .filter(|warning| warning.contains(words))
            .collect()
    }
}

#[test]
fn forged_records_are_refused_and_their_sender_is_named() {
    for seed in 0..5 {
        let mut scene = Scene::new(seed);
        scene.misbehave(Mischief::Forge);
        scene.end();
        assert!(scene.refused("records_bad_signature") > 50);
        assert!(scene.refused("records_malformed") > 5);
        let warned = scene.warned("did not sign for this network: r3 is faulty or hostile");
        assert!(warned.iter().all(|line| line.starts_with("r3 sent ")));
        assert!(!warned.is_empty());
        let lines = scene
            .world
            .log()
            .filter(|line| line.contains("r3 sent "))
            .count();
        assert!(
            (3..=12).contains(&lines),
            "one in ten seconds at each: {lines}"
        );
        // No honest router was made to look like a liar.
        for name in ["r0", "r1", "r2"] {
            assert_eq!(
                scene.warned(&format!("{name} is faulty or hostile")),
                Vec::<String>::new()
            );
        }
    }
}

#[test]
fn what_is_replayed_changes_nothing() {
    for seed in 0..5 {
        let mut scene = Scene::new(10 + seed);
        scene.misbehave(Mischief::Replay);
        // One of the others changes, so that there is something old.
        scene.world.crash(scene.routers[1]);
        scene.world.run_for(Duration::from_secs(2));
        scene.world.restart(scene.routers[1]);
        scene.world.run_for(Duration::from_secs(90));
        scene.end();
        assert!(scene.refused("records_replayed") > 0);
        assert!(!scene.warned("r3 is faulty, or replays them").is_empty());
        let replayed: u64 = scene
            .honest()
            .filter_map(|status| status.traffic.drops.get("replayed").copied())
            .sum();
        assert!(replayed > 0, "datagrams, too");
    }
}

#[test]
fn two_records_under_one_number_end_as_one_everywhere() {
    for seed in 0..5 {
        let mut scene = Scene::new(20 + seed);
        scene.misbehave(Mischief::Equivocate);
        scene.end();
        assert!(scene.refused("records_equivocal") > 0);
        let warned = scene.warned("r3 signed two different records under one number");
        assert!(!warned.is_empty());
    }
}

#[test]
fn a_flood_of_records_is_taken_at_a_measure() {
    for seed in 0..3 {
        let mut scene = Scene::new(30 + seed);
        scene.misbehave(Mischief::Flood);
        scene.end();
        assert!(scene.refused("records_too_often") > 1_000);
        assert!(
            !scene
                .warned("r3 changes its records more often than a router does")
                .is_empty()
        );
    }
}

#[test]
fn what_a_member_drops_and_delays_is_its_own() {
    for seed in 0..5 {
        let mut scene = Scene::new(40 + seed);
        scene.misbehave(Mischief::Drop);
        scene.misbehave(Mischief::Delay);
        scene.end();
    }
}

#[test]
fn a_link_that_breaks_beside_a_hostile_member_is_gone_round_by_the_honest() {
    for seed in 0..3 {
        let mut scene = Scene::new(50 + seed);
        for mischief in [
            Mischief::Forge,
            Mischief::Replay,
            Mischief::Equivocate,
            Mischief::Delay,
        ] {
            scene.misbehave(mischief);
        }
        scene.world.run_for(Duration::from_secs(10));
        let (a, b) = (scene.routers[0], scene.routers[1]);
        scene.world.cut(a, b);
        scene.world.run_for(Duration::from_secs(5));
        // By 2 or by 3, which relays what it gets in this case.
        assert!(scene.world.route_of(a, b).is_some());
        scene.world.heal(a, b);
        scene.world.run_for(Duration::from_secs(30));
        scene.end();
    }
}

#[test]
fn the_same_seed_gives_the_same_mischief() {
    let hash = |seed| {
        let mut scene = Scene::new(seed);
        for mischief in Mischief::ALL {
            scene.misbehave(mischief);
        }
        scene.world.run_for(Duration::from_secs(5));
        scene.world.trace_hash()
    };
    assert_eq!(hash(1), hash(1));
    assert_ne!(hash(1), hash(2));
}
