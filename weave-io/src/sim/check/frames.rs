//! Every frame that comes out of a port was put in at another, and comes out no more often than that.

use std::collections::BTreeMap;
use std::time::Duration;

use smoltcp::wire::EthernetFrame;

use super::Checker;
use crate::sim::trace::fingerprint;

/// Frames that went in, by contents, with what came out of them.
#[derive(Debug, Default)]
pub(in crate::sim) struct Frames {
    frames: BTreeMap<u64, Record>,
    /// Questions that routers asked on behalf of others, by contents and port: each accounts for a second, up to here.
    questions: BTreeMap<(u64, usize), Duration>,
    pruned_at: Duration,
}

#[derive(Debug)]
struct Record {
    sent: u32,
    /// The port of the last of them.
    port: usize,
    last: Duration,
    /// Where it is to come out alone, because the router knew the address each time.
    place: Option<usize>,
    delivered: BTreeMap<usize, u32>,
}

/// A frame that goes in at a port.
#[derive(Debug, Clone, Copy)]
pub(in crate::sim) struct Sent<'a> {
    pub(in crate::sim) at: Duration,
    /// Number of the router whose port it is.
    pub(in crate::sim) port: usize,
    pub(in crate::sim) bytes: &'a [u8],
    /// Where its destination is, if that is one container and the router has its address in the table.
    pub(in crate::sim) place: Option<usize>,
}

/// What is wrong with a frame that came out.
pub(in crate::sim) type FrameError = (Checker, String);

impl Frames {
    /// Records are kept this long: no frame waits longer anywhere.
    const KEEP: Duration = Duration::from_secs(20);
    /// A router asks for one address this often;
    const QUESTION_INTERVAL: Duration = Duration::from_secs(1);
    /// where the link's TCP carries the questions and stalls, those of this time come together.
    const QUESTION_STALL: Duration = Duration::from_secs(3);

    pub(in crate::sim) fn sent(&mut self, sent: Sent<'_>) {
        self.prune(sent.at);
        let record = self
            .frames
            .entry(fingerprint(sent.bytes))
            .or_insert(Record {
                sent: 0,
                port: sent.port,
                last: sent.at,
                place: sent.place,
                delivered: BTreeMap::new(),
            });
        record.sent += 1;
        record.port = sent.port;
        record.last = sent.at;
        if record.place != sent.place {
            record.place = None;
        }
    }

    /// A frame came out of a port.
    pub(in crate::sim) fn delivered(
        &mut self,
        port: usize,
        bytes: &[u8],
    ) -> Result<(), FrameError> {
        let what = || describe(bytes);
        let Some(record) = self.frames.get_mut(&fingerprint(bytes)) else {
            return Err((
                Checker::Genuine,
                format!("port {port} gave a frame that nobody sent: {}", what()),
            ));
        };
        if record.port == port {
            return Err((
                Checker::Genuine,
                format!(
                    "port {port} gave back a frame that went in there: {}",
                    what()
                ),
            ));
        }
        if let Some(place) = record.place
            && place != port
        {
            return Err((
                Checker::Place,
                format!(
                    "port {port} gave a frame for a container at {place}: {}",
                    what()
                ),
            ));
        }
        let count = record.delivered.entry(port).or_insert(0);
        *count += 1;
        if *count > record.sent {
            let sent = record.sent;
            return Err((
                Checker::Once,
                format!(
                    "port {port} gave {count} times what went in {sent} times: {}",
                    what()
                ),
            ));
        }
        Ok(())
    }

    /// A question came out of a port that a router asked on behalf of a container. Where more come than a router asks,
    /// one has come twice.
    pub(in crate::sim) fn asked(
        &mut self,
        at: Duration,
        port: usize,
        bytes: &[u8],
    ) -> Result<(), FrameError> {
        self.prune(at);
        let until = self.questions.entry((fingerprint(bytes), port));
        let until = until.or_default();
        *until = (*until).max(at) + Self::QUESTION_INTERVAL;
        if *until > at + Self::QUESTION_STALL {
            return Err((
                Checker::Once,
                format!("port {port} gave a question twice: {}", describe(bytes)),
            ));
        }
        Ok(())
    }

    fn prune(&mut self, at: Duration) {
        if at.saturating_sub(self.pruned_at) > Self::KEEP {
            self.pruned_at = at;
            self.frames
                .retain(|_, record| at.saturating_sub(record.last) <= Self::KEEP);
            self.questions
                .retain(|_, asked| at.saturating_sub(*asked) <= Self::KEEP);
        }
    }
}

fn describe(bytes: &[u8]) -> String {
    match EthernetFrame::new_checked(bytes) {
        Ok(frame) => {
            format!(
                "{} from {} to {}, {} bytes",
                frame.ethertype(),
                frame.src_addr(),
                frame.dst_addr(),
                bytes.len()
            )
        }
        Err(_) => format!("{} bytes, no Ethernet frame", bytes.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_may_come_out_once_at_each_other_port() {
        let mut frames = Frames::default();
        frames.sent(sent(0, b"flood", None));
        assert_eq!(frames.delivered(1, b"flood"), Ok(()));
        assert_eq!(frames.delivered(2, b"flood"), Ok(()));
        assert_eq!(checker(frames.delivered(1, b"flood")), Checker::Once);
    }

    #[test]
    fn a_frame_sent_twice_may_come_out_twice() {
        let mut frames = Frames::default();
        frames.sent(sent(0, b"again", None));
        frames.sent(sent(0, b"again", None));
        assert_eq!(frames.delivered(1, b"again"), Ok(()));
        assert_eq!(frames.delivered(1, b"again"), Ok(()));
        assert_eq!(checker(frames.delivered(1, b"again")), Checker::Once);
    }

    #[test]
    fn a_frame_that_returns_or_was_altered_is_found() {
        let mut frames = Frames::default();
        frames.sent(sent(0, b"frame", None));
        assert_eq!(checker(frames.delivered(0, b"frame")), Checker::Genuine);
        assert_eq!(checker(frames.delivered(1, b"fraem")), Checker::Genuine);
    }

    #[test]
    fn a_known_destination_is_the_only_place() {
        let mut frames = Frames::default();
        frames.sent(sent(0, b"unicast", Some(2)));
        assert_eq!(checker(frames.delivered(1, b"unicast")), Checker::Place);
        assert_eq!(frames.delivered(2, b"unicast"), Ok(()));
        // Flooded once, it may come out anywhere.
        frames.sent(sent(0, b"unicast", None));
        assert_eq!(frames.delivered(1, b"unicast"), Ok(()));
    }

    #[test]
    fn a_question_may_be_repeated_after_a_while() {
        let mut frames = Frames::default();
        let mut asked = |ms, port| frames.asked(Duration::from_millis(ms), port, b"who has it?");
        assert_eq!(asked(7_000, 2), Ok(()));
        for second in 7..20 {
            assert_eq!(asked(second * 1_000, 1), Ok(()));
        }
        // Two were late, and come with the next.
        for ms in [21_900, 21_900, 22_000] {
            assert_eq!(asked(ms, 1), Ok(()));
        }
        assert_eq!(checker(asked(22_001, 1)), Checker::Once);
        // Each of them twice.
        for second in 22..24 {
            assert_eq!(asked(second * 1_000, 2), Ok(()));
            assert_eq!(asked(second * 1_000, 2), Ok(()));
        }
        assert_eq!(asked(24_000, 2), Ok(()));
        assert_eq!(checker(asked(24_000, 2)), Checker::Once);
    }

    #[test]
    fn old_records_are_forgotten() {
        let mut frames = Frames::default();
        frames.sent(sent(0, b"old", None));
        frames.sent(Sent {
            at: Duration::from_secs(60),
            ..sent(0, b"new", None)
        });
        assert_eq!(frames.frames.len(), 1);
    }

    fn sent(port: usize, bytes: &[u8], place: Option<usize>) -> Sent<'_> {
        Sent {
            at: Duration::ZERO,
            port,
            bytes,
            place,
        }
    }

    fn checker(result: Result<(), FrameError>) -> Checker {
        result.unwrap_err().0
    }
}
