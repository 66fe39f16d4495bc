//! Services and their users, over TCP and UDP: in a container's network, a host's or an outside machine's.

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use weave_io::host::NetNs;

/// Answers each request on a port, of TCP and of UDP, with who it is and whom it heard, until it goes out of scope.
pub(crate) struct Service {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Service {
    /// Starts it there. `name` begins each answer: `name heard TEXT from ADDRESS`.
    pub(crate) fn start(there: &NetNs, port: u16, name: &str) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        // Two wildcards: one socket of IPv6 would hear both, where IPv6 isn't switched off.
        let (tcp, udp) = there
            .run(|| {
                let tcp = TcpListener::bind(("0.0.0.0", port)).unwrap();
                let udp = UdpSocket::bind(("0.0.0.0", port)).unwrap();
                (tcp, udp)
            })
            .unwrap();
        tcp.set_nonblocking(true).unwrap();
        udp.set_read_timeout(Some(PAUSE)).unwrap();
        let answer = |name: &str, heard: &[u8], from: SocketAddr| {
            let heard = String::from_utf8_lossy(heard);
            format!("{name} heard {} from {}", heard.trim_end(), from.ip())
        };
        let (ended, own) = (Arc::clone(&stop), name.to_owned());
        let by_tcp = thread::spawn(move || {
            while !ended.load(Ordering::Relaxed) {
                let Ok((mut stream, from)) = tcp.accept() else {
                    thread::sleep(PAUSE);
                    continue;
                };
                stream.set_nonblocking(false).unwrap();
                stream.set_read_timeout(Some(ASK_TIME_MAX)).unwrap();
                let mut bytes = [0; 1500];
                if let Ok(length) = stream.read(&mut bytes) {
                    let _ = stream.write_all(answer(&own, &bytes[..length], from).as_bytes());
                }
            }
        });
        let (ended, own) = (Arc::clone(&stop), name.to_owned());
        let by_udp = thread::spawn(move || {
            let mut bytes = [0; 1500];
            while !ended.load(Ordering::Relaxed) {
                if let Ok((length, from)) = udp.recv_from(&mut bytes) {
                    let _ = udp.send_to(answer(&own, &bytes[..length], from).as_bytes(), from);
                }
            }
        });
        Self {
            stop,
            threads: vec![by_tcp, by_udp],
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// What the service at `HOST:PORT` answers over TCP; an error if none does in a few seconds.
pub(crate) fn ask_tcp(here: &NetNs, service: &str, text: &str) -> io::Result<String> {
    let service: SocketAddr = service.parse().expect("a constant");
    here.run(|| {
        let mut stream = TcpStream::connect_timeout(&service, ASK_TIME_MAX)?;
        stream.set_read_timeout(Some(ASK_TIME_MAX))?;
        stream.write_all(text.as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    })
    .unwrap()
}

/// The same over UDP. It asks again until it is answered: a datagram may be lost.
pub(crate) fn ask_udp(here: &NetNs, service: &str, text: &str) -> io::Result<String> {
    let service: SocketAddr = service.parse().expect("a constant");
    here.run(|| {
        let socket = UdpSocket::bind("0.0.0.0:0")?;
        socket.connect(service)?;
        socket.set_read_timeout(Some(Duration::from_millis(200)))?;
        let started = Instant::now();
        let mut bytes = [0; 1500];
        loop {
            socket.send(text.as_bytes())?;
            match socket.recv(&mut bytes) {
                Ok(length) => return Ok(String::from_utf8_lossy(&bytes[..length]).into_owned()),
                Err(error) if started.elapsed() > ASK_TIME_MAX => return Err(error),
                Err(_) => {}
            }
        }
    })
    .unwrap()
}

/// A TCP connection over which something is said and answered all the time, until it goes out of scope.
pub(crate) struct Conversation {
    stop: Arc<AtomicBool>,
    /// When each answer came, and why there will be no more.
    record: Arc<Mutex<(Vec<Instant>, Option<io::Error>)>>,
    threads: Vec<JoinHandle<()>>,
}

impl Conversation {
    /// Connects from one network to an address and port in the other; once it is answered.
    pub(crate) fn start(from: &NetNs, to: &NetNs, address: &str, port: u16) -> Self {
        let address: IpAddr = address.parse().expect("a constant");
        let stop = Arc::new(AtomicBool::new(false));
        let record = Arc::new(Mutex::new((Vec::new(), None)));
        let listener = to
            .run(|| TcpListener::bind((address, port)))
            .unwrap()
            .unwrap();
        let connect = || TcpStream::connect_timeout(&(address, port).into(), ASK_TIME_MAX);
        let stream = from.run(connect).unwrap().unwrap();
        // It is in the queue already.
        let (echoing, _) = listener.accept().unwrap();
        let echo = thread::spawn(move || {
            let (mut reader, mut writer) = (&echoing, &echoing);
            let _ = io::copy(&mut reader, &mut writer);
        });
        let (first, came) = mpsc::channel();
        let (ended, own) = (Arc::clone(&stop), Arc::clone(&record));
        let talk = thread::spawn(move || {
            let mut number: u64 = 0;
            while !ended.load(Ordering::Relaxed) {
                match exchange(&stream, number) {
                    Ok(()) => own.lock().unwrap().0.push(Instant::now()),
                    Err(error) => {
                        own.lock().unwrap().1 = Some(error);
                        return;
                    }
                }
                let _ = first.send(());
                number += 1;
                thread::sleep(PAUSE);
            }
            // The other end reads the end of it, and ends too.
        });
        came.recv_timeout(ASK_TIME_MAX).expect("an answer");
        Self {
            stop,
            record,
            threads: vec![talk, echo],
        }
    }

    /// The longest time without an answer since `from`, up to now; the test fails if the connection broke, or if no
    /// answer comes any more within `limit`.
    #[track_caller]
    pub(crate) fn longest_gap(&self, from: Instant, limit: Duration) -> Duration {
        let asked = Instant::now();
        super::within(limit, "the connection goes on", || {
            let record = self.record.lock().unwrap();
            assert!(record.1.is_none(), "the connection broke: {:?}", record.1);
            record.0.last().is_some_and(|at| *at > asked).then_some(())
        });
        let record = self.record.lock().unwrap();
        let at = record.0.partition_point(|at| *at <= from).saturating_sub(1);
        let pairs = record.0[at..].windows(2);
        pairs
            .map(|pair| pair[1].duration_since(pair[0]))
            .max()
            .unwrap_or_default()
    }
}

impl Drop for Conversation {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn exchange(mut stream: &TcpStream, number: u64) -> io::Result<()> {
    stream.set_read_timeout(Some(STALL_TIME_MAX))?;
    stream.write_all(&number.to_be_bytes())?;
    let mut answer = [0; 8];
    stream.read_exact(&mut answer)?;
    if answer == number.to_be_bytes() {
        Ok(())
    } else {
        Err(io::Error::other("another answer than what was said"))
    }
}

const PAUSE: Duration = Duration::from_millis(20);
/// Longer than a SYN that was lost twice takes (RFC 6298: after 1 and 2 seconds).
const ASK_TIME_MAX: Duration = Duration::from_secs(5);
/// Longer than any interruption that a test makes.
const STALL_TIME_MAX: Duration = Duration::from_secs(30);
