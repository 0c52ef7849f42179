//! Finding out that something is wrong between routers: two owners of one VIP, addresses that others claim, routers that
//! cannot understand each other. PURE: no clock, socket or task; `daemon/detect.rs` (the engine thread) and
//! `daemon/conditions.rs` (the main thread) say what was seen and when, and tell what is found.

mod cadence;
mod claims;
mod contests;
mod limit;
mod mismatch;
mod probes;
mod rivals;
mod silence;

pub use cadence::Cadence;
pub use claims::Claims;
pub use contests::Contests;
pub use limit::{Late, Limits};
pub use mismatch::{Finding as MismatchFinding, Mismatches, Refused, Sample};
pub use probes::Probes;
pub use rivals::{Evidence, Finding as RivalFinding, Over, Rival, Rivals};
pub use silence::Silence;
