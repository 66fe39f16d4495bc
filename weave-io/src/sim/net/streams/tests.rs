use super::*;
use crate::sim::dice::Dice;
use crate::sim::fault::{Conditions, Fault};

const A: RouterId = RouterId(0);
const B: RouterId = RouterId(1);
const DIALLED: ConnId = ConnId(2);
/// Of a local network, each way.
const LATENCY: Duration = Conditions::LOCAL.latency;

#[test]
fn a_stream_stands_after_a_round_trip_and_carries_bytes_in_order() {
    let mut pair = Pair::connected();
    assert_eq!(
        pair.seen,
        ["0.000400 A opened, dialled", "0.000600 B opened"]
    );
    for text in ["one", "two", "three"] {
        pair.write(A, text);
    }
    pair.write(B, "four");
    pair.run(ms(10));
    assert_eq!(
        pair.news(),
        ["A got four", "B got one", "B got two", "B got three"]
    );
}

#[test]
fn nobody_listening_refuses_after_a_round_trip() {
    let mut pair = Pair::new();
    pair.machines[1] = Machine::Idle;
    pair.dial();
    pair.run(ms(5_000));
    assert_eq!(pair.seen, ["0.000400 A closed: connection refused"]);
    assert_eq!(pair.streams.len(), 0);
}

#[test]
fn a_cut_or_a_machine_without_power_lets_the_dialler_wait_for_two_seconds() {
    for silent in [false, true] {
        let mut pair = Pair::new();
        if silent {
            pair.machines[1] = Machine::Silent;
        } else {
            pair.net.apply(&Fault::Cut(A, B), 2);
        }
        pair.dial();
        pair.run(ms(5_000));
        assert_eq!(pair.seen, ["2.000000 A closed: timed out"]);
        assert_eq!(pair.streams.len(), 0);
    }
}

#[test]
fn a_lost_chunk_comes_after_a_time_out_and_what_is_behind_it_waits() {
    let mut pair = Pair::connected();
    pair.net.apply(&Fault::Cut(A, B), 2);
    pair.write(A, "lost");
    pair.write(A, "behind");
    pair.run(ms(100));
    pair.net.apply(&Fault::HealAll, 2);
    pair.run(ms(50));
    assert!(pair.news().is_empty(), "the time-out is not over");
    pair.run(ms(100));
    assert_eq!(pair.news(), ["B got lost", "B got behind"]);
}

#[test]
fn a_chunk_whose_acknowledgement_is_lost_comes_once() {
    let mut pair = Pair::connected();
    pair.net.apply(&Fault::CutOneWay(B, A), 2);
    pair.write(A, "once");
    pair.run(ms(1_000));
    pair.net.apply(&Fault::HealAll, 2);
    pair.write(A, "more");
    pair.run(ms(2_000));
    assert_eq!(pair.news(), ["B got once", "B got more"]);
}

#[test]
fn a_stream_with_nothing_acknowledged_for_five_seconds_ends_at_its_sender() {
    let mut pair = Pair::connected();
    pair.net.apply(&Fault::Cut(A, B), 2);
    pair.write(A, "lost");
    pair.run(ms(4_999));
    assert!(pair.news().is_empty());
    pair.run(ms(1));
    assert_eq!(pair.news(), ["A closed: timed out"]);
    // The other end learns of it when it writes.
    pair.net.apply(&Fault::HealAll, 2);
    pair.write(B, "anybody there?");
    pair.run(ms(10));
    assert_eq!(pair.news(), ["B closed: the connection was reset"]);
    assert_eq!(pair.streams.len(), 0);
}

#[test]
fn closing_sends_the_rest_first() {
    let mut pair = Pair::connected();
    pair.write(A, "the rest");
    pair.act(|streams, context| streams.close(context, A, DIALLED));
    pair.run(ms(10));
    assert_eq!(
        pair.news(),
        [
            "B got the rest",
            "B closed: the other side closed the connection"
        ]
    );
    assert_eq!(pair.streams.len(), 0);
}

#[test]
fn a_crash_resets_and_a_power_cut_does_not() {
    for silent in [false, true] {
        let mut pair = Pair::connected();
        pair.machines[1] = if silent {
            Machine::Silent
        } else {
            Machine::Idle
        };
        pair.act(|streams, context| streams.drop_router(context, B, silent));
        pair.run(LATENCY);
        let expected: &[&str] = if silent {
            &[]
        } else {
            &["A closed: the connection was reset"]
        };
        assert_eq!(pair.news(), expected);
        if silent {
            pair.machines[1] = Machine::Running;
            pair.write(A, "to the machine that is back");
            pair.run(ms(10));
            assert_eq!(pair.news(), ["A closed: the connection was reset"]);
        }
        assert_eq!(pair.streams.len(), 0);
    }
}

#[test]
fn a_nat_box_that_forgets_a_stream_resets_who_is_inside_and_silences_the_other() {
    let mut pair = Pair::connected();
    pair.act(|streams, context| streams.sever(context, &BTreeSet::from([A])));
    pair.run(ms(10_000));
    assert!(pair.news().is_empty(), "who says nothing notices nothing");
    pair.write(A, "from an unknown port");
    pair.write(B, "to nobody");
    pair.run(ms(100));
    assert_eq!(pair.news(), ["A closed: the connection was reset"]);
    pair.run(ms(5_000));
    assert_eq!(pair.news(), ["B closed: timed out"]);
    assert_eq!(pair.streams.len(), 0);
}

#[test]
fn too_much_unsent_ends_a_stream() {
    let mut pair = Pair::connected();
    pair.net.apply(&Fault::Cut(A, B), 2);
    for _ in 0..=UNSENT_BYTES_MAX / 1_000 {
        pair.write(A, &"x".repeat(1_000));
    }
    pair.run(ms(1));
    assert_eq!(pair.news(), ["A closed: too much was unsent"]);
}

/// Two machines and whatever streams are between them.
struct Pair {
    net: Net,
    queue: Queue<StreamEvent>,
    streams: Streams,
    machines: [Machine; 2],
    now: Duration,
    seen: Vec<String>,
    told: usize,
    accepted: Option<ConnId>,
}

impl Pair {
    fn new() -> Self {
        Self {
            net: Net::new(Dice::new(1), Conditions::LOCAL),
            queue: Queue::new(),
            streams: Streams::default(),
            machines: [Machine::Running; 2],
            now: Duration::ZERO,
            seen: Vec::new(),
            told: 0,
            accepted: None,
        }
    }

    fn connected() -> Self {
        let mut pair = Self::new();
        pair.dial();
        pair.run(ms(10));
        pair.told = pair.seen.len();
        pair
    }

    fn dial(&mut self) {
        let address = |n: u8| SocketAddr::from(([198, 18, 0, n], 6783));
        self.act(|streams, context| {
            streams.dial(context, (A, DIALLED), address(1), address(2), Some(B), true);
        });
    }

    fn write(&mut self, router: RouterId, text: &str) {
        let conn = if router == A {
            DIALLED
        } else {
            self.accepted.unwrap()
        };
        self.act(|streams, context| streams.write(context, router, conn, text.into()));
    }

    fn act(&mut self, act: impl FnOnce(&mut Streams, &mut StreamContext<'_, StreamEvent>)) {
        let mut output = Vec::new();
        let machines = self.machines;
        let mut context = StreamContext {
            now: self.now,
            net: &mut self.net,
            queue: &mut self.queue,
            output: &mut output,
            machine: &|router| machines[router.0],
        };
        act(&mut self.streams, &mut context);
        for output in output {
            let name = |router| if router == A { "A" } else { "B" };
            let what = match output {
                StreamOutput::Opened {
                    router,
                    conn,
                    dialled,
                    ..
                } => {
                    if !dialled {
                        self.accepted = Some(conn);
                    }
                    format!(
                        "{} opened{}",
                        name(router),
                        if dialled { ", dialled" } else { "" }
                    )
                }
                StreamOutput::Bytes { router, bytes, .. } => {
                    format!("{} got {}", name(router), String::from_utf8(bytes).unwrap())
                }
                StreamOutput::Drained { router, .. } => format!("{} drained", name(router)),
                StreamOutput::Closed { router, reason, .. } => {
                    format!("{} closed: {reason}", name(router))
                }
            };
            self.seen
                .push(format!("{:.6} {what}", self.now.as_secs_f64()));
        }
    }

    fn run(&mut self, time: Duration) {
        let until = self.now + time;
        while let Some((at, event)) = self.queue.pop(until) {
            self.now = at;
            self.act(|streams, context| streams.handle(context, event));
        }
        self.now = until;
    }

    /// What was seen since the last call, without times and sorted by machine.
    fn news(&mut self) -> Vec<String> {
        let mut news: Vec<String> = self.seen[self.told..]
            .iter()
            .filter_map(|line| Some(line.split_once(' ')?.1.to_owned()))
            .collect();
        self.told = self.seen.len();
        news.sort_by_key(|line| line.starts_with('B'));
        news
    }
}

fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}
