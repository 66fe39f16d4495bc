//! What the kernel's firewall remembers of connections (conntrack), as far as it is about one port.
//!
//! An entry outlives what it was made for: one made while an address was translated otherwise, or while another
//! program had the port, sends the next router's datagrams where the last ones went, for as long as they keep
//! coming. So they are dropped when a router stops. The messages are those of `linux/netfilter/nfnetlink_conntrack.h`.

use std::io;
use std::time::Duration;

use nix::errno::Errno;
use rtnetlink::sys::{AsyncSocket, AsyncSocketExt, SocketAddr, TokioSocket};

use super::error::{Reason, refused};
use super::netlink::Worker;
use super::{Error, Netlink};

impl Netlink {
    /// Drops what is remembered of UDP and TCP connections that have this port at either end, before or after
    /// translation, and tells how many there were. The connections themselves go on, and are remembered anew; one
    /// that was translated is translated as the rules say now.
    ///
    /// At most 16,384 entries, so that it ends while new ones come.
    ///
    /// # Errors
    /// [`Error::Refused`]. A kernel that remembers no connections is no error.
    pub fn drop_conntrack(&self, port: u16) -> Result<u32, Error> {
        self.call(move |worker| {
            // Without it nothing is remembered; asking would load it.
            match worker.setting("netfilter/nf_conntrack_count") {
                Ok(count) if count != "0" => {}
                _ => return Ok(0),
            }
            worker
                .drop_conntrack(port)
                .map_err(refused("drop", "the tracked connections of the port"))
        })
    }
}

impl Worker {
    fn drop_conntrack(&self, port: u16) -> Result<u32, Reason> {
        self.within(TIME_MAX, async {
            let mut connection = Connection::open()?;
            let mut dropped = 0;
            for entry in connection.entries(port).await? {
                dropped += u32::from(connection.delete(&entry).await?);
            }
            Ok(dropped)
        })
    }
}

/// A socket to the kernel's connection tracking.
struct Connection {
    socket: TokioSocket,
    sequence: u32,
    buffer: Vec<u8>,
}

/// An entry, as a request that deletes it needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    family: u8,
    /// The attributes that tell it from all others, as they came.
    attributes: Vec<u8>,
}

impl Connection {
    fn open() -> io::Result<Self> {
        let mut socket = TokioSocket::new(NETLINK_NETFILTER)?;
        socket.socket_mut().bind(&SocketAddr::new(0, 0))?;
        socket.socket_mut().connect(&SocketAddr::new(0, 0))?;
        Ok(Self {
            socket,
            sequence: 0,
            buffer: Vec::with_capacity(DATAGRAM_BYTES_MAX),
        })
    }

    /// All entries about this port, up to [`ENTRIES_MAX`].
    async fn entries(&mut self, port: u16) -> io::Result<Vec<Entry>> {
        self.send(GET, NLM_F_DUMP, 0, &[]).await?;
        let mut entries = Vec::new();
        loop {
            self.receive().await?;
            for message in
                Messages(&self.buffer).filter(|message| message.sequence == self.sequence)
            {
                match message.kind {
                    NLMSG_DONE => return Ok(entries),
                    NLMSG_ERROR => return message.outcome().map(|()| entries),
                    NEW if entries.len() < ENTRIES_MAX => {
                        entries.extend(Entry::of_port(message.payload, port));
                    }
                    _ => {}
                }
            }
        }
    }

    /// Tells whether it was still there.
    async fn delete(&mut self, entry: &Entry) -> io::Result<bool> {
        self.send(DELETE, NLM_F_ACK, entry.family, &entry.attributes)
            .await?;
        loop {
            self.receive().await?;
            let answer = Messages(&self.buffer)
                .find(|message| message.sequence == self.sequence && message.kind == NLMSG_ERROR);
            match answer.map(|message| message.outcome()) {
                Some(Ok(())) => return Ok(true),
                Some(Err(error)) if error.raw_os_error() == Some(Errno::ENOENT as i32) => {
                    return Ok(false);
                }
                Some(Err(error)) => return Err(error),
                None => {}
            }
        }
    }

    async fn send(
        &mut self,
        kind: u16,
        flags: u16,
        family: u8,
        attributes: &[u8],
    ) -> io::Result<()> {
        self.sequence = self.sequence.wrapping_add(1);
        let message = request(kind, flags, self.sequence, family, attributes);
        self.socket.send(&message).await.map(drop)
    }

    async fn receive(&mut self) -> io::Result<()> {
        self.buffer.clear();
        self.socket.recv(&mut self.buffer).await
    }
}

impl Entry {
    /// The entry in a message's payload, if it is about this port.
    fn of_port(payload: &[u8], port: u16) -> Option<Self> {
        let (header, rest) = payload.split_at_checked(NFGENMSG_BYTES)?;
        let mut attributes = Vec::new();
        let mut matches = false;
        for attribute in Attributes(rest) {
            match attribute.kind {
                CTA_TUPLE_ORIG | CTA_TUPLE_REPLY => {
                    matches |= is_of_port(attribute.value, port);
                }
                _ => {}
            }
            if [CTA_TUPLE_ORIG, CTA_ID, CTA_ZONE].contains(&attribute.kind) {
                attributes.extend_from_slice(attribute.whole);
                attributes.resize(attributes.len().next_multiple_of(ALIGN), 0);
            }
        }
        matches.then(|| Self {
            family: header[0],
            attributes,
        })
    }
}

/// Whether one direction of a connection, a tuple, is UDP or TCP from or to this port.
fn is_of_port(tuple: &[u8], port: u16) -> bool {
    let Some(protocol) = Attributes(tuple).find(|attribute| attribute.kind == CTA_TUPLE_PROTO)
    else {
        return false;
    };
    let mut carries = false;
    let mut has_port = false;
    for attribute in Attributes(protocol.value) {
        match attribute.kind {
            CTA_PROTO_NUM => carries = matches!(attribute.value, [IPPROTO_TCP | IPPROTO_UDP]),
            CTA_PROTO_SRC_PORT | CTA_PROTO_DST_PORT => {
                has_port |= attribute.value == port.to_be_bytes();
            }
            _ => {}
        }
    }
    carries && has_port
}

/// A request: netlink's header, netfilter's, attributes.
fn request(kind: u16, flags: u16, sequence: u32, family: u8, attributes: &[u8]) -> Vec<u8> {
    let length = NLMSGHDR_BYTES + NFGENMSG_BYTES + attributes.len();
    let mut message = Vec::with_capacity(length);
    let length = u32::try_from(length).expect("an entry's few attributes came in one datagram");
    message.extend_from_slice(&length.to_ne_bytes());
    message.extend_from_slice(&kind.to_ne_bytes());
    message.extend_from_slice(&(NLM_F_REQUEST | flags).to_ne_bytes());
    message.extend_from_slice(&sequence.to_ne_bytes());
    // To the kernel; family, version 0, no resource.
    message.extend_from_slice(&[0, 0, 0, 0, family, 0, 0, 0]);
    message.extend_from_slice(attributes);
    message
}

/// The messages of a datagram, until one that is cut short.
struct Messages<'a>(&'a [u8]);

struct Message<'a> {
    kind: u16,
    sequence: u32,
    payload: &'a [u8],
}

impl<'a> Iterator for Messages<'a> {
    type Item = Message<'a>;

    fn next(&mut self) -> Option<Message<'a>> {
        let length = u32::from_ne_bytes(*self.0.first_chunk()?) as usize;
        let whole = self.0.get(..length)?;
        let (header, payload) = whole.split_at_checked(NLMSGHDR_BYTES)?;
        self.0 = self
            .0
            .get(length.next_multiple_of(ALIGN)..)
            .unwrap_or_default();
        Some(Message {
            kind: u16::from_ne_bytes(*header[4..].first_chunk()?),
            sequence: u32::from_ne_bytes(*header[8..].first_chunk()?),
            payload,
        })
    }
}

impl Message<'_> {
    /// What an error message, which is an acknowledgement too, says.
    fn outcome(&self) -> io::Result<()> {
        let code = self
            .payload
            .first_chunk()
            .map_or(-(Errno::EBADMSG as i32), |code| i32::from_ne_bytes(*code));
        match code {
            0 => Ok(()),
            code => Err(io::Error::from_raw_os_error(code.saturating_abs())),
        }
    }
}

/// Attributes one after the other, until one that is cut short.
struct Attributes<'a>(&'a [u8]);

struct Attribute<'a> {
    /// Without the flags for nesting and byte order.
    kind: u16,
    value: &'a [u8],
    /// With its header, without padding.
    whole: &'a [u8],
}

impl<'a> Iterator for Attributes<'a> {
    type Item = Attribute<'a>;

    fn next(&mut self) -> Option<Attribute<'a>> {
        let length = usize::from(u16::from_ne_bytes(*self.0.first_chunk()?));
        let whole = self.0.get(..length)?;
        let (header, value) = whole.split_at_checked(ATTRIBUTE_HEADER_BYTES)?;
        self.0 = self
            .0
            .get(length.next_multiple_of(ALIGN)..)
            .unwrap_or_default();
        Some(Attribute {
            kind: u16::from_ne_bytes(*header[2..].first_chunk()?) & ATTRIBUTE_KIND_MASK,
            value,
            whole,
        })
    }
}

/// How many entries are dropped at once: a router has two for each of some dozens of neighbours. Each takes some 100
/// bytes here.
const ENTRIES_MAX: usize = 16_384;
/// A table of 262,144 entries, a large one, is listed in some 200 ms.
const TIME_MAX: Duration = Duration::from_secs(10);
/// What the kernel puts into one datagram of a list, where the reader has room for it.
const DATAGRAM_BYTES_MAX: usize = 32 << 10;

// linux/netlink.h
const NETLINK_NETFILTER: isize = 12;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
const NLM_F_DUMP: u16 = 0x300;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLMSGHDR_BYTES: usize = 16;
const ATTRIBUTE_HEADER_BYTES: usize = 4;
const ATTRIBUTE_KIND_MASK: u16 = 0x3fff;
const ALIGN: usize = 4;
// linux/netfilter/nfnetlink.h, nfnetlink_conntrack.h
const NFGENMSG_BYTES: usize = 4;
const CTNETLINK: u16 = 1 << 8;
const NEW: u16 = CTNETLINK;
const GET: u16 = CTNETLINK | 1;
const DELETE: u16 = CTNETLINK | 2;
const CTA_TUPLE_ORIG: u16 = 1;
const CTA_TUPLE_REPLY: u16 = 2;
const CTA_ID: u16 = 12;
const CTA_ZONE: u16 = 18;
const CTA_TUPLE_PROTO: u16 = 2;
const CTA_PROTO_NUM: u16 = 1;
const CTA_PROTO_SRC_PORT: u16 = 2;
const CTA_PROTO_DST_PORT: u16 = 3;
const IPPROTO_TCP: u8 = 6;
const IPPROTO_UDP: u8 = 17;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_of_the_port_is_known_in_either_direction_and_after_translation() {
        let from_and_to = |protocol, from, to| tuple(protocol, from, to);
        for (orig, reply, matches) in [
            (
                from_and_to(17, 6783, 6783),
                from_and_to(17, 6783, 6783),
                true,
            ),
            (
                from_and_to(6, 40_000, 6783),
                from_and_to(6, 6783, 40_000),
                true,
            ),
            (
                from_and_to(6, 6783, 40_000),
                from_and_to(6, 40_000, 6783),
                true,
            ),
            (from_and_to(17, 6783, 9), from_and_to(17, 9, 1024), true),
            (from_and_to(17, 1024, 9), from_and_to(17, 9, 6783), true),
            (
                from_and_to(17, 53, 40_000),
                from_and_to(17, 40_000, 53),
                false,
            ),
            // SCTP has ports too, and is none of ours.
            (
                from_and_to(132, 6783, 6783),
                from_and_to(132, 6783, 6783),
                false,
            ),
        ] {
            let payload = payload(&orig, &reply);
            assert_eq!(
                Entry::of_port(&payload, 6783).is_some(),
                matches,
                "{payload:?}"
            );
        }
    }

    #[test]
    fn what_deletes_an_entry_names_that_entry_alone() {
        let orig = tuple(17, 6783, 6783);
        let entry = Entry::of_port(&payload(&orig, &orig), 6783).unwrap();
        assert_eq!(entry.family, 2);
        let wanted = [
            attribute(CTA_TUPLE_ORIG | 0x8000, &orig),
            attribute(CTA_ID, &[1, 2, 3, 4]),
            attribute(CTA_ZONE, &[0, 7]),
        ]
        .concat();
        assert_eq!(entry.attributes, wanted);
        let message = request(DELETE, NLM_F_ACK, 5, entry.family, &entry.attributes);
        assert_eq!(message.len(), 20 + wanted.len());
        let parsed = Messages(&message).next().unwrap();
        assert_eq!((parsed.kind, parsed.sequence), (DELETE, 5));
        assert_eq!(parsed.payload[4..], wanted);
    }

    #[test]
    fn every_prefix_and_bit_flip_is_harmless() {
        let orig = tuple(17, 6783, 6783);
        let whole = request(NEW, 0, 1, 2, &payload(&orig, &orig)[4..]);
        let read = |bytes: &[u8]| {
            for message in Messages(bytes) {
                let _ = message.outcome();
                let _ = Entry::of_port(message.payload, 6783);
            }
        };
        for end in 0..whole.len() {
            read(&whole[..end]);
            let _ = Entry::of_port(&whole[..end], 6783);
        }
        for bit in 0..whole.len() * 8 {
            let mut flipped = whole.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            read(&flipped);
        }
    }

    fn tuple(protocol: u8, from: u16, to: u16) -> Vec<u8> {
        let ip = [attribute(1, &[10, 0, 0, 1]), attribute(2, &[10, 0, 0, 2])].concat();
        let ports = [
            attribute(CTA_PROTO_NUM, &[protocol]),
            attribute(CTA_PROTO_SRC_PORT, &from.to_be_bytes()),
            attribute(CTA_PROTO_DST_PORT, &to.to_be_bytes()),
        ]
        .concat();
        [
            attribute(1 | 0x8000, &ip),
            attribute(CTA_TUPLE_PROTO | 0x8000, &ports),
        ]
        .concat()
    }

    /// With a mark (8) and a zone, as the kernel sends it.
    fn payload(orig: &[u8], reply: &[u8]) -> Vec<u8> {
        [
            vec![2, 0, 0, 0],
            attribute(CTA_TUPLE_ORIG | 0x8000, orig),
            attribute(CTA_TUPLE_REPLY | 0x8000, reply),
            attribute(CTA_ID, &[1, 2, 3, 4]),
            attribute(8, &[0, 0, 0, 0]),
            attribute(CTA_ZONE, &[0, 7]),
        ]
        .concat()
    }

    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let length = u16::try_from(value.len() + 4).unwrap();
        let mut bytes = [&length.to_ne_bytes()[..], &kind.to_ne_bytes(), value].concat();
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }
}
