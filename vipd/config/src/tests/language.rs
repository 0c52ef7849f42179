//! What is said about wrong files, and where.

use proptest::prelude::*;

use super::{check, check_all, diagnostics, parse, with};

#[test]
fn each_error_points_at_its_place() {
    let rows: &[(&str, &[&str])] = &[
        // Statements.
        ("prioritty 100", &["2:1: error: unknown keyword `prioritty` in vrrp_instance VI_1"]),
        ("router_id x", &["2:1: error: unknown keyword `router_id` in vrrp_instance VI_1"]),
        ("  zzz { a b\n c }", &["2:3: error: unknown keyword `zzz` in vrrp_instance VI_1"]),
        ("priority", &["2:1: error: `priority` needs a value"]),
        ("priority \"\"", &["2:1: error: `priority` needs a value"]),
        ("priority 100x", &["2:10: error: priority `100x` is not a whole number"]),
        ("priority -1", &["2:10: error: priority `-1` is not a whole number"]),
        ("priority +1", &["2:10: error: priority `+1` is not a whole number"]),
        ("priority 0", &["2:10: error: priority `0` is out of range: 1 to 255"]),
        ("priority 256", &["2:10: error: priority `256` is out of range: 1 to 255"]),
        ("priority 99999999999", &["2:10: error: priority `99999999999` is out of range: 1 to 255"]),
        ("priority 100 junk", &["2:14: error: unexpected `junk` after `priority`"]),
        (
            "priority 100 nopreempt",
            &["2:14: error: second statement on one line: `nopreempt` after `priority`"],
        ),
        (
            "nopreempt priority 1",
            &["2:11: error: second statement on one line: `priority` after `nopreempt`"],
        ),
        ("accept priority 1", &["2:8: error: second statement on one line: `priority` after `accept`"]),
        ("accept maybe", &["2:8: warning: `accept` takes no value: `maybe` is ignored"]),
        ("check_unicast_src maybe", &["2:19: error: check_unicast_src `maybe` is not a boolean"]),
        ("priority 100 {\n}", &["2:1: error: `priority` takes no block"]),
        ("priority 5\npriority 6", &["3:1: warning: `priority` given again: the last one counts"]),
        ("state master", &["2:7: error: state `master` is not a known value"]),
        ("lease soft", &["2:7: error: lease `soft` is not a known value"]),
        (
            "preempt_delay 1000.000001",
            &["2:15: error: preempt_delay `1000.000001` is out of range: 0 to 1000 s"],
        ),
        ("preempt_delay 1.", &["2:15: error: preempt_delay `1.` is not a number of seconds"]),
        ("preempt_delay 1.0000001", &["2:15: error: preempt_delay `1.0000001` is finer than a microsecond"]),
        ("garp_master_delay 1.5", &["2:19: error: garp_master_delay `1.5` is not a whole number"]),
        ("down_timer_adverts 101", &["2:20: error: down_timer_adverts `101` is out of range: 1 to 100"]),
        ("mcast_src_ip 224.0.0.1", &["2:14: error: mcast_src_ip `224.0.0.1` is not a unicast address"]),
        ("mcast_src_ip ::1", &["2:14: error: mcast_src_ip `::1` is not a unicast address"]),
        (
            "version 3\nvrrp_version 3",
            &["3:1: warning: `version` given again with another keyword: the last one counts"],
        ),
        // Intervals and versions.
        ("version 4", &["2:9: error: version `4` is out of range: 2 to 3"]),
        ("advert_int 0.5", &["2:12: error: advert_int 0.5 with version 2, which has whole seconds only"]),
        ("advert_int 256", &["2:12: error: advert_int `256` is out of range: 0.01 to 255 s"]),
        ("advert_int 0", &["2:12: error: advert_int `0` is out of range: 0.01 to 255 s"]),
        (
            "version 3\nadvert_int 41",
            &["3:12: error: advert_int 41 with version 3 is out of range: 0.01 to 40.95 s"],
        ),
        ("version 3\nadvert_int 0.125", &["3:12: error: advert_int 0.125 is not a multiple of 0.01 s"]),
        // What does not fit together.
        ("state MASTER", &["2:7: warning: `state MASTER` without `priority` means priority 255"]),
        (
            "state MASTER\npriority 9\nnopreempt\npreempt_delay 3",
            &[
                "4:1: warning: `nopreempt` is ignored with `state MASTER`",
                "5:15: warning: `preempt_delay` is ignored with `state MASTER`",
            ],
        ),
        ("priority 255\nnopreempt", &["3:1: warning: `nopreempt` is ignored with priority 255"]),
        ("nopreempt\npreempt", &["2:1: warning: `nopreempt` is overridden by `preempt`"]),
        ("nopreempt\npreempt_delay 1", &["3:15: warning: `preempt_delay` is ignored with `nopreempt`"]),
        // Authentication.
        ("authentication {\nauth_type AH\nauth_pass x\n}", &["3:11: error: auth_type AH is not supported"]),
        ("authentication {\nauth_type PASS\n}", &["2:1: error: authentication has no `auth_pass`"]),
        ("authentication {\nauth_pass x\n}", &["2:1: error: authentication has no `auth_type`"]),
        (
            "authentication {\nauth_type PASS\nauth_pass 123456789\n}",
            &["4:11: warning: auth_pass is longer than 8 bytes: the rest is ignored"],
        ),
        (
            "version 3\nauthentication {\nauth_type PASS\nauth_pass x\n}",
            &["3:1: warning: authentication is ignored: VRRP version 3 has none"],
        ),
        (
            "authentication { auth_type PASS auth_pass x }",
            &["2:33: error: second statement on one line: `auth_pass` after `auth_type`"],
        ),
        (
            "authentication {\nauth_typ PASS\nauth_pass x\n}",
            &["3:1: error: unknown keyword `auth_typ` in authentication of vrrp_instance VI_1"],
        ),
        (
            "authentication {\nauth_type PASS\nauth_pass a#b\n}",
            &["4:12: warning: a comment starts here, the password ends before it"],
        ),
        // Addresses.
        (
            "virtual_ipaddress {\n10.0.0.3/33\n}",
            &["3:1: error: `10.0.0.3/33` has a prefix length that is out of range: 0 to 32"],
        ),
        (
            "virtual_ipaddress {\n255.255.255.255\n}",
            &["3:1: error: `255.255.255.255` is not a unicast address"],
        ),
        ("virtual_ipaddress {\n127.0.0.1\n}", &["3:1: error: `127.0.0.1` is not a unicast address"]),
        (
            "virtual_ipaddress {\n10.0.0.4 10.0.0.5\n}",
            &["3:10: error: second address on one line: `10.0.0.5`"],
        ),
        ("virtual_ipaddress {\n10.0.0.4 lable x\n}", &["3:10: error: unknown word `lable` after an address"]),
        (
            "virtual_ipaddress {\n10.0.0.4 label\n}",
            &["3:10: notice: `label` has no effect", "3:10: error: `label` needs a value"],
        ),
        ("virtual_ipaddress {\n10.0.0.4 dev\n}", &["3:10: error: `dev` needs a value"]),
        ("virtual_ipaddress {\n10.0.0.4 peer 10.0.0.5\n}", &["3:10: error: `peer` is not supported"]),
        (
            "virtual_ipaddress {\n10.0.0.4/24 brd + dev eth0 label eth0:1\n10.0.0.5 label eth0:2\n}",
            &["3:13: notice: `brd` has no effect", "3:28: notice: `label` has no effect"],
        ),
        ("virtual_ipaddress {\n10.0.0.3/24\n}", &["8:1: error: address 10.0.0.3 is on line 3 already"]),
        ("virtual_ipaddress_excluded {\n10.0.0.3\n}", &["3:1: error: address 10.0.0.3 is on line 8 already"]),
        // Text.
        ("mcast_src_ip \"10.0.0.1", &["2:14: error: this `\"` is not closed on its line"]),
        ("priority 1\0", &["2:1: error: line with a NUL character"]),
    ];
    check_all(rows.iter().map(|(lines, expect)| (with(lines), *expect)));
}

#[test]
fn braces_are_told_where_they_belong() {
    let rows: &[(&str, &[&str])] = &[
        (
            "vrrp_instance A {\ninterface e\nvirtual_router_id 1\nvirtual_ipaddress {\n10.0.0.1\n}\n",
            &["1:1: error: `vrrp_instance A` is not closed at the end of the file"],
        ),
        (
            "vrrp_instance A\ninterface e\nvirtual_router_id 1\nvirtual_ipaddress\n10.0.0.1\n}\n}\n",
            &["1:1: error: `vrrp_instance A` lacks its `{`", "4:1: error: `virtual_ipaddress` lacks its `{`"],
        ),
        (
            "vrrp_instance A {\ninterface e\nvirtual_router_id 1\nvirtual_ipaddress {\n10.0.0.1\n}\n}\n }\n",
            &["8:2: error: stray `}`: no block is open here"],
        ),
        (
            "vrrp_instance A {\n{\n}\ninterface e\nvirtual_router_id 1\nvirtual_ipaddress {\n10.0.0.1\n}\n}\n",
            &["2:1: error: stray `{`: no keyword stands before it"],
        ),
        // The second instance is checked although the first is not closed.
        (
            "vrrp_instance A {\ninterface e\nvirtual_router_id 1\nvirtual_ipaddress {\n10.0.0.1\n}\nvrrp_instance B {\nstate X\n}\n",
            &[
                "1:1: error: `vrrp_instance A` is not closed before the next block starts",
                "7:15: error: `vrrp_instance B` has no `interface`",
                "7:15: error: `vrrp_instance B` has no `virtual_router_id`",
                "7:15: error: `vrrp_instance B` has no `virtual_ipaddress`",
                "8:7: error: state `X` is not a known value",
            ],
        ),
        (
            "vrrp_instance A {\ninterface e\nvirtual_router_id 1\nvirtual_ipaddress {\n10.0.0.1\nnopreempt\n}\n}\n",
            &["6:1: error: `nopreempt` is not an IP address"],
        ),
        (
            "vrrp_instance {\ninterface e\nvirtual_router_id 1\nvirtual_ipaddress {\n10.0.0.1\n}\n}\n",
            &["1:1: error: `vrrp_instance` needs a name"],
        ),
        (
            "vrrp_instance A {\ninterface e/f\nvirtual_router_id 1\nvirtual_ipaddress {\n}\n}\n",
            &[
                "2:11: error: interface `e/f` cannot be the name of an interface",
                "4:1: error: virtual_ipaddress of `vrrp_instance A` holds no address",
            ],
        ),
        (
            "vrrp_script a {\nscript \"x\"\n}\nvrrp_sync_group g {\ngroup {\nA\n}\n}\n",
            &[
                "1:13: warning: nothing uses `vrrp_script a`",
                "5:1: warning: a sync group with one instance",
                "6:1: error: no `vrrp_instance` is called `A`",
            ],
        ),
        (
            "global_defs {\nvrrp_no_swap\nvrrp_priority -5\n}\n",
            &[
                "1:1: warning: no vrrp_instance in this file",
                "2:1: notice: `vrrp_no_swap` has no effect",
                "3:1: notice: `vrrp_priority` has no effect",
            ],
        ),
        (
            "vrp_instance A {\nstate BACKUP\n}\n",
            &["1:1: error: unknown keyword `vrp_instance` at the top level"],
        ),
        ("", &["1:1: warning: no vrrp_instance in this file"]),
    ];
    check_all(rows.iter().map(|(text, expect)| ((*text).to_owned(), *expect)));
    let deep = "a {\n".repeat(17);
    assert_eq!(diagnostics(&deep)[0].message, "blocks are nested deeper than 16");
    let long = format!("global_defs {{\nrouter_id {}\n}}\n{}", "x".repeat(1014), with(""));
    check(&long, &["2:1: error: line of 1024 characters, at most 1023 are allowed"]);
}

#[test]
fn what_must_be_unique_is() {
    let second = |name: &str, vrid: u8, vip: &str| {
        with("")
            + &format!(
                "vrrp_instance {name} {{\ninterface eth0\nvirtual_router_id {vrid}\nvirtual_ipaddress {{\n{vip}\n}}\n}}\n"
            )
    };
    check(&second("B", 52, "10.0.0.4"), &[]);
    check(
        &second("VI_1", 52, "10.0.0.4"),
        &["9:15: error: second `vrrp_instance VI_1`; the first is on line 1"],
    );
    check(
        &second("B", 51, "10.0.0.4"),
        &["11:19: error: virtual_router_id 51 is taken by `vrrp_instance VI_1` on line 4"],
    );
    check(&second("B", 52, "10.0.0.3"), &["13:1: error: address 10.0.0.3 is on line 6 already"]);
}

#[test]
fn hints_say_what_to_do() {
    for (lines, hint) in [
        ("prioritty 100", "did you mean `priority`?"),
        ("vritual_router_id 100", "did you mean `virtual_router_id`?"),
        ("router_id x", "`router_id` belongs in `global_defs`"),
        ("priority 1 nopreempt", "put `nopreempt` on a line of its own"),
        ("advert_int 0.5", "`version 3` on every router allows 0.01 to 40.95 s"),
        ("state", "`state` takes one of MASTER, BACKUP; without the keyword it is BACKUP"),
        ("priority 0", "`priority` takes a whole number, 1 to 255; without the keyword it is 100"),
        ("virtual_ipaddress {\n10.0.0.4 lable x\n}", "did you mean `label`?"),
    ] {
        assert_eq!(diagnostics(&with(lines))[0].hint.as_deref(), Some(hint), "{lines}");
    }
    assert_eq!(diagnostics(&with("zzz"))[0].hint, None);
}

#[test]
fn a_diagnostic_shows_the_line_and_the_place() {
    let failure = parse(&with("\tprioritty 100 # x")).unwrap_err().to_string();
    let expect = "error[unknown-keyword]: unknown keyword `prioritty` in vrrp_instance VI_1
 --> k.conf:2:2
  |
2 |  prioritty 100 # x
  |  ^^^^^^^^^
  |
  = help: did you mean `priority`?";
    assert_eq!(failure, expect);
}

#[test]
fn passwords_are_never_shown() {
    for lines in [
        "authentication {\nauth_type PASS\nauth_pass S3cret S3cret\n}",
        "authentication {\nauth_type PASS\nauth_pass \"S3cret and S3cret\n}",
        "authentication {\nauth_type PASS\nauth_pass\nS3cret\n}",
        "authentication {\nauth_type PASS\nauth_pas S3cret\n}",
        "authentication {\nauth_type PASS\nsecret S3cret\n}",
        "authentication {\nauth_type PASS auth_pas S3cret\n}",
        "authentication { auth_type PASS auth_pass S3cret }",
        "authentification {\nauth_type PASS\nauth_pass S3cret\n}",
        "authentication {\nauth_type PASS\nauth_pass S3}cret\n}",
        "auth_pass S3cret",
        "prioritty # auth_pass S3cret",
        "authentication {\nauth_type PASS\nauth_pass x\0 S3cret\n}",
        "authentication {\nauth_type PASS\nauth_pass S3cret$_X\n}",
        "authentication {\nauth_type PASS\nauth_pass S3cretS3cret\n}",
        "auth_hmac {\nkey 1 S3cret\n}",
    ] {
        let shown: Vec<String> = diagnostics(&with(lines)).iter().map(ToString::to_string).collect();
        assert!(!shown.is_empty(), "{lines}: nothing to check");
        let shown = shown.join("\n");
        assert!(!shown.contains("S3") && !shown.contains("cret`"), "{lines}\n{shown}");
    }
    let shown =
        parse(&with("authentication {\nauth_type PASS\nauth_pass S3cret x\n}")).unwrap_err().to_string();
    let expect = "error[unexpected-word]: unexpected `****` after `auth_pass`\n --> k.conf:4:11\n  |\n\
        4 | auth_pass ****\n  |           ^^^^\n";
    assert!(shown.starts_with(expect), "{shown}");
}

/// Files made of what files are made of reach deeper than random bytes.
fn pieces() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "vrrp_instance",
        "global_defs",
        "VI_1",
        "{",
        "}",
        "\n",
        " ",
        "\"",
        "#",
        "!",
        "\\",
        "$",
        "${a}",
        "@",
        "~SEQ(",
        "priority",
        "100",
        "0.5",
        "advert_int",
        "virtual_ipaddress",
        "10.0.0.3/24",
        "fe80::1",
        "unicast_peer",
        "virtual_routes",
        "virtual_rules",
        "default",
        "via",
        "inet6",
        "nexthop",
        "blackhole",
        "from",
        "table",
        "fwmark",
        "0x1/",
        "use_vmac",
        "a:b:c:d:e:f",
        "dev",
        "authentication",
        "auth_pass",
        "auth_type",
        "PASS",
        "interface",
        "virtual_router_id",
        "51",
        "state",
        "MASTER",
        "é",
        "\t",
        "\r",
        "\0",
        "\u{feff}",
        "include",
        "$A=x \\\n",
        "/",
        "prioritty",
        "version 3\n",
        "}\n}\n",
    ]);
    prop::collection::vec(piece, 0..80).prop_map(|pieces| pieces.concat())
}

fn inside_its_file(text: &str) -> Result<(), TestCaseError> {
    let lines: Vec<&str> = text.lines().collect();
    for d in diagnostics(text) {
        let len = lines.get(d.line as usize - 1).map_or(0, |line| line.chars().count());
        prop_assert!(d.line as usize <= lines.len().max(1), "{d}");
        prop_assert!((1..=len.max(1)).contains(&(d.column as usize)), "{d}");
        let shown = d.source.chars().count();
        prop_assert!(d.width >= 1 && (shown == 0 || (d.caret + d.width) as usize <= shown + 1), "{d:?}");
        prop_assert!(!d.to_string().replace('\n', "").contains(char::is_control), "{d:?}");
    }
    Ok(())
}

proptest! {
    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        inside_its_file(&String::from_utf8_lossy(&bytes))?;
    }

    #[test]
    fn random_files_never_panic(text in pieces()) {
        inside_its_file(&text)?;
    }
}
