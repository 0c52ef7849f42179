//! Who may send unicast adverts.

use super::*;

fn with(lines: &str) -> Result<vipd_config::Loaded, vipd_config::Failure> {
    parse(&CONFIG.replace("virtual_ipaddress", &format!("{lines}\nvirtual_ipaddress")))
}

fn unicast(lines: &str) -> Vec<String> {
    let mut facts = idle();
    facts.configuration = with(lines);
    let findings = judge(&facts).into_iter().filter(|finding| finding.check == "unicast-source");
    findings
        .map(|Finding { level, what, fix, .. }| format!("{level}: {what} / {}", fix.unwrap_or_default()))
        .collect()
}

#[test]
fn what_is_left_open_is_told() {
    for (lines, expected) in [
        ("", &[][..]),
        ("unicast_peer {\n10.0.0.6\n}", &["ok: adverts are accepted from its peers only"]),
        (
            "unicast_peer {\n10.0.0.6\n10.9.0.6\n}",
            &["warning: adverts from peer 10.9.0.6 are accepted with any TTL, since it is not on the link"],
        ),
        (
            "unicast_peer {\n10.0.0.6\n10.9.0.6 min_ttl 250\n}",
            &["ok: adverts are accepted from its peers only"],
        ),
        (
            "unicast_peer {\n10.0.0.6\n}\nunicast_ttl 64",
            &["warning: adverts from peer 10.0.0.6 are accepted with any TTL: a far host"],
        ),
        (
            "unicast_peer {\n10.0.0.6\n}\ncheck_unicast_src off",
            &["warning: adverts from any address are accepted"],
        ),
    ] {
        let found = unicast(lines);
        let as_expected = found.len() == expected.len()
            && found.iter().zip(expected).all(|(found, expected)| found.starts_with(expected));
        assert!(as_expected, "{lines}:\n{found:#?}");
    }
}
