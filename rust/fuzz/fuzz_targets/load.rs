//! Any bytes as a `tokenizer.json`: an error or a tokenizer, and the right tokens.
#![no_main]

// libFuzzer ends the process at every panic, caught or not; without its hook only at the latter.
libfuzzer_sys::fuzz_target!(init: std::panic::set_hook(Box::new(|_| {})), |data: &[u8]| {
    fastft_fuzz::load(data);
});
