//! One timer on the boot-time clock. tokio's own timer has steps of 1 ms and another clock.

use std::{
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd},
};

use nix::sys::{
    time::TimeSpec,
    timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags},
};
use tokio::io::{Interest, unix::AsyncFd};

use crate::time::Instant;

/// A `timerfd`. Cancelling [`Timer::expired`] is safe: an expiry stays readable until it is read.
#[derive(Debug)]
pub struct Timer {
    fd: AsyncFd<Fd>,
    armed: Option<Instant>,
}

/// tokio wants `AsRawFd`, which nix's type does not have.
#[derive(Debug)]
struct Fd(TimerFd);

impl AsFd for Fd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for Fd {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

impl Timer {
    pub fn new() -> io::Result<Self> {
        let fd = TimerFd::new(ClockId::CLOCK_BOOTTIME, TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC)?;
        // SAFETY: the timer owns its descriptor and never changes it.
        let fd = unsafe { AsyncFd::register_with_interest(Fd(fd), Interest::READABLE)? };
        Ok(Self { fd, armed: None })
    }

    /// Arms the timer for `at`, also if that has passed, or disarms it.
    pub fn set(&mut self, at: Option<Instant>) -> io::Result<()> {
        if self.armed == at {
            return Ok(());
        }
        match at {
            // A time of 0 would disarm.
            Some(at) => self.fd.get_ref().0.set(
                Expiration::OneShot(TimeSpec::from_duration(std::time::Duration::from_nanos(
                    at.as_nanos().max(1),
                ))),
                TimerSetTimeFlags::TFD_TIMER_ABSTIME,
            )?,
            None => self.fd.get_ref().0.unset()?,
        }
        self.armed = at;
        Ok(())
    }

    /// Waits until the timer fires.
    pub async fn expired(&mut self) -> io::Result<()> {
        loop {
            let mut ready = self.fd.readable().await?;
            let mut count = [0; 8];
            match nix::unistd::read(ready.get_ref().get_ref(), &mut count) {
                Ok(_) => {
                    self.armed = None;
                    return Ok(());
                }
                Err(nix::Error::EAGAIN) => ready.clear_ready(),
                Err(error) => return Err(error.into()),
            }
        }
    }
}
