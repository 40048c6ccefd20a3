//! Any text, any options: every engine gives what the reference gives.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    fastft_fuzz::encode(data);
});
