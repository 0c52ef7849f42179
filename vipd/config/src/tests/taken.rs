//! Files that keepalived takes: taken here too, and with the same meaning, which was measured with keepalived 2.2.7.

use std::collections::BTreeSet;

use super::*;
use crate::{HostInterface, Outside, Track, Tracked, Weight};

const SCRIPTS: &str = "vrrp_script bad {\nscript /x\nweight -20\n}\nvrrp_script plain {\nscript /x\n}\n\
    track_file f1 {\nfile /f\n}\ntrack_file f2 {\nfile /f\nweight 2\n}\nvrrp_track_process p {\nprocess x\nweight -30\n}\n";

const TRACKS: &str = "track_script {\nbad\nplain\n}\ntrack_interface {\neth1 weight -10\n}\ntrack_file {\nf1\nf2\n}\ntrack_process {\np\n}";

fn group(lines: &str) -> String {
    format!("vrrp_sync_group G {{\ngroup {{\nVI_1\n}}\n{lines}\n}}\n")
}

/// Kind, name and weight of all that the first instance tracks.
fn tracked(text: &str) -> Vec<(&'static str, String, i32)> {
    let config = parse(text).unwrap_or_else(|failure| panic!("{text}\n{failure}")).config;
    let tracking = config.tracking();
    let of = |Track { what, weight: Weight { value, .. } }: &Track| {
        let (kind, name) = match what {
            Tracked::Script(i) => ("script", tracking.scripts[*i].name.clone()),
            Tracked::File(i) => ("file", tracking.files[*i].name.clone()),
            Tracked::Process(i) => ("process", tracking.processes[*i].name.clone()),
            Tracked::Arbiter(i) => ("arbiter", tracking.arbiters[*i].name.clone()),
            Tracked::Bfd(i) => ("bfd", tracking.sessions[*i].name.clone()),
            Tracked::Interface(name) => ("interface", name.clone()),
        };
        (kind, name, *value)
    };
    tracking.instances[0].iter().map(of).collect()
}

fn named(tracked: &[(&'static str, &str, i32)]) -> Vec<(&'static str, String, i32)> {
    tracked.iter().map(|(kind, name, weight)| (*kind, (*name).to_owned(), *weight)).collect()
}

#[test]
fn weights_count_by_kind_in_sync_groups_and_for_owners() {
    let all = [("script", "bad", -20), ("script", "plain", 0), ("interface", "eth1", -10)];
    let rest = [("file", "f1", 1), ("file", "f2", 2), ("process", "p", -30)];
    let plain = SCRIPTS.to_owned() + &with(TRACKS);
    assert_eq!(tracked(&plain), named(&[&all[..], &rest[..]].concat()));
    let weighted = plain.clone() + &group("sync_group_tracking_weight");
    assert_eq!(tracked(&weighted), named(&[&all[..], &rest[..]].concat()));
    let member = plain + &group("");
    let kept = [("script", "plain", 0), ("interface", "eth1", 0), ("file", "f1", 0), ("process", "p", -30)];
    assert_eq!(tracked(&member), named(&kept));
    assert_eq!(
        findings(&member),
        [
            "21:1: warning: `bad` has the weight -20, so it is ignored in a sync group",
            "25:1: warning: the weight -10 of `eth1` is ignored in a sync group",
            "28:1: warning: the weight 1 of `f1` is ignored in a sync group",
            "29:1: warning: `f2` has the weight 2, so it is ignored in a sync group",
            "41:1: warning: a sync group with one instance",
        ]
    );
    let owner = SCRIPTS.to_owned() + &with(&format!("priority 255\n{TRACKS}"));
    assert_eq!(tracked(&owner), named(&[("script", "plain", 0), ("file", "f1", 0), ("process", "p", -30)]));
    assert!(findings(&owner).contains(
        &"26:1: warning: `eth1` has the weight -10, so it is ignored for an address owner".to_owned()
    ));
}

#[test]
fn what_is_ignored_is_not_run() {
    let text = SCRIPTS.to_owned() + &with("track_script {\nbad\n}") + &group("");
    assert_eq!(parse(&text).unwrap().config.tracking().scripts, []);
}

/// As keepalived 2.2.7, which says `unknown track script option reverse - ignoring` and drops the line, and not the word alone.
#[test]
fn a_sign_without_a_weight_before_it_ends_the_tracking() {
    let text = SCRIPTS.to_owned()
        + &with(
            "track_script {\nplain reverse\nplain weight 0 reverse\n}\ntrack_interface {\neth1 noreverse\n}",
        )
        + &group("track_script {\nplain reverse weight 5\n}");
    let found: Vec<String> =
        findings(&text).into_iter().filter(|found| found.contains("behind no weight")).collect();
    let line = 1 + text.lines().position(|line| line == "plain reverse").unwrap();
    let of_group = 1 + text.lines().position(|line| line == "plain reverse weight 5").unwrap();
    assert_eq!(
        found,
        [
            format!("{line}:7: warning: `reverse` stands behind no weight, so `plain` is not tracked"),
            format!("{}:6: warning: `noreverse` stands behind no weight, so `eth1` is not tracked", line + 4),
            format!("{of_group}:7: warning: `reverse` stands behind no weight, so `plain` is not tracked"),
        ]
    );
    // The second line about the script counts, since the first is none.
    assert_eq!(tracked(&text), named(&[("script", "plain", 0)]));
    let hints: Vec<String> = diagnostics_of(parse_all(&text))
        .into_iter()
        .filter(|found| found.message.contains("behind no"))
        .filter_map(|found| found.hint)
        .collect();
    assert_eq!(
        hints,
        ["write the weight before it, as in `weight 0 reverse`", "remove it", "write `weight 5 reverse`"]
    );
}

#[test]
fn of_two_lines_about_the_same_the_first_counts() {
    let text = SCRIPTS.to_owned()
        + &with(
            "track_script {\nplain weight 5\nplain weight 7\n}\ntrack_script {\nplain\n}\ntrack_file {\nf1\n}\ntrack_process {\np\n}",
        );
    let found: Vec<String> =
        findings(&text).into_iter().filter(|found| found.contains("tracked already")).collect();
    assert_eq!(
        found,
        [
            "22:1: warning: `plain` is tracked already: this line is ignored",
            "25:1: warning: `plain` is tracked already: this line is ignored",
        ]
    );
    assert_eq!(tracked(&text), named(&[("script", "plain", 5), ("file", "f1", 1), ("process", "p", -30)]));
    // And what the group tracks too counts as it says there.
    let text = SCRIPTS.to_owned()
        + &with("track_script {\nplain weight 5\n}")
        + &group(
            "sync_group_tracking_weight\ntrack_script {\nplain weight -9\n}\ntrack_interface {\neth0 weight 3\neth2\n}",
        );
    assert_eq!(tracked(&text), named(&[("script", "plain", -9), ("interface", "eth2", 0)]));
    let found = findings(&text);
    for wanted in [
        "21:1: warning: the sync group tracks `plain` too: this line is ignored",
        "38:1: warning: `eth0` is the own interface of a member: this line is ignored for it",
    ] {
        assert!(found.iter().any(|found| found == wanted), "{wanted}\n{found:#?}");
    }
}

#[test]
fn the_own_interface_has_no_weight() {
    let text = with("track_interface {\neth0 weight 10\neth1\n}");
    assert_eq!(tracked(&text), named(&[("interface", "eth1", 0)]));
    assert_eq!(
        findings(&text),
        ["3:1: warning: `eth0` is the instance's own interface: this line is ignored"]
    );
}

#[test]
fn announcements_after_a_lower_priority_follow_global_defs() {
    let garp = |global: &str, lines: &str| {
        let garp = instance(&(format!("global_defs {{\n{global}\n}}\n") + &with(lines))).garp;
        (garp.lower_prio_delay.map(|delay| delay.as_secs()), garp.lower_prio_repeat)
    };
    let own = "garp_master_delay 3\ngarp_master_repeat 2";
    assert_eq!(garp("vrrp_garp_master_delay 7\nvrrp_garp_master_repeat 8", own), (Some(7), 8));
    assert_eq!(garp("", own), (Some(5), 5));
    assert_eq!(garp("vrrp_garp_lower_prio_delay 9", own), (Some(9), 5));
    assert_eq!(garp("", "garp_lower_prio_delay 0\ngarp_lower_prio_repeat 0"), (None, 0));
    assert_eq!(garp("vrrp_strict", own), (None, 0));
    assert_eq!(garp("vrrp_min_garp\nvrrp_garp_lower_prio_repeat 3", own), (None, 3));
}

#[test]
fn a_switch_is_on_whatever_follows_it() {
    for (global, lines) in [
        ("vrrp_strict off", ""),
        ("enable_script_security 1", ""),
        ("", "nopreempt 0"),
        ("", "accept 1"),
        ("", "dont_track_primary\nno_accept x"),
    ] {
        let text = format!("global_defs {{\n{global}\n}}\n") + &with(lines);
        let found = findings(&text);
        assert!(found.iter().any(|found| found.contains("takes no value")), "{text}\n{found:#?}");
        assert!(parse(&text).is_ok(), "{text}");
    }
    assert!(!instance(&with("nopreempt 0")).preempt);
    assert!(!instance(&("global_defs {\nvrrp_strict off\n}\n".to_owned() + &with(""))).accept);
}

#[test]
fn lengths_of_routers_are_ignored() {
    let text = with("unicast_src_ip 10.0.0.1/24\nunicast_peer {\n10.0.0.2/24 min_ttl 3\n}");
    let instance = instance(&text);
    assert_eq!(instance.source, Some(ip("10.0.0.1")));
    assert_eq!(instance.unicast.unwrap().peers[0].address, ip("10.0.0.2"));
    let ignored = "`/24` behind an address of a router is ignored";
    assert_eq!(findings(&text), [format!("2:16: warning: {ignored}"), format!("4:1: warning: {ignored}")]);
    assert_eq!(findings(&with("mcast_src_ip 10.0.0.1/33")).len(), 1);
    assert!(parse(&with("mcast_src_ip 10.0.0.1/33")).is_err());
}

#[test]
fn what_nothing_depends_on_is_no_reason_to_refuse_a_file() {
    let global = "enable_dbus\nenable_snmp_vrrp\nenable_traps\nlog_unknown_vrids\ndefault_interface eth0\nvrrp_cpu_affinity 1";
    let text = format!("global_defs {{\n{global}\n}}\n") + &with("lvs_sync_daemon_interface eth0");
    let found = findings(&text);
    assert_eq!(
        found.iter().filter(|found| found.contains("warning") && found.contains("is ignored")).count(),
        7,
        "{found:#?}"
    );
    let loaded = parse(&text);
    assert!(loaded.is_ok(), "{loaded:?}");
}

#[test]
fn what_is_ignored_may_be_wrong() {
    let unserved = "track_group b {\nfoo\n}\n";
    let only = |names: &str| {
        let unsupported = Unsupported::named(names.split(',')).unwrap();
        crate::parse(Path::new("k.conf"), &(unserved.to_owned() + &with("")), &Nothing, unsupported)
    };
    assert!(only("track_group").is_ok());
    let refused = only("virtual_server,static_routes").unwrap_err().diagnostics;
    let errors: Vec<&str> =
        refused.iter().filter(|d| d.severity == Severity::Error).map(|d| d.message.as_str()).collect();
    assert_eq!(errors, ["`track_group` is not supported yet"]);
    assert_eq!(
        refused[0].hint.as_deref().unwrap().split("; ").last(),
        Some("`--allow-unsupported=track_group` ignores it")
    );
    assert_eq!(Unsupported::named([]), Ok(Unsupported::Ignored));
    assert_eq!(
        Unsupported::named(["virtual_servr"]).unwrap_err(),
        "`virtual_servr` is no unsupported keyword; did you mean `virtual_server`?"
    );
    let known: BTreeSet<&str> = Unsupported::keywords();
    assert!(
        known.contains("track_group") && !known.contains("track_bfd") && !known.contains("enable_dbus"),
        "{known:?}"
    );
    // It is served unless the kernel has no IPVS.
    assert!(known.contains("virtual_server"), "{known:?}");
}

/// eth0 has 10.0.0.5/24, tun0 is a tunnel; scripts in /gone are not there.
struct Machine;

impl Outside for Machine {
    fn config_id(&self) -> &str {
        "host"
    }
    fn read(&self, _: &Path) -> std::io::Result<Vec<u8>> {
        Err(std::io::ErrorKind::NotFound.into())
    }
    fn glob(&self, _: &Path, _: &str) -> Result<Vec<std::path::PathBuf>, String> {
        Ok(Vec::new())
    }
    fn absolute(&self, path: &Path) -> std::path::PathBuf {
        path.to_owned()
    }
    fn environment(&self, _: &str) -> Option<String> {
        None
    }
    fn random(&self, min: u32, _: u32) -> u32 {
        min
    }
    fn lacks_program(&self, word: &str) -> bool {
        word.starts_with("/gone")
    }
    fn lacks_interface(&self, name: &str) -> bool {
        self.interface(name).is_none()
    }
    fn interface(&self, name: &str) -> Option<HostInterface> {
        match name {
            "eth0" => Some(HostInterface {
                obstacle: None,
                addresses: vec![(ip("10.0.0.5"), 24), (ip("fe80::5"), 64)],
            }),
            "tun0" => Some(HostInterface {
                obstacle: Some("carries no Ethernet".to_owned()),
                addresses: Vec::new(),
            }),
            _ => None,
        }
    }
}

#[test]
fn a_file_is_seen_beside_the_machine() {
    let said = |text: &str| -> Vec<String> {
        let parsed = crate::parse(Path::new("k.conf"), text, &Machine, Unsupported::Refused);
        let found = diagnostics_of(parsed);
        found.iter().map(|d| format!("{}:{}: {}: {}", d.line, d.column, d.severity, d.message)).collect()
    };
    let vips = |vips: &str| with("").replace("10.0.0.3", vips);
    for (text, expected) in [
        (vips("10.0.0.3"), &[][..]),
        (vips("10.0.0.255"), &["6:1: warning: 10.0.0.255 is the broadcast address of 10.0.0.0/24"]),
        (vips("10.0.0.255/24"), &["6:1: warning: 10.0.0.255 is the broadcast address of 10.0.0.0/24"]),
        (vips("10.0.0.0/24"), &["6:1: warning: 10.0.0.0 is the address of the network 10.0.0.0/24 itself"]),
        (
            vips("10.7.7.7\n10.7.7.8\n10.6.6.6/24\n10.5.5.5 dev eth9"),
            &[
                "6:1: warning: 10.7.7.7 is outside of the networks of eth0 (10.0.0.0/24), and so is 1 more",
                "8:1: notice: 10.6.6.6/24 is outside of the networks of eth0 (10.0.0.0/24)",
            ],
        ),
        (
            with("track_interface {\ntun0\neth7 weight 5\n}"),
            &["4:1: warning: there is no interface eth7 on this machine"],
        ),
        (with("").replace("eth0", "tun0"), &["3:11: warning: interface tun0 carries no Ethernet"]),
        (
            with("").replace("eth0", "lo"),
            &[
                "3:11: error: interface lo carries no Ethernet (loopback), and so no ARP or Neighbor Discovery: use an Ethernet interface",
            ],
        ),
        (
            with("notify_master \"/gone/up now\"\nnotify_backup /bin/up"),
            &["2:15: warning: `/gone/up` is no executable file on this machine: vipd does not run it"],
        ),
        (
            with(
                "notify_master \"/bin/up > /tmp/log\"\nnotify_backup \"/bin/sh -c 'a && b'\"\nnotify_fault \"/bin/a && /bin/b\"",
            ),
            &[
                "2:15: warning: `>` is an argument of `/bin/up` here: no shell reads this command",
                "4:14: warning: `&&` is an argument of `/bin/a` here: no shell reads this command",
            ],
        ),
    ] {
        assert_eq!(said(&text), expected, "{text}");
    }
}

#[test]
fn there_is_a_way_out_of_what_is_taken_once() {
    let hint = |text: &str| diagnostics(text)[0].hint.clone().unwrap();
    let peers = |name: &str, peer: &str, vip: &str| {
        with(&format!("unicast_peer {{\n{peer}\n}}")).replace("VI_1", name).replace("10.0.0.3", vip)
    };
    assert!(
        hint(&(peers("A", "10.0.0.8", "10.0.0.3") + &peers("B", "10.0.0.9", "10.0.0.4")))
            .contains("another id")
    );
    let vips = |vips: &str| with("").replace("10.0.0.3", vips);
    assert!(hint(&vips("10.0.0.3\n10.0.0.3 dev eth1")).starts_with("an address is served on one interface"));
    assert!(hint(&vips("10.0.0.3\n10.0.0.3")).contains("another number of addresses"));
}
