use super::*;

const OURS: [u8; 6] = [2, 0, 0, 0, 0, 1];
const THEIRS: [u8; 6] = [2, 0, 0, 0, 0, 2];

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn an_arp_probe_names_no_sender() {
    let frame = probe(OURS, ip("10.0.1.7"));
    let expected = [
        &[0xff; 6][..],
        &OURS,
        &[8, 6],
        // Ethernet, IPv4, lengths, request.
        &[0, 1, 8, 0, 6, 4, 0, 1],
        &OURS,
        &[0; 4],
        &[0; 6],
        &[10, 0, 1, 7],
    ]
    .concat();
    assert_eq!(frame, expected);
}

#[test]
fn an_announcement_is_a_request_and_a_reply_to_everybody() {
    let frames = announcements(OURS, ip("10.0.1.7"));
    for (frame, (operation, target)) in frames.iter().zip([(1, [0; 6]), (2, [0xff; 6])]) {
        assert_eq!(frame[..6], [0xff; 6]);
        assert_eq!(frame[20..22], [0, operation]);
        assert_eq!(frame[22..28], OURS);
        assert_eq!(frame[28..32], [10, 0, 1, 7]);
        assert_eq!(frame[32..38], target);
        assert_eq!(frame[38..42], [10, 0, 1, 7]);
    }
    assert_eq!(frames.len(), 2);
}

#[test]
fn neighbour_discovery_goes_to_the_right_groups() {
    let frame = probe(OURS, ip("fd00::1:2:3456"));
    assert_eq!(frame[..6], [0x33, 0x33, 0xff, 0x02, 0x34, 0x56]);
    // Hop limit; from nobody; to ff02::1:ff02:3456; a solicitation.
    assert_eq!(frame[21], 255);
    assert_eq!(frame[22..38], [0; 16]);
    assert_eq!(frame[54], 135);
    let frames = announcements(OURS, ip("fd00::7"));
    let [frame] = &frames[..] else {
        panic!("one frame");
    };
    assert_eq!(frame[..6], [0x33, 0x33, 0, 0, 0, 1]);
    assert_eq!(frame[54], 136);
    // Override only, and the target's link-layer address.
    assert_eq!(frame[58], 0x20);
    assert_eq!(frame[78..80], [2, 1]);
    assert_eq!(frame[80..86], OURS);
}

#[test]
fn whoever_claims_the_address_or_asks_for_it_too_holds_it() {
    for (address, other) in [("10.0.1.7", "10.0.1.8"), ("fd00::7", "fd00::8")] {
        let (address, other) = (ip(address), ip(other));
        for frame in announcements(THEIRS, address)
            .into_iter()
            .chain([probe(THEIRS, address)])
        {
            assert_eq!(holder(&frame, OURS, address), Some(THEIRS));
            assert_eq!(holder(&frame, THEIRS, address), None, "our own");
            assert_eq!(holder(&frame, OURS, other), None);
        }
    }
}

#[test]
fn one_who_only_looks_for_the_address_does_not_hold_it() {
    let frame = arp(&ArpRepr::EthernetIpv4 {
        operation: ArpOperation::Request,
        source_hardware_addr: EthernetAddress(THEIRS),
        source_protocol_addr: Ipv4Addr::new(10, 0, 1, 8),
        target_hardware_addr: EthernetAddress([0; 6]),
        target_protocol_addr: Ipv4Addr::new(10, 0, 1, 7),
    });
    assert_eq!(holder(&frame, OURS, ip("10.0.1.7")), None);
    let address: Ipv6Addr = "fd00::7".parse().unwrap();
    let solicitation = NdiscRepr::NeighborSolicit {
        target_addr: address,
        lladdr: None,
    };
    let from = "fd00::8".parse().unwrap();
    let frame = ndisc(THEIRS, from, solicited_node(address), solicitation);
    assert_eq!(holder(&frame, OURS, address.into()), None);
}

#[test]
fn an_advertisement_that_a_router_forwarded_or_that_is_damaged_does_not_count() {
    let address = ip("fd00::7");
    let [frame] = &announcements(THEIRS, address)[..] else {
        panic!("one frame");
    };
    let mut forwarded = frame.clone();
    forwarded[21] = 254;
    assert_eq!(holder(&forwarded, OURS, address), None);
    let mut damaged = frame.clone();
    damaged[85] ^= 1;
    assert_eq!(holder(&damaged, OURS, address), None);
}

#[test]
fn every_prefix_and_bit_flip_of_a_frame_is_harmless() {
    for address in [ip("10.0.1.7"), ip("fd00::7")] {
        for frame in announcements(THEIRS, address)
            .into_iter()
            .chain([probe(THEIRS, address)])
        {
            for end in 0..frame.len() {
                assert_eq!(holder(&frame[..end], OURS, address), None);
            }
            for bit in 0..frame.len() * 8 {
                let mut flipped = frame.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);
                let _ = holder(&flipped, OURS, address);
            }
        }
    }
}
