use proptest::prelude::*;

use super::*;

fn record(key: &[u8], value: &[u8]) -> Record {
    Record { key: Bytes::copy_from_slice(key), value: Bytes::copy_from_slice(value) }
}

fn loaded(text: &[u8]) -> Vec<Result<Option<Record>, BadLine>> {
    let mut lines = Lines::new(text, 7);
    let mut line = Vec::new();
    let mut all = Vec::new();
    loop {
        match lines.next(&mut line).unwrap() {
            Found::Line => all.push(parse(&line)),
            Found::TooLong(bytes) => all.push(Err(BadLine::TooLong(bytes))),
            Found::End => return all,
        }
    }
}

fn good(text: &[u8]) -> Vec<Record> {
    loaded(text).into_iter().filter_map(|line| line.unwrap()).collect()
}

fn dumped(key: &[u8], value: &[u8]) -> String {
    let mut out = Vec::new();
    write(key, value, &mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn plain_lines_are_bytes_and_the_first_tab_ends_the_key() {
    let text = b"a\tb\nno value\n\n\tempty key\nx\ty\tz\n\xff\t\xfe\n{tag}.x\t1\n[1]\t{\"a\nlast";
    let expected = [
        record(b"a", b"b"),
        record(b"no value", b""),
        record(b"", b"empty key"),
        record(b"x", b"y\tz"),
        record(b"\xff", b"\xfe"),
        record(b"{tag}.x", b"1"),
        record(b"[1]", b"{\"a"),
        record(b"last", b""),
    ];
    assert_eq!(good(text), expected);
}

#[test]
fn json_lines_have_text_or_base64_in_any_order() {
    let text = br#"{"key":"a","value":"b"}
  {"key":"not json: starts with blanks"}
{ "value_b64": "/w", "key": "tab\there" }
{"key_b64":"/w==","value":"\u00e4","version":"3.17"}"#;
    let expected = [
        record(b"a", b"b"),
        record(br#"  {"key":"not json: starts with blanks"}"#, b""),
        record(b"tab\there", b"\xff"),
        record(b"\xff", "ä".as_bytes()),
    ];
    assert_eq!(good(text), expected);
}

#[test]
fn nothing_is_guessed() {
    let bad = |line: &str| parse(line.as_bytes()).unwrap_err().to_string();
    for (line, word) in [
        (r#"{"key":"a","value":"b""#, "at column"),
        (r#"{"key":"a"}"#, "`value` or `value_b64`"),
        (r#"{"value":"a"}"#, "`key` or `key_b64`"),
        (r#"{"key":"a","key_b64":"YQ==","value":"b"}"#, "`key` or `key_b64`"),
        (r#"{"key":"a","key":"c","value":"b"}"#, "duplicate field"),
        (r#"{"key":"a","valeu":"b"}"#, "unknown field `valeu`"),
        (r#"{"key":"a","value":1}"#, "expected a"),
        (r#"{"key":"a","value_b64":"*"}"#, "`value_b64` is not base64"),
        (r#"{"key":"a","value":"b"} x"#, "trailing"),
        ("{", "JSON"),
        ("{}", "`key` or `key_b64`"),
        ("{\t\"x", "JSON"),
        ("a\tb\r", "CR LF"),
    ] {
        assert!(bad(line).contains(word), "{line}: {}", bad(line));
    }
    assert_eq!(parse(&[b'k'; KEY_LIMIT + 1]), Err(BadLine::Key(KEY_LIMIT + 1)));
    let long = [b"k\t", &vec![b'v'; VALUE_LIMIT + 1][..]].concat();
    assert_eq!(parse(&long), Err(BadLine::Value(VALUE_LIMIT + 1)));
}

#[test]
fn blank_lines_and_a_byte_order_mark_are_no_records() {
    assert_eq!(good(b"\n\r\n\n"), []);
    assert_eq!(good(b"\xef\xbb\xbfa\tb\n\xef\xbb\xbfc"), [record(b"a", b"b"), record(b"\xef\xbb\xbfc", b"")]);
    assert_eq!(loaded(b""), []);
    assert_eq!(loaded(b"\n").len(), 1);
}

#[test]
fn a_line_over_the_limit_is_skipped_whole_and_counted() {
    let mut lines = Lines::new(&b"0123456789\n012345678\nnext\n0123456789x"[..], 4);
    lines.limit = 9;
    let mut line = Vec::new();
    assert_eq!(lines.next(&mut line).unwrap(), Found::TooLong(10));
    assert_eq!(lines.next(&mut line).unwrap(), Found::Line);
    assert_eq!(line, b"012345678");
    assert_eq!(lines.next(&mut line).unwrap(), Found::Line);
    assert_eq!(line, b"next");
    assert_eq!(lines.next(&mut line).unwrap(), Found::TooLong(11));
    assert!(line.is_empty());
    assert_eq!(lines.next(&mut line).unwrap(), Found::End);
    assert_eq!(lines.read, 37);
}

#[test]
fn a_dumped_line_is_plain_where_it_can_be() {
    assert_eq!(dumped(b"a", b"b"), "a\tb\n");
    assert_eq!(dumped(b"a", b""), "a\n");
    assert_eq!(dumped("ä".as_bytes(), b" {\"x\":1}"), "ä\t {\"x\":1}\n");
    assert_eq!(dumped(b"{tag}", b"1"), "{tag}\t1\n");
    assert_eq!(dumped(b"a\tb", b"c"), "{\"key_b64\":\"YQli\",\"value\":\"c\"}\n");
    assert_eq!(dumped(b"a", b"\n"), "{\"key\":\"a\",\"value_b64\":\"Cg==\"}\n");
    assert_eq!(dumped(b"a", b"\xff"), "{\"key\":\"a\",\"value_b64\":\"/w==\"}\n");
    assert_eq!(dumped(b"a", b"\r"), "{\"key\":\"a\",\"value_b64\":\"DQ==\"}\n");
    assert_eq!(dumped(b"", b"v"), "{\"key\":\"\",\"value\":\"v\"}\n");
    assert_eq!(dumped(b"{\"a\":1}", b"v"), "{\"key_b64\":\"eyJhIjoxfQ==\",\"value\":\"v\"}\n");
    assert_eq!(dumped(b"{", b"}"), "{\"key_b64\":\"ew==\",\"value\":\"}\"}\n");
}

#[test]
fn json_lines_of_a_dump_have_the_documented_shape() {
    use haystack_client::{GroupId, LogIndex};
    let at = Version { group: GroupId(3), index: LogIndex(17) };
    let mut out = Vec::new();
    write_json(b"a\tb", b"\xff", at, &mut out);
    assert_eq!(out, b"{\"key\":\"a\\tb\",\"value_b64\":\"/w==\",\"version\":\"3.17\"}\n");
    assert_eq!(good(&out), [record(b"a\tb", b"\xff")]);
}

/// Bytes that are mostly the ones that lines are made of.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let special = prop::sample::select(b"{}\"\t\n\r ab\\:,\xef\xbb\xbf\x00\x7f".to_vec());
    let byte = prop_oneof![3 => special, 1 => any::<u8>()];
    prop::collection::vec(byte, 0..12)
}

proptest! {
    #[test]
    fn what_is_dumped_loads_as_it_was(pairs in prop::collection::vec((bytes(), bytes()), 0..20)) {
        let mut plain = Vec::new();
        let mut json = Vec::new();
        let at = Version { group: haystack_client::GroupId(1), index: haystack_client::LogIndex(2) };
        for (key, value) in &pairs {
            write(key, value, &mut plain);
            write_json(key, value, at, &mut json);
        }
        let expected: Vec<Record> = pairs.iter().map(|(key, value)| record(key, value)).collect();
        prop_assert_eq!(good(&plain), expected.clone());
        prop_assert_eq!(good(&json), expected);
    }

    #[test]
    fn any_bytes_are_read_as_something(text in prop::collection::vec(any::<u8>(), 0..200)) {
        let count = loaded(&text).len();
        let feeds = text.iter().filter(|byte| **byte == b'\n').count();
        let open = usize::from(text.last().is_some_and(|byte| *byte != b'\n'));
        prop_assert_eq!(count, feeds + open);
    }
}
