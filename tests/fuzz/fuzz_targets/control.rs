#![no_main]

use libfuzzer_sys::fuzz_target;
use vipd_properties::control::Server;

thread_local! {
    static SERVER: Server = Server::start().expect("a local socket works");
}

fuzz_target!(|octets: &[u8]| SERVER.with(|server| server.check(octets)));
