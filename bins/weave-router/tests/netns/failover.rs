//! Cuts that nobody announces, and crashes.

use std::time::{Duration, Instant, SystemTime};

use super::basics::LINK_TIME_MAX;
use super::lab::ping::Pinger;
use super::lab::shapes::{FullMesh, Pair};
use super::lab::{Host, Lab, figure};

pub(super) fn a_silent_cut_under_traffic_is_bridged_within_a_second() {
    let mut lab = Lab::new();
    let FullMesh { containers, hosts } = lab.full_mesh(3);
    let [a, b, _] = &hosts[..] else {
        unreachable!()
    };
    let pinger = Pinger::start(&containers[0], containers[1].address(), b"");
    let mut gaps = Vec::new();
    for cut in 0..CUTS {
        await_direct(a, b);
        // Wherever the routers' own timers stand.
        std::thread::sleep(random_phase());
        let last = Instant::now();
        lab.cut(a, b);
        std::thread::sleep(OBSERVATION);
        gaps.push(pinger.gap_since(last));
        let status = a.status().unwrap();
        assert!(
            status
                .routes
                .iter()
                .any(|route| route.destination == "b" && route.next_hop == "c"),
            "cut {cut} is not bridged: {:?}",
            status.routes
        );
        lab.heal(a, b);
    }
    gaps.sort();
    figure(&format!(
        "gaps in ms: {:?}",
        gaps.iter().map(Duration::as_millis).collect::<Vec<_>>()
    ));
    assert!(
        gaps.iter().all(|gap| *gap < Duration::from_secs(1)),
        "{gaps:?}"
    );
    // Each was one: else the pings went another way all along, and this test would show nothing.
    assert!(
        gaps.iter().all(|gap| *gap > Duration::from_millis(100)),
        "{gaps:?}"
    );
}

pub(super) fn a_cut_of_one_direction_is_bridged_within_two_seconds() {
    let mut lab = Lab::new();
    let FullMesh { containers, hosts } = lab.full_mesh(3);
    let [a, b, _] = &hosts[..] else {
        unreachable!()
    };
    let pinger = Pinger::start(&containers[0], containers[1].address(), b"");
    for turn in 0..CUTS {
        let (from, to) = if turn % 2 == 0 { (a, b) } else { (b, a) };
        await_direct(a, b);
        std::thread::sleep(random_phase());
        let cut = Instant::now();
        lab.cut_one_way(from, to);
        std::thread::sleep(Duration::from_millis(2_500));
        let gap = pinger.gap_since(cut);
        figure(&format!("from {} to {}: {gap:?}", from.name(), to.name()));
        assert!(gap < Duration::from_secs(2), "{gap:?}");
        lab.heal_one_way(from, to);
    }
}

pub(super) fn a_killed_router_is_back_within_two_seconds() {
    let mut lab = Lab::new();
    let Pair {
        one,
        other,
        mut a,
        mut b,
    } = lab.pair(&[]);
    let pinger = Pinger::start(&one, other.address(), b"");
    // The one that was told its peer, and the one that was not.
    for told in [true, false, true, false] {
        pinger
            .answered_after(Instant::now(), LINK_TIME_MAX)
            .expect("the network works before");
        let (host, peers) = if told {
            (&mut b, vec![a.address()])
        } else {
            (&mut a, vec![])
        };
        host.kill();
        let started = host.start(&peers);
        let answered = pinger
            .answered_after(started, LINK_TIME_MAX)
            .expect("it works again");
        let took = answered.duration_since(started);
        figure(&format!(
            "back {took:?} after the restart ({})",
            if told { "told its peer" } else { "told none" }
        ));
        assert!(took < Duration::from_secs(2), "{took:?}");
    }
}

/// Until frames between two hosts' containers go straight again.
fn await_direct(one: &Host, other: &Host) {
    one.await_direct(HEAL_TIME_MAX, &[other]);
    other.await_direct(HEAL_TIME_MAX, &[one]);
}

/// Up to a second: the longest interval of the probes.
fn random_phase() -> Duration {
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap();
    Duration::from_nanos(
        u64::from(now.subsec_nanos()).wrapping_mul(0x9e37_79b9_7f4a_7c15) % 1_000_000_000,
    )
}

const CUTS: usize = 10;
/// Longer than the second that a cut may interrupt.
const OBSERVATION: Duration = Duration::from_millis(1_500);
/// UDP is tried each second, taken again after five answers, and held down for up to 8 s after it has flapped.
const HEAL_TIME_MAX: Duration = Duration::from_secs(20);
