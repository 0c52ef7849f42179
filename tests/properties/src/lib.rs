//! Properties of vipd that hold for every input. A property panics if it does not.
//!
//! Those of the configuration are in `config/`, a crate that needs nothing else of vipd. The fuzz targets (`tests/fuzz`) look for inputs that break one; `tests/tests/corpus.rs` runs them over the committed
//! corpus. Nothing in here knows libFuzzer.

pub mod control;
mod input;
pub mod wire;
pub mod xdp;

/// The one's complement sum of big-endian 16-bit words (RFC 1071), folded; 0xffff over what holds a right checksum.
fn internet_sum(parts: &[&[u8]]) -> u16 {
    let mut sum = 0u64;
    for part in parts {
        for pair in part.chunks(2) {
            sum += u64::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]));
        }
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}
