use std::net::{Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;

use super::*;
use crate::mesh::tests_base as base;

fn v4(number: u32) -> Source {
    Source::from(IpAddr::V4(Ipv4Addr::from_bits(number)))
}

/// Strangers and known ones being set up.
fn half_open(strangers: usize, known: usize) -> HalfOpen {
    HalfOpen { strangers, known }
}

#[test]
fn a_source_is_an_ipv4_address_or_an_ipv6_customer() {
    let v6 = |text: &str| Source::from(IpAddr::V6(text.parse::<Ipv6Addr>().unwrap()));
    assert_eq!(v6("2001:db8:0:1200::1"), v6("2001:db8:0:12ff:ffff::2"));
    assert_ne!(v6("2001:db8:0:1200::1"), v6("2001:db8:0:1300::1"));
    assert_eq!(v6("::ffff:198.18.0.1"), v4(0xC612_0001));
    assert_ne!(v6("::1"), v4(0));
}

#[test]
fn ten_thousand_strangers_leave_room_for_a_known_peer() {
    let now = base();
    let mut budget = Budget::new(7, now);
    let mut open = half_open(0, 0);
    for stranger in 0..10_000 {
        if budget.admit(now, v4(stranger), open, false).is_ok() {
            open.strangers += 1;
        }
    }
    assert_eq!(open.strangers, STRANGERS_PER_S as usize);
    let later = now + Duration::from_secs(5);
    assert_eq!(
        budget.admit(later, v4(1 << 30), half_open(128, 0), false),
        Err(Refusal::HalfOpen)
    );
    for peer in 0..20 {
        let open = half_open(128, peer);
        let peer = v4(0xC612_0000 + peer as u32);
        assert_eq!(budget.admit(now, peer, open, true), Ok(Class::Known));
    }
    assert_eq!(
        budget.admit(later, v4(1), half_open(128, 128), true),
        Err(Refusal::HalfOpen),
        "known or not, no more at once"
    );
}

#[test]
fn a_source_of_wrong_passwords_has_one_guess_a_second() {
    for is_known in [false, true] {
        let start = base();
        let mut budget = Budget::new(7, start);
        let guesser = v4(1);
        let mut tested = 0;
        // 1,000 a second for 10 s.
        for ms in 0..10_000 {
            let now = start + Duration::from_millis(ms);
            if let Ok(class) = budget.admit(now, guesser, half_open(0, 0), is_known) {
                tested += 1;
                budget.handle_wrong(now, guesser, class);
            }
            if ms % 1_000 == 0 {
                let friend = budget.admit(now, v4(2), half_open(0, 0), true);
                assert_eq!(friend, Ok(Class::Known), "{ms} ms");
            }
        }
        assert_eq!(tested, 10);
    }
}

#[test]
fn one_source_has_its_own_bound() {
    let now = base();
    let mut budget = Budget::new(7, now);
    let noisy = v4(1);
    for _ in 0..SOURCE_BURST {
        assert!(budget.admit(now, noisy, half_open(0, 0), false).is_ok());
    }
    let later = now + Duration::from_millis(999);
    assert_eq!(
        budget.admit(later, noisy, half_open(0, 0), false),
        Err(Refusal::Source)
    );
    assert!(budget.admit(later, v4(2), half_open(0, 0), false).is_ok());
    let later = now + Duration::from_secs(1);
    assert!(budget.admit(later, noisy, half_open(0, 0), false).is_ok());
}

#[test]
fn whoever_proves_to_be_a_peer_gets_it_back_and_is_known_for_a_day() {
    let now = base();
    let mut budget = Budget::new(7, now);
    for second in 0..100 {
        let now = now + Duration::from_millis(40 * second);
        let class = budget.admit(now, v4(1), half_open(0, 0), false).unwrap();
        budget.handle_peer(now, v4(1), class);
    }
    let full = half_open(STRANGERS_HALF_OPEN_MAX, 0);
    let day = now + ADMITTED_FOR;
    assert_eq!(budget.admit(day, v4(1), full, false), Ok(Class::Known));
    let more = day + Duration::from_secs(5);
    assert_eq!(
        budget.admit(more, v4(1), full, false),
        Err(Refusal::HalfOpen)
    );
}

#[test]
fn the_oldest_of_too_many_admitted_sources_is_forgotten() {
    let now = base();
    let mut budget = Budget::new(7, now);
    for number in 0..=ADMITTED_MAX as u32 {
        let at = now + Duration::from_secs(u64::from(number));
        budget.handle_peer(at, v4(number), Class::Stranger);
    }
    assert_eq!(budget.admitted.len(), ADMITTED_MAX);
    assert!(!budget.admitted.contains_key(&v4(0)));
}

proptest! {
    /// Whatever comes from wherever: the long run and the bounds at once hold, and what is refused costs nothing.
    #[test]
    fn no_mix_of_sources_breaks_a_bound(
        steps in proptest::collection::vec((0..30_u32, 0..400_u64, any::<bool>()), 1..400),
    ) {
        let start = base();
        let mut budget = Budget::new(7, start);
        let mut now = start;
        let mut admitted: Vec<(Instant, u32, Class)> = Vec::new();
        for (source, wait_ms, is_known) in steps {
            now += Duration::from_millis(wait_ms / 20);
            let set_up_at = |at: Instant| at + Duration::from_secs(5) > now;
            let count = |class| {
                let of = |(at, _, of): &&(Instant, u32, Class)| *of == class && set_up_at(*at);
                admitted.iter().filter(of).count()
            };
            let open = half_open(count(Class::Stranger), count(Class::Known));
            let source = source + 100 * u32::from(is_known);
            if let Ok(class) = budget.admit(now, v4(source), open, is_known) {
                prop_assert_eq!(class == Class::Known, is_known);
                admitted.push((now, source, class));
            }
        }
        let within = |since: Instant, for_s: u64, of: &dyn Fn(u32, Class) -> bool| {
            let until = since + Duration::from_secs(for_s);
            let is_in = |at: Instant| since <= at && at < until;
            admitted.iter().filter(|(at, source, class)| is_in(*at) && of(*source, *class)).count()
        };
        for (since, source, _) in &admitted {
            prop_assert!(within(*since, 1, &|_, _| true) <= 2 * ALL_PER_S as usize);
            prop_assert!(within(*since, 1, &|_, class| class == Class::Stranger) <= 2 * STRANGERS_PER_S as usize);
            prop_assert!(within(*since, 5, &|_, class| class == Class::Stranger) <= STRANGERS_HALF_OPEN_MAX);
            prop_assert!(within(*since, 5, &|_, _| true) <= HALF_OPEN_MAX);
            prop_assert!(within(*since, 10, &|of, _| of == *source) <= SOURCE_BURST as usize + 10);
        }
    }
}
