//! What becomes of an instance's priority by what it tracks.

use std::sync::Arc;

use vipd_common::Priority;
use vipd_config::Weight;

/// How something tracked is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// It has not been looked at yet.
    Unknown,
    Well,
    Unwell,
    /// The number in a file.
    Value(i32),
}

/// What the election is told of all that an instance tracks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrackingResult {
    /// Whether all that could put it in FAULT has been looked at.
    pub known: bool,
    pub fault: bool,
    /// Whether the fault is, among others, that an arbiter is not reached.
    pub isolated: bool,
    pub priority: Priority,
    /// What puts it in FAULT.
    pub faults: Arc<[Fault]>,
    /// What moves the priority, in words: `check chk_nginx failed (exit code 1): -60`.
    pub weights: Arc<str>,
}

/// Something that keeps an instance from taking part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Name for programs, which stays as it is.
    pub kind: &'static str,
    /// `check chk_nginx failed (exit code 1)`.
    pub what: String,
    /// `check chk_nginx succeeds`.
    pub ends_when: String,
}

/// What one tracked object does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrackedEffect {
    /// Whether it has been looked at, or could not put the instance in FAULT.
    pub known: bool,
    pub fault: bool,
    /// What it adds to the priority.
    pub adds: i64,
}

impl TrackedEffect {
    pub fn of(health: Health, Weight { value, reverse }: Weight) -> Self {
        let weight = i64::from(value);
        let (fault, adds) = match health {
            Health::Unknown => return Self { known: value != 0, fault: false, adds: 0 },
            Health::Value(number) => {
                let number = i64::from(number) * if reverse { -1 } else { 1 };
                let product = number * weight;
                (product <= FILE_FAULT || value == 0 && number != 0, product)
            }
            Health::Well | Health::Unwell => match ((health == Health::Well) != reverse, value) {
                (true, 1..) | (false, ..0) => (false, weight),
                (false, 0) => (true, 0),
                _ => (false, 0),
            },
        };
        Self { known: true, fault, adds }
    }
}

impl TrackedEffect {
    /// Of a session of BFD. As keepalived 2.2.7, measured: `reverse` negates a weight, while it exchanges up and down where there is none.
    pub fn of_session(health: Health, weight: Weight) -> Self {
        let value = i64::from(weight.value) * if weight.reverse { -1 } else { 1 };
        match (health, weight.value) {
            (_, 0) | (Health::Unknown | Health::Value(_), _) => Self::of(health, weight),
            (Health::Well, 1..) | (Health::Unwell, ..0) => Self { known: true, fault: false, adds: value },
            (Health::Well | Health::Unwell, _) => Self { known: true, fault: false, adds: 0 },
        }
    }
}

impl TrackingResult {
    /// Of an instance that tracks nothing.
    pub fn untracked(priority: Priority) -> Self {
        let (faults, weights) = (Arc::default(), Arc::from(""));
        Self { known: true, fault: false, isolated: false, priority, faults, weights }
    }

    /// Of all that it tracks, without words.
    pub fn of(base: Priority, parts: impl Iterator<Item = TrackedEffect>) -> Self {
        let mut result = Self::untracked(base);
        let mut sum = 0i64;
        for TrackedEffect { known, fault, adds } in parts {
            result.known &= known;
            result.fault |= fault;
            sum += adds;
        }
        // What owns the addresses is not weighed.
        if !base.is_owner() {
            let sum = (i64::from(base.get()) + sum).clamp(1, 254);
            result.priority = Priority::new(u8::try_from(sum).unwrap_or(1));
        }
        result
    }
}

/// keepalived takes a file whose weighed value is this low for a fault.
const FILE_FAULT: i64 = -254;

#[cfg(test)]
mod tests {
    use super::*;
    use Health::{Unknown, Unwell, Value, Well};

    fn result(base: u8, tracks: &[(Health, i32, bool)]) -> (bool, bool, u8) {
        let tracks = tracks.iter().map(|(health, value, reverse)| {
            TrackedEffect::of(*health, Weight { value: *value, reverse: *reverse })
        });
        let TrackingResult { known, fault, priority, .. } = TrackingResult::of(Priority::new(base), tracks);
        (known, fault, priority.get())
    }

    #[test]
    fn weights_of_sessions_are_keepaliveds() {
        for (health, value, reverse, expected) in [
            (Unknown, 0, false, (false, false, 0)),
            (Unknown, 20, false, (true, false, 0)),
            (Well, 0, false, (true, false, 0)),
            (Unwell, 0, false, (true, true, 0)),
            (Well, 0, true, (true, true, 0)),
            (Unwell, 0, true, (true, false, 0)),
            (Well, 20, false, (true, false, 20)),
            (Unwell, 20, false, (true, false, 0)),
            (Well, -20, false, (true, false, 0)),
            (Unwell, -20, false, (true, false, -20)),
            (Well, 20, true, (true, false, -20)),
            (Unwell, 20, true, (true, false, 0)),
            (Well, -20, true, (true, false, 0)),
            (Unwell, -20, true, (true, false, 20)),
        ] {
            let TrackedEffect { known, fault, adds } =
                TrackedEffect::of_session(health, Weight { value, reverse });
            assert_eq!((known, fault, adds), expected, "{health:?} {value} {reverse}");
        }
    }

    #[test]
    fn weights_are_keepaliveds() {
        for (base, tracks, expected) in [
            (100, &[][..], (true, false, 100)),
            (100, &[(Well, 20, false)], (true, false, 120)),
            (100, &[(Unwell, 20, false)], (true, false, 100)),
            (100, &[(Well, -20, false)], (true, false, 100)),
            (100, &[(Unwell, -20, false)], (true, false, 80)),
            (100, &[(Well, 20, true)], (true, false, 100)),
            (100, &[(Unwell, 20, true)], (true, false, 120)),
            (100, &[(Well, -20, true)], (true, false, 80)),
            (100, &[(Unwell, -20, false), (Unwell, -30, false), (Well, 5, false)], (true, false, 55)),
            (100, &[(Unwell, -253, false)], (true, false, 1)),
            (250, &[(Well, 100, false)], (true, false, 254)),
            (255, &[(Unwell, -20, false)], (true, false, 255)),
            (100, &[(Well, 0, false)], (true, false, 100)),
            (100, &[(Unwell, 0, false)], (true, true, 100)),
            (100, &[(Well, 0, true)], (true, true, 100)),
            (255, &[(Unwell, 0, false)], (true, true, 255)),
            (100, &[(Unknown, 0, false)], (false, false, 100)),
            (100, &[(Unknown, -20, false)], (true, false, 100)),
            (100, &[(Value(0), 1, false)], (true, false, 100)),
            (100, &[(Value(-5), 2, false)], (true, false, 90)),
            (100, &[(Value(5), 2, true)], (true, false, 90)),
            (100, &[(Value(-254), 1, false)], (true, true, 1)),
            (100, &[(Value(1), 0, false)], (true, true, 100)),
            (100, &[(Value(0), 0, false)], (true, false, 100)),
        ] {
            assert_eq!(result(base, tracks), expected, "{base} {tracks:?}");
        }
    }
}
