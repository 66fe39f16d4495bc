//! Who was refused lately, and why: for status, and for a log that strangers can't fill.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use weave_mesh::Admission;

/// Refusals of connections that came here, by where they came from; see the [module](self).
#[derive(Debug, Default)]
pub(crate) struct Refused {
    sources: BTreeMap<(IpAddr, Admission), Entry>,
    said: BTreeMap<String, Said>,
}

/// What one source was refused for.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    /// How often since it was first refused, or last forgotten.
    pub(crate) count: u64,
    /// When last.
    pub(crate) at: Instant,
    /// The name of the identity that is refused, where that is the reason.
    pub(crate) name: Option<String>,
}

/// When a sentence was last logged, and how often it was not since.
#[derive(Debug)]
struct Said {
    at: Instant,
    unsaid: u64,
}

impl Refused {
    /// A connection was refused.
    pub(crate) fn note(
        &mut self,
        now: Instant,
        from: IpAddr,
        reason: Admission,
        name: Option<String>,
    ) {
        let key = (from, reason);
        self.forget_old(now);
        if self.sources.len() >= SOURCES_MAX && !self.sources.contains_key(&key) {
            let oldest = self.sources.iter().min_by_key(|(_, entry)| entry.at);
            if let Some(oldest) = oldest.map(|(key, _)| *key) {
                self.sources.remove(&oldest);
            }
        }
        let entry = self.sources.entry(key).or_insert(Entry {
            count: 0,
            at: now,
            name: None,
        });
        entry.count += 1;
        entry.at = now;
        entry.name = name;
    }

    /// Whether a sentence about this cause may go to the log now, and then how many did not since the last one.
    ///
    /// `cause` is one of a handful of sentences, never words of another router.
    pub(crate) fn may_say(&mut self, now: Instant, cause: &str) -> Option<u64> {
        match self.said.get_mut(cause) {
            Some(said) if now.saturating_duration_since(said.at) < SAY_INTERVAL => {
                said.unsaid += 1;
                None
            }
            Some(said) => {
                said.at = now;
                Some(std::mem::take(&mut said.unsaid))
            }
            None => {
                let said = Said { at: now, unsaid: 0 };
                self.said.insert(cause.to_owned(), said);
                Some(0)
            }
        }
    }

    /// Refusals that somebody may want to know of, the newest first.
    pub(crate) fn recent(&self, now: Instant) -> Vec<(IpAddr, Admission, &Entry)> {
        let mut recent: Vec<_> = self
            .sources
            .iter()
            .filter(|(_, entry)| now.saturating_duration_since(entry.at) < SHOWN_FOR)
            .map(|((from, reason), entry)| (*from, *reason, entry))
            .collect();
        recent.sort_by_key(|(from, reason, entry)| (std::cmp::Reverse(entry.at), *from, *reason));
        recent
    }

    fn forget_old(&mut self, now: Instant) {
        self.sources
            .retain(|_, entry| now.saturating_duration_since(entry.at) < SHOWN_FOR);
    }
}

/// What whoever looks after one of the two routers can do about a refusal.
pub(crate) fn remedy(reason: Admission) -> &'static str {
    match reason {
        Admission::NoPassword | Admission::WrongPassword => {
            "start it with this network's password (--password-file), if it is to join"
        }
        Admission::SurplusPassword => {
            "start this router with the same password (--password-file), or that one without"
        }
        Admission::Denied | _ => "take it out of --deny, if it is to join",
    }
}

/// Sources kept: more than anybody reads, in a few kilobytes.
const SOURCES_MAX: usize = 64;
/// How long a refusal stands in status.
const SHOWN_FOR: Duration = Duration::from_secs(600);
/// Between two lines of one cause in the log.
const SAY_INTERVAL: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[allow(clippy::disallowed_methods, reason = "a test's base instant")]
    fn base() -> Instant {
        Instant::now()
    }

    fn address(number: u32) -> IpAddr {
        IpAddr::V4(Ipv4Addr::from_bits(number))
    }

    #[test]
    fn one_line_of_a_cause_in_10_s_and_the_rest_is_counted() {
        let start = base();
        let mut refused = Refused::default();
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(refused.may_say(at(0), "wrong"), Some(0));
        for second in 1..10 {
            assert_eq!(refused.may_say(at(second), "wrong"), None);
        }
        assert_eq!(refused.may_say(at(5), "denied"), Some(0));
        assert_eq!(refused.may_say(at(10), "wrong"), Some(9));
        assert_eq!(refused.may_say(at(20), "wrong"), Some(0));
    }

    #[test]
    fn sources_are_bounded_counted_and_forgotten() {
        let start = base();
        let mut refused = Refused::default();
        for number in 0..1_000 {
            let at = start + Duration::from_millis(number);
            refused.note(at, address(number as u32), Admission::WrongPassword, None);
            refused.note(at, address(1 << 30), Admission::WrongPassword, None);
        }
        let now = start + Duration::from_secs(1);
        let recent = refused.recent(now);
        assert_eq!(recent.len(), SOURCES_MAX);
        assert!(
            recent
                .iter()
                .any(|(from, _, entry)| *from == address(1 << 30) && entry.count == 1_000)
        );
        assert!(recent.is_sorted_by_key(|(_, _, entry)| std::cmp::Reverse(entry.at)));
        assert_eq!(refused.recent(now + SHOWN_FOR).len(), 0);
    }
}
