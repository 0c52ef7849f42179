//! `garp_*` and `vrrp_garp_*`.

use std::time::Duration;

use super::context::LowerContext;
use crate::model::garp::Garp;

pub fn garp(cx: &LowerContext<'_>) -> Garp {
    let (own, global) = (&cx.values, &cx.global.values);
    let octet = |keyword: &str, default: u8| own.octet(keyword).unwrap_or(default);
    let time = |keyword: &str, default: Duration| own.seconds(keyword).map_or(default, |time| time.value);
    let pace = |keyword: &str| global.seconds(keyword).map_or(Duration::ZERO, |time| time.value);
    // It changes what holds where nothing is said.
    let (default_repeat, default_delay_s) =
        if global.is_on("vrrp_min_garp", false) { (1, 0) } else { (5, 5) };
    let delay = time("garp_master_delay", Duration::from_secs(default_delay_s));
    let repeat = octet("garp_master_repeat", default_repeat);
    // As keepalived: after an advert of lower priority what `global_defs` says of a takeover counts, not the instance.
    let global_delay = global
        .seconds("vrrp_garp_master_delay")
        .map_or(Duration::from_secs(default_delay_s), |time| time.value);
    let global_repeat = global.octet("vrrp_garp_master_repeat").unwrap_or(default_repeat);
    Garp {
        master_delay: unless_zero(delay),
        master_repeat: at_least_one(repeat),
        master_refresh: unless_zero(time("garp_master_refresh", Duration::ZERO)),
        master_refresh_repeat: at_least_one(octet("garp_master_refresh_repeat", 1)),
        lower_prio_delay: unless_zero(time("garp_lower_prio_delay", global_delay)),
        // Here 0 means none.
        lower_prio_repeat: own.octet("garp_lower_prio_repeat").unwrap_or(at_least_one(global_repeat)),
        interval: pace("vrrp_garp_interval"),
        gna_interval: pace("vrrp_gna_interval"),
    }
}

fn unless_zero(delay: Duration) -> Option<Duration> {
    (!delay.is_zero()).then_some(delay)
}

/// A repeat of 0 at a takeover is read as 1, as in keepalived.
fn at_least_one(repeat: u8) -> u8 {
    repeat.max(1)
}
