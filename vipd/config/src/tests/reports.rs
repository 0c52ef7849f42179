//! `cluster_report` and its key.

use std::time::Duration;

use super::{check_all, findings, instance, parse, with};

const KEY: &str = "cluster_report_key \"correct horse battery\"";

fn global(lines: &str, own: &str) -> String {
    format!("global_defs {{\n{lines}\n}}\n{}", with(own))
}

#[test]
fn reports_are_off_unless_given() {
    let every = |text: &str| instance(text).cluster_report;
    assert_eq!(every(&with("")), None);
    assert_eq!(every(&with("cluster_report 5")), Some(Duration::from_secs(5)));
    assert_eq!(every(&global("cluster_report 7", "")), Some(Duration::from_secs(7)));
    assert_eq!(every(&global("cluster_report 7", "cluster_report off")), None);
    let key = |text: &str| parse(text).unwrap().config.cluster_report_key;
    let given = key(&global(&format!("cluster_report 5\n{KEY}"), "")).unwrap();
    assert_eq!(given.reveal(), b"correct horse battery");
    assert_eq!(key(&global("cluster_report 5", "")), None);
}

#[test]
fn what_is_wrong_with_reports_is_said() {
    check_all([
        (
            global("cluster_report 5\ncluster_report_key short", ""),
            &["3:20: error: the key of `cluster_report_key` is shorter than 16 octets"][..],
        ),
        (global(KEY, ""), &["2:1: warning: `cluster_report_key` is ignored: no instance sends reports"]),
        (global(&format!("cluster_report 5\n{KEY}"), ""), &[]),
    ]);
    for wrong in ["cluster_report 0", "cluster_report 3601", "cluster_report yes"] {
        let found = findings(&with(wrong));
        assert!(found.len() == 1 && found[0].starts_with("2:16: error: "), "{wrong}: {found:?}");
    }
}

#[test]
fn a_key_is_not_shown() {
    for text in [
        global("cluster_report 5\ncluster_report_key S3cret", ""),
        global("cluster_report 5\ncluster_report_keys S3cret", ""),
        global("cluster_report 5\ncluster_report_key S3cretS3cretS3cret extra", ""),
    ] {
        let failure = parse(&text).unwrap_err();
        let said = format!("{failure}{failure:?}");
        assert!(!said.contains("S3cret"), "{said}");
    }
    let loaded = parse(&global(&format!("cluster_report 5\n{KEY}"), "")).unwrap();
    let said = format!("{:?}{}", loaded.config, crate::explain(&loaded.config, &loaded.origins));
    assert!(!said.contains("horse") && said.contains("cluster_report_key ****"), "{said}");
}
