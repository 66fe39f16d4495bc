//! The data packets of the underlay: what stands in front of and inside a sealed packet.
//!
//! Two layers. The *sealed packet* goes between the two ends of a tunnel; only when somebody else carries it,
//! a *relay envelope* stands in front. All numbers are big-endian.
//!
//! ```text
//!  relay envelope, 16 bytes                               sealed packet
//!  0 version (4 bits) | kind (4 bits) = relay             0 version | kind = unicast, flood, probe, note
//!  1 TTL                                                  1 reserved, 0
//!  2 link tag, 6 bytes: drawn by the receiving            2 counter, 6 bytes
//!    neighbour                                            8 receiver index, 4 bytes: drawn by the receiver
//!  8 destination, 8 bytes: first of SHA-256(PeerId)      12 sealed body, then the tag, 16 bytes
//! 16 the sealed packet
//!
//!  body of a unicast packet: entries to the end           body of a flood: 16 bytes, then one entry
//!  0 flags                                                0 origin, 8 bytes
//!  1 checksum start                                       8 sequence, 6 bytes
//!  2 frame length, 2 bytes                               14 TTL
//!  4 (a piece only: id 2, index 1, count 1)              15 reserved, 0
//!  4 the frame
//! ```
//!
//! The first 12 bytes of a sealed packet are authenticated with its body. Nothing in an envelope is but the
//! link tag, and nothing in it matters to the ends.
//!
//! Reading is strict: what breaks the format in any place is refused whole, and nothing here panics or
//! allocates, whatever the bytes.

use smoltcp::wire::EthernetAddress;
use weave_crypto::{SealError, ShortId, TunnelKeys};

/// The version of the data packets that this release speaks.
pub const PACKET_VERSION: u8 = 1;
/// Bytes of a relay envelope.
pub const ENVELOPE_BYTES: usize = 16;
/// Bytes of a sealed packet's header, which are its additional authenticated data.
pub const SEALED_HEADER_BYTES: usize = 12;
/// Bytes of the authentication tag behind a sealed body.
pub const TAG_BYTES: usize = 16;
/// Bytes in front of a flood's entry.
pub const FLOOD_HEADER_BYTES: usize = 16;
/// Bytes in front of an entry's frame.
pub const ENTRY_HEADER_BYTES: usize = 4;
/// Bytes that follow the entry header where a piece of a frame follows.
pub const PIECE_BYTES: usize = 4;
/// The most pieces of one frame.
pub const PIECES_MAX: u8 = 8;
/// Bytes of an Ethernet header without VLAN tags.
pub(crate) const ETHERNET_HEADER_BYTES: usize = 14;
/// Bytes around one inner frame of a sealed packet in an envelope, or of a flood: 16 (envelope, or the flood's
/// header) + 12 (sealed header) + 4 (entry header) + 16 (tag).
pub const PACKET_OVERHEAD_BYTES: usize =
    ENVELOPE_BYTES + SEALED_HEADER_BYTES + ENTRY_HEADER_BYTES + TAG_BYTES;
/// Bytes between the underlay's MTU and the overlay's over IPv4: IP 20 + UDP 8 + envelope 16 + sealed header
/// 12 + entry header 4 + Ethernet 14 + tag 16 = 90. A direct packet needs 16 less, which stay unused: the route may
/// change to a relayed one at any time.
pub const OVERHEAD_BYTES_V4: usize = 20 + 8 + PACKET_OVERHEAD_BYTES + ETHERNET_HEADER_BYTES;
/// The same over IPv6, whose header has 40 bytes: 110.
pub const OVERHEAD_BYTES_V6: usize = 40 + 8 + PACKET_OVERHEAD_BYTES + ETHERNET_HEADER_BYTES;
/// The TTL that an edge router gives an envelope, and an origin its flood: no sane overlay is 16 hops wide,
/// and a loop while routes disagree ends after as many.
pub const TTL_START: u8 = 16;
/// Counters and flood sequences have 48 bits.
pub(crate) const NUMBER_MAX: u64 = (1 << 48) - 1;

/// The overlay's MTU (IP bytes in a container's packet) over an underlay of `underlay_mtu_bytes`; 0 where the
/// underlay has no room for the headers.
///
/// ```
/// assert_eq!(weave_core::overlay_mtu_bytes(1500, false), 1410);
/// assert_eq!(weave_core::overlay_mtu_bytes(1500, true), 1390);
/// ```
pub fn overlay_mtu_bytes(underlay_mtu_bytes: usize, ipv6: bool) -> usize {
    let overhead = if ipv6 {
        OVERHEAD_BYTES_V6
    } else {
        OVERHEAD_BYTES_V4
    };
    underlay_mtu_bytes.saturating_sub(overhead)
}

/// What a packet is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Kind {
    /// An envelope with a sealed packet for somebody else inside.
    Relay = 1,
    /// Frames between two edge routers.
    Unicast = 2,
    /// A frame for every site, between neighbours.
    Flood = 3,
    /// A path challenge or answer, between the two ends of a path.
    Probe = 4,
    /// A word from one edge router to the other.
    Note = 5,
}

impl Kind {
    fn from_bits(bits: u8) -> Option<Self> {
        Some(match bits {
            1 => Self::Relay,
            2 => Self::Unicast,
            3 => Self::Flood,
            4 => Self::Probe,
            5 => Self::Note,
            _ => return None,
        })
    }
}

/// Why bytes are no packet, or the contents of one break the format. The peer's fault, always.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PacketError {
    /// Shorter than its headers say.
    #[error("shorter than its headers")]
    Truncated,
    /// A version that this release does not speak.
    #[error("version {0}, not {PACKET_VERSION}")]
    Version(u8),
    /// A kind that does not exist, or may not stand in this place.
    #[error("kind {0} is unknown or may not stand here")]
    Kind(u8),
    /// A reserved bit or byte is set, or a field is set that its flags leave unused.
    #[error("a reserved field is not zero")]
    Reserved,
    /// The checksum of an entry's frame would lie outside of the frame.
    #[error("the checksum lies outside of the frame")]
    Checksum,
    /// A piece's index or count is impossible.
    #[error("an impossible piece")]
    Piece,
    /// Bytes behind the last thing that may stand there.
    #[error("bytes behind the end")]
    Trailing,
}

/// A packet whose outer layer is checked: version, kind, room for the headers and the tag.
///
/// What an envelope may carry is limited to what goes between two edge routers, unicast and notes: floods and
/// probes are between neighbours, so an envelope around one is refused, and so is an envelope in an envelope.
#[derive(Debug, Clone, Copy)]
pub struct PacketView<'a> {
    bytes: &'a [u8],
    kind: Kind,
    inner: Kind,
}

impl<'a> PacketView<'a> {
    /// Checks the outer layer of `bytes`.
    ///
    /// # Errors
    /// When `bytes` are no packet of ours.
    pub fn new_checked(bytes: &'a [u8]) -> Result<Self, PacketError> {
        let kind = kind_of(bytes)?;
        let inner = if kind == Kind::Relay {
            let inner = kind_of(bytes.get(ENVELOPE_BYTES..).ok_or(PacketError::Truncated)?)?;
            if !matches!(inner, Kind::Unicast | Kind::Note) {
                return Err(PacketError::Kind(inner as u8));
            }
            inner
        } else {
            kind
        };
        let view = Self { bytes, kind, inner };
        let sealed = &bytes[view.sealed_at()..];
        if sealed.len() < SEALED_HEADER_BYTES + TAG_BYTES {
            return Err(PacketError::Truncated);
        }
        if sealed[1] != 0 {
            return Err(PacketError::Reserved);
        }
        Ok(view)
    }

    /// What the packet is, from the outside.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The envelope, where there is one.
    pub fn envelope(&self) -> Option<Envelope> {
        (self.kind == Kind::Relay).then(|| Envelope {
            ttl: self.bytes[1],
            tag: array(&self.bytes[2..8]),
            destination: ShortId::from_bytes(array(&self.bytes[8..16])),
        })
    }

    /// The header of the sealed packet, behind the envelope where there is one.
    pub fn sealed(&self) -> SealedHeader {
        let at = &self.bytes[self.sealed_at()..];
        SealedHeader {
            kind: self.inner,
            counter: number(&at[2..8]),
            receiver: u32::from_be_bytes(array(&at[8..12])),
        }
    }

    /// Where the sealed packet begins: 0, or behind the envelope.
    pub fn sealed_at(&self) -> usize {
        if self.kind == Kind::Relay {
            ENVELOPE_BYTES
        } else {
            0
        }
    }
}

/// The outer header of relayed unicast.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Envelope {
    /// Hops that are left.
    pub ttl: u8,
    /// The link tag that the receiving neighbour gave the sender.
    pub tag: [u8; 6],
    /// The router that the sealed packet is for.
    pub destination: ShortId,
}

impl Envelope {
    /// The envelope's bytes.
    pub fn emit(&self) -> [u8; ENVELOPE_BYTES] {
        let mut bytes = [0; ENVELOPE_BYTES];
        bytes[0] = PACKET_VERSION << 4 | Kind::Relay as u8;
        bytes[1] = self.ttl;
        bytes[2..8].copy_from_slice(&self.tag);
        bytes[8..].copy_from_slice(self.destination.as_bytes());
        bytes
    }

    /// Writes TTL and tag over those of the envelope that `packet` begins with: a relay's whole work.
    ///
    /// # Panics
    /// When `packet` is shorter than an envelope: the caller has checked it by [`PacketView::new_checked`].
    pub fn rewrite(packet: &mut [u8], ttl: u8, tag: [u8; 6]) {
        packet[1] = ttl;
        packet[2..8].copy_from_slice(&tag);
    }
}

/// The header of a sealed packet: in clear, authenticated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SealedHeader {
    /// What the body is; never [`Kind::Relay`].
    pub kind: Kind,
    /// The packet's number under its key, 48 bits.
    pub counter: u64,
    /// Names the tunnel, its epoch and its direction; drawn by the receiver.
    pub receiver: u32,
}

impl SealedHeader {
    /// The header's bytes; of the counter, the low 48 bits.
    pub fn emit(&self) -> [u8; SEALED_HEADER_BYTES] {
        let mut bytes = [0; SEALED_HEADER_BYTES];
        bytes[0] = PACKET_VERSION << 4 | self.kind as u8;
        bytes[2..8].copy_from_slice(&self.counter.to_be_bytes()[2..]);
        bytes[8..].copy_from_slice(&self.receiver.to_be_bytes());
        bytes
    }
}

/// What stands in front of a flood's entry, inside of the sealed body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FloodHeader {
    /// The router whose port the frame came from.
    pub origin: ShortId,
    /// The origin's number of this flood, 48 bits; starts at its boot id × 2^16.
    pub sequence: u64,
    /// Hops that are left.
    pub ttl: u8,
}

impl FloodHeader {
    /// Reads the header at the front of an opened flood's body, and gives the rest.
    ///
    /// # Errors
    /// When the body is too short or the reserved byte is set.
    pub fn parse(body: &[u8]) -> Result<(Self, &[u8]), PacketError> {
        let (header, rest) = body
            .split_at_checked(FLOOD_HEADER_BYTES)
            .ok_or(PacketError::Truncated)?;
        if header[15] != 0 {
            return Err(PacketError::Reserved);
        }
        let parsed = Self {
            origin: ShortId::from_bytes(array(&header[..8])),
            sequence: number(&header[8..14]),
            ttl: header[14],
        };
        Ok((parsed, rest))
    }

    /// The header's bytes; of the sequence, the low 48 bits.
    pub fn emit(&self) -> [u8; FLOOD_HEADER_BYTES] {
        let mut bytes = [0; FLOOD_HEADER_BYTES];
        bytes[..8].copy_from_slice(self.origin.as_bytes());
        bytes[8..14].copy_from_slice(&self.sequence.to_be_bytes()[2..]);
        bytes[14] = self.ttl;
        bytes
    }
}

/// The checksum of an entry's frame that is not computed: its field holds the pseudo-header's sum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EntryChecksum {
    /// Summing starts here: bytes from the start of the frame.
    pub start: u8,
    /// UDP (the field stands at +6 from `start`), else TCP (+16).
    pub udp: bool,
}

impl EntryChecksum {
    /// Where the checksum field stands, in bytes from `start`.
    pub fn offset(&self) -> u16 {
        if self.udp { 6 } else { 16 }
    }

    fn fits(&self, frame_bytes: usize) -> bool {
        usize::from(self.start) + usize::from(self.offset()) + 2 <= frame_bytes
    }
}

/// Which part of a frame a piece is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    /// Names the frame among those in pieces from one origin.
    pub id: u16,
    /// Which piece, from 0.
    pub index: u8,
    /// How many there are, 2 to [`PIECES_MAX`].
    pub count: u8,
}

/// The header of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EntryHeader {
    /// Set when the frame's checksum is not computed.
    pub checksum: Option<EntryChecksum>,
    /// More segments of the same super-frame follow in other packets: a hint.
    pub more: bool,
    /// Set when the bytes are a piece of a frame.
    pub piece: Option<Piece>,
}

impl EntryHeader {
    /// Whether a whole frame may stand behind this header: what [`Entries`] checks, for a frame put together from
    /// pieces.
    pub(crate) fn suits(&self, frame: &[u8]) -> bool {
        frame.len() >= ETHERNET_HEADER_BYTES
            && self.checksum.is_none_or(|checksum| {
                usize::from(checksum.start) >= ETHERNET_HEADER_BYTES && checksum.fits(frame.len())
            })
    }

    /// Bytes of this header.
    pub fn len_bytes(&self) -> usize {
        ENTRY_HEADER_BYTES + if self.piece.is_some() { PIECE_BYTES } else { 0 }
    }

    /// Writes the header for a frame (or piece) of `frame_bytes` at the front of `out`, and says how long it is.
    ///
    /// # Panics
    /// When `out` is shorter than [`EntryHeader::len_bytes`] or the frame longer than 65,535: the caller's
    /// error.
    pub fn emit(&self, frame_bytes: usize, out: &mut [u8]) -> usize {
        let length = u16::try_from(frame_bytes).expect("a frame is shorter than 64 KiB");
        let mut flags = FLAG_FRAME;
        let mut start = 0;
        if let Some(checksum) = self.checksum {
            flags |= FLAG_CHECKSUM | if checksum.udp { FLAG_UDP } else { 0 };
            start = checksum.start;
        }
        if self.more {
            flags |= FLAG_MORE;
        }
        if let Some(piece) = self.piece {
            flags |= FLAG_PIECE;
            out[4..6].copy_from_slice(&piece.id.to_be_bytes());
            out[6] = piece.index;
            out[7] = piece.count;
        }
        out[0] = flags;
        out[1] = start;
        out[2..4].copy_from_slice(&length.to_be_bytes());
        self.len_bytes()
    }
}

/// One entry of an opened body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry<'a> {
    /// Its header.
    pub header: EntryHeader,
    /// The frame, at least an Ethernet header long, or the piece.
    pub bytes: &'a [u8],
}

/// The entries of an opened unicast body, in order. After an error it ends.
///
/// A zero flag byte with zero length ends the entries early: what follows is padding and not looked at.
#[derive(Debug, Clone)]
pub struct Entries<'a> {
    rest: &'a [u8],
}

impl<'a> Entries<'a> {
    /// Reads `body`.
    pub fn new(body: &'a [u8]) -> Self {
        Self { rest: body }
    }

    /// Bytes that are not read yet.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    fn read(&mut self) -> Result<Option<Entry<'a>>, PacketError> {
        let Some(&flags) = self.rest.first() else {
            return Ok(None);
        };
        if flags == 0 {
            // Padding may be shorter than a header.
            let head = &self.rest[..self.rest.len().min(ENTRY_HEADER_BYTES)];
            return if head.iter().all(|byte| *byte == 0) {
                Ok(None)
            } else {
                Err(PacketError::Reserved)
            };
        }
        let (head, mut rest) = self
            .rest
            .split_at_checked(ENTRY_HEADER_BYTES)
            .ok_or(PacketError::Truncated)?;
        let has = |flag| flags & flag != 0;
        if flags & !FLAGS_KNOWN != 0 || !has(FLAG_FRAME) {
            return Err(PacketError::Reserved);
        }
        let frame_bytes = usize::from(u16::from_be_bytes([head[2], head[3]]));
        let mut header = EntryHeader {
            more: has(FLAG_MORE),
            ..EntryHeader::default()
        };
        if has(FLAG_PIECE) {
            let (piece, behind) = rest
                .split_at_checked(PIECE_BYTES)
                .ok_or(PacketError::Truncated)?;
            let piece = Piece {
                id: u16::from_be_bytes([piece[0], piece[1]]),
                index: piece[2],
                count: piece[3],
            };
            if !(2..=PIECES_MAX).contains(&piece.count)
                || piece.index >= piece.count
                || frame_bytes == 0
            {
                return Err(PacketError::Piece);
            }
            header.piece = Some(piece);
            rest = behind;
        } else if frame_bytes < ETHERNET_HEADER_BYTES {
            return Err(PacketError::Truncated);
        }
        if has(FLAG_CHECKSUM) {
            let checksum = EntryChecksum {
                start: head[1],
                udp: has(FLAG_UDP),
            };
            // A piece's checksum lies somewhere in the frame that it is a piece of.
            if header.piece.is_none()
                && (usize::from(checksum.start) < ETHERNET_HEADER_BYTES
                    || !checksum.fits(frame_bytes))
            {
                return Err(PacketError::Checksum);
            }
            header.checksum = Some(checksum);
        } else if has(FLAG_UDP) || head[1] != 0 {
            return Err(PacketError::Reserved);
        }
        let (bytes, rest) = rest
            .split_at_checked(frame_bytes)
            .ok_or(PacketError::Truncated)?;
        self.rest = rest;
        Ok(Some(Entry { header, bytes }))
    }
}

impl<'a> Iterator for Entries<'a> {
    type Item = Result<Entry<'a>, PacketError>;

    fn next(&mut self) -> Option<Self::Item> {
        let read = self.read();
        if !matches!(read, Ok(Some(_))) {
            self.rest = &[];
        }
        read.transpose()
    }
}

/// A word from one edge router to the other, in their tunnel.
///
/// ```text
/// 0 type: 1 not here (then the MAC address, 6 bytes), 2 closing, 3 confirm,
///         4 echo, 5 its answer (then a token, 8 bytes)
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Note {
    /// A unicast frame came for an address that does not live here: forget it.
    NotHere {
        /// The address.
        mac: EthernetAddress,
    },
    /// The sender goes away.
    Closing,
    /// Nothing but a packet that opens: tells the responder of a new tunnel that the initiator has the keys.
    Confirm,
    /// Asks for an answer with the same token: how long is the way?
    Echo {
        /// Drawn by the asker.
        token: u64,
    },
    /// The answer to an echo.
    EchoAnswer {
        /// The echo's.
        token: u64,
    },
}

impl Note {
    /// Bytes of the longest note.
    pub const BYTES_MAX: usize = 9;

    /// Reads an opened note's body.
    ///
    /// # Errors
    /// When it is of another length or type.
    pub fn parse(body: &[u8]) -> Result<Self, PacketError> {
        match body {
            [] => Err(PacketError::Truncated),
            [1, mac @ ..] if mac.len() == 6 => Ok(Self::NotHere {
                mac: EthernetAddress::from_bytes(mac),
            }),
            [1, mac @ ..] if mac.len() < 6 => Err(PacketError::Truncated),
            [2] => Ok(Self::Closing),
            [3] => Ok(Self::Confirm),
            [4, token @ ..] if token.len() == 8 => Ok(Self::Echo {
                token: u64::from_be_bytes(array(token)),
            }),
            [5, token @ ..] if token.len() == 8 => Ok(Self::EchoAnswer {
                token: u64::from_be_bytes(array(token)),
            }),
            [4 | 5, token @ ..] if token.len() < 8 => Err(PacketError::Truncated),
            [1..=5, ..] => Err(PacketError::Trailing),
            [other, ..] => Err(PacketError::Kind(*other)),
        }
    }

    /// Writes the note at the front of `out`, and says how long it is.
    pub fn emit(&self, out: &mut [u8; Self::BYTES_MAX]) -> usize {
        match self {
            Self::NotHere { mac } => {
                out[0] = 1;
                out[1..7].copy_from_slice(mac.as_bytes());
                7
            }
            Self::Closing => {
                out[0] = 2;
                1
            }
            Self::Confirm => {
                out[0] = 3;
                1
            }
            Self::Echo { token } => {
                out[0] = 4;
                out[1..].copy_from_slice(&token.to_be_bytes());
                9
            }
            Self::EchoAnswer { token } => {
                out[0] = 5;
                out[1..].copy_from_slice(&token.to_be_bytes());
                9
            }
        }
    }
}

/// Seals `body` into a packet of its own, in an envelope where one is given: for probes and notes, which the
/// control plane sends now and then. Frames are sealed where they lie, by the forwarder.
///
/// # Errors
/// When the keys' counter is used up.
pub fn seal_packet(
    keys: &TunnelKeys,
    kind: Kind,
    envelope: Option<Envelope>,
    body: &[u8],
) -> Result<Vec<u8>, SealError> {
    let front = if envelope.is_some() {
        ENVELOPE_BYTES
    } else {
        0
    };
    let mut packet = vec![0; front + SEALED_HEADER_BYTES + body.len() + TAG_BYTES];
    if let Some(envelope) = envelope {
        packet[..ENVELOPE_BYTES].copy_from_slice(&envelope.emit());
    }
    let sealed = &mut packet[front..];
    sealed[SEALED_HEADER_BYTES..][..body.len()].copy_from_slice(body);
    seal_in_place(keys, kind, sealed)?;
    Ok(packet)
}

/// Seals a packet whose body already stands between room for header and tag, which are filled.
pub(crate) fn seal_in_place(
    keys: &TunnelKeys,
    kind: Kind,
    sealed: &mut [u8],
) -> Result<(), SealError> {
    let counter = keys.reserve(1)?;
    let header = SealedHeader {
        kind,
        counter,
        receiver: keys.remote_index(),
    }
    .emit();
    let (front, rest) = sealed.split_at_mut(SEALED_HEADER_BYTES);
    let (body, tag) = rest.split_at_mut(rest.len() - TAG_BYTES);
    front.copy_from_slice(&header);
    tag.copy_from_slice(&keys.seal(counter, &header, body)?);
    Ok(())
}

/// A frame follows.
const FLAG_FRAME: u8 = 1;
/// Its checksum is not computed.
const FLAG_CHECKSUM: u8 = 2;
/// The checksum is UDP's.
const FLAG_UDP: u8 = 4;
/// More segments of the super-frame follow.
const FLAG_MORE: u8 = 8;
/// A piece of a frame.
const FLAG_PIECE: u8 = 16;
const FLAGS_KNOWN: u8 = FLAG_FRAME | FLAG_CHECKSUM | FLAG_UDP | FLAG_MORE | FLAG_PIECE;

/// The kind in the first byte, of a packet or of the sealed packet in an envelope.
fn kind_of(bytes: &[u8]) -> Result<Kind, PacketError> {
    let first = *bytes.first().ok_or(PacketError::Truncated)?;
    if first >> 4 != PACKET_VERSION {
        return Err(PacketError::Version(first >> 4));
    }
    Kind::from_bits(first & 0xf).ok_or(PacketError::Kind(first & 0xf))
}

fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    bytes.try_into().expect("the range has the array's length")
}

/// A 48-bit number.
fn number(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0, |number, byte| number << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests;
