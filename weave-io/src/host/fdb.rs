//! What a bridge learned: which stations are behind its other ports, and which went with theirs.
//!
//! The router sees frames only; a container that is killed says nothing, and the kernel alone notices that its
//! veth is gone. [`FdbWatch`] listens to the kernel's notices of the forwarding database (RTNLGRP_NEIGH, family
//! AF_BRIDGE) and of devices (RTNLGRP_LINK) in one namespace. Where notices were lost, for they come faster than
//! anybody reads when a container makes addresses up, everything is listed anew.
//!
//! The bridge's own memory can be wrong, too: a station that it knows behind the router's port may come to one of the
//! others and say nothing, and frames for it that come from the router would be dropped, for a bridge sends none back.
//! So when a port joins, the bridge is made to forget what it learned at the router's port, as a change of topology
//! has any bridge do (IEEE 802.1D section 17.11); the next frame from there teaches it anew.
//!
//! An entry that only ages out of the bridge's table says nothing: the station is silent, not gone. Gone are the
//! stations of a port that was removed, switched off, or lost its carrier.

mod tracker;

use std::io;
use std::time::Duration;

use netlink_packet_route::link::LinkMessage;
use netlink_packet_route::neighbour::NeighbourMessage;
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use nix::errno::Errno;
use nix::net::if_::if_nametoindex;
use rtnetlink::packet_core::{
    NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use rtnetlink::sys::{
    AsyncSocket, AsyncSocketExt, SocketAddr, TokioSocket, protocols::NETLINK_ROUTE,
};
use rtnetlink::{LinkBridgePort, MulticastGroup};
use tokio::time::Instant;
use weave_core::PortChange;

use self::tracker::Tracker;
use super::Error;
use super::error::refused;
use super::link::check_device_name;

/// Watches one bridge, in the namespace of the thread that opened it.
pub struct FdbWatch {
    socket: TokioSocket,
    /// The router's port.
    own: u32,
    buffer: Vec<u8>,
    tracker: Tracker,
    /// What is being listed.
    listing: Option<Listing>,
    /// When everything is to be listed anew.
    list_at: Option<Instant>,
    listed: Instant,
    sequence: u32,
    overruns: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Listing {
    Links,
    Stations,
}

impl FdbWatch {
    /// Begins to watch `bridge`, whose port `own` leads to the router: what is learned there lives elsewhere. Within
    /// a tokio runtime with I/O and time.
    ///
    /// # Errors
    /// [`Error::NoDevice`], [`Error::BadDeviceName`] or [`Error::Refused`].
    pub fn open(bridge: &str, own: &str) -> Result<Self, Error> {
        let index = |device: &str| {
            check_device_name(device)?;
            if_nametoindex(device).map_err(|_| Error::NoDevice {
                device: device.to_owned(),
            })
        };
        let own_index = index(own)?;
        let tracker = Tracker::new(index(bridge)?, own_index);
        let socket = open_socket().map_err(refused("watch the forwarding database of", bridge))?;
        let now = Instant::now();
        Ok(Self {
            socket,
            own: own_index,
            buffer: Vec::with_capacity(DATAGRAM_BYTES_MAX),
            tracker,
            listing: None,
            list_at: Some(now),
            listed: now,
            sequence: 0,
            overruns: 0,
        })
    }

    /// Waits for changes; at first, for the stations that the bridge knows already. Not to be cancelled.
    ///
    /// # Errors
    /// When the socket is broken: open another.
    pub async fn next(&mut self) -> io::Result<Vec<PortChange>> {
        let mut changes = Vec::new();
        while changes.is_empty() {
            if self.list_at.is_some_and(|at| at <= Instant::now()) {
                self.list_at = None;
                self.listed = Instant::now();
                self.tracker.begin_listing();
                self.list(Listing::Links).await?;
            }
            self.buffer.clear();
            let received = self.socket.recv(&mut self.buffer);
            let received = match self.list_at {
                Some(at) => match tokio::time::timeout_at(at, received).await {
                    Ok(received) => received,
                    Err(_) => continue,
                },
                None => received.await,
            };
            match received {
                Ok(()) => self.take(&mut changes).await?,
                Err(error) if error.raw_os_error() == Some(Errno::ENOBUFS as i32) => {
                    self.overruns += 1;
                    self.list_at = Some(self.listed + LISTING_INTERVAL);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        if changes.contains(&PortChange::Joined) {
            self.flush_own_port().await?;
        }
        Ok(changes)
    }

    /// How often the kernel had more notices than the socket could hold.
    pub fn overruns(&self) -> u64 {
        self.overruns
    }

    /// Takes the messages of one datagram.
    async fn take(&mut self, changes: &mut Vec<PortChange>) -> io::Result<()> {
        let mut ended = false;
        let mut rest = &self.buffer[..];
        while let Some(length) = rest.first_chunk().map(|bytes| u32::from_ne_bytes(*bytes)) {
            let length = length as usize;
            if length < NETLINK_HEADER_BYTES || length > rest.len() {
                break;
            }
            // What does not parse is of a kind that the crate does not know: nothing of ours.
            if let Ok(message) = NetlinkMessage::deserialize(&rest[..length]) {
                let is_of_listing = message.header.sequence_number == self.sequence;
                let payload = message.payload;
                ended |= is_of_listing
                    && matches!(payload, NetlinkPayload::Done(_) | NetlinkPayload::Error(_));
                if let NetlinkPayload::InnerMessage(message) = payload {
                    self.tracker.handle(&message, changes);
                }
            }
            rest = rest
                .get(length.next_multiple_of(NETLINK_ALIGN)..)
                .unwrap_or_default();
        }
        if ended {
            match self.listing.take() {
                Some(Listing::Links) => {
                    self.tracker.end_listing_of_ports(changes);
                    self.list(Listing::Stations).await?;
                }
                Some(Listing::Stations) | None => {}
            }
        }
        Ok(())
    }

    async fn list(&mut self, listing: Listing) -> io::Result<()> {
        let message = match listing {
            Listing::Links => RouteNetlinkMessage::GetLink(LinkMessage::default()),
            Listing::Stations => {
                let mut message = NeighbourMessage::default();
                message.header.family = AddressFamily::Bridge;
                RouteNetlinkMessage::GetNeighbour(message)
            }
        };
        // 0 is for requests whose answers nobody waits for.
        self.sequence = self.sequence.wrapping_add(1).max(1);
        self.listing = Some(listing);
        let flags = NLM_F_REQUEST | NLM_F_DUMP;
        self.request(message, flags, self.sequence).await
    }

    /// Has the bridge forget the stations that it learned at the router's port. Should the kernel refuse, they are
    /// forgotten when they have been silent for long enough: nothing to stop for.
    async fn flush_own_port(&mut self) -> io::Result<()> {
        let message = LinkBridgePort::new(self.own).fdb_flush().build();
        let message = RouteNetlinkMessage::NewLink(message);
        self.request(message, NLM_F_REQUEST, 0).await
    }

    async fn request(
        &mut self,
        message: RouteNetlinkMessage,
        flags: u16,
        sequence: u32,
    ) -> io::Result<()> {
        let mut header = NetlinkHeader::default();
        header.flags = flags;
        header.sequence_number = sequence;
        let mut request = NetlinkMessage::new(header, NetlinkPayload::from(message));
        request.finalize();
        let mut bytes = vec![0; request.buffer_len()];
        request.serialize(&mut bytes);
        self.socket.send(&bytes).await.map(drop)
    }
}

impl std::fmt::Debug for FdbWatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FdbWatch")
            .field("overruns", &self.overruns)
            .finish_non_exhaustive()
    }
}

fn open_socket() -> io::Result<TokioSocket> {
    let mut socket = TokioSocket::new(NETLINK_ROUTE)?;
    let inner = socket.socket_mut();
    inner.bind(&SocketAddr::new(0, 0))?;
    // A smaller buffer only means that lists are asked for more often.
    let _ = inner.set_rx_buf_sz(RECEIVE_BUFFER_BYTES);
    for group in [MulticastGroup::Neigh, MulticastGroup::Link] {
        inner.add_membership(group as u32)?;
    }
    inner.connect(&SocketAddr::new(0, 0))?;
    Ok(socket)
}

/// The kernel's datagrams are no longer (NLMSG_GOODSIZE, and what a list takes where the reader's buffer is large).
const DATAGRAM_BYTES_MAX: usize = 32 << 10;
/// struct nlmsghdr, and NLMSG_ALIGNTO (netlink(7)).
const NETLINK_HEADER_BYTES: usize = 16;
const NETLINK_ALIGN: usize = 4;
/// Some 1,000 notices: each takes 768 bytes of the buffer and more.
const RECEIVE_BUFFER_BYTES: u32 = 1 << 20;
/// Lists are at least this far apart: that of a bridge with 1,000,000 addresses, which a container can make it have,
/// costs the kernel and us half a second.
const LISTING_INTERVAL: Duration = Duration::from_secs(10);
