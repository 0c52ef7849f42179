//! Detects problems between routers: two owners of one VIP, claims by other stations, routers that do not understand each other.
//! PURE: no clock, socket or task; `daemon/engine/conflicts.rs` (the engine thread) and
//! `daemon/control/misconfiguration.rs` (the main thread) say what was seen and when, and tell what is found.

mod claims;
mod contests;
mod limit;
mod mismatch;
mod probes;
mod rate_limiter;
mod rivals;
mod silence;

pub use claims::Claims;
pub use contests::Contests;
pub use limit::{Late, Limits};
pub use mismatch::{CounterSample, MismatchFinding, Mismatches, RefusedAdvert};
pub use probes::Probes;
pub use rate_limiter::RateLimiter;
pub use rivals::{Evidence, Over, Rival, RivalFinding, Rivals};
pub use silence::Silence;
