//! The status of sessions that do not run, or of which nothing is known at the moment.

use vipd_common::wire::bfd::SessionState;
use vipd_config::BfdInstance;

use crate::{control::model::BfdSessionStatus, tracking::BfdView};

/// Why there is no slot for a session.
pub const NO_ROOM: &str = "all slots of BFD sessions are taken";
/// What to do about it.
pub const REMOVE_SOME: &str =
    "remove bfd_instance blocks that nothing tracks, or restart vipd with `vipd upgrade`";
/// What to do about a thread that does not answer.
pub const RESTART: &str = "see the journal (journalctl -u vipd), and restart vipd";

/// The status of a session for which something is lacking; `view`: how it was last.
pub fn status(
    spec: &BfdInstance,
    view: Option<&BfdView>,
    (problem, remedy): (&str, &str),
) -> BfdSessionStatus {
    let state = view.map_or(SessionState::Down, |view| view.state);
    BfdSessionStatus {
        name: spec.name.clone(),
        neighbor: spec.neighbor,
        local: spec.source,
        multihop: spec.multihop,
        passive: spec.passive,
        state: state.to_string(),
        diagnostic: view.map_or(0, |view| view.diagnostic.number()),
        reason: view.filter(|view| !view.is_up()).map(BfdView::why),
        since_unix_ms: 0,
        in_state_ms: 0,
        was_up: view.is_some_and(|view| view.was_up),
        counts_as_up: view.is_some_and(|view| view.is_reached),
        downs: 0,
        remote_state: None,
        remote_diagnostic: 0,
        local_discriminator: 0,
        remote_discriminator: None,
        transmit_interval_us: u64::try_from(spec.min_tx.as_micros()).unwrap_or(u64::MAX),
        detection_time_us: None,
        multiplier: spec.multiplier,
        remote_multiplier: None,
        packets_sent: 0,
        packets_received: 0,
        packets_refused: 0,
        refused_reason: None,
        refused_hop_limit: None,
        min_hop_limit: spec.min_hop_limit,
        heard_ms_ago: None,
        hears_by: "nothing".to_owned(),
        problem: Some(problem.to_owned()),
        remedy: Some(remedy.to_owned()),
    }
}
