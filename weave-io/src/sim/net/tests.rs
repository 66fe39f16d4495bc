use super::*;
use crate::sim::machine::PORT;

const A: RouterId = RouterId(0);
const B: RouterId = RouterId(1);
const C: RouterId = RouterId(2);

#[test]
fn a_perfect_way_delivers_once_after_its_latency() {
    let mut net = net();
    assert_eq!(
        net.datagram(at(1), A, B, 100),
        [Some(at(1) + Conditions::LOCAL.latency), None]
    );
    assert_eq!(
        net.counters(),
        NetCounters {
            sent: 1,
            sent_bytes: 100,
            ..NetCounters::default()
        }
    );
}

#[test]
fn a_cut_is_silent_and_a_one_way_cut_has_one_direction() {
    let mut net = net();
    net.apply(&Fault::Cut(A, B), 3);
    assert_eq!(net.datagram(at(0), A, B, 1), [None; 2]);
    assert_eq!(net.datagram(at(0), B, A, 1), [None; 2]);
    assert!(!net.is_open(A, B));
    net.apply(&Fault::Heal(B, A), 3);
    assert!(net.is_open(A, B));
    net.apply(&Fault::CutOneWay(A, B), 3);
    assert_eq!(net.datagram(at(0), A, B, 1), [None; 2]);
    assert!(net.datagram(at(0), B, A, 1)[0].is_some());
    assert!(!net.is_open(B, A), "open means both directions");
}

#[test]
fn a_partition_cuts_between_its_group_and_all_others_until_all_is_healed() {
    let mut net = net();
    net.apply(&Fault::Partition([A, B].into()), 3);
    assert!(net.is_open(A, B));
    assert!(!net.is_open(A, C) && !net.is_open(B, C));
    net.apply(&Fault::HealAll, 3);
    assert!(net.is_open(A, C) && net.is_open(B, C));
}

#[test]
fn healing_gives_back_what_was_set_as_normal() {
    let mut net = net();
    let slow = Conditions {
        latency: Duration::from_millis(20),
        ..Conditions::LOCAL
    };
    net.set_normal_between(A, B, slow);
    net.apply(&Fault::Loss(A, B, 500), 3);
    assert!(net.is_lossy());
    net.apply(&Fault::HealAll, 3);
    assert_eq!(net.conditions(A, B), slow);
    assert!(!net.is_lossy());
}

#[test]
fn loss_is_as_frequent_as_it_was_set() {
    let mut net = net();
    net.apply(&Fault::Loss(A, B, 200), 2);
    let lost = (0..10_000)
        .filter(|_| net.datagram(at(0), A, B, 1)[0].is_none())
        .count();
    assert!(
        (1_800..2_200).contains(&lost),
        "{lost} of 10,000 at 200 in a thousand"
    );
}

#[test]
fn bursts_lose_several_datagrams_in_a_row() {
    let mut net = net();
    // Bursts of ten on average, a hundred good ones in between.
    net.apply(&Fault::Bursts(A, B, [10, 100, 1000]), 2);
    let fates: Vec<bool> = (0..20_000)
        .map(|_| net.datagram(at(0), A, B, 1)[0].is_none())
        .collect();
    let lost = fates.iter().filter(|lost| **lost).count();
    let bursts = fates.windows(2).filter(|pair| !pair[0] && pair[1]).count();
    assert!((1_200..2_500).contains(&lost), "{lost} lost");
    assert!(
        (7..14).contains(&(lost / bursts)),
        "{lost} lost in {bursts} bursts"
    );
}

#[test]
fn jitter_keeps_order_and_reordering_breaks_it() {
    let mut net = net();
    let overtakes = |net: &mut Net| {
        let arrivals: Vec<_> = (0..1_000)
            .filter_map(|n| net.datagram(at(0) + Duration::from_micros(n), A, B, 1)[0])
            .collect();
        arrivals.windows(2).filter(|pair| pair[1] < pair[0]).count()
    };
    net.apply(&Fault::Jitter(A, B, Duration::from_millis(5)), 2);
    assert_eq!(overtakes(&mut net), 0);
    net.apply(&Fault::HealAll, 2);
    net.apply(&Fault::Reorder(A, B, 100), 2);
    assert!(overtakes(&mut net) > 50);
}

#[test]
fn duplicates_come_twice_and_the_too_big_not_at_all() {
    let mut net = net();
    net.apply(&Fault::Duplicate(A, B, 1000), 2);
    let [first, second] = net.datagram(at(0), A, B, 1);
    assert!(second.unwrap() >= first.unwrap());
    net.apply(&Fault::Mtu(A, B, 1_200), 2);
    assert!(net.datagram(at(0), A, B, 1_200)[0].is_some());
    assert_eq!(net.datagram(at(0), A, B, 1_201), [None; 2]);
    assert_eq!(net.counters().too_big, 1);
}

#[test]
fn a_machine_sends_from_its_address_of_the_right_family() {
    let own: Vec<IpAddr> = vec!["fd00::1".parse().unwrap(), "198.18.0.1".parse().unwrap()];
    let to = "198.18.0.2:6783".parse().unwrap();
    assert_eq!(
        source_address(&own, 1, to),
        Some("198.18.0.1:1".parse().unwrap())
    );
    assert_eq!(source_address(&own[..1], 1, to), None);
}

#[test]
fn who_is_behind_a_nat_box_is_reached_by_whom_it_spoke_to() {
    let (mut net, addresses) = nat_net();
    let [a, b, _] = addresses;
    // Nobody reaches B before it speaks.
    assert_eq!(net.route(at(0), A, a, outer(7)), None);
    let out = net.route(at(0), B, b, a).unwrap();
    assert_eq!(out.to, A);
    assert_ne!(out.from.ip(), b.ip(), "the box's address");
    assert_eq!(net.arrive(at(0), A, a, out.from), Some(a.ip()));
    let back = net.route(at(1), A, a, out.from).unwrap();
    assert_eq!(back, Route { to: B, from: a });
    assert_eq!(net.arrive(at(1), B, out.from, a), Some(b.ip()));
    let stranger = SocketAddr::from(([198, 51, 100, 1], PORT));
    assert_eq!(net.arrive(at(1), B, out.from, stranger), None);
    assert_eq!(net.counters().filtered, 1);
    // A box that forgot what it knew keeps all out.
    let nat = net.nat_of(B).unwrap();
    assert_eq!(net.flush_nat(nat), BTreeSet::from([B]));
    assert_eq!(net.route(at(1), A, a, out.from), None);
    assert_eq!(net.arrive(at(1), B, out.from, a), None);
}

#[test]
fn two_boxes_give_out_the_same_private_addresses() {
    let (mut net, [a, b, c]) = nat_net();
    assert_eq!(b, c);
    assert_eq!(net.route(at(0), B, b, c).unwrap().to, B);
    assert_eq!(net.route(at(0), C, c, b).unwrap().to, C);
    assert!(!net.can_connect(B, C) && net.can_connect(A, B));
    // Outwards only, and not to the box itself.
    let outer_b = net.route(at(0), B, b, a).unwrap().from;
    assert_eq!(net.connect(A, a, outer_b).0, None);
    assert_eq!(net.route(at(0), B, b, outer_b), None);
    let (to, from) = net.connect(B, b, a);
    assert_eq!((to, from.ip()), (Some(A), outer_b.ip()));
}

/// A in the open, B and C each behind a masquerading box of its own.
fn nat_net() -> (Net, [SocketAddr; 3]) {
    let mut net = net();
    let a = IpAddr::from([198, 18, 0, 1]);
    net.add_address(a, A);
    let [b, c] = [B, C].map(|router| {
        let nat = net.add_nat(NatKind::MASQUERADE);
        net.add_behind(nat, router)
    });
    (net, [a, b, c].map(|ip| SocketAddr::new(ip, PORT)))
}

/// A port of the first box.
fn outer(port: u16) -> SocketAddr {
    SocketAddr::from(([198, 19, 128, 1], port))
}

fn net() -> Net {
    Net::new(Dice::new(1), Conditions::LOCAL)
}

fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}
