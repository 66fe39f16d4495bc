//! Log lines for frames: a decorator of the frame port that `--debug` puts in, so that nothing is paid without.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use weave_core::{Batch, FrameCaps, FrameIo, FrameMeta, Missed};

/// A frame port that logs each frame at level trace: from the port and to it.
#[derive(Debug)]
pub(crate) struct FrameLog<F>(pub(crate) F);

impl<F: FrameIo> FrameIo for FrameLog<F> {
    fn caps(&self) -> FrameCaps {
        self.0.caps()
    }

    fn recv(&mut self, rx: &mut Batch<FrameMeta>) -> io::Result<usize> {
        let before = rx.len();
        let count = self.0.recv(rx)?;
        for (frame, meta) in rx.iter().skip(before) {
            tracing::trace!("frame in: {}", describe(frame, meta));
        }
        Ok(count)
    }

    fn send(&mut self, tx: &mut Batch<FrameMeta>) -> io::Result<usize> {
        let lines: Vec<String> = tx
            .iter()
            .map(|(frame, meta)| describe(frame, meta))
            .collect();
        let count = self.0.send(tx)?;
        for line in lines.iter().take(count) {
            tracing::trace!("frame out: {line}");
        }
        Ok(count)
    }

    fn refused(&self) -> u64 {
        self.0.refused()
    }

    fn missed(&self) -> Missed {
        self.0.missed()
    }

    fn has_ready(&self) -> bool {
        self.0.has_ready()
    }
}

impl<F: AsFd> AsFd for FrameLog<F> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Source, destination, EtherType and length; of the payload nothing.
fn describe(frame: &[u8], meta: &FrameMeta) -> String {
    let (Some(to), Some(from), Some(ethertype)) =
        (frame.get(..6), frame.get(6..12), frame.get(12..14))
    else {
        return format!("{} bytes, too short for Ethernet", frame.len());
    };
    let segments = meta.offload.segments.map_or_else(String::new, |segments| {
        format!(", in segments of {} bytes", segments.payload_bytes)
    });
    format!(
        "{} > {}, EtherType 0x{:02x}{:02x}, {} bytes{segments}",
        mac(from),
        mac(to),
        ethertype[0],
        ethertype[1],
        frame.len()
    )
}

fn mac(bytes: &[u8]) -> String {
    let parts: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    parts.join(":")
}

#[cfg(test)]
mod tests {
    use weave_core::{Offload, SegmentKind, Segments};

    use super::*;

    #[test]
    fn a_frame_is_described_without_its_payload() {
        let mut frame = vec![0xff; 6];
        frame.extend([2, 0, 0, 0, 0, 1, 0x08, 0x06]);
        frame.extend(b"payload");
        assert_eq!(
            describe(&frame, &FrameMeta::default()),
            "02:00:00:00:00:01 > ff:ff:ff:ff:ff:ff, EtherType 0x0806, 21 bytes"
        );
        let meta = FrameMeta {
            offload: Offload {
                checksum: None,
                segments: Some(Segments {
                    kind: SegmentKind::Tcp4,
                    payload_bytes: 1338,
                }),
            },
        };
        assert!(describe(&frame, &meta).ends_with("in segments of 1338 bytes"));
        for end in 0..14 {
            assert!(describe(&frame[..end], &meta).contains("too short"));
        }
    }
}
