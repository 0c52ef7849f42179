//! The two programs, and what each calls its verdicts.

use aya::{
    TestRun,
    programs::{ProgramError, TestRunOptions, TestRunResult},
};
use vipd_dataplane::Dataplane;

/// XDP's names for verdicts, which the rows use.
pub const XDP_DROP: u32 = 1;
pub const XDP_PASS: u32 = 2;
pub const XDP_TX: u32 = 3;

/// Where a program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(dead_code, reason = "each of the two test crates has one")]
pub enum Hook {
    Xdp,
    Tc,
}

impl Hook {
    /// Whether `BPF_PROG_TEST_RUN` makes a packet of the frame for this hook: an skb is one page, and since Linux 6.17 its IP
    /// header is whole.
    pub fn takes(self, frame: &[u8]) -> bool {
        let header = match frame.get(12..14) {
            Some([0x08, 0x00]) => 34,
            Some([0x86, 0xdd]) => 54,
            _ => 14,
        };
        self == Self::Xdp || (header..=3_300).contains(&frame.len())
    }

    /// Has the kernel verify the program, which takes its time, before a test looks at the clock.
    pub fn load(self, dataplane: &mut Dataplane) {
        match self {
            Self::Xdp => drop(dataplane.xdp().expect("the XDP program loads")),
            Self::Tc => drop(dataplane.tc().expect("the tc program loads")),
        }
    }

    /// Runs the program over a frame; the verdict in the result is one of XDP's.
    pub fn run(
        self,
        dataplane: &mut Dataplane,
        options: TestRunOptions<'_>,
    ) -> Result<TestRunResult, ProgramError> {
        match self {
            Self::Xdp => dataplane.xdp().expect("the XDP program loads").test_run(options),
            Self::Tc => {
                let mut result = dataplane.tc().expect("the tc program loads").test_run(options)?;
                result.return_value = match result.return_value.cast_signed() {
                    tc_act::SHOT => XDP_DROP,
                    tc_act::UNSPEC => XDP_PASS,
                    tc_act::REDIRECT => XDP_TX,
                    other => panic!("verdict {other}"),
                };
                Ok(result)
            }
        }
    }
}

/// linux/pkt_cls.h.
mod tc_act {
    pub const UNSPEC: i32 = -1;
    pub const SHOT: i32 = 2;
    pub const REDIRECT: i32 = 7;
}
