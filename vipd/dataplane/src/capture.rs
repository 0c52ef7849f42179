//! Captured frames: the ring that the program fills, and the lease that has it do so.

use std::fmt;

use aya::maps::{MapData, RingBuf};
use vipd_common::abi::{CAPTURED_HEADER, CapturedFrame};
use vipd_core::time::Instant;
use zerocopy::{FromZeros, IntoBytes};

use super::pages::CapturePage;

/// The captured frames. Nothing is captured before [`renew`](Self::renew), and after this is dropped.
pub struct FrameRing {
    page: CapturePage,
    ring: RingBuf<MapData>,
}

impl fmt::Debug for FrameRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FrameRing")
    }
}

impl FrameRing {
    /// Ends what a predecessor that was killed may have left running.
    pub(super) fn new(page: CapturePage, ring: RingBuf<MapData>) -> Self {
        let mut ring = Self { page, ring };
        ring.end();
        ring
    }

    /// Has frames captured until then.
    pub fn renew(&mut self, until: Instant) {
        self.page.set(until);
    }

    /// Has none captured, and forgets those that nobody took.
    pub fn end(&mut self) {
        self.page.set(Instant::default());
        while self.ring.next().is_some() {}
    }

    /// Frames that found the ring full, since the maps were made.
    pub fn lost(&self) -> u64 {
        self.page.lost()
    }

    /// Takes the oldest frame, if there is one.
    pub fn pop(&mut self) -> Option<CapturedFrame> {
        let item = self.ring.next()?;
        let mut frame = CapturedFrame::new_zeroed();
        // The program leaves out octets that are not the frame's.
        let length = item.len().min(size_of::<CapturedFrame>());
        frame.as_mut_bytes()[..length].copy_from_slice(&item[..length]);
        frame.captured = frame.captured.min(length.saturating_sub(CAPTURED_HEADER) as u32);
        Some(frame)
    }
}

impl Drop for FrameRing {
    fn drop(&mut self) {
        self.page.set(Instant::default());
    }
}
