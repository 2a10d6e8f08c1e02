use super::*;

fn put<T, F: Format<T>>(format: &F, value: &T) -> Vec<u8> {
    let mut out = Vec::new();
    format.put(value, &mut out);
    assert_eq!(out.len(), format.len(value));
    out
}

#[test]
fn counters_leave_room_to_count_on() {
    let most = put(&Counter, &COUNTER_LIMIT);
    assert_eq!(Counter.get(&mut Reader::new(&most), "c"), Ok(COUNTER_LIMIT));
    let over = put(&Counter, &(COUNTER_LIMIT + 1));
    assert_eq!(Counter.get(&mut Reader::new(&over), "c"), Err(DecodeError::TooLong("c")));
    let mark = put(&Mark, &VARINT_MAX);
    assert_eq!(Mark.get(&mut Reader::new(&mark), "m"), Ok(VARINT_MAX));
}

#[test]
fn amounts_saturate() {
    let out = put::<u64, _>(&Amount, &u64::MAX);
    assert_eq!(Amount.get(&mut Reader::new(&out), "a"), Ok(VARINT_MAX));
    let wide = put::<u64, _>(&Amount, &(1 << 32));
    let narrow: Result<u32, _> = Amount.get(&mut Reader::new(&wide), "a");
    assert_eq!(narrow, Err(DecodeError::TooLong("a")));
}

#[test]
fn long_text_is_cut_between_characters() {
    let out = put(&Text(5), &"häystack".to_owned());
    assert_eq!(out, "\u{5}häys".as_bytes());
    let out = put(&Text(2), &"häystack".to_owned());
    assert_eq!(out, b"\x01h");
    assert_eq!(Text(2).get(&mut Reader::new(b"\x03abc"), "t"), Err(DecodeError::TooLong("t")));
    assert_eq!(Text(2).get(&mut Reader::new(b"\x02\xc3("), "t"), Err(DecodeError::Invalid("t")));
}

#[test]
fn a_count_over_what_the_rest_can_hold_takes_no_memory() {
    let list = Many::of(usize::MAX, 16, Plain);
    let mut huge = Vec::new();
    put_varint(&mut huge, VARINT_MAX);
    huge.extend([0; 160]);
    let got: Result<Vec<NodeId>, _> = list.get(&mut Reader::new(&huge), "l");
    assert_eq!(got, Err(DecodeError::Truncated("l")));
    let few = Many::of(1, 16, Plain);
    let got: Result<Vec<NodeId>, _> = few.get(&mut Reader::new(b"\x02"), "l");
    assert_eq!(got, Err(DecodeError::TooLong("l")));
}

#[test]
fn lists_for_people_are_cut() {
    let names = vec!["a".to_owned(), "b".to_owned(), "c".to_owned()];
    assert_eq!(put(&Many::cut(2, 1, Text(9)), &names), b"\x02\x01a\x01b");
}

#[test]
#[should_panic(expected = "3 values in a list of at most 2")]
fn other_lists_over_the_limit_are_a_bug() {
    put(&Many::of(2, 1, Flag), &vec![true; 3]);
}

#[test]
fn addresses_have_a_family_byte() {
    let four = put(&Addr, &SocketAddr::from(([127, 0, 0, 1], 7400)));
    assert_eq!(four, [4, 127, 0, 0, 1, 0x1c, 0xe8]);
    let six = put(&Addr, &SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], 7400)));
    assert_eq!(six, [6, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0x1c, 0xe8]);
    assert_eq!(Addr.get(&mut Reader::new(&[5; 20]), "a"), Err(DecodeError::Invalid("a")));
}

#[test]
fn slots_beyond_the_key_space_are_refused() {
    assert_eq!(Slot::decode(&mut Reader::new(&[0x3f, 0xff])), Ok(Slot(16_383)));
    assert_eq!(Slot::decode(&mut Reader::new(&[0x40, 0x00])), Err(DecodeError::Invalid("Slot")));
}
