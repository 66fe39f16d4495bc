//! Who may not take part, on this host's word: denied identities, and whom the mesh sent away.

use std::net::IpAddr;
use std::time::Instant;

use weave_crypto::PeerId;
use weave_mesh::Admission;

use super::{Event, Router};
use crate::router::refused::remedy;
use crate::router::status::RefusedStatus;

impl Router {
    /// Refuses an identity on this host: no link, no tunnel, and none of its frames gets to the port.
    pub(super) fn deny(&mut self, now: Instant, peer: PeerId) {
        self.mesh.deny(now, peer);
        self.tunnels.forget(&peer);
        self.forget_direct(&peer);
        if let Some(site) = self.sites.site(&peer) {
            self.macs.purge(site);
        }
        self.fib_is_stale = true;
    }

    /// The mesh refused a connection that came here.
    pub(super) fn note_refused(
        &mut self,
        now: Instant,
        from: IpAddr,
        peer: Option<PeerId>,
        reason: Admission,
    ) {
        let name = peer.map(|peer| self.peer_name(&peer));
        self.refused.note(now, from, reason, name.clone());
        let cause = format!("here: {reason}");
        if let Some(unsaid) = self.refused.may_say(now, &cause) {
            self.push_event(Event::Refused {
                from,
                name,
                reason,
                unsaid,
            });
        }
    }

    pub(super) fn refused_statuses(&self, now: Instant) -> Vec<RefusedStatus> {
        let recent = self.refused.recent(now).into_iter();
        recent
            .map(|(from, reason, entry)| RefusedStatus {
                from,
                name: entry.name.clone(),
                reason: reason.to_string(),
                count: entry.count,
                last_s: now.saturating_duration_since(entry.at).as_secs(),
            })
            .collect()
    }

    /// One sentence for each cause, about the newest.
    pub(super) fn refused_warnings(&self, now: Instant) -> Vec<String> {
        let recent = self.refused.recent(now);
        let mut causes: Vec<Admission> = recent.iter().map(|(_, reason, _)| *reason).collect();
        causes.sort_unstable();
        causes.dedup();
        let sentence = |cause: Admission| {
            let mut of_cause = recent.iter().filter(|(_, reason, _)| *reason == cause);
            let (from, _, entry) = of_cause.next()?;
            let who = who(*from, entry.name.as_deref());
            let others = match of_cause.count() {
                0 => String::new(),
                count => format!(", and {count} more addresses"),
            };
            let times = match entry.count {
                1 => "once".to_owned(),
                count => format!("{count} times"),
            };
            let ago = now.saturating_duration_since(entry.at).as_secs();
            let remedy = remedy(cause);
            Some(format!(
                "refused {who}: {cause} ({times}, last {ago} s ago{others}); {remedy}"
            ))
        };
        causes.into_iter().filter_map(sentence).collect()
    }
}

/// Where it came from, and its name where it proved who it is.
pub(super) fn who(from: IpAddr, name: Option<&str>) -> String {
    match name {
        Some(name) => format!("{name} at {from}"),
        None => from.to_string(),
    }
}
