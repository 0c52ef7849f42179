//! How two configurations differ.

use super::{sections, table, *};
use crate::{Comparison, compare, schema::keyword::Block};

fn between(before: &Loaded, after: &Loaded) -> Comparison {
    compare((&before.config, &before.origins), (&after.config, &after.origins))
}

/// The changes from one file to the other, a line each.
fn changes(before: &str, after: &str) -> Vec<String> {
    let read = |text: &str| parse(text).unwrap_or_else(|failure| panic!("{text}\n{failure}"));
    between(&read(before), &read(after)).changes.iter().map(ToString::to_string).collect()
}

/// What is replaced by what.
type Edits<'e> = &'e [(&'e str, &'e str)];

/// `before` with some of its text replaced.
fn edited(before: &str, edits: Edits<'_>) -> String {
    edits.iter().fold(before.to_owned(), |text, (from, to)| {
        assert!(text.contains(from), "no {from} in\n{text}");
        text.replacen(from, to, 1)
    })
}

/// Keywords that change more than one line, with their block where another has a keyword of that name, and the number of lines.
const LEADS: &[(&str, usize)] = &[
    // `priority` is 255 then unless it is given.
    ("state", 2),
    // Only version 3 has a form of the checksum.
    ("version", 2),
    ("vrrp_version", 2),
    // Other keywords take their value from these.
    ("vrrp_min_garp", 4),
    ("vrrp_garp_master_delay", 2),
    ("vrrp_garp_master_repeat", 2),
    ("vrrp_strict", 4),
    ("strict_mode", 4),
    // What a line begins with: it is another line.
    ("Route to", 2),
    ("Rule not", 2),
    // With the virtual server that uses it.
    ("Root virtual_server_group", 2),
    ("Root SSL", 2),
];

/// A keyword that is printed by no line, or by two, shows here: whoever adds one need not think of the comparison.
#[test]
fn every_keyword_changes_the_comparison_exactly_once() {
    let all: Vec<_> = table::with_and_without().into_iter().chain(sections::with_and_without()).collect();
    let mut wrong = Vec::new();
    for (block, name, with, without) in &all {
        // Without the last mandatory one of a block there is no such file.
        let (Ok(with_it), Ok(without_it)) = (parse_served(with), parse_served(without)) else { continue };
        let count = LEADS
            .iter()
            .find(|(lead, _)| lead == name || *lead == format!("{block:?} {name}"))
            .map_or(1, |(_, count)| *count);
        for (before, after) in [(&with_it, &without_it), (&without_it, &with_it)] {
            let Comparison { changes, .. } = between(before, after);
            if changes.len() != count {
                let changes: Vec<String> = changes.iter().map(ToString::to_string).collect();
                wrong.push(format!("{block:?} {name}: {changes:#?}"));
            }
        }
        for same in [&with_it, &without_it] {
            assert_eq!(between(same, same).changes, [], "{block:?} {name}");
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let read = all.iter().filter(|(.., without)| parse_all(without).is_ok()).count();
    assert!(read > 120 && all.iter().any(|(block, ..)| *block == Block::Arbiter), "{read} of {}", all.len());
}

const CHECK: &str = "vrrp_script chk {\nscript /a\n}\n";

fn two() -> String {
    let second = with("track_script {\nchk weight 5\n}").replace("VI_1", "VI_2");
    CHECK.to_owned() + &with("") + &second.replace("51", "52").replace("10.0.0.3", "10.0.0.4")
}

#[test]
fn what_changes_is_said_with_its_place_and_its_effect() {
    let before = two();
    let rows: &[(Edits<'_>, &[&str])] = &[
        (&[("10.0.0.3\n", "10.0.0.3\n10.0.0.9/24\n")], &["+ VI_1 virtual_ipaddress 10.0.0.9/24"]),
        (
            &[("script /a", "script /b")],
            &["~ vrrp_script chk script \"/a\" → \"/b\"  (the check begins anew)"],
        ),
        (
            &[("track_script {\nchk weight 5\n}", "")],
            &[
                "- VI_2 track_script chk weight 5  (may change the priority in force, or end or begin a FAULT)",
            ],
        ),
        (
            &[("chk weight 5", "chk weight 6")],
            &[
                "~ VI_2 track_script chk weight 5 → chk weight 6  (may change the priority in force, or end or begin a FAULT)",
            ],
        ),
        (&[("VI_1 {", "VI_1 {\npriority 110")], &["~ VI_1 priority 100 → 110  (may start an election)"]),
        (&[("VI_1 {", "VI_1 {\nnotify /x")], &["+ VI_1 notify \"/x\"  (notifications only)"]),
        (&[("VI_1 {", "VI_1 {\nnopreempt")], &["+ VI_1 nopreempt"]),
        (
            &[("VI_1 {", "VI_9 {")],
            &[
                "~ VI_9 vrrp_instance VI_1 → VI_9  (another name for the same virtual router: its state stays)",
            ],
        ),
        (
            &[("interface eth0", "interface eth1")],
            &[
                "~ VI_1 interface eth0 → eth1  (another virtual router: the former is handed over, the new one begins in BACKUP)",
            ],
        ),
        (
            &[("vrrp_script", "vrrp_sync_group G {\ngroup {\nVI_1\nVI_2\n}\n}\nvrrp_script")],
            &[
                "+ vrrp_sync_group G { group { VI_1; VI_2 } }  (restarts the whole sync group: its instances are handed over, and begin in BACKUP)",
            ],
        ),
        (
            &[("vrrp_script", "global_defs {\nvrrp_rt_priority 60\n}\nvrrp_script")],
            &["+ global_defs vrrp_rt_priority 60  (needs a restart)"],
        ),
    ];
    for (edits, expect) in rows {
        assert_eq!(changes(&before, &edited(&before, edits)), *expect, "{edits:?}");
    }
    let added = with("nopreempt\nadvert_int 2")
        .replace("VI_1", "VI_3")
        .replace("51", "53")
        .replace("10.0.0.3", "10.0.0.5");
    let line = "VI_3 vrrp_instance { interface eth0; virtual_router_id 53; priority 100; advert_int 2; nopreempt; \
                virtual_ipaddress { 10.0.0.5/32 } }";
    let more = before.clone() + &added;
    assert_eq!(changes(&before, &more), [format!("+ {line}  (new virtual router: begins in BACKUP)")]);
    assert_eq!(changes(&more, &before), [format!("- {line}  (is handed over, and ends)")]);
}

#[test]
fn another_spelling_place_or_order_is_no_change() {
    let spelled = "global_defs {\nrouter_id a\nvrrp_notify_priority_changes\nscript_user root\n}\n"
        .to_owned()
        + &two()
            .replace("VI_1 {", "VI_1 {\nadvert_int 1\ndont_track_primary\nvirtual_ipaddress {\n10.0.0.8\n}");
    for edits in [
        &[("vrrp_script", "# a comment\n\nvrrp_script")] as &[_],
        &[("vrrp_notify_priority_changes", "vrrp_notify_priority_changes on")],
        &[("dont_track_primary", "dont_track_primary true")],
        &[("advert_int 1", "advert_int 1.0")],
        &[("advert_int 1", "priority 100")],
        &[("script /a", "interval 1.0\nscript \"/a\"")],
        &[("script /a", "timeout 1\nscript /a")],
        &[("10.0.0.8", "10.0.0.8/32 dev eth0")],
        &[("virtual_ipaddress {\n10.0.0.8\n}\n", ""), ("10.0.0.3", "10.0.0.8\n10.0.0.3")],
        &[("router_id a\n", ""), ("script_user root", "script_user root\nrouter_id \"a\"")],
    ] {
        assert_eq!(changes(&spelled, &edited(&spelled, edits)), [""; 0], "{edits:?}");
    }
    // The instances in another order.
    let (first, second) =
        (with(""), with("").replace("VI_1", "VI_2").replace("51", "52").replace("10.0.0.3", "10.0.0.4"));
    assert_eq!(changes(&(first.clone() + &second), &(second + &first)), [""; 0]);
}

/// By the members, not by the name or the order.
#[test]
fn a_sync_group_restarts_if_its_members_are_others() {
    let group =
        |name: &str, members: &str| format!("vrrp_sync_group {name} {{\ngroup {{\n{members}\n}}\n}}\n");
    let file = |groups: &str| two() + groups;
    let restarts = |before: &str, after: &str| {
        changes(&file(before), &file(after)).iter().any(|change| change.contains("restarts the whole"))
    };
    let both = group("G", "VI_1\nVI_2");
    assert!(restarts("", &both) && restarts(&both, ""));
    assert!(restarts(&both, &group("G", "VI_1")));
    assert!(!restarts(&both, &group("H", "VI_1\nVI_2")), "another name");
    assert!(!restarts(&both, &group("G", "VI_2 VI_1")), "another order");
    assert!(!restarts("", &group("G", "VI_1")), "a group of one is none");
    let renamed = file(&both).replace("VI_1", "VI_9");
    let told = changes(&file(&both), &renamed);
    assert!(!told.iter().any(|change| change.contains("restarts")), "another name of a member: {told:?}");
}

#[test]
fn a_secret_is_compared_and_not_shown() {
    let file = |pass: &str| with(&format!("authentication {{\nauth_type PASS\nauth_pass {pass}\n}}"));
    assert_eq!(
        changes(&file("S3cret"), &file("0ther")),
        [
            "~ VI_1 authentication auth_pass **** (not shown) → **** (not shown)  (the other nodes need the same)"
        ]
    );
    assert_eq!(
        changes(&with(""), &file("S3cret")),
        ["+ VI_1 authentication { auth_type PASS; auth_pass **** }  (the other nodes need the same)"]
    );
}

#[test]
fn the_sum_counts_instances_and_all_else() {
    let sum =
        |before: &str, after: &str| between(&parse(before).unwrap(), &parse(after).unwrap()).to_string();
    let before = two();
    let one = |edit| sum(&before, &edited(&before, &[edit]));
    assert_eq!(sum(&before, &before), "2 instances: 0 changed, 0 added, 0 removed");
    assert_eq!(one(("script /a", "script /b")), "2 instances: 0 changed, 0 added, 0 removed; 1 other change");
    assert_eq!(
        one(("VI_1 {", "VI_1 {\npriority 9\nnopreempt")),
        "2 instances: 1 changed, 0 added, 0 removed"
    );
    assert_eq!(sum(&before, &(CHECK.to_owned() + &with(""))), "1 instances: 0 changed, 0 added, 1 removed");
}

/// A line says what becomes of a group, and is contradicted by none about its members.
#[test]
fn what_becomes_of_a_group_is_said_of_the_members_that_stay() {
    let group = "vrrp_sync_group G {\ngroup {\nVI_1\nVI_2\n}\n}\n";
    let (one, both) = (CHECK.to_owned() + &with(""), two());
    let grouped = both.clone() + group;
    let other = with("").replace("VI_1", "VI_3").replace("51", "53").replace("10.0.0.3", "10.0.0.5");
    let of_group = |before: &str, after: &str| -> Vec<String> {
        let told = changes(before, after).into_iter().filter(|change| change.contains("vrrp_sync_group"));
        told.map(|change| change.rsplit_once("  (").unwrap().1.to_owned()).collect()
    };
    let stay = "restarts the instances of the group that stay: they are handed over, and begin in BACKUP)";
    assert_eq!(of_group(&grouped, &one), [stay]);
    assert_eq!(of_group(&grouped, &(one.clone() + "vrrp_sync_group G {\ngroup {\nVI_1\n}\n}\n")), [stay]);
    assert_eq!(of_group(&grouped, &other), ["ends with its instances)"]);
    assert_eq!(of_group(&other, &grouped), ["a group of new virtual routers)"]);
    let whole = "restarts the whole sync group: its instances are handed over, and begin in BACKUP)";
    assert_eq!(of_group(&grouped, &both), [whole]);
}

/// Of what comes or goes everything that was written is shown, but for the end of a long list.
#[test]
fn a_new_instance_is_shown_with_all_that_was_written() {
    let vips = (1..=12).map(|n| format!("10.0.0.{n}\n")).collect::<String>();
    let new = with("use_vmac\npreempt_delay 5\nauthentication {\nauth_type PASS\nauth_pass S3cret\n}")
        .replace("VI_1", "VI_9")
        .replace("51", "59")
        .replace("10.0.0.3\n", &vips);
    let told = changes(&with(""), &(with("") + &new.replace("10.0.0.3", "10.0.0.33")));
    let [line] = &told[..] else { panic!("{told:?}") };
    for shown in
        ["use_vmac", "preempt_delay 5", "auth_pass ****", "10.0.0.1/32; 10.0.0.2/32", "; and 4 more }"]
    {
        assert!(line.contains(shown), "no {shown} in {line}");
    }
    assert!(!line.contains("S3cret") && !line.contains("garp"), "{line}");
}
