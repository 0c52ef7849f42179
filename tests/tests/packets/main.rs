//! The XDP program, frame by frame, through `BPF_PROG_TEST_RUN`.
//!
//! Each test loads the program into pins of its own. Frames come in on the loopback device, ifindex 1, which is what the
//! kernel takes when the caller names none.

use hook::Hook;

/// The program under test. `packets_tc` runs the same rows through the other one.
const HOOK: Hook = Hook::Xdp;

mod adverts;
mod adverts6;
mod bench;
mod bfd;
mod capture;
mod early;
mod forward_after_takeover;
mod frames;
mod heartbeats;
mod hook;
mod neighbors;
mod pins;
mod probes;
mod rows;
mod storms;
mod unicast;
mod vectors;
mod vips;
mod vmacs;
