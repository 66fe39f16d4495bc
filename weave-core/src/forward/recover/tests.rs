use proptest::prelude::*;

use super::super::checksum::finish;
use super::super::segment::Cut;
use super::super::segment::tests::Shape;
use super::*;

const MTU_BYTES: usize = 1500;
const SEGMENT_MTU_BYTES: usize = 1390;

fn shapes() -> impl Strategy<Value = Shape> {
    any::<(bool, bool, bool)>().prop_map(|(ipv6, udp, vlan)| Shape { ipv6, udp, vlan })
}

fn recover(frame: &[u8]) -> Option<Offload> {
    recover_offload(frame, MTU_BYTES, SEGMENT_MTU_BYTES)
}

fn frame(shape: Shape, payload_bytes: usize, seed: u8) -> Vec<u8> {
    let payload: Vec<u8> = (0..payload_bytes)
        .map(|at| (at as u8).wrapping_mul(31).wrapping_add(seed))
        .collect();
    shape.frame(7, 1000, 0x18, &payload)
}

proptest! {
    #[test]
    fn an_open_checksum_is_found_and_finishing_gives_the_whole_frame(
        shape in shapes(),
        payload_bytes in 0usize..1000,
        seed in any::<u8>(),
    ) {
        let whole = frame(shape, payload_bytes, seed);
        let mut open = shape.open(whole.clone());
        let offload = recover(&open).unwrap();
        prop_assert_eq!(offload.checksum, Some(shape.partial()));
        prop_assert_eq!(offload.segments, None);
        prop_assert!(finish(&mut open, shape.partial()));
        prop_assert_eq!(open, whole);
    }

    #[test]
    fn a_computed_checksum_is_left_alone_or_comes_out_the_same(
        shape in shapes(),
        payload_bytes in 0usize..1000,
        seed in any::<u8>(),
    ) {
        let whole = frame(shape, payload_bytes, seed);
        let offload = recover(&whole).unwrap();
        if let Some(partial) = offload.checksum {
            let mut again = whole.clone();
            prop_assert!(finish(&mut again, partial));
            prop_assert_eq!(again, whole);
        }
    }

    #[test]
    fn a_tcp_super_frame_is_cut_into_packets_that_everybody_takes(
        (ipv6, vlan) in any::<(bool, bool)>(),
        payload_bytes in 1400usize..60_000,
    ) {
        let shape = Shape { ipv6, udp: false, vlan };
        let open = shape.open(frame(shape, payload_bytes, 1));
        let offload = recover(&open).unwrap();
        let cut = Cut::new(&open, &offload).unwrap().unwrap();
        let longest = cut.frame_bytes(0);
        prop_assert_eq!(longest, shape.network() + SEGMENT_MTU_BYTES);
        prop_assert!((0..cut.count()).all(|index| cut.frame_bytes(index) <= longest));
    }

    #[test]
    fn bytes_of_any_kind_do_no_harm(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
        if let Some(offload) = recover(&bytes) {
            let _ = Cut::new(&bytes, &offload);
        }
    }

    #[test]
    fn prefixes_and_damage_do_no_harm(
        shape in shapes(),
        cut in 0usize..200,
        at in 0usize..120,
        byte in any::<u8>(),
    ) {
        let mut open = shape.open(frame(shape, 1600, 1));
        open[at] = byte;
        open.truncate(open.len() - cut.min(open.len()));
        for end in [open.len(), at] {
            let bytes = &open[..end];
            if let Some(offload) = recover(bytes) {
                let _ = Cut::new(bytes, &offload);
            }
        }
    }
}

#[test]
fn what_nothing_tells_how_to_cut_is_refused() {
    for ipv6 in [false, true] {
        let udp = Shape {
            ipv6,
            udp: true,
            vlan: false,
        };
        // Within the device's MTU it is an ordinary datagram, though the network takes less.
        let headers_bytes = udp.transport() - udp.network() + 8;
        let largest = udp.open(frame(udp, MTU_BYTES - headers_bytes, 1));
        assert_eq!(recover(&largest).unwrap().checksum, Some(udp.partial()));
        let larger = udp.open(frame(udp, MTU_BYTES - headers_bytes + 1, 1));
        assert_eq!(recover(&larger), None);
        // A whole TCP packet that is too large for the device was put together by its hardware.
        let tcp = Shape { udp: false, ..udp };
        assert_eq!(recover(&frame(tcp, 1600, 1)), None);
        assert!(recover(&frame(tcp, 1400, 1)).is_some());
    }
    let mut other = vec![0xff; 14 + MTU_BYTES];
    assert_eq!(recover(&other), Some(Offload::default()));
    other.push(0);
    assert_eq!(recover(&other), None);
}
