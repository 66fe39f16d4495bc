//! Copied state folders: two machines whose routers have one identity, until one of them takes another.

use std::sync::Arc;

use weave_crypto::Identity;

use super::World;
use crate::Input;
use crate::sim::RouterId;
use crate::sim::check::FaultKind;

impl World {
    /// Copies the state folder of one machine to another, whose router is started anew with it. Both run then.
    pub fn copy_state(&mut self, from: RouterId, to: RouterId) {
        let source = &self.machines[from.0];
        let (identity, boot_id, peers) = (
            Arc::clone(&source.identity),
            source.boot_id,
            source.peers.clone(),
        );
        self.note(|| format!("the state of {from} is copied to {to}"));
        if self.machines[to.0].process.is_some() {
            self.stop(to, false);
        }
        self.identities_gone += 1;
        let machine = &mut self.machines[to.0];
        machine.identity = identity;
        machine.boot_id = boot_id;
        machine.peers = peers;
        self.start(to);
        self.changed(FaultKind::Restart);
    }

    /// The wall clock of a machine jumps, as after it was brought back from a snapshot.
    pub fn jump_clock(&mut self, router: RouterId) {
        let seed = self.dice.seed();
        self.control(router, Some(Input::ClockJumped { seed }));
        self.changed(FaultKind::Restart);
    }

    /// Whether a router has an identity of its own.
    pub fn is_distinct(&self, router: RouterId) -> bool {
        let own = self.machines[router.0].identity.peer_id();
        self.routers()
            .filter(|other| *other != router)
            .all(|other| self.machines[other.0].identity.peer_id() != own)
    }

    /// A router met another with its identity, which keeps it: it goes on with a new one.
    pub(super) fn renew_identity(&mut self, router: RouterId) {
        let seed = self.dice.seed();
        self.note(|| format!("{router} takes a new identity"));
        self.stop(router, false);
        self.identities_gone += 1;
        let machine = &mut self.machines[router.0];
        machine.former = Some(machine.identity.peer_id());
        machine.identity = Arc::new(Identity::from_seed(seed));
        self.start(router);
        self.changed(FaultKind::Restart);
    }
}
