//! The rules of VRRP in arithmetic of its own, shared with nobody that is judged by it.

use vipd_common::Version;
use vipd_core::vrrp::{LeasePolicy, Settings};

use crate::clock::{MICRO, Time, ns};

/// RFC 9568 6.1, RFC 3768 6.1.
pub(super) fn skew(settings: &Settings, interval: Time) -> Time {
    let unit = if settings.version == Version::V2 { 1_000_000_000 } else { interval };
    unit * (256 - Time::from(settings.priority.get())) / 256
}

pub(super) fn down(settings: &Settings, interval: Time) -> Time {
    Time::from(settings.down_timer_adverts) * interval + skew(settings, interval)
}

/// What two clocks of 200 ppm each make of a time.
pub(super) fn drift(time: Time) -> Time {
    time / 2000 + MICRO
}

/// RFC 9568 6.1: the owner does in any case.
pub(super) fn preempts(settings: &Settings) -> bool {
    settings.preempt || settings.priority.is_owner()
}

/// RFC 3768 7.1.
pub(super) fn is_deaf(settings: &Settings) -> bool {
    settings.version == Version::V2 && settings.priority.is_owner()
}

pub(super) fn lease_length(settings: &Settings) -> Time {
    let adverts = Time::from(settings.down_timer_adverts);
    let more = if settings.lease == LeasePolicy::Overlap { 1 } else { 0 };
    (adverts + more) * ns(settings.advert_interval)
}

/// How long a leaving master waits: the slowest backup's skew time and an interval.
pub(super) fn farewell(settings: &Settings) -> Time {
    let interval = ns(settings.advert_interval);
    let unit = if settings.version == Version::V2 { 1_000_000_000 } else { interval };
    unit * 255 / 256 + interval
}
