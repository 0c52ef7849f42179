//! The election of one virtual router, as a pure function of time and input.
//!
//! [`Machine`] owns the state of one VRRP router, its timers and its counters. It is told what happened ([`Event`])
//! and when, and answers with what is to be done ([`Action`]). There is no clock, socket, task, map or log here: an
//! effect that fails comes back as an event.
//!
//! RFC 9568 says Active where the MIB, keepalived and every operator say master; so does this code.
//!
//! ```text
//!             Ready, priority 255
//!        +------------------------------+
//!        |                              v
//!   +---------+  Ready   +--------+  down timer   +--------+ Shutdown +-----------+  successor heard,
//!   |  Init,  |--------->| Backup |-------------->| Master |--------->| (Leaving) |  lease gone, time up
//!   |  Fault  |<---------|        |<--------------|        |          +-----+-----+
//!   +----+----+  Fault   +---+----+  better rival, +--------+               v
//!        |                   |       lease lost          Shutdown     +---------+
//!        +-------------------+--------------------------------------->| Stopped |
//!                                                                     +---------+
//! ```
//! Leaving is the last part of Master: it still answers, and is shown as master.
//!
//! # Departures from the RFC
//!
//! Each is marked `DEVIATION` at its branch: a lapsed or revoked lease ends mastership, a yielding master advertises
//! once more, a leaving master answers until its successor is heard, `preempt_delay`, the rate limits on immediate
//! adverts, a followed master that got worse is preempted after the skew time, and v2 routers that re-advertise to a lower rival and start from `down_timer_adverts` other than 3.

mod action;
mod event;
mod machine;
mod settings;
pub mod timers;

#[cfg(test)]
pub(crate) mod tests;

pub use action::{Action, FaultReason, GroupId, InstanceId, Rank, Reason, StateName};
pub use event::{Advert, Event, Peer};
pub use machine::{Counters, MAX_ACTIONS, Machine, Snapshot};
pub use settings::{GarpTiming, GroupSettings, LeasePolicy, Settings};
