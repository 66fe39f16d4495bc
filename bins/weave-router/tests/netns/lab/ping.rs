//! ICMP echo at a fixed beat, with a record of every answer, so that an interruption can be measured exactly.

use std::io::{self, ErrorKind, Read};
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::Container;

/// Pings at a fixed beat from a container until it goes out of scope.
pub(crate) struct Pinger {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    record: Mutex<Record>,
    answered: Condvar,
}

/// What was sent and what came back.
#[derive(Debug, Default, Clone)]
pub(crate) struct Record {
    /// Requests sent so far; they bear the numbers from 0 up.
    pub(crate) sent: u32,
    /// When each answer came, in order, with its request's number.
    pub(crate) answers: Vec<(u32, Instant)>,
}

impl Pinger {
    /// Starts pinging `address`, with `marker` at the end of each request.
    pub(crate) fn start(from: &Container, address: IpAddr, marker: &[u8]) -> Self {
        Self::start_every(INTERVAL, from, address, marker)
    }

    /// The same at a beat of one's own, instead of every 20 ms.
    pub(crate) fn start_every(
        interval: Duration,
        from: &Container,
        address: IpAddr,
        marker: &[u8],
    ) -> Self {
        static COUNTER: AtomicU16 = AtomicU16::new(0);
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let echo = Echo {
            v6: address.is_ipv6(),
            identifier: number,
            marker: marker.to_vec(),
        };
        let shared = Arc::new(Shared::default());
        let (namespace, own) = (from.namespace().clone(), Arc::clone(&shared));
        let thread = thread::spawn(move || {
            namespace.enter_current_thread().unwrap();
            let socket = echo.socket().unwrap();
            let target = SockAddr::from(SocketAddr::new(address, 0));
            own.ping(&socket, &target, &echo, interval);
        });
        Self {
            shared,
            thread: Some(thread),
        }
    }

    /// Waits for the first answer to come after `moment`; when it came, or `None` if it did not come in that time.
    pub(crate) fn answered_after(&self, moment: Instant, limit: Duration) -> Option<Instant> {
        let first = |record: &Record| {
            let at = record.answers.partition_point(|(_, when)| *when <= moment);
            record.answers.get(at).map(|(_, when)| *when)
        };
        let record = self.shared.record.lock().unwrap();
        let (record, _) = self
            .shared
            .answered
            .wait_timeout_while(record, limit, |record| first(record).is_none())
            .unwrap();
        first(&record)
    }

    /// Everything so far.
    pub(crate) fn record(&self) -> Record {
        self.shared.record.lock().unwrap().clone()
    }

    /// The longest time without an answer between `from` and now.
    pub(crate) fn gap_since(&self, from: Instant) -> Duration {
        self.record().gap(from, Instant::now())
    }
}

impl Drop for Pinger {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Record {
    /// The longest time without an answer that touches `from..until`: it begins with the last answer before.
    pub(crate) fn gap(&self, from: Instant, until: Instant) -> Duration {
        let mut last = from;
        let mut longest = Duration::ZERO;
        for (_, at) in &self.answers {
            if *at <= from {
                last = *at;
                continue;
            }
            let at = (*at).min(until);
            longest = longest.max(at.saturating_duration_since(last));
            last = at;
        }
        longest.max(until.saturating_duration_since(last))
    }
}

impl Shared {
    fn ping(&self, socket: &Socket, target: &SockAddr, echo: &Echo, interval: Duration) {
        let start = Instant::now();
        let mut number: u32 = 0;
        while !self.stop.load(Ordering::Relaxed) {
            // No route and no neighbour are times without an answer like any other.
            let _ = socket.send_to(&echo.request(number), target);
            number += 1;
            self.record.lock().unwrap().sent = number;
            self.receive(socket, echo, start + interval * number);
        }
    }

    fn receive(&self, socket: &Socket, echo: &Echo, until: Instant) {
        let mut bytes = [0; 8192];
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            // Less than a microsecond becomes none, and none is no time-out at all (setsockopt, SO_RCVTIMEO).
            let left = left.max(Duration::from_micros(1));
            socket.set_read_timeout(Some(left)).unwrap();
            match (&mut &*socket).read(&mut bytes) {
                Ok(length) => {
                    if let Some(number) = echo.answer(&bytes[..length]) {
                        self.record
                            .lock()
                            .unwrap()
                            .answers
                            .push((number, Instant::now()));
                        self.answered.notify_all();
                    }
                }
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                // An ICMP error of an earlier request.
                Err(_) => thread::sleep(Duration::from_millis(1)),
            }
        }
    }
}

/// One exchange's form (RFC 792, RFC 4443 section 4).
pub(crate) struct Echo {
    pub(crate) v6: bool,
    pub(crate) identifier: u16,
    pub(crate) marker: Vec<u8>,
}

impl Echo {
    /// A socket that sends requests, and receives all ICMP of its namespace.
    pub(crate) fn socket(&self) -> io::Result<Socket> {
        if self.v6 {
            Socket::new(Domain::IPV6, Type::RAW, Some(Protocol::ICMPV6))
        } else {
            Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::ICMPV4))
        }
    }

    /// The request of this number.
    pub(crate) fn request(&self, number: u32) -> Vec<u8> {
        let mut message = vec![if self.v6 { 128 } else { 8 }, 0, 0, 0];
        message.extend(self.identifier.to_be_bytes());
        // The message's own field wraps; the one in the data does not.
        message.extend((number as u16).to_be_bytes());
        message.extend(number.to_be_bytes());
        message.extend(&self.marker);
        if !self.v6 {
            // For IPv6 the kernel does it (RFC 3542 section 3.1).
            let sum = checksum(&message);
            message[2..4].copy_from_slice(&sum.to_be_bytes());
        }
        message
    }

    /// The number of the request that this packet answers, if it does.
    pub(crate) fn answer(&self, packet: &[u8]) -> Option<u32> {
        // With IPv4 the header comes too.
        let header_bytes = if self.v6 {
            0
        } else {
            usize::from(packet.first()? & 15) * 4
        };
        let message = packet.get(header_bytes..)?;
        let kind = if self.v6 { 129 } else { 0 };
        let data = message.get(8..)?;
        let ours = message[0] == kind
            && message[4..6] == self.identifier.to_be_bytes()
            && data.get(4..)? == self.marker;
        ours.then(|| u32::from_be_bytes([data[0], data[1], data[2], data[3]]))
    }
}

/// The Internet checksum (RFC 1071).
pub(crate) fn checksum(bytes: &[u8]) -> u16 {
    let mut sum: u32 = 0;
    for pair in bytes.chunks(2) {
        sum += u32::from(u16::from_be_bytes([
            pair[0],
            pair.get(1).copied().unwrap_or(0),
        ]));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// The beat: short beside the second that a fail-over may take.
const INTERVAL: Duration = Duration::from_millis(20);
