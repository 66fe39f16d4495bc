//! Hostile members: what leaves their routers is changed, and what they say besides is said by their streams.

use std::time::Duration;

use weave_crypto::{NetworkId, PeerId};
use weave_mesh::RecordKind;

use super::{Event, World};
use crate::sim::RouterId;
use crate::sim::member::{HostileMember, Mischief};

impl World {
    /// A router becomes a hostile member, or more of one. Its containers, and frames that must cross it, have no
    /// claim to anything from now on.
    pub(super) fn misbehave(&mut self, router: RouterId, mischief: Mischief) {
        // Some of what it sends is not genuine.
        self.strangers.are_active = true;
        let dice = &mut self.dice;
        let member = self
            .members
            .entry(router)
            .or_insert_with(|| HostileMember::new(dice.fork()));
        if member.begin(mischief) {
            self.black_holes.distrust(router.0);
            self.queue
                .schedule(self.now + HostileMember::INTERVAL, Event::Mischief(router));
        }
    }

    /// Whether a router is a hostile member.
    pub(super) fn is_hostile(&self, router: RouterId) -> bool {
        self.members.contains_key(&router)
    }

    /// A hostile member says what it has made up.
    pub(super) fn make_mischief(&mut self, router: RouterId) {
        self.queue
            .schedule(self.now + HostileMember::INTERVAL, Event::Mischief(router));
        let machine = &self.machines[router.0];
        let (Some(process), Some(member)) = (&machine.process, self.members.get_mut(&router))
        else {
            return;
        };
        let mesh = process.control.router().mesh();
        let neighbours: Vec<PeerId> = mesh.links().map(|link| link.peer()).collect();
        let network = NetworkId::from_name(Self::NETWORK);
        let said = member.records(&machine.identity, &network, mesh.store(), &neighbours);
        let now = self.instant();
        for (to, records) in said {
            let process = self.machines[router.0].process.as_mut();
            let turn = process.map(|process| process.control.say_unchecked(now, to, records));
            self.settle(router, turn.into_iter().collect());
        }
    }

    /// What of a router's datagram leaves it, and how much later.
    pub(super) fn leaving(&mut self, router: RouterId, bytes: &[u8]) -> Vec<(Duration, Vec<u8>)> {
        match self.members.get_mut(&router) {
            Some(member) => member.datagrams(bytes),
            None => vec![(Duration::ZERO, bytes.to_vec())],
        }
    }

    /// Records that are not what their origins said, or that two routers hold different versions of under one number.
    pub(super) fn wrong_record(&self, router: RouterId) -> Option<String> {
        let store = self.store(router).filter(|_| !self.is_hostile(router))?;
        for origin in self.routers().filter(|origin| *origin != router) {
            let peer = self.machines[origin.0].identity.peer_id();
            for kind in RecordKind::ALL {
                let Some(record) = store.record(&peer, kind) else {
                    continue;
                };
                let said = self
                    .store(origin)
                    .filter(|_| !self.is_hostile(origin))
                    .and_then(|store| store.record(&peer, kind));
                if let Some(said) = said
                    && (record.seq() > said.seq()
                        || record.seq() == said.seq() && record.bytes() != said.bytes())
                {
                    return Some(format!(
                        "router {router} has a record of router {origin} that it did not say"
                    ));
                }
                for other in self.routers().filter(|other| !self.is_hostile(*other)) {
                    let is_settled = self
                        .black_holes
                        .is_connected(router.0, other.0, self.now)
                        .unwrap_or(false);
                    let theirs = self
                        .store(other)
                        .filter(|_| is_settled)
                        .and_then(|store| store.record(&peer, kind));
                    if theirs.is_some_and(|theirs| {
                        theirs.seq() == record.seq() && theirs.bytes() != record.bytes()
                    }) {
                        return Some(format!(
                            "routers {router} and {other} hold different records of router {origin} under one number"
                        ));
                    }
                }
            }
        }
        None
    }

    fn store(&self, router: RouterId) -> Option<&weave_mesh::Store> {
        let process = self.machines[router.0].process.as_ref()?;
        Some(process.control.router().mesh().store())
    }
}
