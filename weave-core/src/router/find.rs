//! Finds the router that somebody means: by name, nickname, identity, address, or a MAC address behind it.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use smoltcp::wire::EthernetAddress;
use weave_crypto::PeerId;
use weave_mesh::TargetState;

use super::Router;
use super::command::colons;

/// Why it is not clear which router is meant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FindError {
    /// No router is known by that.
    #[error(
        "no router has the name, nickname or address {0:?}, and no identity begins so: `weave status peers` lists those known"
    )]
    Unknown(String),
    /// A MAC address that no frame came from.
    #[error(
        "no frame from {0} came in the last 10 min: `weave status macs` lists those known; ping it, and ask again"
    )]
    MacUnknown(String),
    /// Several routers are known by that.
    #[error("{asked:?} may be any of {}: give more of the identity", candidates.join(", "))]
    Ambiguous {
        /// What was asked for.
        asked: String,
        /// Who may be meant: name, nickname and the beginning of the identity; the first few.
        candidates: Vec<String>,
    },
}

/// Whom a text means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) peer: PeerId,
    /// Set when it was asked for by a MAC address that lives behind it.
    pub(super) mac: Option<EthernetAddress>,
}

impl Router {
    /// The router that `text` means. A name or nickname goes before a MAC address, that before an IP address (with
    /// or without port) or a target's host, that before the beginning of an identity.
    ///
    /// # Errors
    /// When that is nobody, or several.
    pub(super) fn find(&self, text: &str) -> Result<Found, FindError> {
        let text = text.trim();
        let known = self.known();
        let store = self.mesh.store();
        let by_name = known.iter().copied().filter(|peer| {
            self.peer_name(peer) == text
                || store
                    .router(peer)
                    .is_some_and(|record| !text.is_empty() && record.nickname == text)
        });
        if let Some(peer) = self.only(text, by_name)? {
            return Ok(Found { peer, mac: None });
        }
        if let Some(mac) = mac_address(text) {
            let site = self.macs.lookup(mac);
            let site = site.ok_or_else(|| FindError::MacUnknown(colons(mac)))?;
            let peer = self.sites.peer(site).unwrap_or_else(|| self.peer_id());
            return Ok(Found {
                peer,
                mac: Some(mac),
            });
        }
        let by_address = known
            .iter()
            .copied()
            .filter(|peer| self.is_at(peer, text))
            .chain(self.behind_target(text));
        if let Some(peer) = self.only(text, by_address)? {
            return Ok(Found { peer, mac: None });
        }
        let begin = text.to_ascii_lowercase();
        let by_identity = known.iter().copied().filter(|peer| {
            begin.len() >= IDENTITY_DIGITS_MIN && peer.to_string().starts_with(&begin)
        });
        let peer = self.only(text, by_identity)?;
        let peer = peer.ok_or_else(|| FindError::Unknown(text.to_owned()))?;
        Ok(Found { peer, mac: None })
    }

    /// Every router that something is known of, this one too.
    fn known(&self) -> BTreeSet<PeerId> {
        let links = self.mesh.links().map(|link| link.peer());
        let origins = self.mesh.store().origins();
        origins.chain(links).chain([self.peer_id()]).collect()
    }

    /// Whether a router is at an address, as its record or the link with it says.
    fn is_at(&self, peer: &PeerId, text: &str) -> bool {
        let Some(asked) = Asked::parse(text) else {
            return false;
        };
        let record = self.mesh.store().router(peer);
        let recorded = record.map_or(&[][..], |record| &record.addresses);
        let link = self.mesh.link(peer);
        recorded
            .iter()
            .map(|address| address.socket)
            // The stream that a neighbour dialled comes from a port of the system's choice.
            .chain(link.filter(|link| link.dialled()).map(|link| link.remote()))
            .chain(link.and_then(|link| link.udp_remote()))
            .any(|address| asked.means(address))
    }

    /// The router that was found where a target of this name leads.
    fn behind_target(&self, text: &str) -> Option<PeerId> {
        self.mesh.targets().into_iter().find_map(|status| {
            let TargetState::Connected(peer) = status.state else {
                return None;
            };
            let is_asked = status.target.host() == text || status.target.to_string() == text;
            is_asked.then_some(peer)
        })
    }

    /// The only one of `peers`, none of none, a refusal of several.
    fn only(
        &self,
        asked: &str,
        peers: impl Iterator<Item = PeerId>,
    ) -> Result<Option<PeerId>, FindError> {
        let peers: BTreeSet<PeerId> = peers.collect();
        if peers.len() > 1 {
            return Err(FindError::Ambiguous {
                asked: asked.to_owned(),
                candidates: peers
                    .iter()
                    .take(CANDIDATES_MAX)
                    .map(|peer| self.described(peer))
                    .collect(),
            });
        }
        Ok(peers.first().copied())
    }

    fn described(&self, peer: &PeerId) -> String {
        let name = self.peer_name(peer);
        let mut identity = peer.to_string();
        identity.truncate(IDENTITY_DIGITS_SHOWN);
        match self.mesh.store().router(peer) {
            Some(record) if !record.nickname.is_empty() && record.nickname != name => {
                format!("{name} ({}, {identity})", record.nickname)
            }
            _ => format!("{name} ({identity})"),
        }
    }
}

/// An address as somebody gives it: with a port, or without.
enum Asked {
    Host(IpAddr),
    Socket(SocketAddr),
}

impl Asked {
    fn parse(text: &str) -> Option<Self> {
        let bare = text
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
            .unwrap_or(text);
        let host = bare.parse().map(Self::Host);
        host.or_else(|_| text.parse().map(Self::Socket)).ok()
    }

    fn means(&self, address: SocketAddr) -> bool {
        match self {
            Self::Host(host) => address.ip() == *host,
            Self::Socket(socket) => address == *socket,
        }
    }
}

/// Six pairs of hex digits between colons or dashes.
fn mac_address(text: &str) -> Option<EthernetAddress> {
    let separator = if text.contains('-') { '-' } else { ':' };
    let mut bytes = [0; 6];
    let mut parts = text.split(separator);
    for byte in &mut bytes {
        let part = parts.next()?;
        let is_pair = part.len() == 2 && part.bytes().all(|digit| digit.is_ascii_hexdigit());
        *byte = u8::from_str_radix(part, 16).ok().filter(|_| is_pair)?;
    }
    parts.next().is_none().then_some(EthernetAddress(bytes))
}

/// Fewer digits of an identity are more likely a slip than a choice.
const IDENTITY_DIGITS_MIN: usize = 4;
/// Of an identity, in a list of those that may be meant: 2^48 of them are told apart.
const IDENTITY_DIGITS_SHOWN: usize = 12;
/// Named of those that may be meant: what fits a line or two.
const CANDIDATES_MAX: usize = 6;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mac_address_has_six_pairs() {
        let mac = EthernetAddress([2, 0xab, 0, 0, 0, 0xff]);
        assert_eq!(mac_address("02:ab:00:00:00:FF"), Some(mac));
        assert_eq!(mac_address("02-ab-00-00-00-ff"), Some(mac));
        for text in [
            "",
            "02:ab:00:00:00",
            "02:ab:00:00:00:ff:00",
            "2:ab:0:0:0:ff",
            "02:ab:00:00:00:+f",
            "::1",
        ] {
            assert_eq!(mac_address(text), None, "{text}");
        }
    }
}
