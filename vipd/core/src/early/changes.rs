//! What an operator is told of claims.

use std::{collections::VecDeque, time::Duration};

use super::HostId;
use crate::vrrp::GroupId;

/// What became of a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EarlyChange {
    /// R6: the router is back at its own priority, and still the master.
    Settled {
        /// For how long the claim has stood.
        after: Duration,
    },
    /// R5: the master is alive and does not hear the claim. The router is a backup again.
    InVain {
        /// For how long the claim has stood.
        after: Duration,
    },
    /// R2: the master was heard again before VRRP would have replaced it.
    FalseAlarm {
        /// From the claim until then.
        after: Duration,
        /// For how long nothing is claimed.
        disarmed_for: Duration,
    },
    /// R11: for a second now a peer is heard that does not hear this node. The router preempts nobody meanwhile.
    OneWay {
        /// The first of them.
        peer: HostId,
    },
    /// R11: that is over.
    OneWayEnded,
}

/// What has been counted since the group is watched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EarlyFigures {
    /// Claims that were made.
    pub claims: u64,
    /// Those that were given up because the master was alive and did not hear them.
    pub in_vain: u64,
    /// Those after which the master was heard before VRRP would have replaced it.
    pub false_alarms: u64,
}

/// Changes that nobody has asked for yet: at most [`MOST`]. The oldest give way; the figures have counted them.
#[derive(Debug, Default)]
pub(super) struct ClaimChanges(VecDeque<(GroupId, EarlyChange)>);

const MOST: usize = 64;

impl ClaimChanges {
    pub fn push(&mut self, group: GroupId, change: EarlyChange) {
        if self.0.len() == MOST {
            self.0.pop_front();
        }
        self.0.push_back((group, change));
    }

    pub fn pop(&mut self) -> Option<(GroupId, EarlyChange)> {
        self.0.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_changes_give_way() {
        let mut changes = ClaimChanges::default();
        let change = |ms| EarlyChange::Settled { after: Duration::from_millis(ms) };
        (0..70).for_each(|ms| changes.push(GroupId(7), change(ms)));
        let left: Vec<_> = std::iter::from_fn(|| changes.pop()).collect();
        assert_eq!(left.len(), MOST);
        assert_eq!((left[0], left[63]), ((GroupId(7), change(6)), (GroupId(7), change(69))));
    }
}
