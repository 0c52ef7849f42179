//! Filters that the kernel runs for a socket, before a packet or a message is queued for it.

use std::{
    io,
    os::fd::{AsFd, AsRawFd},
};

/// One instruction of a classic BPF program. Jumps name an instruction that comes later, by its index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FilterStep {
    /// The octet at an offset.
    Load8(u32),
    /// The two octets at an offset, in network order.
    Load16(u32),
    /// The four octets at an offset, in network order.
    Load32(u32),
    /// Whether what was loaded is this.
    Equal { value: u32, then: u8, or: u8 },
    /// Whether what was loaded has one of these bits.
    AnyBit { bits: u32, then: u8, or: u8 },
    /// Keeps so many octets; 0: nothing is queued.
    Return(u32),
}

impl FilterStep {
    fn instruction(self, index: usize) -> libc::sock_filter {
        // linux/bpf_common.h: BPF_LD | BPF_ABS with BPF_B, BPF_H and BPF_W; BPF_JMP | BPF_K with BPF_JEQ and BPF_JSET; BPF_RET.
        let (code, k, then, or) = match self {
            Self::Load8(at) => (0x30, at, 0, 0),
            Self::Load16(at) => (0x28, at, 0, 0),
            Self::Load32(at) => (0x20, at, 0, 0),
            Self::Equal { value, then, or } => (0x15, value, then, or),
            Self::AnyBit { bits, then, or } => (0x45, bits, then, or),
            Self::Return(octets) => (0x06, octets, 0, 0),
        };
        let jump = |to: u8| u8::try_from(usize::from(to).saturating_sub(index + 1)).unwrap_or_default();
        libc::sock_filter { code, jt: jump(then), jf: jump(or), k }
    }
}

/// Keeps every packet out of a socket's receive queue.
///
/// # Errors
///
/// What the kernel says, of a descriptor that is no socket for example.
pub fn drop_all(socket: &impl AsFd) -> io::Result<()> {
    attach(socket, &[FilterStep::Return(0)])
}

/// Has the kernel run a program for each packet or message.
///
/// # Errors
///
/// As [`drop_all`], or of a program that has no end.
pub fn attach(socket: &impl AsFd, steps: &[FilterStep]) -> io::Result<()> {
    let mut instructions: Vec<_> =
        steps.iter().enumerate().map(|(index, step)| step.instruction(index)).collect();
    let len = u16::try_from(instructions.len()).map_err(io::Error::other)?;
    let program = libc::sock_fprog { len, filter: instructions.as_mut_ptr() };
    // SAFETY: a `sock_fprog` of that length, which points to so many instructions; both outlive the call.
    let result = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_FILTER,
            (&raw const program).cast(),
            size_of::<libc::sock_fprog>() as libc::socklen_t,
        )
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
