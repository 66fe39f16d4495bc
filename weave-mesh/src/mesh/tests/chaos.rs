//! Whole meshes under random faults: whatever happened, quiet ends in one link for each pair that
//! wants one, and in equal stores.

use proptest::prelude::*;

use super::world::{World, reachable};

const ROUTERS: usize = 3;

#[derive(Clone, Debug)]
enum Step {
    Connect(usize, usize),
    CutUdp(usize, usize),
    CutAll(usize, usize),
    Reset(usize, usize),
    Restart(usize),
    Frames(usize, usize),
    Heal,
    Wait(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let pair = (0..ROUTERS, 1..ROUTERS).prop_map(|(a, more)| (a, (a + more) % ROUTERS));
    let step = prop_oneof![
        3 => pair.clone().prop_map(|(a, b)| Step::Connect(a, b)),
        1 => pair.clone().prop_map(|(a, b)| Step::CutUdp(a, b)),
        1 => pair.clone().prop_map(|(a, b)| Step::CutAll(a, b)),
        2 => pair.clone().prop_map(|(a, b)| Step::Reset(a, b)),
        1 => (0..ROUTERS).prop_map(Step::Restart),
        1 => pair.prop_map(|(a, b)| Step::Frames(a, b)),
        1 => Just(Step::Heal),
        4 => prop_oneof![0_u64..30, 0_u64..3_000].prop_map(Step::Wait),
    ];
    proptest::collection::vec(step, 0..25)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]
    #[test]
    fn quiet_after_faults_ends_in_one_link_and_equal_stores(steps in steps()) {
        let mut world = World::new(ROUTERS);
        for index in 0..ROUTERS {
            world.nodes[index].config.discovery = true;
            world.restart(index, 1001);
        }
        let mut boot_id = 1001;
        for step in steps {
            match step {
                Step::Connect(a, b) => world.connect(a, b),
                Step::CutUdp(a, b) => world.cut_udp(a, b),
                Step::CutAll(a, b) => world.cut_all(a, b),
                Step::Reset(a, b) => {
                    // One end loses its stream; the other is not told.
                    if let Some(conn) = world.link(a, b).and_then(crate::Link::conn) {
                        world.with(a, |mesh, now| {
                            mesh.handle_closed(now, conn, crate::CloseReason::Reset);
                        });
                    }
                }
                Step::Restart(at) => {
                    boot_id += 1;
                    world.restart(at, boot_id);
                }
                Step::Frames(a, b) => {
                    let peer = world.id(b);
                    world.with(a, |mesh, now| mesh.handle_activity(now, peer));
                }
                Step::Heal => world.heal(),
                Step::Wait(ms) => world.run_ms(ms),
            }
        }
        world.heal();
        for at in 1..ROUTERS {
            world.connect(0, at);
        }
        // Longest: a stream found dead after 5 s, redialled within 3.6 s, UDP held down for 8 s and
        // taken again after 5 more answers, stores compared after 30 s.
        world.run_ms(45_000);
        for at in 0..ROUTERS {
            prop_assert_eq!(reachable(&world.nodes[at].mesh).len(), ROUTERS);
            prop_assert_eq!(world.nodes[at].mesh.links().count(), ROUTERS - 1);
            prop_assert_eq!(
                world.nodes[at].mesh.store().digest(),
                world.nodes[0].mesh.store().digest()
            );
            for to in (0..ROUTERS).filter(|to| *to != at) {
                let link = world.link(at, to).unwrap();
                prop_assert!(link.udp_is_up() && link.conn().is_some() && link.is_published());
                prop_assert_eq!(Some(link.tag_in()), world.link(to, at).unwrap().tag_out());
                prop_assert_eq!(link.dialled(), !world.link(to, at).unwrap().dialled());
            }
        }
    }
}
