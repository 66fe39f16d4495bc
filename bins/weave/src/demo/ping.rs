//! A pinger inside a network namespace: no `ping` program is needed, and every echo's time is kept.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};
use weave_io::host::NetNs;

/// One echo request, and when its answer came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Echo {
    /// When it was sent.
    pub(crate) sent_at: Instant,
    /// How long the answer took, once it came.
    pub(crate) round_trip: Option<Duration>,
}

/// Sends echo requests at a steady pace until it is dropped.
#[derive(Debug)]
pub(crate) struct Pinger {
    echoes: Arc<Mutex<Vec<Echo>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Pinger {
    /// Pings `to` from within `namespace`, a request each `every`; `marker` stands in each.
    ///
    /// # Errors
    /// When the namespace cannot be entered or the socket cannot be had (it needs root).
    pub(crate) fn start(
        namespace: &NetNs,
        to: Ipv4Addr,
        every: Duration,
        marker: &'static [u8],
    ) -> io::Result<Self> {
        // A socket stays in the namespace of the thread that made it.
        let socket = namespace
            .run(|| {
                let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::ICMPV4))?;
                socket.connect(&SocketAddrV4::new(to, 0).into())?;
                Ok::<_, io::Error>(socket)
            })
            .map_err(io::Error::other)??;
        let echoes = Arc::new(Mutex::new(Vec::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let thread = std::thread::Builder::new().name("ping".to_owned()).spawn({
            let (echoes, stop) = (Arc::clone(&echoes), Arc::clone(&stop));
            move || {
                ping(&socket, every, marker, &echoes, &stop);
            }
        })?;
        Ok(Self {
            echoes,
            stop,
            thread: Some(thread),
        })
    }

    /// All requests so far, oldest first.
    pub(crate) fn echoes(&self) -> Vec<Echo> {
        self.echoes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// How many of the requests sent since `since` were answered.
    pub(crate) fn answered_since(&self, since: Instant) -> usize {
        self.echoes()
            .iter()
            .filter(|echo| echo.sent_at >= since && echo.round_trip.is_some())
            .count()
    }

    /// The longest time between two answered requests that follow each other, from `since` on; until now where
    /// none was answered since.
    pub(crate) fn longest_gap_since(&self, since: Instant) -> Duration {
        let mut last = since;
        let mut longest = Duration::ZERO;
        for echo in self.echoes() {
            if echo.sent_at >= since && echo.round_trip.is_some() {
                longest = longest.max(echo.sent_at - last);
                last = echo.sent_at;
            }
        }
        if last == since {
            longest = since.elapsed();
        }
        longest
    }
}

impl Drop for Pinger {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn ping(
    socket: &Socket,
    every: Duration,
    marker: &[u8],
    echoes: &Mutex<Vec<Echo>>,
    stop: &AtomicBool,
) {
    let start = Instant::now();
    let mut answer = [0_u8; 2048];
    while !stop.load(Ordering::Relaxed) {
        let sent = {
            let mut echoes = echoes.lock().unwrap_or_else(PoisonError::into_inner);
            let sent = echoes.len();
            if sent >= ECHOES_MAX {
                return;
            }
            echoes.push(Echo {
                sent_at: Instant::now(),
                round_trip: None,
            });
            sent
        };
        // A request that cannot be sent (nobody answers ARP) is one without an answer.
        let _ = (&*socket).write(&request(sent, marker));
        let next = start + every * u32::try_from(sent + 1).unwrap_or(u32::MAX);
        loop {
            let wait = next.saturating_duration_since(Instant::now());
            if wait.is_zero() {
                break;
            }
            // The kernel takes no time-out of 0 to be one.
            if socket
                .set_read_timeout(Some(wait.max(Duration::from_micros(100))))
                .is_err()
            {
                return;
            }
            let Ok(length) = (&*socket).read(&mut answer) else {
                continue;
            };
            let Some(number) = answer.get(..length).and_then(answered) else {
                continue;
            };
            let mut echoes = echoes.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(echo) = echoes.get_mut(number)
                && echo.round_trip.is_none()
            {
                echo.round_trip = Some(echo.sent_at.elapsed());
            }
        }
    }
}

/// An ICMP echo request (RFC 792): type 8, code 0, checksum, identifier and sequence, of which we make one
/// number of 32 bits, and the marker.
fn request(number: usize, marker: &[u8]) -> Vec<u8> {
    let number = u32::try_from(number).unwrap_or(u32::MAX);
    let mut packet = vec![8, 0, 0, 0];
    packet.extend(number.to_be_bytes());
    packet.extend(marker);
    let sum = packet.chunks(2).fold(0_u32, |sum, pair| {
        let word = u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]);
        sum + u32::from(word)
    });
    let folded = (sum & 0xffff) + (sum >> 16);
    let folded = (folded & 0xffff) + (folded >> 16);
    let checksum = !u16::try_from(folded).unwrap_or(u16::MAX);
    packet[2..4].copy_from_slice(&checksum.to_be_bytes());
    packet
}

/// The number of the request that this IPv4 packet answers.
fn answered(packet: &[u8]) -> Option<usize> {
    let header_bytes = usize::from(packet.first()? & 0x0f) * 4;
    let icmp = packet.get(header_bytes..)?;
    // Type 0: echo reply.
    if icmp.get(..2)? != [0, 0] {
        return None;
    }
    let number: [u8; 4] = icmp.get(4..8)?.try_into().ok()?;
    usize::try_from(u32::from_be_bytes(number)).ok()
}

/// More than an hour at 20 ms.
const ECHOES_MAX: usize = 200_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_names_its_request() {
        let mut echo = vec![0x45; 20];
        echo[0] = 0x45;
        echo.extend(request(70_000, b"odd"));
        assert_eq!(answered(&echo), None, "a request is no answer");
        echo[20] = 0;
        assert_eq!(answered(&echo), Some(70_000));
        for end in 0..28 {
            assert_eq!(answered(&echo[..end]), None);
        }
    }

    #[test]
    fn the_checksum_of_a_request_is_right() {
        let packet = request(7, b"mark");
        let sum: u32 = packet
            .chunks(2)
            .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])))
            .sum();
        assert_eq!((sum & 0xffff) + (sum >> 16), 0xffff);
    }
}
