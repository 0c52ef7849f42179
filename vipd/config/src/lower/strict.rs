//! `vrrp_strict`: what goes beyond the RFCs is taken back, as keepalived does, and said.

use std::time::Duration;

use vipd_common::Version;

use super::context::LowerContext;
use crate::{
    schema::value::Value,
    syntax::{diagnostic::Code, span::Span},
};

/// Takes back what `vrrp_strict` does not allow; returns whether the instance accepts packets unless told.
pub fn apply(cx: &mut LowerContext<'_>) -> bool {
    let Some(strict) = cx.values.flag("strict_mode").filter(|strict| strict.value) else {
        return true;
    };
    let authentication = cx.seen_at("authentication");
    let LowerContext { draft, values, version, report, .. } = cx;
    let mut ignored = |span: Span, what: &str, hint: &str| {
        report.warning(Code::Ignored, span, format!("{what} is ignored with `vrrp_strict`"), hint);
    };
    if let Some(span) = authentication {
        ignored(span, "`authentication`", "remove it on every router, or remove `vrrp_strict`");
        cx.is_without_authentication = true;
    }
    let delays = values.seconds("preempt_delay").is_some_and(|delay| !delay.value.is_zero());
    let counts = values.octet("down_timer_adverts").is_some_and(|count| count != 3);
    let answers = !values.is_on("lower_prio_no_advert", true);
    for (keyword, written, is_beyond) in [
        ("preempt_delay", "`preempt_delay`", delays),
        ("down_timer_adverts", "`down_timer_adverts`", counts),
        ("garp_lower_prio_repeat", "`garp_lower_prio_repeat`", true),
        ("garp_lower_prio_delay", "`garp_lower_prio_delay`", true),
        ("lower_prio_no_advert", "`lower_prio_no_advert off`", answers),
        ("vmac_xmit_base", "`vmac_xmit_base`", true),
    ] {
        if let Some(at) = values.at(keyword).filter(|_| is_beyond) {
            ignored(at, written, OR_NOT_STRICT);
            values.remove(keyword);
        }
    }
    // As keepalived: a master that discards an advert announces nothing because of it.
    values.set("garp_lower_prio_delay", Value::Seconds(Duration::ZERO), strict.span);
    values.set("garp_lower_prio_repeat", Value::Number(0), strict.span);
    // RFC 3768 6.4.3: a master discards an advert of lower priority in silence.
    values.set("lower_prio_no_advert", Value::Flag(true), strict.span);
    let priority = values.octet("priority");
    let state = values.word("state").filter(|state| state.value == "MASTER");
    let is_owner = priority.map_or(state.is_some(), |priority| priority == OWNER);
    if let Some(state) = state.filter(|_| priority.is_some_and(|priority| priority < OWNER)) {
        let hint = "write `state BACKUP`: the priority decides";
        ignored(state.span, "`state MASTER` without priority 255", hint);
        values.set("state", Value::Word("BACKUP"), state.span);
    }
    if is_owner {
        return true;
    }
    let on = values.flag("accept").filter(|accept| accept.value && *version == Version::V2);
    if let Some(on) = on {
        let hint = "RFC 3768 has no accept mode; `version 3` on every router has";
        ignored(on.span, "`accept` of version 2", hint);
        values.remove("accept");
    }
    if values.at("accept").is_none() {
        // What surprises most: nothing can be reached at such an address, not even by ping.
        let message = format!("{} takes no packet that is sent to its addresses: `vrrp_strict`", draft.title);
        let hint = "remove `vrrp_strict`, or write `version 3` on every router and `accept` here";
        report.warning(Code::Implied, draft.name_at, message, hint);
    }
    false
}

const OR_NOT_STRICT: &str = "remove it, or remove `vrrp_strict`";
/// The priority of the router whose addresses they are.
const OWNER: u8 = 255;
