//! The worker's thread: turns while there is work, sleeps in epoll when there is none.

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Instant;

use super::clocks::Clocks;
use super::port::{FramePort, PortIo, WaitFor};
use super::{RunError, Shared};
use crate::UdpTransport;
use crate::driver::{Progress, Worker};
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::eventfd::{EfdFlags, EventFd};
use tokio::sync::oneshot;

/// A running worker. Stop it by [`WorkerThread::stop`].
#[derive(Debug)]
pub(super) struct WorkerThread {
    thread: JoinHandle<Result<Option<FramePort>, RunError>>,
    stop: Arc<AtomicBool>,
    wake: Arc<EventFd>,
}

type PortWorker = Worker<PortIo, UdpTransport>;

impl WorkerThread {
    /// Starts the thread. `ended` is dropped when it ends, however that comes.
    pub(super) fn spawn(
        worker: PortWorker,
        wait_for: Option<WaitFor>,
        socket: &UdpTransport,
        shared: &Shared,
        clocks: Arc<Clocks>,
        ended: oneshot::Sender<()>,
    ) -> io::Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let wake = Arc::new(EventFd::from_flags(
            EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC,
        )?);
        let on = |token| EpollEvent::new(EpollFlags::EPOLLIN, token);
        epoll.add(wake.as_fd(), on(WAKE))?;
        epoll.add(socket.as_fd(), on(OTHER))?;
        match &wait_for {
            Some(WaitFor::Descriptor(descriptor)) => epoll.add(descriptor.as_fd(), on(OTHER))?,
            Some(WaitFor::Memory(host)) => host.on_frames(waker(&wake)),
            Some(WaitFor::Nothing) | None => {}
        }
        shared.published.on_store(waker(&wake));
        shared.inbox.on_filled(waker(&wake));
        clocks.on_settled(waker(&wake));

        let stop = Arc::new(AtomicBool::new(false));
        let loop_ = WorkerLoop {
            worker,
            epoll,
            stop: Arc::clone(&stop),
            wake: Arc::clone(&wake),
            clocks,
        };
        let thread = std::thread::Builder::new()
            .name("weave-worker".to_owned())
            .stack_size(STACK_BYTES)
            .spawn(move || {
                let result = loop_.run();
                // As late as this: the news of the end.
                drop(ended);
                let port = result?.into_port().zip(wait_for);
                Ok(port.map(|(io, wait_for)| FramePort::from_parts(io, wait_for)))
            })?;
        Ok(Self { thread, stop, wake })
    }

    /// Stops the thread, waits until port and socket are free, and gives the port back.
    pub(super) fn stop(self) -> Result<Option<FramePort>, RunError> {
        self.stop.store(true, Ordering::Release);
        waker(&self.wake)();
        match self.thread.join() {
            Ok(result) => result,
            Err(_) => Err(RunError::Panicked("worker")),
        }
    }
}

struct WorkerLoop {
    worker: PortWorker,
    epoll: Epoll,
    stop: Arc<AtomicBool>,
    wake: Arc<EventFd>,
    clocks: Arc<Clocks>,
}

impl WorkerLoop {
    fn run(mut self) -> Result<PortWorker, RunError> {
        let mut events = [EpollEvent::empty(); 3];
        while !self.stop.load(Ordering::Acquire) {
            // After a jump nothing is sealed until the control thread has new keys, which ends the sleep.
            if !self.clocks.have_jumped() {
                match self.worker.turn(Instant::now())? {
                    Progress::Busy => continue,
                    Progress::Idle => {}
                }
            }
            let count = match self.epoll.wait(&mut events, EpollTimeout::NONE) {
                Ok(count) => count,
                Err(Errno::EINTR) => continue,
                Err(errno) => return Err(RunError::Wait(errno.into())),
            };
            if events.iter().take(count).any(|event| event.data() == WAKE) {
                // Only to make it unreadable again; the number of calls does not matter, nor does a failure,
                // which means that it is so already.
                let _ = self.wake.read();
            }
        }
        Ok(self.worker)
    }
}

/// A call that ends the thread's sleep. A full counter, the only failure, ends it too.
fn waker(wake: &Arc<EventFd>) -> impl Fn() + Send + Sync + 'static {
    let wake = Arc::clone(wake);
    move || {
        let _ = wake.write(1);
    }
}

const WAKE: u64 = 0;
const OTHER: u64 = 1;

/// Several times what a turn needs: its buffers are on the heap.
const STACK_BYTES: usize = 512 << 10;
