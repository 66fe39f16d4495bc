//! Stations by the port they are behind, from the kernel's messages.

use std::collections::{BTreeMap, BTreeSet};

use netlink_packet_route::link::{
    BridgePortState, InfoBridgePort, InfoPortData, LinkAttribute, LinkFlags, LinkInfo, LinkMessage,
    LinkProtoInfoBridge,
};
use netlink_packet_route::neighbour::{NeighbourAttribute, NeighbourMessage, NeighbourState};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use rtnetlink::packet_core::Nla;
use weave_core::{EthernetAddress, PortChange};

/// What is known of one bridge.
#[derive(Debug)]
pub(super) struct Tracker {
    bridge: u32,
    /// The router's port.
    own: u32,
    /// The other ports that carry frames, and the stations behind each.
    ports: BTreeMap<u32, BTreeSet<EthernetAddress>>,
    stations: BTreeMap<EthernetAddress, u32>,
    /// Ports that a listing under way has not shown yet.
    unseen: BTreeSet<u32>,
}

impl Tracker {
    pub(super) fn new(bridge: u32, own: u32) -> Self {
        Self {
            bridge,
            own,
            ports: BTreeMap::new(),
            stations: BTreeMap::new(),
            unseen: BTreeSet::new(),
        }
    }

    /// A list of all devices comes, then one of all stations.
    pub(super) fn begin_listing(&mut self) {
        self.unseen = self.ports.keys().copied().collect();
    }

    /// The list of devices is complete: ports that were not in it are gone.
    pub(super) fn end_listing_of_ports(&mut self, changes: &mut Vec<PortChange>) {
        for port in std::mem::take(&mut self.unseen) {
            self.remove_port(port, changes);
        }
    }

    pub(super) fn handle(&mut self, message: &RouteNetlinkMessage, changes: &mut Vec<PortChange>) {
        if let RouteNetlinkMessage::NewLink(link) = message {
            self.link(link, changes);
        } else if let RouteNetlinkMessage::DelLink(link) = message {
            self.remove_port(link.header.index, changes);
        } else if let RouteNetlinkMessage::NewNeighbour(neighbour) = message {
            self.station(neighbour, changes);
        } else if let RouteNetlinkMessage::DelNeighbour(neighbour) = message {
            self.aged(neighbour);
        }
    }

    fn link(&mut self, link: &LinkMessage, changes: &mut Vec<PortChange>) {
        let port = link.header.index;
        let is_ours = link
            .attributes
            .contains(&LinkAttribute::Controller(self.bridge));
        let carries = LinkFlags::Up | LinkFlags::LowerUp;
        if port == self.own {
            return;
        }
        if !is_ours || !link.header.flags.contains(carries) {
            self.remove_port(port, changes);
            return;
        }
        self.unseen.remove(&port);
        // The kernel lets frames through up to a second after the wire is there (linkwatch), and says so.
        let is_open = port_state(link).is_none_or(|state| state == BridgePortState::Forwarding);
        if is_open && !self.ports.contains_key(&port) && self.ports.len() < PORTS_MAX {
            self.ports.insert(port, BTreeSet::new());
            changes.push(PortChange::Joined);
        }
    }

    fn remove_port(&mut self, port: u32, changes: &mut Vec<PortChange>) {
        let Some(stations) = self.ports.remove(&port) else {
            return;
        };
        for mac in stations {
            self.stations.remove(&mac);
            changes.push(PortChange::Gone(mac));
        }
        changes.push(PortChange::Left);
    }

    fn station(&mut self, entry: &NeighbourMessage, changes: &mut Vec<PortChange>) {
        let Some(mac) = self.mac(entry) else {
            return;
        };
        let port = entry.header.ifindex;
        if self.stations.get(&mac) == Some(&port) {
            return;
        }
        self.forget(mac);
        // What the bridge learns at our own port lives behind another router.
        let Some(stations) = self.ports.get_mut(&port) else {
            return;
        };
        if stations.len() < PORT_STATIONS_MAX && self.stations.len() < STATIONS_MAX {
            stations.insert(mac);
            self.stations.insert(mac, port);
            changes.push(PortChange::Here(mac));
        }
    }

    /// The bridge has forgotten a station. It may be there all the same, so it is kept in mind as long as its port
    /// has places.
    fn aged(&mut self, entry: &NeighbourMessage) {
        let Some(mac) = self.mac(entry) else {
            return;
        };
        let is_crowded = |port| {
            self.ports
                .get(port)
                .is_some_and(|stations| stations.len() > PORT_STATIONS_MAX / 2)
        };
        if self.stations.get(&mac) == Some(&entry.header.ifindex)
            && is_crowded(&entry.header.ifindex)
        {
            self.forget(mac);
        }
    }

    fn forget(&mut self, mac: EthernetAddress) {
        if let Some(port) = self.stations.remove(&mac)
            && let Some(stations) = self.ports.get_mut(&port)
        {
            stations.remove(&mac);
        }
    }

    /// The station that an entry of our bridge is about; none where it is the address of the port itself.
    fn mac(&self, entry: &NeighbourMessage) -> Option<EthernetAddress> {
        if entry.header.family != AddressFamily::Bridge
            || entry.header.state == NeighbourState::Permanent
            || !entry
                .attributes
                .contains(&NeighbourAttribute::Controller(self.bridge))
        {
            return None;
        }
        let bytes = entry.attributes.iter().find_map(|attribute| {
            let NeighbourAttribute::LinkLayerAddress(bytes) = attribute else {
                return None;
            };
            Some(<[u8; 6]>::try_from(bytes.as_slice()).ok())
        })??;
        let mac = EthernetAddress(bytes);
        mac.is_unicast().then_some(mac)
    }
}

/// The state of a bridge's port, where a message tells: one about a device in general, or one of the bridge's own.
fn port_state(link: &LinkMessage) -> Option<BridgePortState> {
    link.attributes.iter().find_map(|attribute| {
        if let LinkAttribute::LinkInfo(infos) = attribute {
            infos.iter().find_map(|info| {
                let LinkInfo::PortData(InfoPortData::BridgePort(settings)) = info else {
                    return None;
                };
                settings.iter().find_map(|setting| {
                    if let InfoBridgePort::State(state) = setting {
                        Some(*state)
                    } else {
                        None
                    }
                })
            })
        } else if let LinkAttribute::ProtoInfoBridge(settings) = attribute {
            settings.iter().find_map(|setting| {
                let LinkProtoInfoBridge::Other(setting) = setting else {
                    return None;
                };
                let is_state = setting.kind() == IFLA_BRPORT_STATE && setting.value_len() == 1;
                is_state.then(|| {
                    let mut state = [0];
                    setting.emit_value(&mut state);
                    BridgePortState::from(state[0])
                })
            })
        } else {
            None
        }
    })
}

/// linux/if_link.h; the crate reads it in messages about devices only.
const IFLA_BRPORT_STATE: u16 = 1;
/// Ports of a bridge that are watched: the kernel takes 1,024 (BR_MAX_PORTS).
const PORTS_MAX: usize = 1_024;
/// Stations that are kept in mind: as many as the router's table has places, about 2 MiB.
const STATIONS_MAX: usize = 16_384;
/// Stations of one port: a container has one, a wire to another switch a few hundred. One that makes addresses up
/// takes no more from the others.
const PORT_STATIONS_MAX: usize = 1_024;

#[cfg(test)]
mod tests {
    use rtnetlink::packet_core::DefaultNla;

    use super::*;

    #[test]
    fn stations_of_a_port_go_with_it_and_not_by_ageing() {
        let mut watch = Watch::new();
        assert_eq!(watch.link(7, true, true), [PortChange::Joined]);
        assert_eq!(watch.link(8, true, true), [PortChange::Joined]);
        assert_eq!(watch.link(7, true, true), [], "known");
        assert_eq!(watch.seen(7, 1), [PortChange::Here(mac(1))]);
        assert_eq!(watch.seen(7, 1), []);
        assert_eq!(watch.seen(8, 2), [PortChange::Here(mac(2))]);
        assert_eq!(watch.aged(7, 1), []);
        let left = [PortChange::Gone(mac(1)), PortChange::Left];
        assert_eq!(watch.link(7, true, false), left);
        assert_eq!(watch.link(7, true, false), [], "it has gone");
        assert_eq!(watch.link(7, true, true), [PortChange::Joined]);
        assert_eq!(watch.seen(7, 1), [PortChange::Here(mac(1))]);
        assert_eq!(watch.link(7, false, true), left);
        let gone = watch.message(RouteNetlinkMessage::DelLink(link(8, true, true)));
        assert_eq!(gone, [PortChange::Gone(mac(2)), PortChange::Left]);
        assert!(watch.tracker.stations.is_empty() && watch.tracker.ports.is_empty());
    }

    #[test]
    fn a_port_joins_when_the_bridge_lets_its_frames_through() {
        let mut watch = Watch::new();
        let with_state = |state| {
            let mut link = link(7, true, true);
            let settings = InfoPortData::BridgePort(vec![InfoBridgePort::State(state)]);
            link.attributes
                .push(LinkAttribute::LinkInfo(vec![LinkInfo::PortData(settings)]));
            RouteNetlinkMessage::NewLink(link)
        };
        assert_eq!(watch.message(with_state(BridgePortState::Disabled)), []);
        assert_eq!(
            watch.message(with_state(BridgePortState::Forwarding)),
            [PortChange::Joined]
        );
        // The bridge's own message: its family and IFLA_PROTINFO.
        let of_bridge = |state: u8| {
            let state = DefaultNla::new(IFLA_BRPORT_STATE, vec![state]);
            let mut link = link(8, true, true);
            link.header.interface_family = AddressFamily::Bridge;
            link.attributes.push(LinkAttribute::ProtoInfoBridge(vec![
                LinkProtoInfoBridge::Other(state),
            ]));
            RouteNetlinkMessage::NewLink(link)
        };
        assert_eq!(watch.message(of_bridge(0)), []);
        assert_eq!(watch.message(of_bridge(3)), [PortChange::Joined]);
    }

    #[test]
    fn what_is_at_our_own_port_or_another_bridge_is_not_here() {
        let mut watch = Watch::new();
        watch.link(7, true, true);
        assert_eq!(watch.link(OWN, true, true), []);
        assert_eq!(watch.seen(OWN, 1), []);
        assert_eq!(watch.seen(99, 1), [], "no port of this bridge");
        let mut own = entry(7, 3);
        own.header.state = NeighbourState::Permanent;
        assert_eq!(watch.message(RouteNetlinkMessage::NewNeighbour(own)), []);
        let mut other = entry(7, 3);
        other.attributes[0] = NeighbourAttribute::Controller(BRIDGE + 1);
        assert_eq!(watch.message(RouteNetlinkMessage::NewNeighbour(other)), []);
        watch.seen(7, 1);
        assert_eq!(watch.seen(OWN, 1), [], "it moved away: its frames tell");
        assert_eq!(
            watch.link(7, true, false),
            [PortChange::Left],
            "so it did not go with the port"
        );
    }

    #[test]
    fn a_station_that_moves_between_ports_stays_when_the_first_goes() {
        let mut watch = Watch::new();
        watch.link(7, true, true);
        watch.link(8, true, true);
        watch.seen(7, 1);
        assert_eq!(watch.seen(8, 1), [PortChange::Here(mac(1))]);
        assert_eq!(watch.link(7, false, false), [PortChange::Left]);
        let left = [PortChange::Gone(mac(1)), PortChange::Left];
        assert_eq!(watch.link(8, false, false), left);
    }

    #[test]
    fn a_listing_finds_the_ports_that_went_unnoticed() {
        let mut watch = Watch::new();
        for port in [7, 8] {
            watch.link(port, true, true);
            watch.seen(port, port.into());
        }
        watch.tracker.begin_listing();
        assert_eq!(watch.link(8, true, true), []);
        let mut changes = Vec::new();
        watch.tracker.end_listing_of_ports(&mut changes);
        assert_eq!(changes, [PortChange::Gone(mac(7)), PortChange::Left]);
        assert_eq!(watch.seen(8, 8), []);
    }

    #[test]
    fn a_port_that_makes_addresses_up_takes_its_share_only() {
        let mut watch = Watch::new();
        watch.link(7, true, true);
        watch.link(8, true, true);
        for number in 0..100_000 {
            watch.seen(7, number);
        }
        assert_eq!(watch.tracker.stations.len(), PORT_STATIONS_MAX);
        assert_eq!(watch.seen(8, 200_000), [PortChange::Here(mac(200_000))]);
        for number in 0..100_000 {
            watch.aged(7, number);
        }
        assert_eq!(watch.tracker.stations.len(), PORT_STATIONS_MAX / 2 + 1);
        assert_eq!(watch.seen(7, 300_000), [PortChange::Here(mac(300_000))]);
        assert_eq!(
            watch
                .tracker
                .ports
                .values()
                .map(BTreeSet::len)
                .sum::<usize>(),
            watch.tracker.stations.len()
        );
    }

    const BRIDGE: u32 = 3;
    const OWN: u32 = 4;

    struct Watch {
        tracker: Tracker,
    }

    impl Watch {
        fn new() -> Self {
            Self {
                tracker: Tracker::new(BRIDGE, OWN),
            }
        }

        fn message(&mut self, message: RouteNetlinkMessage) -> Vec<PortChange> {
            let mut changes = Vec::new();
            self.tracker.handle(&message, &mut changes);
            changes
        }

        fn link(&mut self, port: u32, is_on_bridge: bool, carries: bool) -> Vec<PortChange> {
            self.message(RouteNetlinkMessage::NewLink(link(
                port,
                is_on_bridge,
                carries,
            )))
        }

        fn seen(&mut self, port: u32, number: u64) -> Vec<PortChange> {
            self.message(RouteNetlinkMessage::NewNeighbour(entry(port, number)))
        }

        fn aged(&mut self, port: u32, number: u64) -> Vec<PortChange> {
            self.message(RouteNetlinkMessage::DelNeighbour(entry(port, number)))
        }
    }

    fn link(port: u32, is_on_bridge: bool, carries: bool) -> LinkMessage {
        let mut link = LinkMessage::default();
        link.header.index = port;
        link.header.flags = LinkFlags::Up;
        if carries {
            link.header.flags |= LinkFlags::LowerUp;
        }
        if is_on_bridge {
            link.attributes.push(LinkAttribute::Controller(BRIDGE));
        }
        link
    }

    fn entry(port: u32, number: u64) -> NeighbourMessage {
        let mut entry = NeighbourMessage::default();
        entry.header.family = AddressFamily::Bridge;
        entry.header.ifindex = port;
        entry.header.state = NeighbourState::Reachable;
        entry.attributes = vec![
            NeighbourAttribute::Controller(BRIDGE),
            NeighbourAttribute::LinkLayerAddress(mac(number).0.to_vec()),
        ];
        entry
    }

    fn mac(number: u64) -> EthernetAddress {
        let [.., a, b, c, d] = number.to_be_bytes();
        EthernetAddress([2, 0, a, b, c, d])
    }
}
