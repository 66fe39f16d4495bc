//! The handle on one namespace: a thread that lives in it and does what it is asked, one request
//! after the other.

use std::future::Future;
use std::io;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rtnetlink::Handle;
use rtnetlink::sys::AsyncSocket;
use tokio::runtime::{Builder, Runtime};

use super::error::{Reason, refused};
use super::{Error, NetNs};

/// A handle on one network namespace.
///
/// Behind it stands a thread that entered the namespace, opened the netlink socket there and writes
/// kernel settings there, so the caller's own thread never changes namespace and may belong to an
/// async runtime. Requests are done one after the other; the handle can be shared. Dropping it ends
/// the thread and closes the socket before it returns. A handle keeps its namespace alive.
#[derive(Debug)]
pub struct Netlink {
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Netlink {
    /// A handle on the namespace of the calling thread.
    ///
    /// # Errors
    /// [`Error::Refused`] if no thread or no netlink socket can be had.
    pub fn open() -> Result<Self, Error> {
        Self::start(None)
    }

    /// A handle on another namespace.
    ///
    /// # Errors
    /// [`Error::Refused`] if the namespace can't be entered (that needs root), or no thread or
    /// netlink socket can be had.
    pub fn open_in(namespace: &NetNs) -> Result<Self, Error> {
        Self::start(Some(namespace.clone()))
    }

    fn start(namespace: Option<NetNs>) -> Result<Self, Error> {
        let (jobs, queue) = mpsc::channel::<Job>();
        let (report, outcome) = mpsc::channel();
        let thread = thread::Builder::new()
            .name("netlink".to_owned())
            .spawn(move || {
                let worker = match Worker::new(namespace) {
                    Ok(worker) => worker,
                    Err(error) => {
                        // Nobody listens only if the caller's thread is gone, and with it the need
                        // to tell.
                        let _ = report.send(Err(error));
                        return;
                    }
                };
                let _ = report.send(Ok(()));
                for job in queue {
                    (job.0)(&worker);
                }
            })
            .map_err(refused("start", "the thread that speaks netlink"))?;
        let handle = Self {
            jobs: Some(jobs),
            thread: Some(thread),
        };
        outcome.recv().map_err(|_| Error::Stopped)??;
        Ok(handle)
    }

    /// Has the thread in the namespace do `work`, and waits for the answer.
    pub(super) fn call<T, F>(&self, work: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(&Worker) -> Result<T, Error> + Send + 'static,
    {
        let (report, outcome) = mpsc::channel();
        let job = Job(Box::new(move |worker| {
            let _ = report.send(work(worker));
        }));
        let jobs = self.jobs.as_ref().ok_or(Error::Stopped)?;
        jobs.send(job).map_err(|_| Error::Stopped)?;
        outcome.recv().map_err(|_| Error::Stopped)?
    }

    /// [`Netlink::call`] for work on one device.
    pub(super) fn on<T, F>(&self, device: &str, work: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(&Worker, &str) -> Result<T, Error> + Send + 'static,
    {
        let device = device.to_owned();
        self.call(move |worker| work(worker, &device))
    }
}

impl Drop for Netlink {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // A panic in the thread was reported to whoever called it as `Error::Stopped`.
            let _ = thread.join();
        }
    }
}

struct Job(Box<dyn FnOnce(&Worker) + Send>);

/// What lives on the thread in the namespace. The other modules give it its abilities.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) handle: Handle,
    runtime: Runtime,
}

impl Worker {
    fn new(namespace: Option<NetNs>) -> Result<Self, Error> {
        if let Some(namespace) = namespace {
            namespace.enter_current_thread()?;
        }
        let object = "the netlink socket";
        let runtime = Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .build()
            .map_err(refused("open", object))?;
        let handle = {
            let _reactor = runtime.enter();
            let (mut connection, handle, _unsolicited) =
                rtnetlink::new_connection().map_err(refused("open", object))?;
            let socket = connection.socket_mut().socket_ref();
            // A sentence with each error instead of a copy of the request. Kernels before 4.12 know
            // neither, and do without.
            if socket.set_cap_ack(true).is_ok() {
                let _ = socket.set_ext_ack(true);
            }
            drop(runtime.spawn(connection));
            handle
        };
        Ok(Self { handle, runtime })
    }

    /// Waits for a talk on a socket of its own, opened within.
    pub(super) fn within<T>(
        &self,
        time_max: Duration,
        talk: impl Future<Output = io::Result<T>>,
    ) -> Result<T, Reason> {
        self.runtime.block_on(async {
            match tokio::time::timeout(time_max, talk).await {
                Ok(outcome) => outcome.map_err(Reason::from),
                Err(_) => Err(Reason::words("the kernel has not answered in time")),
            }
        })
    }

    /// Waits for the answer to one request.
    pub(super) fn wait<T>(
        &self,
        request: impl Future<Output = Result<T, rtnetlink::Error>>,
    ) -> Result<T, Reason> {
        self.runtime.block_on(async {
            match tokio::time::timeout(ANSWER_TIME_MAX, request).await {
                Ok(answer) => answer.map_err(Reason::from),
                Err(_) => Err(Reason::words(
                    "the kernel has not answered within 10 seconds",
                )),
            }
        })
    }
}

/// The kernel answers at once, unless others hold its one lock on network settings: tearing down
/// many namespaces takes seconds.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(10);
