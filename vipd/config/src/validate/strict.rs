//! `vrrp_strict`: what goes beyond the RFCs is taken back, as keepalived does, and said.

use std::borrow::Cow;

use vipd_common::Version;

use super::super::{
    diagnostic::Code,
    lexer::Span,
    lower::Draft,
    model::WantedState,
    report::Report,
    settings::{Settings, Shared, Spanned, value_or},
};

/// The settings that are left of an instance, and whether it accepts packets unless told.
pub fn apply<'d>(
    draft: &'d Draft,
    shared: &mut Shared,
    version: Version,
    report: &mut Report,
) -> (Cow<'d, Settings>, bool) {
    let Some(strict) = shared.strict.clone().filter(|strict| strict.value) else {
        return (Cow::Borrowed(&draft.settings), true);
    };
    let mut settings = draft.settings.clone();
    let mut ignored = |span: Span, what: &str, hint: &str| {
        report.warning(Code::Ignored, span, format!("{what} is ignored with `vrrp_strict`"), hint);
    };
    if let Some(span) = settings.seen_at("authentication") {
        ignored(span, "`authentication`", "remove it on every router, or remove `vrrp_strict`");
        settings.seen.forget("authentication");
        (settings.auth_type, settings.auth_pass) = (None, None);
    }
    if let Some(delay) = settings.preempt_delay.take_if(|delay| !delay.value.is_zero()) {
        ignored(delay.span, "`preempt_delay`", OR_NOT_STRICT);
    }
    if let Some(count) = shared.down_timer_adverts.take_if(|count| count.value != 3) {
        ignored(count.span, "`down_timer_adverts`", OR_NOT_STRICT);
    }
    if let Some(repeat) = shared.garp_lower_prio_repeat.take() {
        ignored(repeat.span, "`garp_lower_prio_repeat`", OR_NOT_STRICT);
    }
    if let Some(delay) = shared.garp_lower_prio_delay.take() {
        ignored(delay.span, "`garp_lower_prio_delay`", OR_NOT_STRICT);
    }
    if let Some(off) = shared.lower_prio_no_advert.take_if(|silent| !silent.value) {
        ignored(off.span, "`lower_prio_no_advert off`", OR_NOT_STRICT);
    }
    if let Some(base) = settings.vmac_xmit_base.take() {
        ignored(base.span, "`vmac_xmit_base`", OR_NOT_STRICT);
    }
    // RFC 3768 6.4.3: a master discards an advert of lower priority in silence.
    shared.lower_prio_no_advert = Some(Spanned { value: true, span: strict.span });
    let priority = settings.priority.as_ref().map(|priority| priority.value);
    let wanted = value_or(&settings.state, WantedState::Backup);
    if let Some(state) = settings.state.as_mut().filter(|_| priority.is_some_and(|p| p < OWNER))
        && wanted == WantedState::Master
    {
        ignored(
            state.span,
            "`state MASTER` without priority 255",
            "write `state BACKUP`: the priority decides",
        );
        state.value = WantedState::Backup;
    }
    let owner = match priority {
        Some(priority) => priority == OWNER,
        None => wanted == WantedState::Master,
    };
    if owner {
        return (Cow::Owned(settings), true);
    }
    if let Some(on) = settings.accept.take_if(|accept| accept.value && version == Version::V2) {
        let hint = "RFC 3768 has no accept mode; `version 3` on every router has";
        ignored(on.span, "`accept` of version 2", hint);
    }
    if settings.accept.is_none() {
        // What surprises most: nothing can be reached at such an address, not even by ping.
        let message = format!("{} takes no packet that is sent to its addresses: `vrrp_strict`", draft.title);
        let hint = "remove `vrrp_strict`, or write `version 3` on every router and `accept` here";
        report.warning(Code::Implied, draft.name_at, message, hint);
    }
    (Cow::Owned(settings), false)
}

const OR_NOT_STRICT: &str = "remove it, or remove `vrrp_strict`";
/// The priority of the router whose addresses they are.
const OWNER: u32 = 255;
