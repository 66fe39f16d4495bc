//! Runs, checksums left open, and super-frames.

use super::*;

#[test]
fn runs_are_of_equal_size_but_the_last() {
    let mut world = pair();
    let of = |sizes: &[usize]| -> Vec<_> {
        sizes
            .iter()
            .map(|size| {
                (
                    frame(mac(1, 1), mac(0, 1), &vec![7; *size]),
                    Offload::default(),
                )
            })
            .collect()
    };
    let mut shape = |sizes: &[usize]| -> Vec<usize> {
        world.put(0, &of(sizes));
        world.wire.drain(..).map(|run| run.packets()).collect()
    };
    assert_eq!(shape(&[100; 10]), [10]);
    assert_eq!(
        shape(&[100, 100, 40, 40]),
        [3, 1],
        "a shorter one is the last"
    );
    assert_eq!(shape(&[40, 100, 100]), [1, 2], "a longer one is the first");
    assert_eq!(shape(&[100; 70]), [64, 6], "64 at most");
    assert_eq!(
        shape(&[1_400; 50]),
        [45, 5],
        "65,507 bytes at most: 45 packets of 1,446"
    );
    let mut world = pair().with_config(|config| config.packet_caps.gso_segments_max = 1);
    world.put(0, &of(&[100; 3]));
    assert_eq!(world.wire.len(), 3, "no segmentation, no runs");
}

#[test]
fn an_open_checksum_travels_open_or_is_finished_where_a_port_needs_it() {
    for udp in [false, true] {
        for device in [false, true] {
            let mut world = introduced(
                World::new(2, &[(0, 1)]).with_config(|config| config.frame_caps.checksum = device),
            );
            let (bytes, partial) = open_frame(udp, 0, (1000, 2000), b"payload");
            let offload = Offload {
                checksum: Some(partial),
                segments: None,
            };
            world.put(0, &[(bytes.clone(), offload)]);
            world.carry();
            let (out, meta) = world.nodes[1].delivered.pop().unwrap();
            assert_eq!(meta.offload.checksum, device.then_some(partial));
            if device {
                assert_eq!(out, bytes);
            } else {
                assert!(checksum_is_right(&out, udp));
            }
        }
    }
}

#[test]
fn dhcp_and_odd_checksums_are_finished_at_the_sender() {
    let mut world = pair();
    let (bytes, partial) = open_frame(true, 0, (67, 68), b"an offer");
    world.put(
        0,
        &[(
            bytes,
            Offload {
                checksum: Some(partial),
                segments: None,
            },
        )],
    );
    world.carry();
    let (out, meta) = world.nodes[1].delivered.pop().unwrap();
    assert_eq!(meta.offload.checksum, None);
    assert!(checksum_is_right(&out, true));

    // Not TCP's nor UDP's place: the frame goes plain.
    let (bytes, _) = open_frame(false, 0, (1, 2), &[0; 300]);
    for (start, offset) in [(280, 4), (34, 18), (60, 6)] {
        let partial = PartialChecksum { start, offset };
        world.put(
            0,
            &[(
                bytes.clone(),
                Offload {
                    checksum: Some(partial),
                    segments: None,
                },
            )],
        );
        world.carry();
        let (out, meta) = world.nodes[1].delivered.pop().unwrap();
        assert_eq!(meta.offload.checksum, None);
        assert_eq!(
            checksum::fold(checksum::sum(&out[usize::from(start)..])),
            0xffff
        );
    }
    let beyond = PartialChecksum {
        start: 350,
        offset: 6,
    };
    world.put(
        0,
        &[(
            bytes,
            Offload {
                checksum: Some(beyond),
                segments: None,
            },
        )],
    );
    assert_eq!(world.drops(0, DropReason::FrameMalformed), 1);
}

#[test]
fn super_frames_fill_runs_and_come_out_as_whole_frames() {
    for (udp, bytes, segment, runs) in [
        (false, 64_000, 1_370, vec![44, 3]),
        (true, 20_000, 1_300, vec![16]),
        (false, 1_000, 1_366, vec![1]),
    ] {
        let mut world = pair().with_config(|config| config.frame_caps.checksum = false);
        let (frame, offload) = super_frame(udp, bytes, segment);
        world.put(0, &[(frame.clone(), offload)]);
        let sizes: Vec<_> = world.wire.iter().map(Run::packets).collect();
        assert_eq!(sizes, runs);
        world.carry();
        let header = if udp { 42 } else { 54 };
        let mut payload = Vec::new();
        for out in world.delivered(1) {
            assert!(checksum_is_right(&out, udp));
            payload.extend_from_slice(&out[header..]);
        }
        assert_eq!(payload, frame[header..]);
        assert_eq!(world.drops_total(), 0);
        assert_eq!(world.nodes[0].forwarder.stats().frames_in, 1);
    }
}

#[test]
fn a_super_frame_that_does_not_fit_whole_begins_a_run() {
    let mut world = pair();
    let frames = [
        super_frame(false, 27_320, 1_366),
        super_frame(false, 40_980, 1_366),
    ];
    world.put(0, &frames);
    let sizes: Vec<_> = world.wire.iter().map(Run::packets).collect();
    assert_eq!(sizes, [20, 30], "not 44 and 6");
    world.wire.clear();
    let frames = [
        super_frame(false, 27_320, 1_366),
        super_frame(false, 27_320, 1_366),
    ];
    world.put(0, &frames);
    let sizes: Vec<_> = world.wire.iter().map(Run::packets).collect();
    assert_eq!(sizes, [40], "two that fit share one");
}

#[test]
fn what_eight_pieces_do_not_hold_is_dropped_and_counted() {
    let mut world = pair();
    let fits = 1_472 - PACKET_OVERHEAD_BYTES;
    let most = 8 * (fits - 4);
    for bytes in [fits, fits + 1, most] {
        let sent = frame(mac(1, 1), mac(0, 1), &vec![0; bytes - 14]);
        world.put_one(0, sent.clone());
        world.carry();
        assert_eq!(world.delivered(1), [sent], "{bytes}");
    }
    world.put_one(0, frame(mac(1, 1), mac(0, 1), &vec![0; most + 1 - 14]));
    world.put_one(0, frame(BROADCAST, mac(0, 1), &vec![0; 9_200]));
    assert!(world.wire.is_empty());
    assert_eq!(world.drops(0, DropReason::TooBig), 2);
}

#[test]
fn a_flooded_super_frame_is_a_flood_for_each_segment() {
    let mut world = World::new(3, &[(0, 1), (1, 2)]);
    let (frame, offload) = super_frame(true, 5_000, 1_000);
    world.put(0, &[(frame, offload)]);
    world.carry();
    for node in 1..3 {
        // And the question where its receiver is.
        assert_eq!(world.delivered(node).len(), 5 + 1);
    }
    assert_eq!(world.drops_total(), 0, "their sequence numbers differ");
}
