//! Checkers: what must hold in every run, whatever the scenario. They know the network and what containers sent
//! and got, and nothing of how routers work.

mod black_hole;
mod clear;
mod frames;

use std::fmt;
use std::time::Duration;

pub(super) use black_hole::{BlackHoles, Edge, FaultKind, LossyWays, Ways};
pub(super) use clear::shows;
pub(super) use frames::{Frames, Sent};

/// What must hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Checker {
    /// A frame comes out of a port as often as it was put in at another, at most: no loop, no duplicate, also
    /// when the network duplicates.
    Once,
    /// No frame comes out where it went in, and none that nobody sent.
    Genuine,
    /// A unicast frame for a known address comes out at that address's port only.
    Place,
    /// Beacons between containers arrive, once the last fault is long enough ago.
    BlackHole,
    /// Nothing of a ping's or a transfer's payload is readable on the network.
    Clear,
    /// Nothing goes to who sent rubbish only, nor to where nobody can be.
    Silence,
    /// Tables and queues stay as small as the world is, and connections of strangers few and short.
    Bounds,
    /// A router does not ask to be woken at one moment without end.
    Spin,
    /// Honest routers never find each other's packets or messages forged or malformed.
    Honest,
    /// Every router holds of every other what that one said, and all of them the same.
    Records,
    /// After a quiet time every router's view of the mesh is the network's.
    View,
    /// TCP between containers gets through.
    Transfer,
}

impl fmt::Display for Checker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            Self::Once => "once",
            Self::Genuine => "genuine",
            Self::Place => "place",
            Self::BlackHole => "black hole",
            Self::Clear => "clear",
            Self::Silence => "silence",
            Self::Bounds => "bounds",
            Self::Spin => "spin",
            Self::Honest => "honest",
            Self::Records => "records",
            Self::View => "view",
            Self::Transfer => "transfer",
        };
        f.write_str(name)
    }
}

/// Something that must not have happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Who found it.
    pub checker: Checker,
    /// Virtual time since the world began.
    pub at: Duration,
    /// What happened.
    pub sentence: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} at {:.6} s: {}",
            self.checker,
            self.at.as_secs_f64(),
            self.sentence
        )
    }
}
