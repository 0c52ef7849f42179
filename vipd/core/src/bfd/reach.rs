//! Whether a session's neighbor is taken for reached: while the session is Up, and when the neighbor has taken the session out of service,
//! which says nothing of the path (RFC 5882 4.1).

use std::time::Duration;

use vipd_common::wire::bfd::SessionState;

use crate::time::Instant;

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// The session has not been Up, or is down for another reason.
    Unreached,
    /// The session is Up.
    Reached,
    /// The neighbor has said AdminDown, first at this time.
    OutOfService { since: Instant },
    /// The neighbor has put the session back, which has to be Up by this time.
    ComingBack { until: Instant },
}

impl Reach {
    pub fn is_reached(self) -> bool {
        self != Self::Unreached
    }

    /// When [`Self::handle_timeout`] has something to do.
    pub fn poll_timeout(self) -> Option<Instant> {
        match self {
            Self::ComingBack { until } => Some(until),
            Self::Unreached | Self::Reached | Self::OutOfService { .. } => None,
        }
    }

    /// After a packet: ours is the state that it has led to, `theirs` the one that it has. `handshake`: how long coming Up takes at most.
    pub fn handle_packet(
        &mut self,
        ours: SessionState,
        theirs: SessionState,
        handshake: Duration,
        now: Instant,
    ) {
        use SessionState::{AdminDown, Down, Init, Up};
        *self = match (*self, ours, theirs) {
            (_, Up, _) => Self::Reached,
            (Self::Unreached, AdminDown | Down | Init, _) => Self::Unreached,
            (Self::OutOfService { since }, AdminDown | Down | Init, AdminDown) => {
                Self::OutOfService { since }
            }
            (Self::Reached | Self::ComingBack { .. }, AdminDown | Down | Init, AdminDown) => {
                Self::OutOfService { since: now }
            }
            (Self::Reached, AdminDown | Down | Init, Down | Init | Up) => Self::Unreached,
            // It counts as reached no longer than a handshake takes: one way may be dead.
            (Self::OutOfService { .. }, AdminDown | Down | Init, Down | Init | Up) => {
                Self::ComingBack { until: now + handshake }
            }
            (Self::ComingBack { until }, AdminDown | Down | Init, Down | Init | Up) => {
                Self::ComingBack { until }
            }
        };
    }

    /// Nothing was heard for a detection time; the last packet came in at `heard_at`.
    pub fn handle_silence(&mut self, heard_at: Instant) {
        *self = match *self {
            // RFC 5880 6.8.16: who is out of service may fall silent after a detection time. Who went on for long has not meant to.
            Self::OutOfService { since } if heard_at.saturating_since(since) < KEEPS_ON => {
                Self::OutOfService { since }
            }
            Self::OutOfService { .. } | Self::Unreached | Self::Reached | Self::ComingBack { .. } => {
                Self::Unreached
            }
        };
    }

    pub fn handle_timeout(&mut self, now: Instant) {
        if self.poll_timeout().is_some_and(|until| until <= now) {
            *self = Self::Unreached;
        }
    }
}

/// Who has said AdminDown for so long says it for as long as it lives.
const KEEPS_ON: Duration = Duration::from_secs(60);
