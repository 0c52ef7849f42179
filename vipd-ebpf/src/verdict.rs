//! What the program decides on a frame, and the counter that says why.

use vipd_common::abi::{CapturedReason, verdict};

/// What becomes of a frame that is ours to judge. The numbers are for `global` and the capture, and 0 is none of them.
#[derive(Clone, Copy)]
#[repr(u32)]
pub enum Verdict {
    Drop = verdict::DROP as u32,
    Pass = verdict::PASS as u32,
    /// Send it back where it came from.
    Tx = verdict::TX as u32,
}

impl Verdict {
    /// The verdict with the counter that says why.
    #[inline(always)]
    pub fn because(self, reason: CapturedReason) -> Ruling {
        Ruling { verdict: Some(self), reason }
    }
}

/// A verdict, or none yet, with its reason. The reason is a constant in one register: it costs nothing until it is looked at.
#[derive(Clone, Copy)]
pub struct Ruling {
    pub verdict: Option<Verdict>,
    pub reason: CapturedReason,
}

/// Bits below the reason in a ruling's number.
const VERDICT_BITS: u32 = 8;

impl Ruling {
    /// The frame is not ours to judge.
    pub const NONE: Self = Self { verdict: None, reason: CapturedReason::NONE };

    /// Counted, and left to what judges next.
    #[inline(always)]
    pub fn undecided(reason: CapturedReason) -> Self {
        Self { verdict: None, reason }
    }

    #[inline(always)]
    pub fn number(self) -> u32 {
        let verdict = self.verdict.map_or(0, |verdict| verdict as u32);
        verdict | u32::from(self.reason.number()) << VERDICT_BITS
    }

    #[inline(always)]
    pub fn from_number(number: u32) -> Self {
        let low = number & ((1 << VERDICT_BITS) - 1);
        let verdict =
            [Verdict::Drop, Verdict::Pass, Verdict::Tx].into_iter().find(|verdict| *verdict as u32 == low);
        Self { verdict, reason: CapturedReason::from_number((number >> VERDICT_BITS) as u8) }
    }
}
