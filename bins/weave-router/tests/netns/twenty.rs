//! All pairs, memory, processor time.

use std::net::Ipv4Addr;
use std::thread;
use std::time::{Duration, Instant};

use super::lab::ping::Pinger;
use super::lab::{Container, Host, Lab, figure};

pub(super) fn twenty_routers_are_light() {
    let mut lab = Lab::new();
    let mut hosts: Vec<Host> = (1..=ROUTERS)
        .map(|number| lab.host(&format!("h{number}")))
        .collect();
    let containers: Vec<Container> = hosts
        .iter_mut()
        .zip(1..)
        .map(|(host, number)| host.container(&[&format!("10.32.1.{number}/24")]))
        .collect();
    let first = hosts[0].address();
    let mut started = Instant::now();
    for (number, host) in hosts.iter_mut().enumerate() {
        let told: &[Ipv4Addr] = if number == 0 { &[] } else { &[first] };
        started = host.start(told);
    }

    for host in &hosts {
        host.await_status(
            Duration::from_secs(20),
            "a route to every other",
            |status| status.routes.len() == ROUTERS - 1,
        );
    }
    figure(&format!(
        "all routes {:?} after the last start",
        started.elapsed()
    ));
    // Each pair once: an answer shows both directions.
    thread::scope(|scope| {
        for (number, one) in containers.iter().enumerate() {
            let others = &containers[number + 1..];
            scope.spawn(move || {
                others.iter().for_each(|other| {
                    one.must_reach(other, PAIR_TIME_MAX);
                })
            });
        }
    });
    figure(&format!(
        "all pairs of containers reached {:?} after the last start",
        started.elapsed()
    ));

    thread::sleep((started + SETTLING).saturating_duration_since(Instant::now()));
    let mut resident: Vec<u64> = hosts
        .iter()
        .map(|host| host.router().resident_kib())
        .collect();
    resident.sort_unstable();
    figure(&format!(
        "VmRSS {SETTLING:?} after the start: median {} KiB, largest {} KiB",
        resident[ROUTERS / 2],
        resident[ROUTERS - 1]
    ));

    let times = |hosts: &[Host]| -> Vec<Duration> {
        hosts
            .iter()
            .map(|host| host.router().processor_time())
            .collect()
    };
    let before = times(&hosts);
    thread::sleep(IDLING);
    let after = times(&hosts);
    let mut used: Vec<Duration> = after
        .iter()
        .zip(&before)
        .map(|(after, before)| *after - *before)
        .collect();
    used.sort_unstable();
    figure(&format!(
        "processor time in {IDLING:?} of idling: median {:?}, most {:?}",
        used[ROUTERS / 2],
        used[ROUTERS - 1]
    ));

    // Idle, not stuck.
    let pinger = Pinger::start(&containers[0], containers[ROUTERS - 1].address(), b"");
    assert!(
        pinger
            .answered_after(Instant::now(), Duration::from_secs(1))
            .is_some()
    );
    assert!(resident[ROUTERS - 1] < RESIDENT_KIB_MAX, "{resident:?}");
    assert!(used[ROUTERS / 2] <= PROCESSOR_TIME_MAX, "{used:?}");
}

const ROUTERS: usize = 20;
/// Twenty pinging threads and twenty routers share the processors meanwhile.
const PAIR_TIME_MAX: Duration = Duration::from_secs(10);
const SETTLING: Duration = Duration::from_secs(30);
const IDLING: Duration = Duration::from_secs(60);
/// 15 MB.
const RESIDENT_KIB_MAX: u64 = 15_000_000 / 1024;
/// One percent.
const PROCESSOR_TIME_MAX: Duration = Duration::from_millis(600);
