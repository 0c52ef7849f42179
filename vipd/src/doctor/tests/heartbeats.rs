//! Heartbeat lines.

use super::*;
use crate::control::model::LineStatus;

fn with_line(mut facts: Facts) -> Facts {
    facts.configuration =
        parse(&CONFIG.replace("authentication", "heartbeat_interface {\neth1\n}\nauthentication"));
    facts.survey.as_mut().unwrap().links.push(link(3, "eth1", "10.9.0.5"));
    facts.groups.push(("eth1".to_owned(), ip("224.0.0.18")));
    facts
}

fn eth1(facts: &mut Facts) -> &mut SurveyedLink {
    &mut facts.survey.as_mut().unwrap().links[1]
}

fn line(state: &str, sends_fail: bool) -> LineStatus {
    let (interface, state) = ("eth1".to_owned(), state.to_owned());
    LineStatus { interface, heartbeat: true, state, heard_ms_ago: None, send_errors: 0, sends_fail }
}

#[test]
fn lines() {
    check(
        || with_line(running()),
        &[
            ("well", |f| vi_1(f).lines = vec![line("up", false)], &[]),
            (
                "none",
                |f| eth1(f).state.name = "eth7".to_owned(),
                &["eth1: warning: the heartbeat link eth1 of VI_1 does not exist"],
            ),
            (
                "down",
                |f| eth1(f).state.up = false,
                &["eth1: warning: the heartbeat link eth1 of VI_1 is down"],
            ),
            (
                "no member",
                |f| _ = f.groups.pop(),
                &["eth1: warning: this host has not joined 224.0.0.18 on eth1"],
            ),
            (
                "lost",
                |f| vi_1(f).lines = vec![line("lost", false)],
                &["VI_1: warning: no adverts of VI_1 arrive on eth1, while another link delivers them"],
            ),
            (
                "it does not take adverts",
                |f| vi_1(f).lines = vec![line("up", true)],
                &["VI_1: warning: adverts of VI_1 cannot be sent on eth1"],
            ),
        ],
    );
    let before: fn() -> Facts = || with_line(idle());
    check(before, &[("before vipd runs", |f| _ = f.groups.pop(), &[])]);
}
