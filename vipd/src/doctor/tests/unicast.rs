//! Who may send unicast adverts.

use super::*;
use crate::host::NeighbourTable;

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
        ("unicast_peer {\n10.0.0.6\n}", &["ok: adverts are accepted only from peers"]),
        (
            "unicast_peer {\n10.0.0.6\n10.9.0.6\n}",
            &["warning: adverts from peer 10.9.0.6 are accepted with any TTL, since it is not on the link"],
        ),
        ("unicast_peer {\n10.0.0.6\n10.9.0.6 min_ttl 250\n}", &["ok: adverts are accepted only from peers"]),
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

#[test]
fn a_neighbour_table_that_is_nearly_full_is_told_where_adverts_need_it() {
    let table = |family, entries, overflows| NeighbourTable { family, entries, limit: 1000, overflows };
    for (lines, tables, expected) in [
        ("", vec![table(Family::V4, 1000, 7)], &[][..]),
        ("unicast_peer {\n10.0.0.6\n}", vec![table(Family::V6, 1000, 7)], &[]),
        (
            "unicast_peer {\n10.0.0.6\n}",
            vec![table(Family::V4, 899, 7)],
            &["ok: the ipv4 neighbour table has 899"],
        ),
        (
            "unicast_peer {\n10.0.0.6\n}",
            vec![table(Family::V4, 900, 7), table(Family::V6, 1000, 0)],
            &["warning: the ipv4 neighbour table has 900 entries of at most 1000 (it had no room 7 times"],
        ),
    ] {
        let mut facts = idle();
        facts.configuration = with(lines);
        facts.survey.as_mut().unwrap().neighbour_tables = tables;
        let found = judge(&facts).into_iter().filter(|finding| finding.check == "neighbour-table");
        let found: Vec<String> = found.map(|found| format!("{}: {}", found.level, found.what)).collect();
        let as_expected = found.len() == expected.len()
            && found.iter().zip(expected).all(|(found, expected)| found.starts_with(expected));
        assert!(as_expected, "{lines}:\n{found:#?}");
    }
}
