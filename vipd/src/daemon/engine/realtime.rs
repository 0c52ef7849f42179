//! Real-time scheduling and locked memory for the engine thread, so that adverts leave on time on a busy machine.

use nix::sys::mman::{MlockAllFlags, mlockall};

/// SCHED_FIFO priority of the engine thread unless `vrrp_rt_priority` says another: above the kernel's threads for
/// interrupts (50), which a flood keeps busy while adverts are due.
const PRIORITY: u8 = 51;

/// What was granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Granted {
    pub real_time: bool,
    pub locked_memory: bool,
}

/// Asks for SCHED_FIFO for the calling thread and locks the process's memory; a refusal is logged, not fatal.
pub fn request(priority: Option<u8>) -> Granted {
    let parameters = libc::sched_param { sched_priority: priority.unwrap_or(PRIORITY).into() };
    // Threads that this one starts fall back to normal scheduling.
    let policy = libc::SCHED_FIFO | libc::SCHED_RESET_ON_FORK;
    // SAFETY: a valid structure that outlives the call; 0 is the calling thread.
    let real_time = unsafe { libc::sched_setscheduler(0, policy, &raw const parameters) } == 0;
    if !real_time {
        let error = std::io::Error::last_os_error();
        tracing::warn!(%error, "no real-time scheduling: adverts may be late under load (CAP_SYS_NICE)");
    }
    let locked =
        mlockall(MlockAllFlags::from_bits_retain(libc::MCL_CURRENT | libc::MCL_FUTURE | libc::MCL_ONFAULT));
    if let Err(error) = locked {
        tracing::warn!(%error, "memory is not locked: adverts may be late when the host swaps (CAP_IPC_LOCK)");
    }
    Granted { real_time, locked_memory: locked.is_ok() }
}
