//! `cargo fuzz run --features libfuzzer texts`: see [`weave_fuzz::texts`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| weave_fuzz::texts(bytes));
