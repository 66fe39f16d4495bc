//! Frames that wait for a tunnel: the first of a conversation would be lost otherwise, and TCP would come back
//! for it only after a second.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use super::ingress::{Job, Sent};
use super::{Progress, Turn, ingress};
use crate::{DropReason, Notice, Site};

/// The frames that wait, oldest first.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    queue: VecDeque<WaitingFrame>,
    /// Buffers that waited before.
    spare: Vec<Vec<u8>>,
    /// When the control plane was last told of a site.
    told: BTreeMap<Site, Instant>,
}

#[derive(Debug)]
struct WaitingFrame {
    site: Site,
    since: Instant,
    job: Job,
    bytes: Vec<u8>,
}

impl Waiting {
    /// Frames at once, 128 KiB in all.
    const FRAMES_MAX: usize = 64;
    /// Frames for one site: what comes before the first answer, ARP's own, a TCP SYN, some DNS questions.
    const SITE_FRAMES_MAX: usize = 8;
    /// Bytes of a frame that may wait: an ordinary MTU's. Larger ones belong to a stream that runs already.
    const FRAME_BYTES_MAX: usize = 2_048;
    /// A tunnel stands after two messages, sent again after 0.3, 0.6 and 1.2 s.
    const TIME_MAX: Duration = Duration::from_secs(2);
    /// Notices about one site are at least this far apart.
    const NOTICE_INTERVAL: Duration = Duration::from_millis(100);

    /// Keeps a frame for `site`, or drops it where there is no place.
    pub(super) fn add(&mut self, turn: &mut Turn<'_, '_>, site: Site, job: Job, frame: &[u8]) {
        self.tell(turn, site);
        self.expire(turn);
        let of_site = self
            .queue
            .iter()
            .filter(|waiting| waiting.site == site)
            .count();
        if self.queue.len() >= Self::FRAMES_MAX
            || of_site >= Self::SITE_FRAMES_MAX
            || frame.len() > Self::FRAME_BYTES_MAX
        {
            turn.count_drop(DropReason::NoTunnel);
            return;
        }
        let mut bytes = self.spare.pop().unwrap_or_default();
        bytes.clear();
        bytes.extend_from_slice(frame);
        self.queue.push_back(WaitingFrame {
            site,
            since: turn.now,
            job,
            bytes,
        });
    }

    /// Sends the frames whose tunnel stands by now, in their order.
    pub(super) fn release(&mut self, turn: &mut Turn<'_, '_>) -> Progress {
        self.expire(turn);
        let mut index = 0;
        while let Some(waiting) = self.queue.get_mut(index) {
            match ingress::send_unicast(turn, waiting.site, &waiting.bytes, &mut waiting.job) {
                Sent::Full => return Progress::OutputFull,
                Sent::NoTunnel => index += 1,
                Sent::Done => {
                    if let Some(sent) = self.queue.remove(index) {
                        self.spare.push(sent.bytes);
                    }
                }
            }
        }
        Progress::Done
    }

    fn expire(&mut self, turn: &mut Turn<'_, '_>) {
        while let Some(oldest) = self.queue.front()
            && turn.now.saturating_duration_since(oldest.since) > Self::TIME_MAX
        {
            turn.count_drop(DropReason::NoTunnel);
            if let Some(expired) = self.queue.pop_front() {
                self.spare.push(expired.bytes);
            }
        }
    }

    /// Asks the control plane for a tunnel, now and then.
    fn tell(&mut self, turn: &mut Turn<'_, '_>, site: Site) {
        let now = turn.now;
        let recent = |at: &Instant| now.saturating_duration_since(*at) < Self::NOTICE_INTERVAL;
        if self.told.get(&site).is_some_and(recent) {
            return;
        }
        self.told.retain(|_, at| recent(at));
        self.told.insert(site, now);
        turn.notices.push(Notice::NoTunnel { site });
    }
}
