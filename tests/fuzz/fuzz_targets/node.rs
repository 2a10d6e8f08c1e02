#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| haystack_fuzz::node::node(data));
