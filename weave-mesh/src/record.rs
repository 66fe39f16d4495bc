//! Signed statements: the only thing that routers gossip.
//!
//! A [`Record`] is encoded and signed once, by its origin, and then handed on byte for byte, so
//! that a signature made on one router holds on every other. It carries a sequence number that
//! starts with the origin's boot id: a restarted origin is ahead of everything it said before.
//!
//! ```text
//!  0 origin, 32 bytes | 32 kind, 1 byte | 33 sequence, 8 bytes, big-endian
//! 41 body, postcard   | .. signature, 64 bytes, over a prefix, the network id and all before it
//! ```

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use weave_crypto::{Identity, NetworkId, PeerId, noise_binding_message};

use crate::link::PATH_MTU_BYTES_BASE;

/// Most bytes of an encoded record: the longest links record (512 entries of at most 41 bytes
/// each, 21 KiB) with room to spare, and less than a control message holds.
pub const RECORD_BYTES_MAX: usize = 24 * 1024;
/// Most links of one router that its record lists.
pub const LINKS_MAX: usize = 512;
/// Most addresses that a router record lists.
pub const ADDRESSES_MAX: usize = 32;
/// Most bytes of a name, nickname or version.
pub const TEXT_BYTES_MAX: usize = 64;
/// Bits of a sequence number below the boot id: at ten records a second they last 19 days of
/// never-ending change; the boot id is raised before they run out.
pub const SEQUENCE_BITS: u32 = 24;
/// Largest boot id: what a sequence number holds above [`SEQUENCE_BITS`]. Boot ids start at unix
/// seconds, which reach this in the year 36812.
pub const BOOT_ID_MAX: u64 = (1 << (64 - SEQUENCE_BITS)) - 1;

const HEADER_BYTES: usize = 41;
const SIGNATURE_BYTES: usize = 64;
const SIGNING_PREFIX: &[u8] = b"weave record 1\0";

/// What a record is about. One origin has at most one record of each kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[repr(u8)]
pub enum RecordKind {
    /// Who a router is and where it listens: [`RouterBody`].
    Router = 0,
    /// Whom a router has links to: [`LinksBody`].
    Links = 1,
}

impl RecordKind {
    /// Every kind, in the order of their numbers.
    pub const ALL: [Self; 2] = [Self::Router, Self::Links];

    pub(crate) fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            0 => Some(Self::Router),
            1 => Some(Self::Links),
            _ => None,
        }
    }
}

/// Names one version of one record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Key {
    /// Who said it.
    pub origin: PeerId,
    /// What it is about.
    pub kind: RecordKind,
    /// Which version: boot id × 2^24 + a count.
    pub seq: u64,
}

impl Key {
    /// Boot id of the origin when it said this.
    pub fn boot_id(&self) -> u64 {
        self.seq >> SEQUENCE_BITS
    }
}

/// An address at which a router may be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Address {
    /// Address and port, TCP and UDP alike.
    pub socket: SocketAddr,
    /// Not of an interface: a neighbour saw probes come from there (behind a NAT, perhaps).
    pub observed: bool,
}

/// Body of a record of kind [`RecordKind::Router`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouterBody {
    /// Boot id now; the upper bits of the record's sequence number.
    pub boot_id: u64,
    /// Boot id when the process started, before any raise.
    pub start_boot_id: u64,
    /// Drawn at the start of the process: tells two processes with one identity apart.
    pub start_random: u64,
    /// X25519 public key for tunnels.
    pub noise_public: [u8; 32],
    /// Signature that binds `noise_public` to the identity.
    #[serde(with = "crate::wire::array64")]
    pub noise_binding: [u8; 64],
    /// `--name`, when given.
    pub name: Option<String>,
    /// `--nickname`, by default the host's name.
    pub nickname: String,
    /// Release of the program.
    pub version: String,
    /// Port of TCP and UDP.
    pub listen_port: u16,
    /// Where it may be reached.
    pub addresses: Vec<Address>,
    /// What it can do: [`RouterBody::CAPABILITY_AES`]; unknown bits are ignored.
    pub capabilities: u32,
    /// The [`RouterBody::start_random`] of another process with this identity, if one was met: that process can tell
    /// by it that this one lives now.
    pub other_random: Option<u64>,
}

impl RouterBody {
    /// Seals and opens AES-256-GCM faster than ChaCha20-Poly1305.
    pub const CAPABILITY_AES: u32 = 1;

    /// The name that people see: `name`, or six bytes of the key's hash in MAC form.
    pub fn display_name(&self, origin: &PeerId) -> String {
        self.name.clone().unwrap_or_else(|| origin.default_name())
    }

    fn is_within_bounds(&self) -> bool {
        self.addresses.len() <= ADDRESSES_MAX
            && self.name.as_deref().is_none_or(is_printable)
            && is_printable(&self.nickname)
            && is_printable(&self.version)
    }

    /// Whether all that it says can be true at once.
    fn is_consistent(&self) -> bool {
        let is_doubled = |(index, address): (usize, &Address)| {
            let before = &self.addresses[..index];
            before.iter().any(|known| known.socket == address.socket)
        };
        self.start_boot_id <= self.boot_id
            && self.addresses.iter().all(|address| address.is_plausible())
            && !self.addresses.iter().enumerate().any(is_doubled)
    }
}

impl Address {
    /// Whether a router can be reached there by others at all: no loopback, link-local, multicast or unspecified
    /// address, nor port 0, nor an IPv4 address in the clothes of an IPv6 one.
    pub(crate) fn is_plausible(&self) -> bool {
        let ip = self.socket.ip();
        self.socket.port() != 0 && ip.to_canonical() == ip && is_advertisable(ip)
    }
}

/// Which carrier frames take on a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Carrier {
    /// Datagrams, the usual way.
    Udp,
    /// The link's TCP stream, where datagrams do not pass.
    Tcp,
}

/// One link as its reporting end sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkEntry {
    /// The other end.
    pub neighbour: PeerId,
    /// Cost, µs: a floor plus the smoothed round trip.
    pub cost: u32,
    /// Largest UDP payload that passes, bytes.
    pub path_mtu_bytes: u16,
    /// What carries frames.
    pub carrier: Carrier,
}

/// Body of a record of kind [`RecordKind::Links`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinksBody {
    /// Boot id of the reporting router.
    pub boot_id: u64,
    /// Its links, by neighbour, each once.
    pub links: Vec<LinkEntry>,
}

impl LinksBody {
    /// Whether it lists a link to `peer`.
    pub fn lists(&self, peer: &PeerId) -> bool {
        self.links
            .binary_search_by(|entry| entry.neighbour.cmp(peer))
            .is_ok()
    }

    /// Whom both list a link to: by id, from `from` on, then those before it.
    pub(crate) fn common_with(&self, other: &Self, from: &PeerId) -> impl Iterator<Item = PeerId> {
        let (ours_before, ours) = self.split_at(from);
        let (theirs_before, theirs) = other.split_at(from);
        common(ours, theirs).chain(common(ours_before, theirs_before))
    }

    fn split_at(&self, peer: &PeerId) -> (&[LinkEntry], &[LinkEntry]) {
        let middle = self.links.partition_point(|entry| entry.neighbour < *peer);
        self.links.split_at(middle)
    }

    fn is_within_bounds(&self) -> bool {
        self.links.len() <= LINKS_MAX
    }

    /// Whether all that it says of the links of `origin` can be true at once: in order, so that none is doubled, none
    /// to itself, none that costs nothing or carries less than every path does.
    fn is_consistent(&self, origin: &PeerId) -> bool {
        let is_possible = |entry: &LinkEntry| {
            entry.neighbour != *origin
                && entry.cost > 0
                && entry.path_mtu_bytes >= PATH_MTU_BYTES_BASE
        };
        self.links.iter().all(is_possible)
            && self
                .links
                .windows(2)
                .all(|pair| pair[0].neighbour < pair[1].neighbour)
    }
}

/// The neighbours in both of two lists that are in order.
fn common(ours: &[LinkEntry], theirs: &[LinkEntry]) -> impl Iterator<Item = PeerId> {
    let mut theirs = theirs.iter().map(|entry| entry.neighbour).peekable();
    ours.iter()
        .map(|entry| entry.neighbour)
        .filter(move |neighbour| {
            while theirs.next_if(|next| next < neighbour).is_some() {}
            theirs.next_if_eq(neighbour).is_some()
        })
}

/// A parsed body.
#[expect(
    clippy::large_enum_variant,
    reason = "there is one for each record, behind its pointer"
)]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// Of kind [`RecordKind::Router`].
    Router(RouterBody),
    /// Of kind [`RecordKind::Links`].
    Links(LinksBody),
}

impl Body {
    fn kind(&self) -> RecordKind {
        match self {
            Self::Router(_) => RecordKind::Router,
            Self::Links(_) => RecordKind::Links,
        }
    }

    fn boot_id(&self) -> u64 {
        match self {
            Self::Router(router) => router.boot_id,
            Self::Links(links) => links.boot_id,
        }
    }

    /// Whether a record of this origin and sequence number may say this.
    fn check(&self, origin: &PeerId, seq: u64) -> Result<(), RecordError> {
        let (is_within_bounds, is_consistent) = match self {
            Self::Router(router) => (router.is_within_bounds(), router.is_consistent()),
            Self::Links(links) => (links.is_within_bounds(), links.is_consistent(origin)),
        };
        if !is_within_bounds {
            return Err(RecordError::OutOfBounds);
        }
        if !is_consistent || self.boot_id() != seq >> SEQUENCE_BITS {
            return Err(RecordError::Contradictory);
        }
        Ok(())
    }
}

/// A signed statement, parsed; cheap to clone.
///
/// Parsing checks form and bounds only: call [`Record::verify`] before believing it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    inner: Arc<Inner>,
}

#[derive(Debug, PartialEq, Eq)]
struct Inner {
    bytes: Arc<[u8]>,
    key: Key,
    body: Body,
}

impl Record {
    /// Encodes and signs a statement of `identity` in `network`. `count` numbers the records of
    /// this kind since the boot id was taken.
    ///
    /// # Errors
    ///
    /// [`RecordError::OutOfBounds`] if the body breaks a bound (names too long, too many links) or boot id or count
    /// do not fit the sequence number; [`RecordError::Contradictory`] if it can't be true (a link to itself).
    pub fn sign(
        identity: &Identity,
        network: &NetworkId,
        count: u64,
        body: Body,
    ) -> Result<Self, RecordError> {
        let (kind, boot_id) = (body.kind(), body.boot_id());
        if boot_id > BOOT_ID_MAX || count >> SEQUENCE_BITS != 0 {
            return Err(RecordError::OutOfBounds);
        }
        let key = Key {
            origin: identity.peer_id(),
            kind,
            seq: boot_id << SEQUENCE_BITS | count,
        };
        body.check(&key.origin, key.seq)?;
        let bytes = Self::sign_unchecked(identity, network, key.seq, &body)?;
        if bytes.len() > RECORD_BYTES_MAX {
            return Err(RecordError::TooLong);
        }
        Ok(Self {
            inner: Arc::new(Inner {
                bytes: bytes.into(),
                key,
                body,
            }),
        })
    }

    /// Signs whatever it is told, for simulation and tests: what comes out is refused by [`Record::parse`] where the
    /// body breaks a rule, or is not of that sequence number.
    ///
    /// # Errors
    ///
    /// [`RecordError::OutOfBounds`] if the body can't be encoded.
    pub fn sign_unchecked(
        identity: &Identity,
        network: &NetworkId,
        seq: u64,
        body: &Body,
    ) -> Result<Vec<u8>, RecordError> {
        let encoded = match body {
            Body::Router(router) => postcard::to_stdvec(router),
            Body::Links(links) => postcard::to_stdvec(links),
        };
        let encoded = encoded.map_err(|_| RecordError::OutOfBounds)?;
        let mut bytes = Vec::with_capacity(HEADER_BYTES + encoded.len() + SIGNATURE_BYTES);
        bytes.extend_from_slice(identity.peer_id().as_bytes());
        bytes.push(body.kind() as u8);
        bytes.extend_from_slice(&seq.to_be_bytes());
        bytes.extend_from_slice(&encoded);
        let signature = identity.sign(&signed_message(network, &bytes));
        bytes.extend_from_slice(&signature);
        Ok(bytes)
    }

    /// Parses an encoded record. Fields that a later release appends to a body are ignored.
    ///
    /// # Errors
    ///
    /// The first bound or rule that the bytes break. The signature is not looked at.
    pub fn parse(bytes: &[u8]) -> Result<Self, RecordError> {
        let (key, rest) = Self::split(bytes)?;
        let (encoded, _signature) = rest
            .split_last_chunk::<SIGNATURE_BYTES>()
            .ok_or(RecordError::Truncated)?;
        let body = match key.kind {
            RecordKind::Router => Body::Router(decode(encoded)?),
            RecordKind::Links => Body::Links(decode(encoded)?),
        };
        body.check(&key.origin, key.seq)?;
        Ok(Self {
            inner: Arc::new(Inner {
                bytes: bytes.into(),
                key,
                body,
            }),
        })
    }

    /// What a record says that it is, without a look at the rest: enough to tell that it is known.
    pub(crate) fn peek(bytes: &[u8]) -> Result<Key, RecordError> {
        Self::split(bytes).map(|(key, _)| key)
    }

    fn split(bytes: &[u8]) -> Result<(Key, &[u8]), RecordError> {
        if bytes.len() > RECORD_BYTES_MAX {
            return Err(RecordError::TooLong);
        }
        let (header, rest) = bytes
            .split_first_chunk::<HEADER_BYTES>()
            .ok_or(RecordError::Truncated)?;
        let mut origin = [0; 32];
        origin.copy_from_slice(&header[..32]);
        let mut seq = [0; 8];
        seq.copy_from_slice(&header[33..]);
        let key = Key {
            origin: PeerId::from_bytes(origin),
            kind: RecordKind::from_byte(header[32]).ok_or(RecordError::UnknownKind(header[32]))?,
            seq: u64::from_be_bytes(seq),
        };
        Ok((key, rest))
    }

    /// Whether the origin signed these bytes for `network`.
    pub fn verify(&self, network: &NetworkId, verifier: &dyn Verifier) -> bool {
        let bytes = &self.inner.bytes;
        let Some((said, signature)) = bytes.split_last_chunk::<SIGNATURE_BYTES>() else {
            return false;
        };
        verifier.verify(
            &self.inner.key.origin,
            &signed_message(network, said),
            signature,
        )
    }

    /// Whether the X25519 key in it is the origin's own, as its binding says; true where there is none. One that is
    /// like that of `known`, an earlier record of the origin, was looked at before.
    pub(crate) fn verify_binding(&self, known: Option<&Self>, verifier: &dyn Verifier) -> bool {
        let Some(router) = self.router() else {
            return true;
        };
        let was_checked = known.and_then(Self::router).is_some_and(|known| {
            known.noise_public == router.noise_public && known.noise_binding == router.noise_binding
        });
        was_checked
            || verifier.verify(
                &self.inner.key.origin,
                &noise_binding_message(&router.noise_public),
                &router.noise_binding,
            )
    }

    /// The encoded record, to hand on.
    pub fn bytes(&self) -> &Arc<[u8]> {
        &self.inner.bytes
    }

    /// Origin, kind and sequence number.
    pub fn key(&self) -> Key {
        self.inner.key
    }

    /// Who said it.
    pub fn origin(&self) -> PeerId {
        self.inner.key.origin
    }

    /// What it is about.
    pub fn kind(&self) -> RecordKind {
        self.inner.key.kind
    }

    /// Boot id × 2^24 + a count.
    pub fn seq(&self) -> u64 {
        self.inner.key.seq
    }

    /// Boot id of the origin when it said this.
    pub fn boot_id(&self) -> u64 {
        self.inner.key.seq >> SEQUENCE_BITS
    }

    /// What it says.
    pub fn body(&self) -> &Body {
        &self.inner.body
    }

    /// The body, if of kind [`RecordKind::Router`].
    pub fn router(&self) -> Option<&RouterBody> {
        match &self.inner.body {
            Body::Router(router) => Some(router),
            Body::Links(_) => None,
        }
    }

    /// The body, if of kind [`RecordKind::Links`].
    pub fn links(&self) -> Option<&LinksBody> {
        match &self.inner.body {
            Body::Links(links) => Some(links),
            Body::Router(_) => None,
        }
    }
}

/// Checks signatures of records. An argument, so that many routers in one process (the simulator)
/// share what one of them found out.
pub trait Verifier: Send + Sync {
    /// Whether `peer` signed `message`.
    fn verify(&self, peer: &PeerId, message: &[u8], signature: &[u8; 64]) -> bool;
}

/// Checks each signature anew.
#[derive(Clone, Copy, Debug, Default)]
pub struct DirectVerifier;

impl Verifier for DirectVerifier {
    fn verify(&self, peer: &PeerId, message: &[u8], signature: &[u8; 64]) -> bool {
        weave_crypto::verify(peer, message, signature).is_ok()
    }
}

/// Why bytes are no record. All of them are the sender's or the origin's fault, but
/// [`RecordError::UnknownKind`], which may come from a later release.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// Shorter than header and signature.
    #[error("record is cut short")]
    Truncated,
    /// Longer than [`RECORD_BYTES_MAX`].
    #[error("record is longer than {RECORD_BYTES_MAX} bytes")]
    TooLong,
    /// A kind that this release does not know.
    #[error("record is of unknown kind {0}")]
    UnknownKind(u8),
    /// The body does not decode.
    #[error("record body does not decode")]
    Malformed,
    /// The body decodes, but breaks a bound.
    #[error("record body breaks a bound")]
    OutOfBounds,
    /// The body says what can't be true: a boot id that is not that of the sequence number or lies before the start,
    /// an address that is none, the same entry twice, a link to itself, or one that costs nothing.
    #[error("record contradicts itself")]
    Contradictory,
}

/// Cuts a text to what a record may carry: printable, at most [`TEXT_BYTES_MAX`] bytes.
pub(crate) fn printable(text: &str) -> String {
    let mut out = String::new();
    for character in text.chars().filter(|character| !character.is_control()) {
        if out.len() + character.len_utf8() > TEXT_BYTES_MAX {
            break;
        }
        out.push(character);
    }
    out
}

/// Whether others can be told of an address. Private ones (RFC 1918) can: hosts of one site use
/// them.
pub(crate) fn is_advertisable(ip: IpAddr) -> bool {
    let is_link_local = match ip {
        IpAddr::V4(v4) => v4.is_link_local() || v4.is_broadcast(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    !(ip.is_loopback() || ip.is_unspecified() || ip.is_multicast() || is_link_local)
}

fn is_printable(text: &str) -> bool {
    text.len() <= TEXT_BYTES_MAX && !text.chars().any(char::is_control)
}

fn decode<'a, T: Deserialize<'a>>(encoded: &'a [u8]) -> Result<T, RecordError> {
    postcard::take_from_bytes(encoded)
        .map(|(body, _appended)| body)
        .map_err(|_| RecordError::Malformed)
}

fn signed_message(network: &NetworkId, said: &[u8]) -> Vec<u8> {
    let mut message = Vec::with_capacity(SIGNING_PREFIX.len() + 32 + said.len());
    message.extend_from_slice(SIGNING_PREFIX);
    message.extend_from_slice(network.as_bytes());
    message.extend_from_slice(said);
    message
}

#[cfg(test)]
mod tests;
