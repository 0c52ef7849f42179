//! Events of services.

use vipd_balance::BalanceNotice;

/// Puts a notice into the journal of events.
pub fn tell(notice: &BalanceNotice) {
    match notice {
        BalanceNotice::Target { service, target, up: true, reason, .. } => tracing::info!(
            target: "vipd::event",
            event = "server_up",
            service = %service,
            server = %target,
            reason,
            "a real server is up"
        ),
        BalanceNotice::Target { service, target, up: false, reason, .. } => tracing::warn!(
            target: "vipd::event",
            event = "server_down",
            service = %service,
            server = %target,
            reason,
            "a real server is down"
        ),
        BalanceNotice::Quorum { service, up: true, weight, threshold, .. } => tracing::info!(
            target: "vipd::event",
            event = "quorum_gained",
            service = %service,
            weight,
            threshold,
            "a virtual server has its quorum"
        ),
        BalanceNotice::Quorum { service, up: false, weight, threshold, .. } => tracing::warn!(
            target: "vipd::event",
            event = "quorum_lost",
            service = %service,
            weight,
            threshold,
            "a virtual server has no quorum"
        ),
        BalanceNotice::Weight { service, target, from, to } => tracing::info!(
            target: "vipd::event",
            event = "server_weight",
            service = %service,
            server = %target,
            from,
            to,
            "the weight of a real server has changed"
        ),
        BalanceNotice::FailedServe { service, on: true, alive, of } => tracing::warn!(
            target: "vipd::event",
            event = "failed_servers_serve",
            service = %service,
            alive,
            of,
            "fewer servers than min_alive are up: failed ones serve too"
        ),
        BalanceNotice::FailedServe { service, on: false, alive, of } => tracing::info!(
            target: "vipd::event",
            event = "failed_servers_rest",
            service = %service,
            alive,
            of,
            "failed servers serve no longer"
        ),
        BalanceNotice::Draining { service, target } => tracing::info!(
            target: "vipd::event",
            event = "server_draining",
            service = %service,
            server = %target,
            "a real server gets no new connections"
        ),
        BalanceNotice::Drained { service, target } => tracing::info!(
            target: "vipd::event",
            event = "server_drained",
            service = %service,
            server = %target,
            "the time of a drained server is over: it is removed"
        ),
        BalanceNotice::Undrained { service, target } => tracing::info!(
            target: "vipd::event",
            event = "server_undrained",
            service = %service,
            server = %target,
            "a real server is drained no longer"
        ),
    }
}
