#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| vipd_properties::wire::check(octets));
