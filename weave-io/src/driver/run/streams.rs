//! TCP streams of links: one task each, bounded both ways.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, oneshot};
use tokio::task::{AbortHandle, JoinSet};
use weave_mesh::{CloseReason, ConnId};

use crate::driver::Input;
use crate::tcp;

/// All streams of a router. What they read goes into one bounded channel, so that a busy control plane slows
/// its peers down instead of filling memory.
pub(super) struct Streams {
    inputs: mpsc::Sender<Input>,
    open: BTreeMap<ConnId, Stream>,
    tasks: JoinSet<()>,
    accepted: u64,
    /// Accepted just now. It gets a task when the router kept it: of thousands that are refused in a second, none waits
    /// for a task to run before its descriptor is free.
    fresh: Option<(ConnId, TcpStream)>,
}

/// The router's hold on a stream.
struct Stream {
    outbox: mpsc::UnboundedSender<Vec<u8>>,
    unsent: Arc<Unsent>,
    task: AbortHandle,
    /// Dropped with the stream: what is unsent has [`LINGER`] to go out.
    _closing: oneshot::Sender<()>,
}

/// A task's hold on a stream.
struct TaskEnd {
    conn: ConnId,
    inputs: mpsc::Sender<Input>,
    outbox: mpsc::UnboundedReceiver<Vec<u8>>,
    unsent: Arc<Unsent>,
    closing: oneshot::Receiver<()>,
}

/// What of a stream the system has not taken yet.
#[derive(Default)]
struct Unsent {
    /// Bytes in the outbox and in the write under way.
    bytes: AtomicUsize,
    /// The router waits for those to be none.
    is_awaited: AtomicBool,
}

impl Unsent {
    /// Whether the router is to be told now. Both sides ask after their own change: one of them sees the other's.
    fn is_to_be_told(&self) -> bool {
        self.bytes.load(Ordering::SeqCst) == 0 && self.is_awaited.swap(false, Ordering::SeqCst)
    }
}

impl Streams {
    pub(super) fn new(inputs: mpsc::Sender<Input>) -> Self {
        Self {
            inputs,
            open: BTreeMap::new(),
            tasks: JoinSet::new(),
            accepted: 0,
            fresh: None,
        }
    }

    /// Opens a stream; `Opened` or `Closed` comes as an input.
    pub(super) fn dial(&mut self, conn: ConnId, remote: SocketAddr) {
        self.spawn(conn, move |end| async move {
            match tcp::dial(remote).await {
                Ok(stream) => {
                    let opened = Input::Opened {
                        conn,
                        remote,
                        dialled: true,
                    };
                    if end.inputs.send(opened).await.is_ok() {
                        end.run(stream).await;
                    }
                }
                Err(reason) => end.report(reason).await,
            }
        });
    }

    /// Takes a stream that somebody opened to us, and gives the input that tells of it; none when there are too
    /// many, or it is broken already. Call [`Streams::keep_accepted`] when the router has seen it.
    pub(super) fn accept(&mut self, stream: TcpStream, remote: SocketAddr) -> Option<Input> {
        if self.open.len() >= STREAMS_MAX || tcp::configure_accepted(&stream).is_err() {
            return None;
        }
        let conn = ConnId::accepted(self.accepted);
        self.accepted += 1;
        self.fresh = Some((conn, stream));
        Some(Input::Opened {
            conn,
            remote: crate::udp::canonical(remote),
            dialled: false,
        })
    }

    /// Begins to read the stream that was accepted, unless it was closed meanwhile.
    pub(super) fn keep_accepted(&mut self) {
        if let Some((conn, stream)) = self.fresh.take() {
            self.spawn(conn, |end| end.run(stream));
        }
    }

    /// Writes to a stream. One whose other end takes too little is cut, and gives the input that tells of it.
    pub(super) fn write(&mut self, conn: ConnId, bytes: Vec<u8>) -> Option<Input> {
        self.keep_accepted();
        let stream = self.open.get(&conn)?;
        let unsent = stream.unsent.bytes.load(Ordering::Relaxed);
        if unsent + bytes.len() > UNSENT_BYTES_MAX {
            stream.task.abort();
            self.open.remove(&conn);
            return Some(Input::Closed {
                conn,
                reason: CloseReason::Overflow,
            });
        }
        stream.unsent.bytes.fetch_add(bytes.len(), Ordering::SeqCst);
        // A task that has ended has told so, or will: its `Closed` is on the way.
        let _ = stream.outbox.send(bytes);
        None
    }

    /// Tells, by an input now or later, when all that was written to a stream is on its way.
    pub(super) fn await_drained(&mut self, conn: ConnId) -> Option<Input> {
        let unsent = &self.open.get(&conn)?.unsent;
        unsent.is_awaited.store(true, Ordering::SeqCst);
        unsent.is_to_be_told().then_some(Input::Drained { conn })
    }

    /// Closes a stream after what was written. Nothing more of it comes in.
    pub(super) fn close(&mut self, conn: ConnId) {
        self.fresh.take_if(|(fresh, _)| *fresh == conn);
        self.open.remove(&conn);
    }

    /// Whether the router wants an input that came from a stream: not one of a stream that it closed meanwhile.
    pub(super) fn admit(&mut self, input: &Input) -> bool {
        match input {
            Input::Opened { conn, .. } | Input::Bytes { conn, .. } | Input::Drained { conn } => {
                self.open.contains_key(conn)
            }
            Input::Closed { conn, .. } => self.open.remove(conn).is_some(),
            Input::Resolved { .. }
            | Input::LocalAddresses(_)
            | Input::OverlaySubnets(_)
            | Input::Port(_)
            | Input::UnderlayMtu(_)
            | Input::ClockJumped { .. }
            | Input::Command(_) => true,
        }
    }

    /// Waits for a task to end, to free what it held; for ever while there is none. Can be given up any time.
    pub(super) async fn reap(&mut self) {
        if self.tasks.join_next().await.is_none() {
            std::future::pending().await
        }
    }

    /// Waits until every stream is closed and flushed.
    pub(super) async fn finish(&mut self) {
        self.fresh = None;
        self.open.clear();
        while self.tasks.join_next().await.is_some() {}
    }

    fn spawn<T>(&mut self, conn: ConnId, task: impl FnOnce(TaskEnd) -> T)
    where
        T: Future<Output = ()> + Send + 'static,
    {
        let (outbox, to_write) = mpsc::unbounded_channel();
        let (closing, when_closing) = oneshot::channel();
        let unsent = Arc::new(Unsent::default());
        let end = TaskEnd {
            conn,
            inputs: self.inputs.clone(),
            outbox: to_write,
            unsent: Arc::clone(&unsent),
            closing: when_closing,
        };
        let task = self.tasks.spawn(task(end));
        let stream = Stream {
            outbox,
            unsent,
            task,
            _closing: closing,
        };
        self.open.insert(conn, stream);
    }
}

impl TaskEnd {
    async fn run(self, stream: TcpStream) {
        let (reader, writer) = stream.into_split();
        let Self {
            conn,
            inputs,
            outbox,
            unsent,
            closing,
        } = self;
        let given_up = async {
            // Resolves when the router lets go of the stream.
            let _ = closing.await;
            tokio::time::sleep(LINGER).await;
        };
        let transfer = async {
            tokio::select! {
                reason = read(conn, reader, &inputs) => Some(reason),
                result = write(conn, writer, outbox, &unsent, &inputs) => result.err(),
            }
        };
        let reason = tokio::select! {
            reason = transfer => reason,
            () = given_up => None,
        };
        if let Some(reason) = reason {
            // No receiver means that the router has ended.
            let _ = inputs.send(Input::Closed { conn, reason }).await;
        }
    }

    async fn report(self, reason: CloseReason) {
        let closed = Input::Closed {
            conn: self.conn,
            reason,
        };
        // No receiver means that the router has ended.
        let _ = self.inputs.send(closed).await;
    }
}

/// Reads until the stream ends, and says why it did.
async fn read(conn: ConnId, reader: OwnedReadHalf, inputs: &mpsc::Sender<Input>) -> CloseReason {
    loop {
        // No buffer is held while nothing comes: most streams are idle most of the time.
        if let Err(error) = reader.readable().await {
            return tcp::close_reason(&error);
        }
        let mut bytes = Vec::with_capacity(READ_BYTES_MAX);
        match reader.try_read_buf(&mut bytes) {
            Ok(0) => return CloseReason::Finished,
            Ok(_) => {
                bytes.shrink_to_fit();
                if inputs.send(Input::Bytes { conn, bytes }).await.is_err() {
                    return CloseReason::Finished;
                }
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(error) => return tcp::close_reason(&error),
        }
    }
}

/// Writes until the router closes the stream and all is out.
async fn write(
    conn: ConnId,
    mut writer: OwnedWriteHalf,
    mut outbox: mpsc::UnboundedReceiver<Vec<u8>>,
    unsent: &Unsent,
    inputs: &mpsc::Sender<Input>,
) -> Result<(), CloseReason> {
    let fault = |error| tcp::close_reason(&error);
    while let Some(bytes) = outbox.recv().await {
        writer.write_all(&bytes).await.map_err(fault)?;
        unsent.bytes.fetch_sub(bytes.len(), Ordering::SeqCst);
        if unsent.is_to_be_told() {
            // No receiver means that the router has ended.
            let _ = inputs.send(Input::Drained { conn }).await;
        }
    }
    writer.shutdown().await.map_err(fault)
}

/// Streams at once; beyond, new ones are closed unheard. Above the neighbours and half-open ones that the mesh
/// allows, below the usual limit of 1,024 descriptors.
const STREAMS_MAX: usize = 768;

/// Bytes of one read.
const READ_BYTES_MAX: usize = 16 << 10;

/// Bytes that may wait on one stream: whole stores of records, not the backlog of a peer that takes nothing.
const UNSENT_BYTES_MAX: usize = 1 << 20;

/// A closed stream has this long to bring out what was written.
const LINGER: Duration = Duration::from_secs(1);
