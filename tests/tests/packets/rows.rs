//! Tables of frames about VIPs: a description, the frame, the ownership, the verdict, the counters that move.

use std::time::Duration;

use crate::bench::{Bench, LEASE_SLOT, XDP_PASS, XDP_TX, now};

/// Whether this node owns the VIP in a row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Ownership {
    Owned,
    Never,
    Expired,
}
use Ownership::{Expired, Never, Owned};

pub struct Row {
    pub what: &'static str,
    frame: Vec<u8>,
    ownership: Ownership,
    verdict: u32,
    counters: &'static [&'static str],
}

pub fn row(
    what: &'static str,
    frame: Vec<u8>,
    ownership: Ownership,
    verdict: u32,
    counters: &'static [&'static str],
) -> Row {
    Row { what, frame, ownership, verdict, counters }
}

/// Runs the rows. A frame that is not answered must not change, unless it was readdressed from a virtual MAC.
pub fn run(bench: &mut Bench, rows: Vec<Row>) {
    for row in rows.into_iter().filter(|row| crate::HOOK.takes(&row.frame)) {
        match row.ownership {
            Owned => drop(bench.own(Duration::from_secs(3600), Duration::ZERO)),
            Never => bench.dataplane().pages().leases().release(LEASE_SLOT),
            Expired => bench.dataplane().pages().leases().acquire(LEASE_SLOT, now()),
        }
        let (outcome, moved) = bench.moved(&row.frame);
        let moved: Vec<_> = moved.into_iter().map(|(name, _)| name).collect();
        assert_eq!((outcome.verdict, &moved[..]), (row.verdict, row.counters), "{}", row.what);
        if row.verdict != XDP_TX {
            let start = if moved.contains(&"vmac_rewritten") { 6 } else { 0 };
            assert_eq!(outcome.frame[start..], row.frame[start..], "{}: the frame must not change", row.what);
        }
        if row.verdict == XDP_PASS {
            assert_eq!(outcome.frame.len(), row.frame.len(), "{}", row.what);
        }
    }
}
