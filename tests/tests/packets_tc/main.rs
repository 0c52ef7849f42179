//! The tc program, frame by frame, through `BPF_PROG_TEST_RUN`: the rows of `packets`, which has the XDP program.

use hook::Hook;

/// The program under test.
const HOOK: Hook = Hook::Tc;

#[path = "../packets/adverts.rs"]
mod adverts;
#[path = "../packets/adverts6.rs"]
mod adverts6;
#[path = "../packets/bench.rs"]
mod bench;
#[path = "../packets/bfd.rs"]
mod bfd;
#[path = "../packets/capture.rs"]
mod capture;
#[path = "../packets/early.rs"]
mod early;
#[path = "../packets/forward_after_takeover.rs"]
mod forward_after_takeover;
#[path = "../packets/frames.rs"]
mod frames;
#[path = "../packets/heartbeats.rs"]
mod heartbeats;
#[path = "../packets/hook.rs"]
mod hook;
#[path = "../packets/neighbors.rs"]
mod neighbors;
#[path = "../packets/probes.rs"]
mod probes;
#[path = "../packets/rows.rs"]
mod rows;
#[path = "../packets/storms.rs"]
mod storms;
#[path = "../packets/unicast.rs"]
mod unicast;
#[path = "../packets/vectors.rs"]
mod vectors;
#[path = "../packets/vips.rs"]
mod vips;
#[path = "../packets/vmacs.rs"]
mod vmacs;
