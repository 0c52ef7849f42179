//! What becomes of an instance's priority by what it tracks.

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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrackingResult {
    /// Whether all that could put it in FAULT has been looked at.
    pub known: bool,
    pub fault: bool,
    /// Whether the fault is, among others, that an arbiter is not reached.
    pub isolated: bool,
    pub priority: Priority,
}

impl TrackingResult {
    /// Of an instance that tracks nothing.
    pub fn untracked(priority: Priority) -> Self {
        Self { known: true, fault: false, isolated: false, priority }
    }

    pub fn of(base: Priority, tracks: impl Iterator<Item = (Health, Weight)>) -> Self {
        let mut result = Self::untracked(base);
        let mut sum = 0i64;
        for (health, Weight { value, reverse }) in tracks {
            let weight = i64::from(value);
            let well = match health {
                Health::Unknown => {
                    result.known &= value != 0;
                    continue;
                }
                Health::Value(number) => {
                    let number = i64::from(number) * if reverse { -1 } else { 1 };
                    let product = number * weight;
                    result.fault |= product <= FILE_FAULT || value == 0 && number != 0;
                    sum += product;
                    continue;
                }
                Health::Well => !reverse,
                Health::Unwell => reverse,
            };
            match (well, value) {
                (true, 1..) | (false, ..0) => sum += weight,
                (false, 0) => result.fault = true,
                _ => {}
            }
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
        let tracks = tracks
            .iter()
            .map(|(health, value, reverse)| (*health, Weight { value: *value, reverse: *reverse }));
        let TrackingResult { known, fault, isolated: _, priority } =
            TrackingResult::of(Priority::new(base), tracks);
        (known, fault, priority.get())
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
