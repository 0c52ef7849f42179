//! What early takeover tells an operator, as events.

use vipd_core::early::EarlyChange;

/// Tells what became of a claim, or of the ways to the others.
pub fn tell(instance: &str, change: EarlyChange) {
    let ms = |time: std::time::Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    match change {
        EarlyChange::Settled { after } => tracing::info!(
            target: "vipd::event",
            event = "claim_settled",
            instance,
            after_ms = ms(after),
            "the claim has done its work: the instance is back at its own priority"
        ),
        EarlyChange::InVain { after } => tracing::warn!(
            target: "vipd::event",
            event = "claim_in_vain",
            instance,
            after_ms = ms(after),
            "the master lives and does not hear the claim: the instance has given it up"
        ),
        EarlyChange::FalseAlarm { after, disarmed_for } => tracing::warn!(
            target: "vipd::event",
            event = "claim_false_alarm",
            instance,
            after_ms = ms(after),
            disarmed_s = disarmed_for.as_secs(),
            "the master was heard again before VRRP would have replaced it: silence is not acted on for a while"
        ),
        EarlyChange::OneWay { peer } => tracing::warn!(
            target: "vipd::event",
            event = "heard_one_way",
            instance,
            peer = %peer.address,
            "a node is heard that does not hear this one: until that is over the instance preempts no master, and gives way to that node"
        ),
        EarlyChange::OneWayEnded => tracing::info!(
            target: "vipd::event",
            event = "one_way_ended",
            instance,
            "no node is heard any more that does not hear this one: the instance preempts as it is configured to"
        ),
    }
}
