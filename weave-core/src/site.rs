//! Where a frame can go: a local port or a remote router, as a small dense number.

use serde::{Deserialize, Serialize};

/// A place behind which MAC addresses live: [`Site::LOCAL`] is this router's own port, every other number
/// stands for one remote router. Numbers are local to one router and mean nothing elsewhere.
///
/// The router hands them out; a number is used again only 60 s after its MAC addresses were purged, so that no
/// snapshot in use still knows it under its old meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Site(pub u16);

impl Site {
    /// This router's own frame port.
    pub const LOCAL: Self = Self(0);
    /// The largest number of a remote router: 4,095 of them, a bound on tables, not on the wire.
    pub const MAX: Self = Self(4095);

    /// Whether this is the router's own port.
    pub fn is_local(self) -> bool {
        self == Self::LOCAL
    }

    /// As an index into a snapshot's vectors.
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}
