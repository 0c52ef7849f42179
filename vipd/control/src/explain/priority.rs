//! What the priority would be if something tracked were otherwise.

use super::becomes;
use crate::model::{InstanceStatus, TrackStatus};

/// Something that moves the priority when it happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Move {
    /// `check chk_nginx succeeds`.
    pub when: String,
    /// What the priority would gain, or lose.
    pub by: i64,
}

/// The priority as configured, with what is tracked as it is now, and so much more.
pub fn weighed(i: &InstanceStatus, more: i64) -> u8 {
    if i.base_priority == 255 {
        return 255;
    }
    let sum = i.tracks.iter().fold(i64::from(i.base_priority), |sum, track| sum.saturating_add(track.adds));
    u8::try_from(sum.saturating_add(more).clamp(1, 254)).unwrap_or(1)
}

/// What is not well and lowers the priority by that. A file is nothing of it: its number may be any.
pub fn gains(i: &InstanceStatus) -> Vec<Move> {
    i.tracks.iter().filter_map(|track| moved(track, false)).collect()
}

/// What is well, and would lower the priority otherwise.
pub fn losses(i: &InstanceStatus) -> Vec<Move> {
    i.tracks.iter().filter_map(|track| moved(track, true)).collect()
}

/// What is well, and would put the instance in FAULT otherwise.
pub fn may_fail(i: &InstanceStatus) -> Vec<String> {
    let unweighed = i.tracks.iter().filter(|track| track.weight == 0 && track.keyword != "track_file");
    let good = unweighed.filter(|track| is_good(track) == Some(true));
    good.map(|track| becomes(&track.keyword, &track.name, track.reverse)).collect()
}

fn moved(track: &TrackStatus, from_good: bool) -> Option<Move> {
    if track.weight == 0 || track.keyword == "track_file" || is_good(track)? != from_good {
        return None;
    }
    let weight = i64::from(track.weight).abs();
    let well = if from_good { track.reverse } else { !track.reverse };
    Some(Move {
        when: becomes(&track.keyword, &track.name, well),
        by: if from_good { -weight } else { weight },
    })
}

fn is_good(track: &TrackStatus) -> Option<bool> {
    track.well.map(|well| well != track.reverse)
}
