//! Whether this process and BPF programs have the same boot-time clock: in a time namespace (`unshare --time`, CRIU, a container with
//! time offsets) they have not, and each lease would end at another moment for the program than for the daemon.

use std::{
    io,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
    time::Duration,
};

use thiserror::Error;

use vipd_core::time::Instant;

/// The clock of this process is not the kernel's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error(
    "this process is in a time namespace: its boot-time clock is {:.3} s {} that of the kernel, by which BPF programs judge leases; start \
     vipd outside of it (without `unshare --time`, without an offset of `boottime` for its container)",
    .by.as_secs_f64(),
    if *.ahead { "ahead of" } else { "behind" }
)]
pub struct ClockDiffers {
    pub by: Duration,
    pub ahead: bool,
}

/// Compares `now`, the clock of this process, with what a BPF program reads.
///
/// # Errors
///
/// The outer one: the kernel runs no such program here.
pub fn compare_clock(now: impl Fn() -> Instant) -> io::Result<Result<(), ClockDiffers>> {
    let program = load()?;
    let before = now();
    let kernel = run(&program)?;
    let after = now();
    Ok(if after < kernel {
        Err(ClockDiffers { by: kernel.saturating_since(after), ahead: false })
    } else if kernel < before {
        Err(ClockDiffers { by: before.saturating_since(kernel), ahead: true })
    } else {
        Ok(())
    })
}

const BPF_PROG_LOAD: libc::c_int = 5;
const BPF_PROG_TEST_RUN: libc::c_int = 10;
const BPF_PROG_TYPE_SCHED_CLS: u32 = 3;
/// Where `cb` is in `struct __sk_buff`: it comes back from a test run.
const CB: i16 = 48;
/// More than `struct __sk_buff` has.
const CONTEXT: usize = 512;
/// Of an Ethernet header, the least that a test run takes.
const FRAME: usize = 14;

/// `struct bpf_insn`.
#[repr(C)]
struct Instruction {
    code: u8,
    /// The destination's register in the lower half, the source's in the upper (on little-endian machines).
    registers: u8,
    offset: i16,
    immediate: i32,
}

const fn instruction(code: u8, registers: u8, offset: i16, immediate: i32) -> Instruction {
    Instruction { code, registers, offset, immediate }
}

/// Puts `bpf_ktime_get_boot_ns()` into the first two words of `cb`.
static PROGRAM: [Instruction; 7] = [
    // r6 = r1
    instruction(0xbf, 0x16, 0, 0),
    // r0 = bpf_ktime_get_boot_ns()
    instruction(0x85, 0, 0, 125),
    // *(u32 *)(r6 + CB) = r0
    instruction(0x63, 0x06, CB, 0),
    // r0 >>= 32
    instruction(0x77, 0, 0, 32),
    // *(u32 *)(r6 + CB + 4) = r0
    instruction(0x63, 0x06, CB + 4, 0),
    // return 0
    instruction(0xb7, 0, 0, 0),
    instruction(0x95, 0, 0, 0),
];

fn load() -> io::Result<OwnedFd> {
    /// The part of `union bpf_attr` for `BPF_PROG_LOAD`.
    #[repr(C)]
    struct LoadAttr {
        prog_type: u32,
        insn_cnt: u32,
        insns: u64,
        license: u64,
        log_level: u32,
        log_size: u32,
        log_buf: u64,
        kern_version: u32,
        prog_flags: u32,
    }
    let license = c"Dual MIT/GPL";
    let attr = LoadAttr {
        prog_type: BPF_PROG_TYPE_SCHED_CLS,
        insn_cnt: PROGRAM.len() as u32,
        insns: PROGRAM.as_ptr() as u64,
        license: license.as_ptr() as u64,
        log_level: 0,
        log_size: 0,
        log_buf: 0,
        kern_version: 0,
        prog_flags: 0,
    };
    // SAFETY: `attr` is all of the attributes that the command needs; what it points to outlives the call.
    let fd = unsafe { libc::syscall(libc::SYS_bpf, BPF_PROG_LOAD, &raw const attr, size_of::<LoadAttr>()) };
    let fd = libc::c_int::try_from(fd).map_err(io::Error::other)?;
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn run(program: &OwnedFd) -> io::Result<Instant> {
    /// The part of `union bpf_attr` for `BPF_PROG_TEST_RUN`.
    #[repr(C)]
    struct RunAttr {
        prog_fd: u32,
        retval: u32,
        data_size_in: u32,
        data_size_out: u32,
        data_in: u64,
        data_out: u64,
        repeat: u32,
        duration: u32,
        ctx_size_in: u32,
        ctx_size_out: u32,
        ctx_in: u64,
        ctx_out: u64,
    }
    let frame = [0_u8; FRAME];
    let mut context = [0_u8; CONTEXT];
    let mut attr = RunAttr {
        prog_fd: u32::try_from(program.as_raw_fd()).map_err(io::Error::other)?,
        retval: 0,
        data_size_in: FRAME as u32,
        data_size_out: 0,
        data_in: frame.as_ptr() as u64,
        data_out: 0,
        repeat: 1,
        duration: 0,
        ctx_size_in: 0,
        ctx_size_out: CONTEXT as u32,
        ctx_in: 0,
        ctx_out: context.as_mut_ptr() as u64,
    };
    // SAFETY: `attr` is all of the attributes that the command needs; what it points to is as long as it says and outlives the call.
    let result =
        unsafe { libc::syscall(libc::SYS_bpf, BPF_PROG_TEST_RUN, &raw mut attr, size_of::<RunAttr>()) };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    let at = usize::from(CB.unsigned_abs());
    let word = |at: usize| context[at..at + 4].try_into().map(u32::from_ne_bytes).map_err(io::Error::other);
    Ok(Instant::from_nanos(u64::from(word(at)?) | u64::from(word(at + 4)?) << 32))
}

#[cfg(test)]
mod tests {
    use nix::time::{ClockId, clock_gettime};

    use super::*;

    fn now() -> Instant {
        Instant::from_nanos(vipd_core::time::nanos(clock_gettime(ClockId::CLOCK_BOOTTIME).unwrap().into()))
    }

    #[test]
    fn this_process_has_the_clock_of_the_kernel_and_another_clock_is_told() {
        if !nix::unistd::geteuid().is_root() {
            return vipd_tests::skip("a BPF program needs root");
        }
        compare_clock(now).unwrap().unwrap();
        let day = Duration::from_secs(86_400);
        let of = |now: &dyn Fn() -> Instant| compare_clock(now).unwrap().unwrap_err();
        let ahead = of(&|| now() + day);
        assert!(ahead.ahead && day - ahead.by < Duration::from_secs(1), "{ahead}");
        let behind = of(&|| Instant::from_nanos(1));
        assert!(!behind.ahead && behind.to_string().contains("s behind that of the kernel"), "{behind}");
    }
}
