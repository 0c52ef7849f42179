//! The rows of groups of instances and of interfaces.

use super::common::*;
use crate::schema::{
    grammar::{
        Arg::{self, Named, One, Opt},
        WordKind::{self, Interface, Seconds},
    },
    keyword::{Inside::Lines, Keyword},
};

pub const SYNC_GROUP: &[Keyword] = &[
    has_block("group", NOTHING, Lines(INSTANCES)).required(),
    has_block("track_script", NOTHING, Lines(TRACK_SCRIPT)),
    has_block("track_interface", NOTHING, Lines(TRACK_INTERFACE)),
    has_block("track_file", NOTHING, Lines(TRACKED_FILE)),
    has_block("track_process", NOTHING, Lines(TRACKED_PROCESS)),
    has_block("track_arbiter", NOTHING, Lines(TRACK_ARBITER)),
    has_block("track_bfd", NOTHING, Lines(TRACK_BFD)),
    has("notify_master", COMMAND),
    has("notify_backup", COMMAND),
    has("notify_fault", COMMAND),
    has("notify_stop", COMMAND),
    has("notify_conflict", COMMAND),
    has("notify", COMMAND),
    has("notify_priority_changes", SWITCH),
    has("smtp_alert", SWITCH),
    has("sync_group_tracking_weight", NOTHING),
    no_effect("global_tracking", NOTHING, "it is deprecated: what an instance tracks is the group's anyway"),
];

pub const TRACK_GROUP: &[Keyword] = &[has_block("group", NOTHING, Lines(INSTANCES)).required()];

pub const GARP_GROUP: &[Keyword] = &[
    has("garp_interval", PACING),
    has("gna_interval", PACING),
    has("interface", INTERFACE),
    has_block("interfaces", NOTHING, Lines(INTERFACES)),
];

/// Seconds before a link counts as down, and as up.
pub const DELAY_LINE: &[Arg] = &[One(Interface), One(DELAY), Opt(DELAY)];
const DELAY: WordKind = Seconds { min_us: 0, max_us: 255_000_000 };
pub const LINKBEAT_LINE: &[Arg] =
    &[One(Interface), Named(&[("MII", NOTHING), ("ETHTOOL", NOTHING), ("IOCTL", NOTHING)])];
const PACING: &[Arg] = &[One(Seconds { min_us: 0, max_us: 1_000_000_000 })];
