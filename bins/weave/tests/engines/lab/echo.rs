//! Connections that last, and such that carry much: by way of address translation, say, where neither end knows the
//! other's address.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use weave_io::host::NetNs;

/// Sends back whatever comes on each connection to a port. New ones are taken until it goes out of scope; those that
/// are there last until their other end goes.
pub(crate) struct Echo {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Echo {
    /// Starts it there.
    pub(crate) fn start(there: &NetNs, port: u16) -> Self {
        let listener = there
            .run(|| TcpListener::bind(("0.0.0.0", port)))
            .unwrap()
            .unwrap();
        listener.set_nonblocking(true).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            while !ended.load(Ordering::Relaxed) {
                let Ok((stream, _)) = listener.accept() else {
                    thread::sleep(PAUSE);
                    continue;
                };
                stream.set_nonblocking(false).unwrap();
                thread::spawn(move || io::copy(&mut &stream, &mut &stream));
            }
        });
        Self {
            stop,
            thread: Some(thread),
        }
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A connection to one.
pub(crate) struct Call(TcpStream);

impl Call {
    /// Connects to `HOST:PORT`.
    pub(crate) fn start(here: &NetNs, service: &str) -> io::Result<Self> {
        let service: SocketAddr = service.parse().expect("a constant");
        let connect = || TcpStream::connect_timeout(&service, STALL_TIME_MAX);
        let stream = here.run(connect).unwrap()?;
        stream.set_read_timeout(Some(STALL_TIME_MAX))?;
        stream.set_write_timeout(Some(STALL_TIME_MAX))?;
        Ok(Self(stream))
    }

    /// Has so many bytes carried there and back; how long that took. An error when they stop coming, or are others.
    pub(crate) fn carry(&self, bytes: usize) -> io::Result<Duration> {
        let sent: Vec<u8> = (0..bytes).map(|at| (at % 251) as u8).collect();
        let mut received = vec![0; bytes];
        let started = Instant::now();
        thread::scope(|scope| {
            let writer = scope.spawn(|| (&self.0).write_all(&sent));
            (&self.0).read_exact(&mut received)?;
            writer.join().expect("it does not panic")
        })?;
        if received != sent {
            return Err(io::Error::other("what came back is not what was sent"));
        }
        Ok(started.elapsed())
    }
}

const PAUSE: Duration = Duration::from_millis(20);
/// A SYN that was lost twice is sent again after 1 and 2 seconds (RFC 6298).
const STALL_TIME_MAX: Duration = Duration::from_secs(5);
