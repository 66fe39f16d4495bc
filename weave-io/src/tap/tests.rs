use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, unshare};
use weave_core::{BUFFER_BYTES, Offload, PartialChecksum};

use super::*;

#[test]
fn bad_names_are_refused_before_the_kernel_sees_them() {
    for name in ["", "sixteen-bytes-16", "a/b", "a b", "tap%d", ".."] {
        let config = TapConfig {
            name: name.into(),
            offload: true,
        };
        assert!(matches!(Tap::open(config), Err(TapError::BadName(_))));
    }
}

#[test]
fn the_device_comes_with_offloads_is_exclusive_and_goes_on_drop() {
    in_namespace(|| {
        let tap = open("weave-test", true).unwrap();
        assert_eq!(tap.name(), "weave-test");
        assert!(tap.caps().segmentation && tap.caps().checksum);
        assert!(matches!(
            open("weave-test", true),
            Err(TapError::NameTaken(_))
        ));
        assert!(matches!(open("lo", true), Err(TapError::NameTaken(_))));
        drop(tap);
        let plain = open("weave-test", false).unwrap();
        assert!(!plain.caps().segmentation && !plain.caps().checksum);
    });
}

#[test]
fn a_device_that_is_down_stops_nobody() {
    in_namespace(|| {
        let mut tap = open("weave-test", true).unwrap();
        let mut batch = Batch::new(2, BUFFER_BYTES);
        assert_eq!(tap.recv(&mut batch).unwrap(), 0);
        assert!(batch.free().unwrap().append(&[0xff; 60]));
        batch.commit(FrameMeta::default());
        assert_eq!(tap.send(&mut batch).unwrap(), 1);
        assert_eq!(tap.refused(), 1);
    });
}

#[test]
fn frames_go_both_ways_with_their_unfinished_checksums() {
    in_namespace(|| {
        let mut tap = open("weave-test", true).unwrap();
        ioctl::bring_up(tap.name(), OURS).unwrap();
        let socket = UdpSocket::bind((OURS, 0)).unwrap();
        socket.send_to(b"hello", (THEIRS, 4000)).unwrap();

        // First the ARP question, which is answered by hand; then the datagram comes.
        let mut batch = Batch::new(4, BUFFER_BYTES);
        let question = receive(&mut tap, &mut batch, |frame| frame[12..14] == [0x08, 0x06]);
        let mut answer = question.0.clone();
        let (asker, target) = (question.0[22..32].to_vec(), question.0[38..42].to_vec());
        answer[0..6].copy_from_slice(&asker[..6]);
        answer[6..12].copy_from_slice(&MAC);
        answer[21] = 2;
        answer[22..28].copy_from_slice(&MAC);
        answer[28..32].copy_from_slice(&target);
        answer[32..42].copy_from_slice(&asker);
        send(&mut tap, &mut batch, &answer, Offload::default());

        let (frame, offload) = receive(&mut tap, &mut batch, |frame| frame[23] == 17);
        assert_eq!(&frame[42..], b"hello");
        let expected = PartialChecksum {
            start: 34,
            offset: 6,
        };
        assert_eq!(offload.checksum, Some(expected));

        // Back with addresses and ports swapped: the sum over both headers stays the same.
        let mut back = frame.clone();
        back[0..6].copy_from_slice(&frame[6..12]);
        back[6..12].copy_from_slice(&frame[0..6]);
        back[26..30].copy_from_slice(&frame[30..34]);
        back[30..34].copy_from_slice(&frame[26..30]);
        back[34..36].copy_from_slice(&frame[36..38]);
        back[36..38].copy_from_slice(&frame[34..36]);
        send(&mut tap, &mut batch, &back, offload);
        socket
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        let mut bytes = [0; 16];
        let (length, from) = socket.recv_from(&mut bytes).unwrap();
        assert_eq!(&bytes[..length], b"hello");
        assert_eq!(from, SocketAddr::from((THEIRS, 4000)));
    });
}

const OURS: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 1);
const THEIRS: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 2);
const MAC: [u8; 6] = [2, 0, 0, 0, 0, 9];

/// Runs `test` in a network namespace of its own, on a thread of its own; skips it where that is not allowed.
fn in_namespace(test: impl FnOnce() + Send + 'static) {
    let thread = std::thread::spawn(move || {
        if unshare(CloneFlags::CLONE_NEWNET).is_err() || !std::fs::exists("/dev/net/tun").unwrap() {
            eprintln!("skipped: needs root and /dev/net/tun");
            return;
        }
        test();
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

fn open(name: &str, offload: bool) -> Result<Tap, TapError> {
    Tap::open(TapConfig {
        name: name.into(),
        offload,
    })
}

/// Waits for a frame that `wanted` likes; others, such as the kernel's own multicasts, are passed over.
fn receive(
    tap: &mut Tap,
    batch: &mut Batch<FrameMeta>,
    wanted: impl Fn(&[u8]) -> bool,
) -> (Vec<u8>, Offload) {
    loop {
        let mut fds = [PollFd::new(tap.as_fd(), PollFlags::POLLIN)];
        let timeout = PollTimeout::try_from(Duration::from_secs(10)).unwrap();
        assert_eq!(poll(&mut fds, timeout).unwrap(), 1, "nothing came");
        tap.recv(batch).unwrap();
        let found = batch
            .iter()
            .find(|(bytes, _)| wanted(bytes))
            .map(|(bytes, meta)| (bytes.to_vec(), meta.offload));
        batch.clear();
        if let Some(found) = found {
            return found;
        }
    }
}

fn send(tap: &mut Tap, batch: &mut Batch<FrameMeta>, frame: &[u8], offload: Offload) {
    assert!(batch.free().unwrap().append(frame));
    batch.commit(FrameMeta { offload });
    assert_eq!(tap.send(batch).unwrap(), 1);
    assert_eq!(tap.refused(), 0);
}
