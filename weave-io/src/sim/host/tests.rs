use super::*;

#[test]
fn two_hosts_ping_each_other_through_arp() {
    let mut pair = Pair::new();
    let sequence = pair.hosts[0].start_ping(pair.hosts[1].address()).unwrap();
    pair.run(Duration::from_secs(2));
    assert!(pair.hosts[0].answered(sequence).is_some());
}

#[test]
fn a_beacon_needs_no_arp_and_is_answered_once() {
    let mut pair = Pair::new();
    let to = (pair.hosts[1].mac(), pair.hosts[1].address());
    pair.hosts[0].send_beacon(
        Beacon {
            from: 0,
            to: 1,
            sequence: 9,
            answer: false,
        },
        to,
    );
    pair.run(Duration::from_secs(1));
    let seen: Vec<_> = pair
        .carried
        .iter()
        .filter_map(|frame| Beacon::parse(frame))
        .collect();
    assert_eq!(
        seen.iter().map(|beacon| beacon.answer).collect::<Vec<_>>(),
        [false, true]
    );
    assert_eq!(pair.carried.len(), 2);
}

#[test]
fn a_transfer_arrives_whole_also_when_frames_are_lost() {
    for lose_each in [0, 17] {
        let mut pair = Pair::new();
        pair.lose_each = lose_each;
        let to = pair.hosts[1].address();
        let name = pair.hosts[0].start_transfer(to, 300_000);
        assert_eq!(pair.hosts[0].transfer(name), Some(TransferState::Running));
        pair.run(Duration::from_secs(40));
        assert_eq!(
            pair.hosts[0].transfer(name),
            Some(TransferState::Done),
            "losing each {lose_each}th frame"
        );
        assert_eq!(pair.hosts[0].transfer(name + 1), None);
    }
}

/// Two hosts on one wire.
struct Pair {
    hosts: [Host; 2],
    carried: Vec<Vec<u8>>,
    lose_each: usize,
}

impl Pair {
    fn new() -> Self {
        let host = |n: u8| {
            let mac = EthernetAddress([2, 0, 0, 0, 0, n]);
            Host::new(
                mac,
                Ipv4Addr::new(10, 0, 0, n),
                24,
                u64::from(n),
                Duration::ZERO,
            )
        };
        Self {
            hosts: [host(1), host(2)],
            carried: Vec::new(),
            lose_each: 0,
        }
    }

    fn run(&mut self, time: Duration) {
        let mut now = Duration::ZERO;
        while now < time {
            for index in 0..2 {
                self.hosts[index].poll(now);
                while let Some(frame) = self.hosts[index].take_frame() {
                    self.carried.push(frame.clone());
                    if self.lose_each == 0 || !self.carried.len().is_multiple_of(self.lose_each) {
                        self.hosts[1 - index].receive(frame);
                    }
                }
            }
            now += Duration::from_millis(1);
        }
    }
}
