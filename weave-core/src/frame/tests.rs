use super::*;

fn ethernet(kind: &[u8], payload: &[u8]) -> Vec<u8> {
    [&[2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1][..], kind, payload].concat()
}

/// An IPv4 packet with its header's checksum.
fn ipv4(ecn: u8, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let length = (20 + payload.len()) as u8;
    let mut packet = vec![
        0x45, ecn, 0, length, 0, 1, 0, 0, 64, protocol, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2,
    ];
    let mut header = Ipv4Packet::new_unchecked(&mut packet);
    header.fill_checksum();
    packet.extend_from_slice(payload);
    packet
}

fn ipv6(ecn: u8, next: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x60, ecn << 4, 0, 0, 0, payload.len() as u8, next, 64];
    packet.extend_from_slice(&[0xfd; 32]);
    packet.extend_from_slice(payload);
    packet
}

fn view(frame: &[u8]) -> FrameView<'_> {
    FrameView::new_checked(frame).unwrap()
}

#[test]
fn addresses_that_bridges_keep_to_themselves_are_known() {
    assert!(is_link_local(EthernetAddress([1, 0x80, 0xC2, 0, 0, 0x0F])));
    assert!(!is_link_local(EthernetAddress([1, 0x80, 0xC2, 0, 0, 0x10])));
    assert!(FrameView::new_checked(&[0; 13]).is_none());
}

#[test]
fn the_payload_is_found_behind_two_tags_and_no_more() {
    let tag = [0x81, 0, 0, 5];
    let packet = ipv4(0, 17, &[0; 8]);
    for tags in 0..=3 {
        let mut kind = tag.repeat(tags);
        kind.extend_from_slice(&[8, 0]);
        let frame = ethernet(&kind, &packet);
        let found = (tags < 3).then_some((IpProtocol::Udp, 34 + tags * 4));
        assert_eq!(view(&frame).transport(), found, "{tags} tags");
    }
}

#[test]
fn transports_are_found_behind_extension_headers_but_not_in_fragments() {
    let hop_by_hop = [6, 0, 1, 4, 0, 0, 0, 0];
    let frame = ethernet(
        &[0x86, 0xDD],
        &ipv6(0, 0, &[&hop_by_hop[..], &[0; 20]].concat()),
    );
    assert_eq!(view(&frame).transport(), Some((IpProtocol::Tcp, 62)));
    let frame = ethernet(&[0x86, 0xDD], &ipv6(0, 44, &[0; 28]));
    assert_eq!(view(&frame).transport(), None);
    let mut packet = ipv4(0, 6, &[0; 20]);
    packet[6] = 0x20;
    assert_eq!(view(&ethernet(&[8, 0], &packet)).transport(), None);
    let endless = ethernet(&[0x86, 0xDD], &ipv6(0, 0, &[0; 80]));
    assert_eq!(view(&endless).transport(), None, "a chain has an end");
}

#[test]
fn discovery_is_arp_and_neighbour_discovery() {
    let arp = [
        0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 1, 10, 0, 0, 1, 0, 0, 0, 0, 0, 0, 10, 0, 0, 2,
    ];
    assert!(view(&ethernet(&[8, 6], &arp)).is_discovery());
    assert!(
        !view(&ethernet(&[8, 6], &arp[..9])).is_discovery(),
        "only in name"
    );
    assert!(view(&ethernet(&[0x86, 0xDD], &ipv6(0, 58, &[135, 0, 0, 0]))).is_discovery());
    assert!(!view(&ethernet(&[0x86, 0xDD], &ipv6(0, 58, &[128, 0, 0, 0]))).is_discovery());
    assert!(!view(&ethernet(&[8, 0], &ipv4(0, 17, &[0; 8]))).is_discovery());
}

#[test]
fn congestion_marks_go_in_or_drop_the_frame_as_rfc_6040_says() {
    use Ecn::{Ce, Ect0, Ect1, NotEct};
    // RFC 6040 section 4.2, figure 4: the inner field when a packet arrives with this inner and outer one.
    let table = [
        (NotEct, NotEct, Some(NotEct)),
        (NotEct, Ect0, Some(NotEct)),
        (NotEct, Ect1, Some(NotEct)),
        (NotEct, Ce, None),
        (Ect0, NotEct, Some(Ect0)),
        (Ect0, Ect0, Some(Ect0)),
        (Ect0, Ect1, Some(Ect1)),
        (Ect0, Ce, Some(Ce)),
        (Ect1, NotEct, Some(Ect1)),
        (Ect1, Ect0, Some(Ect1)),
        (Ect1, Ect1, Some(Ect1)),
        (Ect1, Ce, Some(Ce)),
        (Ce, NotEct, Some(Ce)),
        (Ce, Ect0, Some(Ce)),
        (Ce, Ect1, Some(Ce)),
        (Ce, Ce, Some(Ce)),
    ];
    for (inner, outer, expected) in table {
        for mut frame in [
            ethernet(&[8, 0], &ipv4(0xA8 | inner as u8, 17, &[0; 8])),
            ethernet(&[0x86, 0xDD], &ipv6(inner as u8, 17, &[0; 8])),
        ] {
            let out = decapsulate_ecn(&mut frame, outer);
            assert_eq!(
                out == EcnOut::Drop,
                expected.is_none(),
                "{inner:?} in {outer:?}"
            );
            if let Some(expected) = expected {
                assert_eq!(view(&frame).ecn(), Some(expected), "{inner:?} in {outer:?}");
            }
            if frame[12] == 8 {
                let packet = Ipv4Packet::new_checked(&frame[14..]).unwrap();
                assert!(packet.verify_checksum(), "{inner:?} in {outer:?}");
                assert_eq!(packet.dscp(), 0xA8 >> 2);
            }
        }
    }
    let mut arp = ethernet(&[8, 6], &[0; 28]);
    assert_eq!(
        decapsulate_ecn(&mut arp, Ce),
        EcnOut::Pass,
        "no field, no mark"
    );
}

#[test]
fn no_prefix_panics() {
    let frames = [
        ethernet(&[0x81, 0, 0, 1, 8, 0], &ipv4(3, 6, &[0x50; 20])),
        ethernet(
            &[0x86, 0xDD],
            &ipv6(
                3,
                0,
                &[60, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 6, 0],
            ),
        ),
        ethernet(&[8, 6], &[1; 28]),
    ];
    for frame in frames {
        for length in 14..=frame.len() {
            let mut cut = frame[..length].to_vec();
            let view = view(&cut);
            let _any = (
                view.transport(),
                view.is_discovery(),
                view.ecn(),
                view.is_dhcp(length - 2),
            );
            let _any = decapsulate_ecn(&mut cut, Ecn::Ce);
        }
    }
}
