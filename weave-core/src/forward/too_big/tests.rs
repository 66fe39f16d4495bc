use std::time::Duration;

use proptest::prelude::*;
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{Icmpv4Message, Icmpv4Packet, Icmpv6Message, Icmpv6Packet, Icmpv6Repr};

use super::*;

const TO: [u8; 6] = [2, 0, 0, 0, 0, 1];
const FROM: [u8; 6] = [2, 0, 0, 0, 0, 2];

/// A frame with an IP packet of `bytes`, of protocol `protocol` whose first byte is `kind`.
fn frame(ipv6: bool, vlan: bool, protocol: u8, kind: u8, bytes: usize) -> Vec<u8> {
    let mut packet = vec![0x5a; bytes];
    if ipv6 {
        packet[..8].copy_from_slice(&[0x60, 0, 0, 0, 0, 0, protocol, 63]);
        packet[4..6].copy_from_slice(&((bytes - 40) as u16).to_be_bytes());
        packet[8..24].copy_from_slice(&[0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        packet[24..40].copy_from_slice(&[0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2]);
        packet[40] = kind;
    } else {
        packet[..20].copy_from_slice(&[
            0x45, 0, 0, 0, 0, 9, 0x40, 0, 64, protocol, 0, 0, 10, 32, 0, 1, 10, 32, 0, 2,
        ]);
        packet[2..4].copy_from_slice(&(bytes as u16).to_be_bytes());
        checksum::finish_ipv4(&mut packet[..20]);
        packet[20] = kind;
    }
    let mut frame = [TO, FROM].concat();
    if vlan {
        frame.extend_from_slice(&[0x81, 0, 0, 7]);
    }
    frame.extend_from_slice(if ipv6 { &[0x86, 0xdd] } else { &[8, 0] });
    frame.extend_from_slice(&packet);
    frame
}

fn is_answered(change: impl Fn(&mut [u8]), ipv6: bool) -> bool {
    let mut frame = frame(ipv6, false, 17, 0, 1_400);
    change(&mut frame[14..]);
    Answer::new(&frame, 1_314).is_some()
}

#[test]
fn only_what_the_rfcs_allow_is_answered() {
    assert!(is_answered(|_| {}, false));
    assert!(!is_answered(|ip| ip[6] = 0, false), "may be fragmented");
    assert!(
        !is_answered(|ip| ip[7] = 3, false),
        "not the first fragment"
    );
    assert!(!is_answered(|ip| ip[16] = 224, false), "to multicast");
    assert!(
        !is_answered(|ip| ip[16..20].fill(255), false),
        "to broadcast"
    );
    assert!(!is_answered(|ip| ip[12..16].fill(0), false), "from nobody");
    assert!(!is_answered(|ip| ip[12] = 127, false), "from loopback");
    assert!(!is_answered(|ip| ip[0] = 0x41, false), "a malformed header");
    assert!(is_answered(|_| {}, true));
    assert!(!is_answered(|ip| ip[24] = 0xff, true), "to multicast");
    assert!(!is_answered(|ip| ip[8..24].fill(0), true), "from nobody");
    for kind in 0..=255_u8 {
        let v4 = frame(false, false, 1, kind, 1_400);
        let is_error = matches!(kind, 3 | 4 | 5 | 11 | 12);
        assert_eq!(Answer::new(&v4, 1_314).is_none(), is_error, "ICMP {kind}");
        let v6 = frame(true, false, 58, kind, 1_400);
        let is_error = kind < 128 || kind == 137;
        assert_eq!(Answer::new(&v6, 1_314).is_none(), is_error, "ICMPv6 {kind}");
    }
    let mut broadcast = frame(false, false, 17, 0, 1_400);
    broadcast[..6].fill(0xff);
    assert!(Answer::new(&broadcast, 1_314).is_none());
    assert!(
        Answer::new(&frame(false, false, 17, 0, 1_300), 1_314).is_none(),
        "it fits"
    );
    assert!(
        Answer::new(&frame(true, false, 17, 0, 1_280), 1_152).is_none(),
        "no IPv6 path may have less: it is cut"
    );
}

#[test]
fn a_destination_answers_ten_times_a_second_at_most() {
    #[allow(clippy::disallowed_methods, reason = "a test's base instant")]
    let epoch = Instant::now();
    let mut told = Told::new(epoch);
    let frame = frame(false, false, 17, 0, 1_400);
    let answer = Answer::new(&frame, 1_314).unwrap();
    let mut at = Vec::new();
    for ms in 0..5_000 {
        let now = epoch + Duration::from_millis(ms);
        if told.allow(now, &answer) {
            at.push(ms);
        }
    }
    for start in 0..4_000 {
        let within = at
            .iter()
            .filter(|ms| (start..start + 1_000).contains(*ms))
            .count();
        assert!(within <= 10, "{within} from {start} ms on");
    }
    assert!(at.len() > 20);
}

proptest! {
    #[test]
    fn every_answer_is_right(
        ipv6 in any::<bool>(),
        vlan in any::<bool>(),
        bytes in 600usize..9_000,
        path in 600usize..9_000,
    ) {
        let frame = frame(ipv6, vlan, 17, 0, bytes);
        let head = if vlan { 18 } else { 14 };
        let limit = path + head;
        let told = if ipv6 { path.max(1_280) } else { path };
        let answer = Answer::new(&frame, limit);
        prop_assert_eq!(answer.is_some(), bytes > told);
        let Some(answer) = answer else { return Ok(()) };
        let mut out = vec![0xee; answer.len()];
        answer.write(&mut out);
        prop_assert_eq!(&out[..6], &FROM);
        prop_assert_eq!(&out[6..12], &TO);
        prop_assert_eq!(&out[12..head], &frame[12..head]);
        let ip = &out[head..];
        let original = &frame[head..];
        if ipv6 {
            let packet = Ipv6Packet::new_checked(ip).unwrap();
            prop_assert_eq!(packet.total_len(), ip.len());
            let (source, destination) = (packet.src_addr(), packet.dst_addr());
            prop_assert_eq!(source, Ipv6Packet::new_unchecked(original).dst_addr());
            prop_assert_eq!(destination, Ipv6Packet::new_unchecked(original).src_addr());
            let icmp = Icmpv6Packet::new_checked(packet.payload()).unwrap();
            prop_assert!(icmp.verify_checksum(&source, &destination));
            prop_assert_eq!(icmp.msg_type(), Icmpv6Message::PktTooBig);
            prop_assert_eq!(icmp.pkt_too_big_mtu(), told as u32);
            let quoted = &packet.payload()[8..];
            prop_assert_eq!(quoted, &original[..quoted.len()]);
            prop_assert_eq!(ip.len(), 1_280);
            // smoltcp's own check wants the quoted packet whole, which no error can hold.
            let _ = Icmpv6Repr::parse(&source, &destination, &icmp, &ChecksumCapabilities::default());
        } else {
            let packet = Ipv4Packet::new_checked(ip).unwrap();
            prop_assert!(packet.verify_checksum());
            prop_assert_eq!(usize::from(packet.total_len()), ip.len());
            prop_assert_eq!(packet.src_addr(), Ipv4Packet::new_unchecked(original).dst_addr());
            prop_assert_eq!(packet.dst_addr(), Ipv4Packet::new_unchecked(original).src_addr());
            let icmp = Icmpv4Packet::new_checked(packet.payload()).unwrap();
            prop_assert!(icmp.verify_checksum());
            prop_assert_eq!(icmp.msg_type(), Icmpv4Message::DstUnreachable);
            prop_assert_eq!(icmp.msg_code(), 4);
            prop_assert_eq!(&packet.payload()[4..6], &[0, 0]);
            prop_assert_eq!(&packet.payload()[6..8], &(told as u16).to_be_bytes());
            let quoted = &packet.payload()[8..];
            prop_assert_eq!(quoted, &original[..quoted.len()]);
            prop_assert_eq!(ip.len(), 576);
        }
    }

    #[test]
    fn any_bytes_are_no_panic(bytes in proptest::collection::vec(any::<u8>(), 0..120), limit in 0usize..200) {
        if let Some(answer) = Answer::new(&bytes, limit) {
            let mut out = vec![0; answer.len()];
            answer.write(&mut out);
        }
    }
}
