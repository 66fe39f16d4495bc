//! Drivers: what moves bytes and time between a router's two halves and the world.
//!
//! [`Worker`] is the data plane's: frames and packets through a forwarder. [`ControlLoop`] is the control
//! plane's: everything else through a router. Neither reads a clock, waits or blocks, so that the simulator
//! runs the very same code; they share [`Published`], [`NoticeQueue`], [`StreamQueue`], [`Inbox`] and [`SharedStats`] and
//! nothing else but the MAC table. [`start`](run::start), the one place that waits, runs both on threads.
//!
//! ```text
//!   port  <-> Worker  <-> UDP socket <- ControlLoop <-> TCP streams, names, state folder
//!               |  ^                      ^   |
//!               |  +---- Published (Fib) -|---+
//!               |  +---- Inbox -----------|---+
//!               +------- NoticeQueue -----+
//!               +------- StreamQueue -----+
//! ```

mod control;
mod inbox;
mod notices;
mod published;
#[cfg(feature = "driver")]
pub(crate) mod run;
mod stats;
mod stream_queue;
mod worker;

pub use control::{ControlLoop, Input, Turn};
pub use inbox::Inbox;
pub use notices::NoticeQueue;
pub use published::Published;
pub use stats::SharedStats;
pub use stream_queue::StreamQueue;
pub use worker::{Progress, Shared, Worker, WorkerError};
