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

/// Real-time scheduling of the calling thread for a while: another vipd's engine has just ended, and this one's has not begun.
#[derive(Debug)]
pub struct Urgent(());

impl Urgent {
    /// From now until it is dropped, where that is permitted.
    pub fn begin() -> Self {
        schedule(libc::SCHED_FIFO, PRIORITY);
        Self(())
    }
}

impl Drop for Urgent {
    fn drop(&mut self) {
        schedule(libc::SCHED_OTHER, 0);
    }
}

/// Schedules the calling thread; threads that it starts fall back to normal scheduling. Returns whether it is permitted.
fn schedule(policy: i32, priority: u8) -> bool {
    let parameters = libc::sched_param { sched_priority: priority.into() };
    // SAFETY: a valid structure that outlives the call; 0 is the calling thread.
    unsafe { libc::sched_setscheduler(0, policy | libc::SCHED_RESET_ON_FORK, &raw const parameters) == 0 }
}

/// The real-time priority of a thread that is to come right after the engine thread, which has this one if it is one that is asked for.
pub fn rank_below(priority: Option<u8>) -> u8 {
    priority.unwrap_or(PRIORITY).saturating_sub(1).max(1)
}

/// Asks for SCHED_FIFO for the calling thread, that of BFD; the engine thread has said if it is not permitted.
pub fn schedule_bfd(priority: u8) {
    schedule(libc::SCHED_FIFO, priority);
}

/// Asks for SCHED_FIFO for the calling thread and locks the process's memory; a refusal is logged, not fatal.
pub fn request(priority: Option<u8>) -> Granted {
    let real_time = schedule(libc::SCHED_FIFO, priority.unwrap_or(PRIORITY));
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
