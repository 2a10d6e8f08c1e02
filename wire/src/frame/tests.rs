//! Frames have the bytes of the table, come back from them, and refuse everything else.

use core::ops::RangeInclusive;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use super::*;
use crate::codec::VARINT_MAX;

/// The same cases in every run, and no files left behind.
fn config(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(0x6861_7973),
        ..Default::default()
    }
}

fn all(bytes: &[u8]) -> Vec<Result<Frame<'_>, DecodeError>> {
    decode_frames(bytes).collect()
}

fn ack_of(bytes: &[u8]) -> Frame<'_> {
    decode_frames(bytes).next().unwrap().unwrap()
}

const BODY: &[u8] = b"hay";
/// CRC-32 of [`BODY`].
const CRC: u32 = 0xecba_d0f4;

#[test]
fn every_frame_has_its_golden_bytes() {
    use Class::{Broadcast, Bulk, Client, Membership};
    let message =
        |class, part| Frame::Message { class, sequence: SequenceBits(0x0102_0304), part, payload: BODY };
    let last = Part::Last { offset: 0x4000, crc: CRC };
    let golden: [(Frame<'_>, &[u8]); 20] = [
        (Frame::Pad, b"\x00"),
        (Frame::Ping, b"\x01"),
        (Frame::Close { code: 9 }, b"\x04\x09"),
        (Frame::Credit { class: Membership, bytes: 63, messages: 1 }, b"\x08\x3f\x01"),
        (Frame::Credit { class: Broadcast, bytes: 64, messages: 1 }, b"\x09\x40\x40\x01"),
        (Frame::Credit { class: Client, bytes: 0x4000, messages: 2 }, b"\x0a\x80\x00\x40\x00\x02"),
        (Frame::Credit { class: Bulk, bytes: 1, messages: 1 << 30 }, b"\x0b\x01\xc0\0\0\0\x40\0\0\0"),
        (Frame::Blocked { class: Membership }, b"\x0c"),
        (Frame::Blocked { class: Broadcast }, b"\x0d"),
        (Frame::Blocked { class: Client }, b"\x0e"),
        (Frame::Blocked { class: Bulk }, b"\x0f"),
        (Frame::PathChallenge(*b"12345678"), b"\x1012345678"),
        (Frame::PathResponse(*b"12345678"), b"\x1112345678"),
        (Frame::Datagram(BODY), b"\x13\x03hay"),
        (message(Membership, Part::Whole), b"\x21\x01\x02\x03\x04\x03hay"),
        (message(Broadcast, Part::Whole), b"\x29\x01\x02\x03\x04\x03hay"),
        (message(Client, Part::Piece { offset: 5 }), b"\x33\x01\x02\x03\x04\x05\x03hay"),
        (message(Bulk, last), b"\x3d\x01\x02\x03\x04\x80\x00\x40\x00\xec\xba\xd0\xf4\x03hay"),
        (Frame::Unknown { kind: 0x40, body: BODY }, b"\x40\x03hay"),
        (Frame::Unknown { kind: 0xff, body: b"" }, b"\xff\x00"),
    ];
    for (frame, bytes) in golden {
        let mut out = Vec::new();
        frame.encode(&mut out);
        assert_eq!(out, bytes, "{frame:?}");
        assert_eq!(frame.encoded_len(), bytes.len(), "{frame:?}");
        assert_eq!(all(bytes), [Ok(frame)]);
    }
}

#[test]
fn payloads_up_to_the_end_have_their_golden_bytes() {
    let mut out = Vec::new();
    put_datagram(&mut out, BODY, Extent::Rest);
    assert_eq!(out, b"\x12hay");
    assert_eq!(all(&out), [Ok(Frame::Datagram(BODY))]);
    out.clear();
    put_message(&mut out, Class::Bulk, 0xffff_0000_0001, Part::Piece { offset: 0 }, BODY, Extent::Rest);
    assert_eq!(out, b"\x3a\x00\x00\x00\x01\x00hay");
    let sequence = SequenceBits(1);
    let part = Part::Piece { offset: 0 };
    assert_eq!(all(&out), [Ok(Frame::Message { class: Class::Bulk, sequence, part, payload: BODY })]);
}

#[test]
fn acks_have_their_golden_bytes() {
    let mut out = Vec::new();
    assert_eq!(put_ack(&mut out, 100, 0x4000, [90..=100, 70..=80, 0..=0]), 3);
    // Between 90 and 80 nine numbers are missing, one less is written; between 70 and 0 they are 69.
    assert_eq!(out, b"\x02\x40\x64\x80\x00\x40\x00\x03\x0a\x08\x0a\x40\x44\x00");
    let frame = ack_of(&out);
    assert_eq!(frame.encoded_len(), out.len());
    let Frame::Ack { largest: 100, delay_us: 0x4000, ranges } = frame.clone() else { panic!("{frame:?}") };
    assert_eq!(ranges.count(), 3);
    assert_eq!(ranges.into_iter().collect::<Vec<_>>(), [90..=100, 70..=80, 0..=0]);
    let mut again = Vec::new();
    frame.encode(&mut again);
    assert_eq!(again, out);
}

#[test]
fn acks_of_what_cannot_be_are_refused() {
    let invalid = |bytes: &[u8]| all(bytes).pop().unwrap().unwrap_err();
    assert_eq!(invalid(b"\x02\x05\x00\x00"), DecodeError::Invalid("ack range count"));
    assert_eq!(invalid(b"\x02\x05\x00\x21\x00"), DecodeError::TooLong("ack range count"));
    // More numbers than there are below the largest, in the first range, the gap and the second range.
    assert_eq!(invalid(b"\x02\x05\x00\x01\x06"), DecodeError::Invalid("ack range"));
    assert_eq!(invalid(b"\x02\x05\x00\x02\x00\x04\x00"), DecodeError::Invalid("ack range"));
    assert_eq!(invalid(b"\x02\x05\x00\x02\x00\x03\x01"), DecodeError::Invalid("ack range"));
    assert_eq!(invalid(b"\x02\x05\x00\x02\x00\x00"), DecodeError::Truncated("ack range"));
    assert_eq!(
        all(b"\x02\x05\x00\x02\x00\x03\x00").pop().unwrap().unwrap(),
        ack_of(b"\x02\x05\x00\x02\x00\x03\x00")
    );
}

#[test]
#[should_panic(expected = "ranges descend with a gap")]
fn ranges_that_touch_are_a_bug_of_the_sender() {
    put_ack(&mut Vec::new(), 100, 0, [5..=9, 2..=4]);
}

#[test]
fn an_ack_without_room_or_ranges_is_not_begun() {
    let mut out = Vec::new();
    assert_eq!(put_ack(&mut out, 100, 0, []), 0);
    assert_eq!(put_ack(&mut out, 4, 0, [1..=1]), 0);
    assert!(out.is_empty());
    assert_eq!(put_ack(&mut out, 5, 0, [1..=1]), 1);
}

#[test]
fn a_message_of_100_bytes_costs_five_more_alone_and_at_most_eight_coalesced() {
    let payload = [7; 100];
    for sequence in [0, 1 << 31, u64::MAX] {
        for (extent, cost) in [(Extent::Rest, 5), (Extent::Delimited, 7)] {
            let mut out = Vec::new();
            put_message(&mut out, Class::Client, sequence, Part::Whole, &payload, extent);
            assert_eq!(out.len(), payload.len() + cost);
            assert_eq!(out.len(), message_len(Part::Whole, payload.len(), extent));
        }
    }
}

#[test]
fn rooms_are_the_longest_payloads_that_fit() {
    let parts = [
        Part::Whole,
        Part::Piece { offset: 70 },
        Part::Last { offset: 0, crc: 1 },
        Part::Last { offset: 1 << 20, crc: 1 },
    ];
    let rooms = (0..200).chain(16_380..16_500).chain([65_535, 1 << 20]);
    for room in rooms {
        for extent in [Extent::Delimited, Extent::Rest] {
            for part in parts {
                match message_room(part, room, extent) {
                    None => assert!(message_len(part, 0, extent) > room),
                    Some(most) => {
                        assert!(message_len(part, most, extent) <= room);
                        assert!(message_len(part, most + 1, extent) > room);
                    }
                }
            }
            match datagram_room(room, extent) {
                None => assert!(datagram_len(0, extent) > room),
                Some(most) => {
                    assert!(datagram_len(most, extent) <= room);
                    assert!(datagram_len(most + 1, extent) > room);
                }
            }
        }
    }
}

#[test]
fn a_length_stays_where_frames_follow() {
    let mut out = Vec::new();
    Frame::Datagram(BODY).encode(&mut out);
    Frame::Ping.encode(&mut out);
    let whole = out.clone();
    strip_last_length(&mut out, 0);
    assert_eq!(out, whole);
}

#[test]
fn runs_of_padding_are_one_frame() {
    let mut out = Vec::new();
    put_padding(&mut out, 1000);
    Frame::Ping.encode(&mut out);
    put_padding(&mut out, 2);
    assert_eq!(all(&out), [Ok(Frame::Pad), Ok(Frame::Ping), Ok(Frame::Pad)]);
}

#[test]
fn frames_of_later_versions_are_skipped_and_only_odd_ones_close() {
    for kind in LENGTH_PREFIXED..=u8::MAX {
        let unknown = Frame::Unknown { kind, body: BODY };
        let mut out = Vec::new();
        unknown.encode(&mut out);
        Frame::Ping.encode(&mut out);
        assert_eq!(unknown.closes_if_unknown(), kind % 2 == 1);
        assert!(unknown.is_ack_eliciting());
        assert_eq!(all(&out), [Ok(unknown), Ok(Frame::Ping)]);
    }
}

#[test]
fn kinds_without_a_meaning_are_refused_and_nothing_is_read_after_them() {
    let known = |kind: u8| matches!(kind, 0..=2 | 4 | 8..=0x13 | 0x20..=0x3f);
    for kind in (0..LENGTH_PREFIXED).filter(|kind| !known(*kind)) {
        assert_eq!(all(&[1, kind, 1, 1]), [Ok(Frame::Ping), Err(DecodeError::Invalid("frame kind"))]);
    }
    // The fourth part of a message does not exist.
    assert_eq!(all(b"\x26\0\0\0\0hay"), [Err(DecodeError::Invalid("message part"))]);
}

#[test]
fn parts_stay_inside_the_longest_message_and_are_not_empty() {
    let max = MESSAGE_MAX_BYTES as u32;
    for (offset, payload, fits) in [(max - 3, 3, true), (max - 3, 4, false), (0, 0, false), (max, 0, false)] {
        let mut out = vec![0x22, 0, 0, 0, 0];
        put_varint(&mut out, u64::from(offset));
        out.resize(out.len() + payload, 7);
        let decoded = all(&out).pop().unwrap();
        assert_eq!(decoded.is_ok(), fits, "{offset} + {payload}: {decoded:?}");
    }
    let mut out = vec![0x22, 0, 0, 0, 0];
    put_varint(&mut out, u64::from(max) + 1);
    assert_eq!(all(&out), [Err(DecodeError::TooLong("message offset"))]);
}

#[test]
fn acks_padding_and_close_elicit_no_ack() {
    assert!(!ack_of(b"\x02\x05\x00\x01\x00").is_ack_eliciting());
    assert!(!Frame::Pad.is_ack_eliciting() && !Frame::Close { code: 0 }.is_ack_eliciting());
    assert!(Frame::Ping.is_ack_eliciting() && Frame::Datagram(b"").is_ack_eliciting());
    assert!(Frame::Credit { class: Class::Bulk, bytes: 0, messages: 0 }.is_ack_eliciting());
}

#[test]
fn classes_keep_their_index_and_bits() {
    for (index, class) in Class::ALL.into_iter().enumerate() {
        assert_eq!(class.index(), index);
        assert_eq!(Class::from_bits(0xfc | class.bits()), class);
    }
}

/// A frame whose payloads are slices of `data`.
fn frame_from(data: &[u8], pick: u8, a: u64, b: u64) -> Frame<'_> {
    let class = Class::from_bits(pick);
    let offset = (a % (MESSAGE_MAX_BYTES - data.len()) as u64) as u32;
    let eight = a.to_be_bytes();
    match pick >> 2 {
        0 => Frame::Ping,
        1 => Frame::Close { code: b as u8 },
        2 => Frame::Credit { class, bytes: a & VARINT_MAX, messages: b & VARINT_MAX },
        3 => Frame::Blocked { class },
        4 => Frame::PathChallenge(eight),
        5 => Frame::PathResponse(eight),
        6 => Frame::Datagram(data),
        7 => Frame::Unknown { kind: 0x40 | (b as u8), body: data },
        rest => {
            let part = match rest % 3 {
                0 => Part::Whole,
                1 if !data.is_empty() => Part::Piece { offset },
                2 if !data.is_empty() => Part::Last { offset, crc: b as u32 },
                _ => Part::Whole,
            };
            Frame::Message { class, sequence: SequenceBits(b as u32), part, payload: data }
        }
    }
}

/// Descending ranges from steps up: (missing numbers before the range beyond one, numbers in it beyond one).
fn ranges_from(steps: &[(u64, u64)]) -> Vec<RangeInclusive<u64>> {
    let mut ranges = Vec::new();
    let mut next = 0;
    for (gap, more) in steps {
        let low = next + gap;
        ranges.push(low..=low + more);
        next = low + more + 2;
    }
    ranges.reverse();
    ranges
}

proptest! {
    #![proptest_config(config(1500))]

    #[test]
    fn frames_come_back_from_their_bytes(
        picks in vec((vec(any::<u8>(), 0..300), 0u8..=63, any::<u64>(), any::<u64>()), 0..20),
    ) {
        let frames: Vec<_> = picks.iter().map(|(data, pick, a, b)| frame_from(data, *pick, *a, *b)).collect();
        let mut out = Vec::new();
        for frame in &frames {
            let before = out.len();
            frame.encode(&mut out);
            prop_assert_eq!(out.len() - before, frame.encoded_len());
        }
        let back: Result<Vec<_>, _> = decode_frames(&out).collect();
        prop_assert_eq!(back, Ok(frames));
    }

    #[test]
    fn taking_the_last_length_out_changes_no_meaning(
        data in vec(any::<u8>(), 0..300), pick in 0u8..=63, a: u64, b: u64, before in 0usize..3,
    ) {
        let frame = frame_from(&data, pick, a, b);
        let mut out = vec![PING; before];
        frame.encode(&mut out);
        let full = out.len();
        strip_last_length(&mut out, before);
        let carries = matches!(frame, Frame::Message { .. } | Frame::Datagram(_));
        prop_assert_eq!(full - out.len(), if carries { varint_len(data.len() as u64) } else { 0 });
        prop_assert_eq!(all(&out[before..]), [Ok(frame)]);
        // Once more, it does nothing.
        let once = out.clone();
        strip_last_length(&mut out, before);
        prop_assert_eq!(out, once);
    }

    #[test]
    fn acks_carry_the_highest_ranges_that_fit(
        steps in vec((0u64..1 << 40, 0u64..1 << 20), 1..40), delay in 0u64..1 << 30, room in 0usize..400,
    ) {
        let ranges = ranges_from(&steps);
        let mut out = vec![PING];
        let count = put_ack(&mut out, room, delay, ranges.iter().cloned());
        prop_assert!(out.len() - 1 <= room);
        prop_assert!(count <= ACK_RANGES_MAX.min(ranges.len()));
        if count < ACK_RANGES_MAX.min(ranges.len()) {
            // One more would not have fitted.
            let mut more = Vec::new();
            put_ack(&mut more, usize::MAX, delay, ranges[..=count].iter().cloned());
            prop_assert!(more.len() > room);
        }
        if count == 0 {
            prop_assert_eq!(out, [PING]);
        } else {
            let Frame::Ack { largest, delay_us, ranges: back } = ack_of(&out[1..]) else { panic!("no ack") };
            prop_assert_eq!((largest, delay_us), (*ranges[0].end(), delay));
            prop_assert_eq!(back.iter().collect::<Vec<_>>(), &ranges[..count]);
            prop_assert_eq!(decode_frames(&out).count(), 2);
        }
    }

    #[test]
    fn sequences_come_back_from_their_low_bits(expected in 0..=u64::MAX - (1 << 31), distance in -(1i64 << 31) + 1..1 << 31) {
        let sequence = expected.saturating_add_signed(distance);
        prop_assert_eq!(SequenceBits::of(sequence).nearest(expected), sequence);
    }
}

proptest! {
    #![proptest_config(config(6000))]

    /// Whatever the bytes: no panic, no frame from nowhere, and what is understood means the same once more.
    #[test]
    fn any_bytes_are_refused_or_understood(
        mut bytes in vec(any::<u8>(), 0..400),
        picks in vec((vec(any::<u8>(), 0..40), 0u8..=63, any::<u64>(), any::<u64>()), 0..6),
        flips in vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
    ) {
        // Half of the cases are valid frames with some bits turned.
        if bytes.len() % 2 == 0 {
            bytes.clear();
            put_ack(&mut bytes, 100, 7, [90..=100, 3..=4, 1..=1]);
            for (data, pick, a, b) in &picks {
                frame_from(data, *pick, *a, *b).encode(&mut bytes);
            }
        }
        for (at, bits) in flips {
            if !bytes.is_empty() {
                let at = at.index(bytes.len());
                bytes[at] ^= bits;
            }
        }
        let mut count = 0;
        let mut failed = false;
        for frame in decode_frames(&bytes) {
            prop_assert!(!failed, "a frame after an error");
            count += 1;
            let Ok(frame) = frame else {
                failed = true;
                continue;
            };
            if let Frame::Ack { largest, ranges, .. } = &frame {
                prop_assert_eq!(ranges.iter().count(), ranges.count());
                prop_assert_eq!(ranges.iter().next().map(|range| *range.end()), Some(*largest));
                prop_assert!(ranges.iter().is_sorted_by(|a, b| a.start() > b.end()));
            }
            let mut again = Vec::new();
            frame.encode(&mut again);
            prop_assert_eq!(all(&again), [Ok(frame)]);
        }
        prop_assert!(count <= bytes.len());
    }
}
