//! `cargo fuzz run --features libfuzzer records`: see [`weave_fuzz::records`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| weave_fuzz::records(bytes));
