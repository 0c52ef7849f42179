#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| vipd_properties::config::check(octets));
