//! What is written as in another language, or by an editor that means well: one mistake, one message.

use super::*;

/// What is said, with the code and the help of each.
fn said(text: &str) -> Vec<String> {
    let all = diagnostics(text).into_iter();
    all.map(|d| format!("{}:{}: {}: {}", d.line, d.column, d.message, d.hint.unwrap_or_default())).collect()
}

#[test]
fn each_is_one_message_with_what_to_write() {
    let vips = |vips: &str| with("").replace("10.0.0.3", vips);
    let quotes = "typographic quotes: write `\"` in the place of both: editors and web pages make them";
    let opens = "`[` opens no block: braces do: write `{`, and `}` where the block ends";
    let ini = "`[global]` begins a section of an INI file, and this language has none: write `vrrp_instance NAME {`, then lines such as \
               `interface eth0`, without `=`, then `}`; `vipd init` writes a first file";
    let table: Vec<(String, Vec<String>)> = vec![
        (
            with("").replace("interface eth0", "interface = eth0;"),
            vec!["3:11: `=` after `interface`: write `interface eth0` without the `=` and the `;`".into()],
        ),
        (
            with("").replace("{", "[").replace("}", "]"),
            vec![format!("1:20: {opens}"), format!("5:19: {opens}")],
        ),
        (
            with("").replace("virtual_ipaddress {\n10.0.0.3\n}", "virtual_ipaddress [ 10.0.0.3 ]"),
            vec![
                "5:19: `[` opens no block: braces do: write `{`, the lines of the block, and `}`, each on a line of its own"
                    .into(),
            ],
        ),
        (
            vips("10.0.0.3, 10.0.0.4, 10.0.0.5"),
            vec![
                "6:1: several addresses on one line: put `10.0.0.3`, `10.0.0.4`, `10.0.0.5` each on a line of its own, without commas"
                    .into(),
            ],
        ),
        (
            vips("10.0.0.3,10.0.0.4;10.0.0.5,10.0.0.6,10.0.0.7,10.0.0.8"),
            vec![
                "6:1: several addresses on one line: put `10.0.0.3`, `10.0.0.4`, `10.0.0.5`, `10.0.0.6` and the 2 others each on a line \
                 of its own, without commas"
                    .into(),
            ],
        ),
        (with("").replace("eth0", "“eth0”"), vec![format!("3:11: {quotes}")]),
        (
            "vrrp_script chk {\nscript ‘/usr/bin/pgrep nginx’\n}\n".to_owned() + &with("track_script {\nchk\n}"),
            vec![format!("2:8: {quotes}")],
        ),
        (
            "[global]\nrouter_id = lb01\n\n[VI_1]\ninterface = eth0\nvirtual_router_id = 51\nvirtual_ipaddress = 10.0.0.3\n".into(),
            vec![format!("1:1: {ini}")],
        ),
        (
            vips("$VIP\n$VIP dev eth0"),
            vec!["6:1: `$VIP` is not defined, here and at 1 more place: define it on an earlier line: `$VIP=...`".into()],
        ),
        // The family is that of the address that cannot be read: nothing is said of others that fit it.
        (
            with("unicast_src_ip 10.0.0.5\nunicast_peer {\n10.0.0.6\n}").replace("10.0.0.3\n", "10.0.0.300\nfe80::3\n"),
            vec![
                "9:1: `10.0.0.300` is not an IP address: 300 is above 255".into(),
                "10:1: IPv6 address in a virtual_ipaddress that starts with IPv4: move all IPv6 addresses to \
                 virtual_ipaddress_excluded, or give them a vrrp_instance"
                    .into(),
            ],
        ),
        (vips("fe80:3"), vec![
            "6:1: `fe80:3` is not an IP address: IPv6 has eight groups, here are 2: `::` stands for those that are 0".into(),
        ]),
        (vips("10.0.0,3"), vec!["6:1: `10.0.0,3` is not an IP address: write `10.0.0.3`: a dot, not a comma".into()]),
    ];
    let mut wrong = Vec::new();
    for (text, expected) in table {
        let said = said(&text);
        if said != expected {
            wrong.push(format!("{text}\n   said: {said:#?}\nexpected: {expected:#?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

/// What looks alike and is right.
#[test]
fn brackets_and_quotes_have_their_uses() {
    for text in [
        "vrrp_script chk {\nscript \"[ -f /etc/passwd ]\"\n}\n".to_owned() + &with("track_script {\nchk\n}"),
        "global_defs {\nrouter_id l’hôte\n}\n".to_owned() + &with(""),
        with("authentication {\nauth_type PASS\nauth_pass “a”\n}"),
    ] {
        // A password of other characters than ASCII has a message of its own.
        let found = diagnostics_of(parse(&text)).into_iter().map(|d| d.message);
        let wrong: Vec<_> =
            found.filter(|m| m.contains("typographic") || m.contains("opens no block")).collect();
        assert!(wrong.is_empty(), "{text}\n{wrong:?}");
    }
}
