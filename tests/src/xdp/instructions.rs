//! Instructions of a BPF program, as numbers (Documentation/bpf/standardization/instruction-set.rst).

/// `struct bpf_insn`.
pub fn instruction(code: u8, destination: u8, source: u8, offset: u16, immediate: u32) -> u64 {
    let registers = u64::from(destination | (source << 4));
    u64::from(code) | (registers << 8) | (u64::from(offset) << 16) | (u64::from(immediate) << 32)
}

/// With r2 and r3 the frame's start and end from the context in register `context`, skips the `following` instructions
/// unless the frame has `length` octets.
pub fn check_length(context: u8, length: u32, following: usize) -> [u64; 5] {
    [
        instruction(0x61, 2, context, 0, 0),          // r2 = data
        instruction(0x61, 3, context, 4, 0),          // r3 = data_end
        instruction(0xbf, 4, 2, 0, 0),                // r4 = r2
        instruction(0x07, 4, 0, 0, length),           // r4 += length
        instruction(0x2d, 4, 3, following as u16, 0), // if r4 > r3 skip
    ]
}

pub const EXIT: u64 = 0x95;
