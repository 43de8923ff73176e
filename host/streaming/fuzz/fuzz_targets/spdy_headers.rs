#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| outrigger_streaming_fuzz::run("spdy_headers", data));
