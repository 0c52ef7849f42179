//! Mistakes that people make, and what each is told: line, column, what is wrong, and what to do.

use super::*;

/// What is said of a file without what has no engine; hints after `; `.
fn said(text: &str) -> Vec<String> {
    diagnostics_of(parse_all(text))
        .into_iter()
        .filter(|d| d.code != Code::NotSupportedYet)
        .map(|d| {
            let hint = d.hint.map_or(String::new(), |hint| format!("; {hint}"));
            format!("{}:{}: {}: {}{hint}", d.line, d.column, d.severity, d.message)
        })
        .collect()
}

#[test]
fn each_names_the_fix() {
    let script = "vrrp_script chk {\nscript \"/x\"\n}\n";
    let tracked = |lines: &str| {
        script.replace("script \"", &format!("{lines}\nscript \"")) + &with("track_script {\nchk\n}")
    };
    let table: Vec<(&str, String, &[&str])> = vec![
        (
            "a keyword misspelt",
            with("priorty 100"),
            &["2:1: error: unknown keyword `priorty` in vrrp_instance VI_1; did you mean `priority`?"],
        ),
        (
            "a keyword of another program",
            with("auth_pass 1111"),
            &[
                "2:1: error: unknown keyword `auth_pass` in vrrp_instance VI_1; `auth_pass` belongs in `authentication`",
            ],
        ),
        (
            "a keyword in the wrong block",
            with("vrrp_version 3\nrouter_id lb01"),
            &[
                "3:1: error: unknown keyword `router_id` in vrrp_instance VI_1; `router_id` belongs in `global_defs`",
            ],
        ),
        (
            "a block misspelt",
            with("virtual_ipaddres {\n10.0.0.4\n}"),
            &[
                "2:1: error: unknown keyword `virtual_ipaddres` in vrrp_instance VI_1; did you mean `virtual_ipaddress`?",
            ],
        ),
        (
            "a brace missing at the end",
            "vrrp_instance VI_1 {\ninterface eth0\n".to_owned(),
            &[
                "1:1: error: `vrrp_instance VI_1` is not closed at the end of the file; add the missing `}`",
                "1:15: error: `vrrp_instance VI_1` has no `virtual_router_id`; add `virtual_router_id N`, 1 to 255, the same on every router of the group",
                "1:15: error: `vrrp_instance VI_1` has no `virtual_ipaddress`; add a `virtual_ipaddress` block with an address on each line",
            ],
        ),
        (
            "a brace missing in the middle",
            with("authentication {\nauth_type PASS\nauth_pass x"),
            &["2:1: error: `authentication` is not closed before `interface`; add the missing `}`"],
        ),
        (
            "a brace too many",
            with("") + "}\n",
            &["9:1: error: stray `}`: no block is open here; remove it, or add the `{` that it ends"],
        ),
        (
            "no brace",
            with("").replace("virtual_ipaddress {", "virtual_ipaddress"),
            &["5:1: error: `virtual_ipaddress` lacks its `{`; put `{` at the end of the line"],
        ),
        (
            "a block without name",
            with("").replace("VI_1 ", ""),
            &["1:1: error: `vrrp_instance` needs a name; as in `vrrp_instance VI_1 {`"],
        ),
        (
            "no interface",
            with("").replace("interface eth0\n", ""),
            &[
                "1:15: error: `vrrp_instance VI_1` has no `interface`; add `interface IF`, the interface that its adverts go over",
            ],
        ),
        (
            "no virtual_router_id",
            with("").replace("virtual_router_id 51\n", ""),
            &[
                "1:15: error: `vrrp_instance VI_1` has no `virtual_router_id`; add `virtual_router_id N`, 1 to 255, the same on every router of the group",
            ],
        ),
        (
            "no address",
            with("").replace("virtual_ipaddress {\n10.0.0.3\n}\n", ""),
            &[
                "1:15: error: `vrrp_instance VI_1` has no `virtual_ipaddress`; add a `virtual_ipaddress` block with an address on each line",
            ],
        ),
        (
            "no value",
            with("priority"),
            &[
                "2:1: error: `priority` needs a value; `priority` takes a whole number, 1 to 255; without the keyword it is 100",
            ],
        ),
        (
            "junk after a number",
            with("priority 100x"),
            &[
                "2:10: error: priority `100x` is not a whole number; `priority` takes a whole number, 1 to 255; without the keyword it is 100",
            ],
        ),
        (
            "a number out of range",
            with("priority 256"),
            &[
                "2:10: error: priority `256` is out of range: 1 to 255; `priority` takes a whole number, 1 to 255; without the keyword it is 100",
            ],
        ),
        (
            "an id out of range",
            with("").replace("51", "256"),
            &[
                "4:19: error: virtual_router_id `256` is out of range: 1 to 255; `virtual_router_id` takes a whole number, 1 to 255",
            ],
        ),
        (
            "a fraction in version 2",
            with("advert_int 0.5"),
            &[
                "2:12: error: advert_int 0.5 with version 2, which has whole seconds only; `version 3` on every router allows 0.01 to 40.95 s",
            ],
        ),
        (
            "too long an interval in version 3",
            with("version 3\nadvert_int 41"),
            &[
                "3:12: error: advert_int 41 with version 3 is out of range: 0.01 to 40.95 s; write 40.95 or less: the advert has 12 bits for it",
            ],
        ),
        (
            "two statements on one line",
            with("authentication { auth_type PASS auth_pass x }"),
            &[
                "2:33: error: second statement on one line: `auth_pass` after `auth_type`; put `auth_pass` on a line of its own",
            ],
        ),
        (
            "two addresses on one line",
            with("").replace("10.0.0.3", "10.0.0.3 10.0.0.4"),
            &["6:10: error: second address on one line: `10.0.0.4`; put `10.0.0.4` on a line of its own"],
        ),
        (
            "an address that is none",
            with("").replace("10.0.0.3", "10.0.0.300"),
            &["6:1: error: `10.0.0.300` is not an IP address; 300 is above 255"],
        ),
        (
            "a length that is none",
            with("").replace("10.0.0.3", "10.0.0.3/33"),
            &[
                "6:1: error: `10.0.0.3/33` has a prefix length that is out of range: 0 to 32; as in `10.0.0.3/24` or `2001:db8::3/64`",
            ],
        ),
        (
            "a group where an address belongs",
            with("").replace("10.0.0.3", "224.0.0.3"),
            &["6:1: error: `224.0.0.3` is not a unicast address; as in `10.0.0.3/24` or `2001:db8::3/64`"],
        ),
        (
            "both families",
            with("").replace("10.0.0.3", "10.0.0.3\nfe80::3"),
            &[
                "7:1: error: IPv6 address in a virtual_ipaddress that starts with IPv4; move all IPv6 addresses to virtual_ipaddress_excluded, or give them a vrrp_instance",
            ],
        ),
        (
            "a name twice",
            with("") + &with("").replace("51", "52").replace("10.0.0.3", "10.0.0.4"),
            &["9:15: error: second `vrrp_instance VI_1`; the first is on line 1; give it another name"],
        ),
        (
            "an id twice",
            with("") + &with("").replace("VI_1", "VI_2").replace("10.0.0.3", "10.0.0.4"),
            &[
                "12:19: error: virtual_router_id 51 is taken by `vrrp_instance VI_1` on line 4; two virtual routers on one interface need different ids",
            ],
        ),
        (
            "an address twice",
            with("") + &with("").replace("VI_1", "VI_2").replace("51", "52"),
            &[
                "14:1: error: address 10.0.0.3 is on line 6 already; an address has one owner, and two instances may have two: remove one, on every router of the group",
            ],
        ),
        (
            "a password too long",
            with("authentication {\nauth_type PASS\nauth_pass verylong1\n}"),
            &[
                "4:11: warning: auth_pass is longer than 8 bytes: the rest is ignored; write 8 bytes or less: an advert holds no more, and keepalived cuts it too",
            ],
        ),
        (
            "authentication in version 3",
            with("version 3\nauthentication {\nauth_type PASS\nauth_pass x\n}"),
            &["3:1: warning: authentication is ignored: VRRP version 3 has none; remove the block"],
        ),
        (
            "nopreempt on a master",
            with("state MASTER\npriority 101\nnopreempt"),
            &["4:1: warning: `nopreempt` is ignored with `state MASTER`; use `state BACKUP` on every router"],
        ),
        (
            "strict, so that nothing answers",
            "global_defs {\nvrrp_strict\n}\n".to_owned() + &with(""),
            &[
                "4:15: warning: `vrrp_instance VI_1` takes no packet that is sent to its addresses: `vrrp_strict`; remove `vrrp_strict`, or write `version 3` on every router and `accept` here",
            ],
        ),
        (
            "no peers",
            with("unicast_peer {\n}"),
            &[
                "2:1: error: unicast_peer holds no address; list the other routers, one address a line, or remove the block to use multicast",
            ],
        ),
        (
            "a script that is not there",
            with("track_script {\nchk\n}"),
            &["3:1: error: no `vrrp_script` is called `chk`; add a `vrrp_script chk`, or remove this"],
        ),
        (
            "a script that is not used",
            script.to_owned() + &with(""),
            &["1:13: warning: nothing uses `vrrp_script chk`; it is not run; track it in an instance"],
        ),
        (
            "a weight too large",
            tracked("weight 300"),
            &[
                "2:8: error: weight `300` is out of range: -253 to 253; `weight` takes a whole number, -253 to 253, then any of: `reverse`",
            ],
        ),
        (
            "arguments without quotes",
            script.replace("\"/x\"", "/x -v") + &with("track_script {\nchk\n}"),
            &[
                "2:11: error: unexpected `-v` after `/x`; `script` takes a command, in double quotes if it has arguments",
            ],
        ),
        (
            "a quote that is not closed",
            with("track_script {\nchk\n}") + "vrrp_script chk {\nscript \"/x\n}\n",
            &["12:8: error: this `\"` is not closed on its line; end the text with a second `\"`"],
        ),
        (
            "a name that is not defined",
            with("priority ${PRIO}"),
            &["2:10: error: `$PRIO` is not defined; define it on an earlier line: `$PRIO=...`"],
        ),
        (
            "a blank before the equals sign",
            "$PRIO = 100\n".to_owned() + &with("priority 100"),
            &["1:7: error: a blank before the `=` of a definition; write `$NAME=VALUE`"],
        ),
        (
            "an include of nothing",
            "includer /nowhere/x.conf\n".to_owned() + &with(""),
            &[
                "1:1: warning: cannot include /nowhere/x.conf: entity not found; keepalived passes over it without a word; `includea` makes it an error",
            ],
        ),
        (
            "a smart quote",
            with("notify_master “/x”"),
            &[
                "2:15: error: typographic quotes; write `\"` in the place of both: editors and web pages make them",
            ],
        ),
        (
            "a state that is none",
            with("state SLAVE"),
            &[
                "2:7: error: state `SLAVE` is not a known value; `state` takes one of MASTER, BACKUP; without the keyword it is BACKUP",
            ],
        ),
    ];
    let mut failing = Vec::new();
    for (what, text, expected) in table {
        let said = said(&text);
        if said != expected {
            failing.push(format!("{what}:\n{text}\n   said: {said:#?}\nexpected: {expected:#?}"));
        }
    }
    assert!(failing.is_empty(), "{}", failing.join("\n\n"));
}
