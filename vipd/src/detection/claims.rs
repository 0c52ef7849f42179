//! Other stations' claims of one instance's VIPs, and how often they are reported.

use std::time::Duration;

use vipd_common::wire::eth::MacAddr;

use super::RateLimiter;
use crate::time::Instant;

/// Stations remembered. With more, the oldest is forgotten.
const STATIONS: usize = 8;
/// Minimum time between two reports about any station, so that a station that changes its address with each frame starts no flood of scripts.
const SPACING: Duration = Duration::from_secs(10);

/// The claims of one instance's VIPs.
#[derive(Clone, Debug, Default)]
pub struct Claims {
    /// The latest last.
    stations: Vec<(MacAddr, RateLimiter)>,
    /// Time of the last report.
    told_at: Option<Instant>,
}

impl Claims {
    /// Records a claim; returns whether to report it now.
    pub fn note(&mut self, mac: MacAddr, now: Instant) -> bool {
        let known = self.stations.iter().position(|(of, _)| *of == mac);
        let mut station = match known {
            Some(at) => self.stations.remove(at),
            None => (mac, RateLimiter::default()),
        };
        if self.stations.len() == STATIONS {
            self.stations.remove(0);
        }
        let spaced = self.told_at.is_none_or(|told| now.saturating_since(told) >= SPACING);
        let told = spaced && station.1.note(1, now).is_some();
        self.stations.push(station);
        if told {
            self.told_at = Some(now);
        }
        told
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(claims: &mut Claims, last: u8, s: u64) -> bool {
        claims.note(MacAddr([2, 0, 0, 0, 0, last]), Instant::from_nanos(s * 1_000_000_000))
    }

    #[test]
    fn each_station_is_told_of_but_not_all_at_once() {
        let mut claims = Claims::default();
        for (last, s, expect) in [
            (1, 100, true),
            (1, 101, false),
            (2, 102, false),
            (2, 110, true),
            (1, 111, false),
            (1, 120, true),
            (2, 130, true),
        ] {
            assert_eq!(told(&mut claims, last, s), expect, "station {last} at {s} s");
        }
    }

    #[test]
    fn a_station_of_many_addresses_is_no_flood() {
        let mut claims = Claims::default();
        let count = (0..=255).filter(|last| told(&mut claims, *last, 100 + u64::from(*last))).count();
        assert_eq!(count, 26, "one in ten seconds");
        assert_eq!(claims.stations.len(), STATIONS);
    }
}
