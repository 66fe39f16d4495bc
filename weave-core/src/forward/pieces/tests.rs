use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

#[allow(clippy::disallowed_methods, reason = "a test's base instant")]
fn epoch() -> Instant {
    Instant::now()
}

fn source() -> Source {
    Source::Unicast(Site(3))
}

fn take(
    assembly: &mut Assembly,
    now: Instant,
    (id, index, count): (u16, u8, u8),
    bytes: &[u8],
    stats: &mut ForwardStats,
) -> Option<Vec<u8>> {
    let arrival = Arrival {
        source: source(),
        piece: Piece { id, index, count },
        checksum: None,
        ecn: Ecn::NotEct,
        bytes,
    };
    assembly
        .take(now, &arrival, 9_014, stats)
        .map(|whole| whole.bytes)
}

#[test]
fn pieces_are_as_few_and_as_equal_as_can_be() {
    assert_eq!(count(1_000, 1_000), Some(1));
    assert_eq!(count(1_001, 1_000), Some(2));
    assert_eq!(count(8 * 996, 1_000), Some(8));
    assert_eq!(count(8 * 996 + 1, 1_000), None);
    assert_eq!(count(10, 4), None, "no room is no panic");
    assert_eq!(count(10, 0), None);
    let sizes: Vec<_> = (0..3).map(|index| range(1_000, 3, index).len()).collect();
    assert_eq!(sizes, [334, 334, 332]);
}

#[test]
fn lies_take_their_frame_with_them() {
    let now = epoch();
    for second in [(7, 0, 2), (7, 1, 3)] {
        let mut assembly = Assembly::default();
        let mut stats = ForwardStats::new();
        assert_eq!(take(&mut assembly, now, (7, 0, 2), b"a", &mut stats), None);
        assert_eq!(take(&mut assembly, now, second, b"b", &mut stats), None);
        assert_eq!(stats.drops(DropReason::PieceRefused), 1, "{second:?}");
        assert!(assembly.frames.is_empty());
        assert_eq!(assembly.bytes, 0);
    }
    let mut assembly = Assembly::default();
    let mut stats = ForwardStats::new();
    let big = vec![0; 5_000];
    assert_eq!(take(&mut assembly, now, (1, 0, 2), &big, &mut stats), None);
    assert_eq!(take(&mut assembly, now, (1, 1, 2), &big, &mut stats), None);
    assert_eq!(
        stats.drops(DropReason::PieceRefused),
        1,
        "longer than a frame"
    );
}

#[test]
fn a_frame_waits_a_second_for_its_pieces() {
    let now = epoch();
    let mut assembly = Assembly::default();
    let mut stats = ForwardStats::new();
    assert_eq!(take(&mut assembly, now, (1, 0, 2), b"a", &mut stats), None);
    assert_eq!(take(&mut assembly, now, (2, 0, 2), b"c", &mut stats), None);
    let whole = take(&mut assembly, now + TIME_MAX, (1, 1, 2), b"b", &mut stats);
    assert_eq!(whole.as_deref(), Some(&b"ab"[..]));
    let late = now + TIME_MAX + Duration::from_millis(1);
    assert_eq!(take(&mut assembly, late, (2, 1, 2), b"d", &mut stats), None);
    assert_eq!(stats.drops(DropReason::PieceMissing), 1);
}

#[test]
fn pieces_of_ids_that_came_round_never_meet() {
    let now = epoch();
    let mut assembly = Assembly::default();
    let mut stats = ForwardStats::new();
    assert_eq!(
        take(&mut assembly, now, (1, 0, 2), b"old", &mut stats),
        None
    );
    let between = 1 + IDS_BEHIND_MAX;
    assert_eq!(
        take(&mut assembly, now, (between, 0, 2), b"x", &mut stats),
        None
    );
    assert_eq!(
        take(&mut assembly, now, (1, 1, 2), b"new", &mut stats),
        None
    );
    assert_eq!(stats.drops(DropReason::PieceMissing), 1);
}

#[test]
fn half_built_frames_are_bounded_per_source_and_in_all() {
    let now = epoch();
    let mut assembly = Assembly::default();
    let mut stats = ForwardStats::new();
    for id in 0..200 {
        take(&mut assembly, now, (id, 0, 8), &[0; 1_000], &mut stats);
    }
    assert_eq!(assembly.frames.len(), SOURCE_FRAMES_MAX);
    assert_eq!(stats.drops(DropReason::PieceCrowded), 200 - 64);
    for origin in 0..40_u64 {
        for id in 0..64 {
            let arrival = Arrival {
                source: Source::Flood(ShortId::from_bytes(origin.to_be_bytes())),
                piece: Piece {
                    id,
                    index: 0,
                    count: 2,
                },
                checksum: None,
                ecn: Ecn::NotEct,
                bytes: &[0; 8_000],
            };
            assembly.take(now, &arrival, 9_014, &mut stats);
        }
    }
    assert!(assembly.frames.len() <= FRAMES_MAX);
    assert!(assembly.bytes <= BYTES_MAX);
    let held: usize = assembly
        .frames
        .values()
        .map(|frame| frame.bytes.len())
        .sum();
    assert_eq!(assembly.bytes, held);
    assert_eq!(assembly.by_age.len(), assembly.frames.len());
    assert!(assembly.spare.len() <= SPARE_MAX);
}

proptest! {
    /// Frames are cut; pieces are shuffled, doubled and lost; what comes out is what a map of sets would give.
    #[test]
    fn what_comes_out_was_put_in(
        frames in proptest::collection::vec((20usize..600, 24usize..90), 1..12),
        order in proptest::collection::vec((any::<prop::sample::Index>(), 0u8..8), 1..160),
    ) {
        let now = epoch();
        let mut pieces = Vec::new();
        let mut whole = Vec::new();
        for (id, (bytes, room)) in frames.iter().enumerate() {
            let frame: Vec<u8> = (0..*bytes).map(|at| (at * 7 + id) as u8).collect();
            if let Some(count) = count(*bytes, *room).filter(|count| *count > 1) {
                for index in 0..count {
                    pieces.push((id as u16, index as u8, count as u8, frame[range(*bytes, count, index)].to_vec()));
                }
            }
            whole.push(frame);
        }
        prop_assume!(!pieces.is_empty());
        // Each step takes one piece, some of them once more or never.
        let mut assembly = Assembly::default();
        let mut stats = ForwardStats::new();
        let mut model: BTreeMap<u16, BTreeSet<u8>> = BTreeMap::new();
        let mut refused = 0;
        for (which, fate) in order {
            let (id, index, count, bytes) = which.get(&pieces);
            let times = match fate { 0 => 0, 1 => 2, _ => 1 };
            for _ in 0..times {
                let known = model.entry(*id).or_default();
                let expected = if !known.insert(*index) {
                    model.remove(id);
                    refused += 1;
                    None
                } else if known.len() == usize::from(*count) {
                    model.remove(id);
                    Some(whole[usize::from(*id)].clone())
                } else {
                    None
                };
                let out = take(&mut assembly, now, (*id, *index, *count), bytes, &mut stats);
                prop_assert_eq!(&out, &expected);
                if let Some(out) = out {
                    assembly.recycle(out);
                }
                prop_assert_eq!(assembly.frames.len(), model.len());
                prop_assert_eq!(stats.drops(DropReason::PieceRefused), refused);
            }
        }
    }
}
