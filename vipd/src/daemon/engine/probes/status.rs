//! A session for `vipd status`.

use std::time::Duration;

use vipd_common::wire::probe::{flag, router_flag};
use vipd_core::early::SessionState;

use super::{
    plan::{LinkKey, LinkPlan},
    session::PeerSession,
};
use crate::{
    control::model::{ProbedPeerStatus, ProbedRouterStatus},
    time::Instant,
};

/// One peer.
pub fn peer(key: LinkKey, plan: &LinkPlan, session: &PeerSession, now: Instant) -> ProbedPeerStatus {
    let PeerSession { measured, stamps, .. } = session;
    let figures = measured.figures();
    let trips = &figures.round_trips;
    let heard = stamps.answered.max(stamps.probed);
    let ago = |at: Instant| (at != Instant::default()).then(|| now.millis_since(at));
    let said = stamps.probes > 0;
    ProbedPeerStatus {
        interface: plan.interface.clone(),
        family: if key.local.is_ipv4() { "ipv4" } else { "ipv6" }.into(),
        local: Some(key.local),
        peer: Some(session.peer),
        state: match measured.state() {
            SessionState::Up => "up",
            SessionState::Down => "down",
            SessionState::AdminDown => "leaving",
        }
        .into(),
        interval_us: us(plan.timing.interval),
        multiplier: plan.timing.multiplier,
        takes_over: plan.timing.takes_over,
        replaced_after_ms: u64::try_from(plan.replaced_after.as_millis()).unwrap_or(u64::MAX),
        peer_interval_us: said.then_some(stamps.interval_us.into()),
        peer_multiplier: said.then_some(stamps.multiplier),
        peer_takes_over: stamps.flags & flag::TAKES_OVER != 0,
        armed: measured.is_armed(&plan.timing, now),
        daemon_speaks: measured.is_live(&plan.timing, now),
        daemon_heard_ms_ago: ago(stamps.probed),
        heard_ms_ago: ago(heard),
        measured_ms: now.millis_since(figures.since),
        sent: figures.sent,
        lost: figures.lost,
        answers: trips.count(),
        round_trip_last_us: trips.last().map(us),
        round_trip_least_us: trips.least().map(us),
        round_trip_median_us: trips.quantile(500).map(us),
        round_trip_p99_us: trips.quantile(990).map(us),
        round_trip_greatest_us: trips.greatest().map(us),
        longest_silence_us: us(figures.longest_silence),
        longest_silence_ms_ago: ago(figures.longest_silence_at),
        false_alarms: figures.false_alarms,
        last_false_alarm_ms_ago: figures.last_false_alarm.and_then(ago),
        deaths: figures.deaths,
        downs: figures.downs,
        late: figures.late,
        send_errors: session.send_errors,
        send_error: session.send_error.clone(),
        routers: routers(session),
    }
}

fn routers(session: &PeerSession) -> Vec<ProbedRouterStatus> {
    let of = |router: &vipd_common::wire::probe::Router| ProbedRouterStatus {
        vrid: router.vrid,
        priority: router.priority,
        participates: router.flags & router_flag::PARTICIPATES != 0,
        owner: router.flags & router_flag::OWNER != 0,
        claim: router.flags & router_flag::CLAIM != 0,
    };
    session.routers.1.iter().map(of).collect()
}

/// In microseconds.
pub fn us(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
