#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| vipd_config_properties::check(octets));
