//! Reports that are refused since two nodes are configured differently: who sends them is told now and then, not each time.

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use tokio::time::Instant;

use super::nodes::Refusal;

/// Of one sender and reason an event at most so often.
const TELL_EVERY: Duration = Duration::from_secs(600);
/// What is refused is current for so long.
const LATELY: Duration = Duration::from_secs(120);
/// Senders and reasons that are known; of more nothing is told.
const MAX_KNOWN: usize = 64;

/// What has been told.
#[derive(Debug, Default)]
pub struct RefusalLog(BTreeMap<(IpAddr, Refusal), RefusalCount>);

#[derive(Debug)]
struct RefusalCount {
    at: Instant,
    /// When the last one came.
    last: Instant,
    /// Refused since then.
    untold: u64,
}

impl RefusalLog {
    /// Takes note of a refusal; returns what it means and for how many it stands, if it is to be told now.
    pub fn note(&mut self, source: IpAddr, refusal: Refusal, now: Instant) -> Option<(&'static str, u64)> {
        let what = meaning(refusal)?;
        let key = (source, refusal);
        if let Some(told) = self.0.get_mut(&key) {
            told.untold += 1;
            told.last = now;
            if now.duration_since(told.at) < TELL_EVERY {
                return None;
            }
            let count = std::mem::take(&mut told.untold);
            told.at = now;
            return Some((what, count));
        }
        if self.0.len() == MAX_KNOWN {
            self.0.retain(|_, told| now.duration_since(told.at) < TELL_EVERY);
        }
        if self.0.len() == MAX_KNOWN {
            return None;
        }
        self.0.insert(key, RefusalCount { at: now, last: now, untold: 0 });
        Some((what, 1))
    }

    /// Who has been refused lately, and what to do.
    pub fn lately(&self, now: Instant) -> Vec<String> {
        let recent = self.0.iter().filter(|(_, told)| now.duration_since(told.last) < LATELY);
        recent
            .filter_map(|((source, refusal), _)| {
                Some(format!("reports of {source} are {}", meaning(*refusal)?))
            })
            .collect()
    }
}

/// What an operator is to compare; `None`: it may be anybody's, and says nothing of a node.
fn meaning(refusal: Refusal) -> Option<&'static str> {
    Some(match refusal {
        Refusal::Signature => {
            "signed with another cluster_report_key than this node's, or the report was changed on the way: make the key the same on all nodes"
        }
        Refusal::Unsigned => {
            "not signed, and this node has a cluster_report_key: give the sender the same key"
        }
        Refusal::NoKey => "signed, and this node has no cluster_report_key: give this node the sender's key",
        Refusal::Stale => "signed at a time too far from this node's: set the clocks of both nodes (NTP)",
        Refusal::Version => "of another version of the format: run the same version of vipd on all nodes",
        Refusal::Stranger
        | Refusal::OwnAddress
        | Refusal::HopLimit
        | Refusal::Malformed
        | Refusal::Replayed
        | Refusal::OtherRouter
        | Refusal::Full => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sender_is_told_of_now_and_then() {
        let mut log = RefusalLog::default();
        let start = Instant::now();
        let from = |n: u8| IpAddr::from([10, 0, 0, n]);
        let mut at = |s: u64, from: IpAddr, refusal| {
            log.note(from, refusal, start + Duration::from_secs(s)).map(|(_, count)| count)
        };
        assert_eq!(at(0, from(6), Refusal::Signature), Some(1));
        assert_eq!(at(5, from(6), Refusal::Signature), None);
        assert_eq!(at(6, from(6), Refusal::Unsigned), Some(1), "another reason");
        assert_eq!(at(7, from(7), Refusal::Signature), Some(1), "another sender");
        assert_eq!(at(600, from(6), Refusal::Signature), Some(2), "what was not told is counted");
        assert_eq!(at(601, from(6), Refusal::Stranger), None, "anybody");
        let lately = |log: &RefusalLog, s: u64| log.lately(start + Duration::from_secs(s)).len();
        assert_eq!((lately(&log, 601), lately(&log, 900)), (1, 0), "a key that was mended is none any more");
        let mut at = |s: u64, from: IpAddr, refusal| {
            log.note(from, refusal, start + Duration::from_secs(s)).map(|(_, count)| count)
        };
        // A flood of senders takes no memory, and keeps nobody out for good.
        for n in 8..=255 {
            at(602, from(n), Refusal::Signature);
        }
        assert_eq!(at(603, IpAddr::from([10, 0, 1, 1]), Refusal::Signature), None);
        assert_eq!(at(1_300, IpAddr::from([10, 0, 1, 1]), Refusal::Signature), Some(1));
    }
}
