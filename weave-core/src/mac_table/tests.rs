use std::sync::Arc;

use super::*;

#[allow(clippy::disallowed_methods, reason = "a test's base instant")]
fn epoch() -> Instant {
    Instant::now()
}

fn mac(number: u64) -> EthernetAddress {
    let bytes = number.to_be_bytes();
    EthernetAddress([2, 0, bytes[4], bytes[5], bytes[6], bytes[7]])
}

#[cfg(not(loom))]
mod ordinary {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_no_station_can_have_is_never_learned() {
        let start = epoch();
        let table = MacTable::new(8, start, 1);
        for address in [
            EthernetAddress([0; 6]),
            EthernetAddress::BROADCAST,
            EthernetAddress([0x33, 0x33, 0, 0, 0, 1]),
        ] {
            assert_eq!(table.learn(start, address, Site(1)), Learned::Full);
            assert_eq!(table.lookup(address), None);
        }
        assert!(table.is_empty());
    }

    #[test]
    fn one_site_gets_half_of_the_table_and_the_rest_stays_for_others() {
        let start = epoch();
        let table = MacTable::new(1000, start, 7);
        for number in 0..5000 {
            table.learn(start, mac(number), Site(3));
        }
        assert_eq!(table.len(), 500);
        let new = (10_000..10_100)
            .filter(|number| table.learn(start, mac(*number), Site(4)) == Learned::New)
            .count();
        assert!(
            new >= 99,
            "only a full bucket may refuse, {new} of 100 learned"
        );
        assert_eq!(table.purge(Site(3)), 500);
        assert_eq!(table.len(), new);
    }

    #[test]
    fn a_move_to_a_site_without_a_share_left_forgets_the_address() {
        let start = epoch();
        let table = MacTable::new(4, start, 7);
        for number in 0..2 {
            assert_eq!(table.learn(start, mac(number), Site(1)), Learned::New);
        }
        assert_eq!(table.learn(start, mac(9), Site(2)), Learned::New);
        assert_eq!(table.learn(start, mac(9), Site(1)), Learned::Full);
        assert_eq!(table.lookup(mac(9)), None, "flooded from now on");
        assert_eq!(table.len(), 2);
    }

    #[test]
    fn two_sites_that_flood_addresses_neither_push_out_nor_keep_out_those_of_others() {
        let start = epoch();
        for seed in 0..8 {
            let table = MacTable::new(4096, start, seed * 0x1234_5678_9ABC);
            for number in 0..200 {
                assert_eq!(
                    table.learn(start, mac(number), Site((number % 4) as u16)),
                    Learned::New
                );
            }
            for number in 0..200_000 {
                let site = Site(10 + (number % 2) as u16);
                table.learn(start, mac(1_000_000 + number), site);
            }
            assert!(table.len() <= 4096);
            for number in 0..200 {
                let site = Site((number % 4) as u16);
                assert_eq!(table.lookup(mac(number)), Some(site), "known before");
                let late = mac(10_000 + number);
                assert!(table.has_room(late, site));
                assert_eq!(table.learn(start, late, site), Learned::New, "new after");
                assert_eq!(table.lookup(late), Some(site));
            }
            assert!(table.len() <= 4096);
            let more = mac(3_000_000);
            assert!(!table.has_room(more, Site(10)) || table.lookup(more).is_none());
        }
    }

    #[test]
    fn an_address_that_flaps_stays_for_a_while_and_is_told_of_once() {
        let start = epoch();
        let table = MacTable::new(8, start, 1);
        let at = |ms| start + Duration::from_millis(ms);
        table.learn(start, mac(1), Site(0));
        for turn in 1..=5u16 {
            let from = Site((turn - 1) % 2);
            let learned = table.learn(at(turn.into()), mac(1), Site(turn % 2));
            assert_eq!(learned, Learned::Moved { from });
        }
        let damped = |begins| Learned::Damped {
            at: Site(1),
            begins,
        };
        assert_eq!(table.learn(at(6), mac(1), Site(0)), damped(true));
        assert_eq!(table.learn(at(7), mac(1), Site(3)), damped(false));
        assert_eq!(table.learn(at(10_005), mac(1), Site(0)), damped(false));
        assert_eq!(table.lookup(mac(1)), Some(Site(1)));
        assert!(table.entries(at(7))[0].damped);
        assert_eq!(
            table.learn(at(10_006), mac(1), Site(0)),
            Learned::Moved { from: Site(1) }
        );
        assert!(!table.entries(at(10_006))[0].damped);
    }

    #[test]
    fn five_moves_in_ten_seconds_are_followed_again_and_again() {
        let start = epoch();
        let table = MacTable::new(8, start, 1);
        table.learn(start, mac(1), Site(0));
        for turn in 1..=100u64 {
            let now = start + Duration::from_millis(turn * 2_100);
            let learned = table.learn(now, mac(1), Site((turn % 2) as u16));
            assert!(matches!(learned, Learned::Moved { .. }), "{turn}");
        }
    }

    #[test]
    fn forgetting_ends_the_damping() {
        let start = epoch();
        let table = MacTable::new(8, start, 1);
        for turn in 0..9u16 {
            table.learn(start, mac(1), Site(turn % 2));
        }
        assert!(!table.forget_at(mac(1), Site(0)), "it is not there");
        assert!(table.forget_at(mac(1), Site(1)));
        assert_eq!(table.learn(start, mac(1), Site(0)), Learned::New);
        assert_eq!(
            table.learn(start, mac(1), Site(1)),
            Learned::Moved { from: Site(0) }
        );
    }

    #[test]
    fn a_table_filled_to_its_capacity_takes_nearly_all() {
        let start = epoch();
        for seed in 0..8 {
            let table = MacTable::new(4096, start, seed * 0x1234_5678_9ABC);
            for number in 0..4096 {
                table.learn(start, mac(number), Site((number % 7) as u16));
            }
            assert!(
                table.len() > 4096 * 95 / 100,
                "{} with seed {seed}",
                table.len()
            );
        }
    }

    #[test]
    fn many_threads_leave_a_table_that_adds_up() {
        let start = epoch();
        let table = Arc::new(MacTable::new(512, start, 3));
        let threads: Vec<_> = (0..4u64)
            .map(|thread| {
                let table = Arc::clone(&table);
                std::thread::spawn(move || {
                    for step in 0..5_000u64 {
                        let number = (step * 7 + thread) % 64;
                        match step % 5 {
                            0 => drop(table.forget(mac(number))),
                            1 if step % 500 == 1 => drop(table.purge(Site(thread as u16))),
                            _ => drop(table.learn(
                                start,
                                mac(number),
                                Site((thread + step % 3) as u16),
                            )),
                        }
                        if let Some(site) = table.lookup(mac(number)) {
                            assert!(site.0 < 8);
                        }
                    }
                })
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
        let entries = table.entries(start);
        assert_eq!(entries.len(), table.len());
        let by_site: usize = (0..8).map(|site| table.purge(Site(site))).sum();
        assert_eq!(by_site, entries.len());
        assert!(table.is_empty());
    }

    /// The table without any cleverness: for fewer addresses than a bucket has slots, so that no bucket is ever
    /// the reason.
    #[derive(Default)]
    struct Model {
        entries: BTreeMap<EthernetAddress, (Site, u64)>,
        moves: BTreeMap<EthernetAddress, (u8, u64)>,
    }

    impl Model {
        fn learn(&mut self, capacity: usize, at: u64, mac: EthernetAddress, site: Site) -> Learned {
            let held = self.entries.values().filter(|(s, _)| *s == site).count();
            let taken = held >= (capacity / 2).max(1);
            match self.entries.get(&mac).copied() {
                Some((from, _)) if from == site => {
                    self.entries.insert(mac, (site, at));
                    Learned::Known
                }
                Some((from, _)) if self.is_damped(at, mac) => Learned::Damped {
                    at: from,
                    begins: false,
                },
                Some((from, _)) if !self.count_move(at, mac) => Learned::Damped {
                    at: from,
                    begins: true,
                },
                Some(_) if taken => {
                    self.forget(mac);
                    Learned::Full
                }
                Some((from, _)) => {
                    self.entries.insert(mac, (site, at));
                    Learned::Moved { from }
                }
                None if taken => Learned::Full,
                None => {
                    self.entries.insert(mac, (site, at));
                    Learned::New
                }
            }
        }

        fn is_damped(&self, at: u64, mac: EthernetAddress) -> bool {
            let moves = self.moves.get(&mac);
            moves.is_some_and(|(count, until)| *count > MacTable::MOVES_MAX && at < *until)
        }

        /// Counts a move; false when it is one too many.
        fn count_move(&mut self, at: u64, mac: EthernetAddress) -> bool {
            let moves = self.moves.entry(mac).or_default();
            let (count, since) = *moves;
            *moves = match count {
                0 => (1, at),
                count if count > MacTable::MOVES_MAX => (1, at),
                _ if at - since >= 10_000 => (1, at),
                MacTable::MOVES_MAX => (MacTable::MOVES_MAX + 1, at + 10_000),
                count => (count + 1, since),
            };
            moves.0 <= MacTable::MOVES_MAX
        }

        fn forget(&mut self, mac: EthernetAddress) -> Option<Site> {
            self.moves.remove(&mac);
            self.entries.remove(&mac).map(|(site, _)| site)
        }

        fn held(&self, site: Site) -> usize {
            self.entries.values().filter(|(at, _)| *at == site).count()
        }

        /// Follows what a full table did to a new address: refused, or taken for one of a crowded site.
        fn follow_full(
            &mut self,
            table: &MacTable,
            at: u64,
            new: EthernetAddress,
            site: Site,
            learned: Learned,
        ) {
            let before = self.held(site);
            let gone: Vec<_> = self
                .entries
                .iter()
                .filter(|(mac, _)| table.lookup(**mac).is_none())
                .map(|(mac, (site, _))| (*mac, *site))
                .collect();
            if learned == Learned::Full {
                assert_eq!(gone, []);
                let most = self
                    .entries
                    .values()
                    .map(|(site, _)| self.held(*site))
                    .max();
                assert!(most.unwrap_or(0) <= (2 * before).max(1), "one had too many");
                return;
            }
            assert_eq!(learned, Learned::New);
            let [(victim, of)] = gone[..] else {
                panic!("one makes room for one, {gone:?} went");
            };
            assert!(self.held(of) > (2 * before).max(1), "{of:?} had too few");
            self.forget(victim);
            self.entries.insert(new, (site, at));
        }
    }

    #[derive(Debug, Clone)]
    enum Step {
        Learn(u64, u16),
        Forget(u64),
        Purge(u16),
        Age(u64),
        Pass(u64),
        ForgetAt(u64, u16),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            6 => (0..8u64, 0..4u16).prop_map(|(number, site)| Step::Learn(number, site)),
            1 => (0..8u64).prop_map(Step::Forget),
            1 => (0..4u16).prop_map(Step::Purge),
            1 => (0..20u64).prop_map(Step::Age),
            2 => prop_oneof![0..10u64, 0..9_000u64].prop_map(Step::Pass),
            1 => (0..8u64, 0..4u16).prop_map(|(number, site)| Step::ForgetAt(number, site)),
        ]
    }

    proptest! {
        #[test]
        fn the_table_does_what_a_plain_map_does(
            capacity in 1usize..10,
            seed in any::<u64>(),
            steps in proptest::collection::vec(step(), 1..120),
        ) {
            let start = epoch();
            let table = MacTable::new(capacity, start, seed);
            let mut model = Model::default();
            let mut at = 0;
            for step in steps {
                let now = start + Duration::from_millis(at);
                match step {
                    Step::Learn(number, site) => {
                        let (mac, site) = (mac(number), Site(site));
                        let is_new = !model.entries.contains_key(&mac);
                        let taken = model.held(site) >= (capacity / 2).max(1);
                        if is_new && !taken && model.entries.len() >= capacity {
                            let has_room = table.has_room(mac, site);
                            let learned = table.learn(now, mac, site);
                            prop_assert_eq!(has_room, learned == Learned::New);
                            model.follow_full(&table, at, mac, site, learned);
                        } else {
                            let learned = model.learn(capacity, at, mac, site);
                            prop_assert_eq!(table.learn(now, mac, site), learned);
                        }
                    }
                    Step::Forget(number) => prop_assert_eq!(
                        table.forget(mac(number)),
                        model.forget(mac(number))
                    ),
                    Step::ForgetAt(number, site) => {
                        let is_there = table.lookup(mac(number)) == Some(Site(site));
                        if is_there {
                            model.forget(mac(number));
                        }
                        prop_assert_eq!(table.forget_at(mac(number), Site(site)), is_there);
                    }
                    Step::Purge(site) => {
                        let before = model.entries.len();
                        model.entries.retain(|_, (at, _)| *at != Site(site));
                        let entries = &model.entries;
                        model.moves.retain(|mac, _| entries.contains_key(mac));
                        prop_assert_eq!(table.purge(Site(site)), before - model.entries.len());
                    }
                    Step::Age(max) => {
                        let before = model.entries.len();
                        model.entries.retain(|_, (_, seen)| at - *seen <= max);
                        let entries = &model.entries;
                        model.moves.retain(|mac, _| entries.contains_key(mac));
                        let removed = table.age(now, Duration::from_millis(max));
                        prop_assert_eq!(removed, before - model.entries.len());
                    }
                    Step::Pass(by) => at += by,
                }
                let now = start + Duration::from_millis(at);
                prop_assert_eq!(table.len(), model.entries.len());
                let expected: Vec<_> = model.entries.iter().map(|(mac, (site, seen))| MacEntry {
                    mac: *mac,
                    site: *site,
                    age: Duration::from_millis(at - seen),
                    damped: model.is_damped(at, *mac),
                }).collect();
                prop_assert_eq!(table.entries(now), expected);
                for number in 0..8 {
                    let known = model.entries.get(&mac(number));
                    prop_assert_eq!(table.lookup(mac(number)), known.map(|(site, _)| *site));
                    prop_assert_eq!(
                        table.last_seen(mac(number)),
                        known.map(|(_, seen)| start + Duration::from_millis(*seen))
                    );
                }
            }
        }
    }
}

/// `RUSTFLAGS="--cfg loom" cargo test -p weave-core --lib --release mac_table`
#[cfg(loom)]
mod every_interleaving {
    use super::*;

    #[test]
    fn two_workers_that_learn_one_address_fill_one_slot() {
        loom::model(|| {
            let start = epoch();
            let table = Arc::new(MacTable::new(4, start, 1));
            let other = Arc::clone(&table);
            let thread = loom::thread::spawn(move || other.learn(start, mac(1), Site(1)));
            let here = table.learn(start, mac(1), Site(2));
            let there = thread.join().unwrap();
            assert!(
                matches!(
                    (here, there),
                    (Learned::New, Learned::Moved { from: Site(2) })
                        | (Learned::Moved { from: Site(1) }, Learned::New)
                ),
                "{here:?} {there:?}"
            );
            assert_eq!(table.len(), 1);
            assert_eq!(table.entries(start).len(), 1);
        });
    }

    #[test]
    fn a_reader_never_misses_an_address_that_moves() {
        loom::model(|| {
            let start = epoch();
            let table = Arc::new(MacTable::new(4, start, 1));
            assert_eq!(table.learn(start, mac(1), Site(1)), Learned::New);
            let other = Arc::clone(&table);
            let thread = loom::thread::spawn(move || other.learn(start, mac(1), Site(2)));
            let seen = table.lookup(mac(1));
            assert!(matches!(seen, Some(Site(1) | Site(2))), "{seen:?}");
            assert_eq!(thread.join().unwrap(), Learned::Moved { from: Site(1) });
            assert_eq!(table.lookup(mac(1)), Some(Site(2)));
        });
    }

    #[test]
    fn forgetting_while_another_learns_adds_up() {
        loom::model(|| {
            let start = epoch();
            let table = Arc::new(MacTable::new(4, start, 1));
            table.learn(start, mac(1), Site(1));
            let other = Arc::clone(&table);
            let thread = loom::thread::spawn(move || other.purge(Site(1)));
            let learned = table.learn(start, mac(1), Site(1));
            let purged = thread.join().unwrap();
            assert_eq!(purged, 1);
            let left = usize::from(learned == Learned::New);
            assert_eq!(table.len(), left);
            assert_eq!(table.entries(start).len(), left);
            assert_eq!(table.purge(Site(1)), left);
        });
    }

    #[test]
    fn a_full_table_lets_a_newcomer_in_while_others_learn_and_read() {
        loom::model(|| {
            let start = epoch();
            let table = Arc::new(MacTable::new(4, start, 1));
            // A crowded site; its share is 2 of 4.
            for (number, site) in [(1, 1), (2, 1), (3, 2), (4, 3)] {
                table.learn(start, mac(number), Site(site));
            }
            let other = Arc::clone(&table);
            let thread = loom::thread::spawn(move || other.learn(start, mac(5), Site(4)));
            let moved = table.learn(start, mac(3), Site(3));
            let learned = thread.join().unwrap();
            assert_eq!(moved, Learned::Moved { from: Site(2) });
            assert_eq!(learned, Learned::New);
            assert_eq!(table.len(), 4);
            assert_eq!(table.entries(start).len(), 4);
            assert_eq!(table.lookup(mac(5)), Some(Site(4)));
        });
    }

    #[test]
    fn two_workers_that_see_an_address_flap_count_each_move_once() {
        loom::model(|| {
            let start = epoch();
            let table = Arc::new(MacTable::new(4, start, 1));
            for turn in 0..=u16::from(MacTable::MOVES_MAX) {
                table.learn(start, mac(1), Site(turn % 2));
            }
            let other = Arc::clone(&table);
            let thread = loom::thread::spawn(move || other.learn(start, mac(1), Site(2)));
            let here = table.learn(start, mac(1), Site(3));
            let there = thread.join().unwrap();
            let begun = [here, there]
                .iter()
                .filter(|learned| matches!(learned, Learned::Damped { begins: true, .. }))
                .count();
            assert_eq!(begun, 1, "{here:?} {there:?}");
            assert_eq!(table.lookup(mac(1)), Some(Site(1)));
        });
    }
}
