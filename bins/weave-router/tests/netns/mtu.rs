//! Underlays of every MTU, and MTUs that change under traffic without a word from anybody.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use weave_io::host::Netlink;

use super::basics::LINK_TIME_MAX;
use super::lab::container::DEVICE;
use super::lab::ping::Pinger;
use super::lab::{Container, Host, Lab, figure, within};

pub(super) fn underlays_of_every_mtu_carry_all_that_containers_send() {
    for mtu_bytes in [1_280, 1_400, 1_500, 9_000] {
        let pair = Pair::new(mtu_bytes);
        let (found, took) = pair.await_path_mtu(mtu_bytes - 28);
        figure(&format!(
            "underlay {mtu_bytes}: path MTU {found} after {took:?}"
        ));
        pair.carries_everything();
        let traffic = pair.a.status().unwrap().traffic;
        figure(&format!(
            "  cut {}, joined {}, told {}, drops {:?}",
            traffic.frames_cut, traffic.frames_joined, traffic.too_big_told, traffic.drops
        ));
    }
}

pub(super) fn a_black_hole_for_large_packets_stalls_tcp_for_less_than_3_s() {
    let pair = Pair::new(1_500);
    pair.await_path_mtu(1_472);
    let stream = Stream::start(&pair.usual[0], &pair.usual[1]);
    stream.flows(Duration::from_secs(2));
    for (swallowed_above, path_mtu) in [(1_400, 1_372), (1_280, 1_252)] {
        let cut = Instant::now();
        pair.lab.swallow_above(swallowed_above);
        stream.flows(Duration::from_secs(6));
        let stall = stream.stall_since(cut);
        let found = pair.path_mtu();
        figure(&format!(
            "nothing above {swallowed_above} passes: {stall:?} without progress, then path MTU {found}"
        ));
        assert!(stall < STALL_MAX, "{stall:?}");
        assert!((path_mtu - 8..=path_mtu).contains(&found), "{found}");
        pair.carries_everything();
        pair.lab.swallow_nothing();
    }
}

pub(super) fn a_change_of_the_devices_mtu_stalls_tcp_for_less_than_3_s() {
    let pair = Pair::new(1_500);
    pair.await_path_mtu(1_472);
    let stream = Stream::start(&pair.usual[0], &pair.usual[1]);
    stream.flows(Duration::from_secs(2));
    for (mtu_bytes, hosts) in [
        (1_400, vec![&pair.a]),
        (1_280, vec![&pair.a, &pair.b]),
        (1_500, vec![&pair.a, &pair.b]),
    ] {
        let changed = Instant::now();
        for host in hosts {
            host.netlink().set_mtu("eth0", mtu_bytes).unwrap();
        }
        stream.flows(Duration::from_secs(6));
        let stall = stream.stall_since(changed);
        let found = pair.path_mtu();
        figure(&format!(
            "eth0 at {mtu_bytes}: {stall:?} without progress, path MTU {found}"
        ));
        assert_eq!(found, mtu_bytes - 28);
        assert!(stall < STALL_MAX, "{stall:?}");
        pair.carries_everything();
    }
}

/// Two hosts, each with a container at the default MTU and one left at Ethernet's.
struct Pair {
    usual: [Container; 2],
    wide: [Container; 2],
    a: Host,
    b: Host,
    lab: Lab,
}

impl Pair {
    fn new(mtu_bytes: u32) -> Self {
        let mut lab = Lab::new();
        let (mut a, mut b) = (lab.host("a"), lab.host("b"));
        for host in [&a, &b] {
            lab.set_mtu(host, mtu_bytes);
            // Runs of packets leave as the packets that they are on a wire, so that each is taken or swallowed.
            let mut command = Command::new("ip");
            command.args(["link", "set", "eth0", "gso_max_segs", "1"]);
            let status = host.namespace().run(|| command.status()).unwrap().unwrap();
            assert!(status.success(), "package iproute2 is installed");
        }
        a.start(&[]);
        b.start(&[a.address()]);
        let usual = [
            a.container(&["10.32.1.1/24", "fd00:32::1/64"]),
            b.container(&["10.32.1.2/24", "fd00:32::2/64"]),
        ];
        let wide = [
            a.container(&["10.32.1.3/24", "fd00:32::3/64"]),
            b.container(&["10.32.1.4/24", "fd00:32::4/64"]),
        ];
        for container in &wide {
            let inside = Netlink::open_in(container.namespace()).unwrap();
            inside.set_mtu(DEVICE, 1_500).unwrap();
        }
        usual[0].must_reach(&usual[1], LINK_TIME_MAX);
        Self {
            usual,
            wide,
            a,
            b,
            lab,
        }
    }

    fn path_mtu(&self) -> u32 {
        let status = self.a.status().unwrap();
        status.connections[0].path_mtu_bytes.into()
    }

    fn await_path_mtu(&self, wanted: u32) -> (u32, Duration) {
        let (_, took) = within(Duration::from_secs(2), "the path MTU", || {
            let known = [&self.a, &self.b].iter().all(|host| {
                host.status().is_some_and(|status| {
                    status
                        .connections
                        .iter()
                        .all(|connection| u32::from(connection.path_mtu_bytes) == wanted)
                })
            });
            known.then_some(())
        });
        (self.path_mtu(), took)
    }

    /// 10 KiB over TCP and 4,000-byte pings, both ways, IPv4 and IPv6.
    fn carries_everything(&self) {
        let [one, other] = &self.usual;
        let [wide_one, wide_other] = &self.wide;
        // TCP tells the other end what it takes; of other packets one at Ethernet's MTU loses those that the one at the
        // default's does not take, as on any switch.
        for (from, to) in [(one, wide_other), (wide_one, other)] {
            transfers(from, to, to.address());
        }
        for (from, to) in [
            (one, other),
            (other, one),
            (wide_one, wide_other),
            (wide_other, wide_one),
        ] {
            for address in [to.address(), to.address_v6()] {
                transfers(from, to, address);
                let start = Instant::now();
                let pinger = Pinger::start(from, address, &[7; 4_000 - 12]);
                assert!(
                    pinger.answered_after(start, ANSWER_TIME_MAX).is_some(),
                    "no answer to 4,000 bytes from {address}: a {:?}, b {:?}",
                    self.a.status().map(|status| status.traffic),
                    self.b.status().map(|status| status.traffic)
                );
            }
        }
    }
}

/// Sends 10 KiB from one container to the other, which must be there whole in time.
fn transfers(from: &Container, to: &Container, address: IpAddr) {
    let bytes: Vec<u8> = (0..10 * 1024_u32).map(|at| (at * 7 / 5) as u8).collect();
    let listener = to.run(|| TcpListener::bind((address, 0)).unwrap());
    let target = listener.local_addr().unwrap();
    let wanted = &bytes;
    thread::scope(|scope| {
        scope.spawn(move || {
            let mut stream =
                from.run(|| TcpStream::connect_timeout(&target, ANSWER_TIME_MAX).unwrap());
            stream.write_all(wanted).unwrap();
        });
        let (mut stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(STALL_MAX)).unwrap();
        let mut received = Vec::new();
        stream.read_to_end(&mut received).unwrap();
        assert!(received == bytes, "{} of 10 KiB", received.len());
    });
}

/// A TCP stream that goes on and on, with the times at which bytes of it arrived.
struct Stream {
    shared: std::sync::Arc<Shared>,
    threads: Vec<thread::JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    arrivals: Mutex<Vec<Instant>>,
}

impl Stream {
    fn start(from: &Container, to: &Container) -> Self {
        let listener = to.run(|| TcpListener::bind((to.address(), 0)).unwrap());
        let target: SocketAddr = listener.local_addr().unwrap();
        let mut sender = from.run(|| TcpStream::connect_timeout(&target, ANSWER_TIME_MAX).unwrap());
        let (mut receiver, _) = listener.accept().unwrap();
        let shared = std::sync::Arc::new(Shared::default());
        let (sending, receiving) = (shared.clone(), shared.clone());
        sender.set_write_timeout(Some(PAUSE)).unwrap();
        receiver.set_read_timeout(Some(PAUSE)).unwrap();
        let threads = vec![
            thread::spawn(move || {
                // 1 MB/s: enough to be full packets, and leaves the machine to others.
                while !sending.stop.load(Ordering::Relaxed) {
                    match sender.write(&[5; 10_000]) {
                        Ok(_) => thread::sleep(Duration::from_millis(10)),
                        Err(error) if is_timeout(&error) => {}
                        Err(error) => panic!("the stream broke: {error}"),
                    }
                }
            }),
            thread::spawn(move || {
                let mut buffer = vec![0; 1 << 16];
                while !receiving.stop.load(Ordering::Relaxed) {
                    match receiver.read(&mut buffer) {
                        Ok(0) => {
                            assert!(receiving.stop.load(Ordering::Relaxed), "the stream ended");
                        }
                        Ok(_) => receiving.arrivals.lock().unwrap().push(Instant::now()),
                        Err(error) if is_timeout(&error) => {}
                        Err(error) => panic!("the stream broke: {error}"),
                    }
                }
            }),
        ];
        Self { shared, threads }
    }

    fn flows(&self, time: Duration) {
        thread::sleep(time);
    }

    /// The longest time without a byte since `from`.
    fn stall_since(&self, from: Instant) -> Duration {
        let arrivals = self.shared.arrivals.lock().unwrap();
        let mut last = from;
        let mut longest = Duration::ZERO;
        for at in arrivals.iter().filter(|at| **at > from) {
            longest = longest.max(at.duration_since(last));
            last = *at;
        }
        longest.max(last.elapsed())
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let ended = thread.join();
            assert!(ended.is_ok() || thread::panicking(), "the stream broke");
        }
    }
}

fn is_timeout(error: &std::io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
    )
}

/// The bar: TCP never stalls for longer.
const STALL_MAX: Duration = Duration::from_secs(3);
const ANSWER_TIME_MAX: Duration = Duration::from_secs(3);
const PAUSE: Duration = Duration::from_millis(100);
