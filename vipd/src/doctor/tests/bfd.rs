//! Sessions of BFD.

use super::*;
use crate::control::model::{BfdSessionStatus, samples};

/// A session that is down and has never heard its neighbor, on a host that is well.
fn with_session() -> Facts {
    let mut facts = running();
    let mut sessions = samples::status().bfd_sessions;
    sessions.truncate(1);
    let one = &mut sessions[0];
    (one.state, one.was_up, one.heard_ms_ago, one.remote_state) = ("Down".to_owned(), false, None, None);
    one.counts_as_up = false;
    facts.running.as_mut().unwrap().bfd_sessions = sessions;
    facts
}

fn one(facts: &mut Facts) -> &mut BfdSessionStatus {
    &mut facts.running.as_mut().unwrap().bfd_sessions[0]
}

#[test]
fn sessions() {
    check(
        with_session,
        &[
            ("up", |f| one(f).state = "Up".to_owned(), &[]),
            (
                "never heard",
                |_| {},
                &["uplink: problem: BFD session uplink is Down: nothing was heard of 10.0.0.6 yet"],
            ),
            (
                "passive",
                |f| one(f).passive = true,
                &[
                    "uplink: problem: BFD session uplink is Down: nothing was heard of 10.0.0.6, and this node waits to be spoken to (`passive`)",
                ],
            ),
            (
                "lost",
                |f| (one(f).was_up, one(f).heard_ms_ago) = (true, Some(9)),
                &["uplink: problem: BFD session uplink is Down: nothing is heard of 10.0.0.6 any more"],
            ),
            (
                "one way",
                |f| (one(f).remote_state, one(f).heard_ms_ago) = (Some("Down".to_owned()), Some(9)),
                &[
                    "uplink: problem: BFD session uplink is Down: 10.0.0.6 is heard, and does not hear 10.0.0.5",
                ],
            ),
            (
                "out of service",
                |f| one(f).remote_state = Some("AdminDown".to_owned()),
                &["uplink: warning: BFD session uplink is Down: 10.0.0.6 has taken it out of service"],
            ),
            (
                "out of service, and silent since",
                |f| (one(f).was_up, one(f).counts_as_up, one(f).heard_ms_ago) = (true, true, Some(9)),
                &[
                    "uplink: warning: BFD session uplink is Down, and counts as up: 10.0.0.6 took it out of service, and nobody watches the path",
                ],
            ),
            (
                "no thread",
                |f| {
                    one(f).problem = Some("the thread of BFD does not answer".to_owned());
                    one(f).remedy = Some("restart vipd".to_owned());
                },
                &["uplink: problem: BFD session uplink: the thread of BFD does not answer"],
            ),
            (
                "TTL",
                |f| {
                    (one(f).refused_reason, one(f).refused_hop_limit) =
                        (Some("bfd_ttl_errors".to_owned()), Some(254));
                },
                &[
                    "uplink: problem: BFD session uplink is Down: packets of 10.0.0.6 arrive with TTL 254, and 255 is the least",
                ],
            ),
            (
                "authentication",
                |f| one(f).refused_reason = Some("bfd_authentication_errors".to_owned()),
                &["uplink: problem: BFD session uplink is Down: packets of 10.0.0.6 are authenticated"],
            ),
            (
                "another check",
                |f| one(f).refused_reason = Some("bfd_multipoint".to_owned()),
                &[
                    "uplink: problem: BFD session uplink is Down: packets of 10.0.0.6 are refused (bfd_multipoint)",
                ],
            ),
            (
                "no way",
                |f| one(f).problem = Some("no packets can be sent to 10.0.0.6: no route".to_owned()),
                &["uplink: problem: BFD session uplink: no packets can be sent to 10.0.0.6: no route"],
            ),
        ],
    );
}
