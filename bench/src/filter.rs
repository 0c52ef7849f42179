//! Classic BPF programs that keep what a socket does not care for out of it.

use libc::sock_filter;
use vipd_tests::Mac;

/// Takes untagged adverts of either family, unless they are from the station.
pub fn adverts_but_of(stranger: Option<Mac>) -> [sock_filter; 11] {
    let Mac([_, _, a, b, c, d]) = stranger.unwrap_or(Mac([0; 6]));
    [
        // The last four octets of the source are enough to know a station of a lab by.
        load(libc::BPF_W, 8),
        equal(u32::from_be_bytes([a, b, c, d]), 8, 0),
        load(libc::BPF_H, 12),
        equal(0x0800, 0, 2),
        load(libc::BPF_B, 23),
        equal(112, 3, 4),
        equal(0x86dd, 0, 3),
        load(libc::BPF_B, 20),
        equal(112, 0, 1),
        give(ALL),
        give(NOTHING),
    ]
}

/// Takes what is sent to the station alone.
pub fn only_to(station: Mac) -> [sock_filter; 4] {
    let Mac([_, _, a, b, c, d]) = station;
    // As above.
    [load(libc::BPF_W, 2), equal(u32::from_be_bytes([a, b, c, d]), 0, 1), give(ALL), give(NOTHING)]
}

const ALL: u32 = 0xffff;
const NOTHING: u32 = 0;

fn load(size: u32, offset: u32) -> sock_filter {
    instruction(libc::BPF_LD | size | libc::BPF_ABS, 0, 0, offset)
}

/// Skips as many instructions as `then` or `otherwise` says.
fn equal(value: u32, then: u8, otherwise: u8) -> sock_filter {
    instruction(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, then, otherwise, value)
}

fn give(octets: u32) -> sock_filter {
    instruction(libc::BPF_RET | libc::BPF_K, 0, 0, octets)
}

fn instruction(code: u32, jt: u8, jf: u8, k: u32) -> sock_filter {
    sock_filter { code: code as u16, jt, jf, k }
}
