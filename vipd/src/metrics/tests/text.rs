use std::collections::BTreeMap;

use crate::{
    control::model::{Status, samples},
    metrics::{families::ALL, format::Format, process::ProcessMetrics, text},
};

fn encoded(format: Format, status: &Status) -> String {
    text::encode(format, status, &ProcessMetrics::of_self())
}

fn lines() -> Vec<String> {
    let (mut status, early) = (samples::cluster(), samples::takes_over());
    status.sponsors = early.sponsors;
    status.instances.iter_mut().zip(early.instances).for_each(|(i, of)| i.early = of.early);
    encoded(Format::OpenMetrics, &status).lines().map(str::to_owned).collect()
}

#[track_caller]
fn has(wanted: &str) {
    let lines = lines();
    assert!(lines.iter().any(|line| line == wanted), "{wanted} is not in\n{}", lines.join("\n"));
}

#[test]
fn values_are_those_of_the_status_in_base_units() {
    has("vipd_build_info{version=\"0.1.0\"} 1");
    has("vipd_uptime_seconds{} 93600.0");
    has("vipd_real_time{} 1");
    has("vipd_early_vouched_for{} 1");
    has("vipd_early_beat_age_seconds{} 0.004");
    has("vipd_early_arbiter_reached{name=\"gw\"} 1");
    has("vipd_early_armed{vrrp_instance=\"VI_6\",interface=\"eth0\",vrid=\"6\",family=\"ipv6\"} 1");
    has("vipd_early_unvouched{vrrp_instance=\"VI_1\",interface=\"eth0\",vrid=\"51\",family=\"ipv4\"} 0");
    has("vipd_xdp_frames_total{kind=\"arp_replies\"} 70000");
    has("vipd_xdp_frames_total{kind=\"nd_replies\"} 0");
    has("vipd_tracked_well{keyword=\"vrrp_script\",name=\"chk_nginx\"} 1");
    has("vipd_tracked_well{keyword=\"vrrp_track_process\",name=\"haproxy\"} 0");
    has("vipd_tracked_value{keyword=\"track_file\",name=\"load\"} -7.0");

    let master = "vrrp_instance=\"VI_1\",interface=\"eth0\",vrid=\"51\",family=\"ipv4\"";
    has(&format!("vipd_instance_state{{{master},state=\"MASTER\"}} 1"));
    has(&format!("vipd_instance_state{{{master},state=\"BACKUP\"}} 0"));
    has(&format!("vipd_instance_priority{{{master}}} 150"));
    has(&format!("vipd_instance_became_master_total{{{master}}} 2"));
    has(&format!("vipd_instance_lease_remaining_seconds{{{master}}} 3.25"));
    has(&format!("vipd_instance_lease_margin_least_seconds{{{master}}} 2.987654"));
    has(&format!("vipd_instance_advert_lateness_max_seconds{{{master}}} 0.00012"));
    has(&format!("vipd_vip_answers_total{{{master},vip=\"10.0.0.4\"}} 1000"));
    has(&format!("vipd_vip_owned{{{master},vip=\"10.0.0.3\"}} 1"));
    has(&format!("vipd_vip_owned{{{master},vip=\"10.0.0.4\"}} 1"));
    has(&format!(
        "vipd_instance_info{{{master},version=\"2\",lease=\"overlap\",xdp_mode=\"native\",sync_group=\"G\"}} 1"
    ));

    let backup = "vrrp_instance=\"VI_6\",interface=\"eth0\",vrid=\"6\",family=\"ipv6\"";
    has(&format!("vipd_instance_discards_total{{{backup},reason=\"auth_failures\"}} 9"));
    has(&format!("vipd_instance_discards_total{{{backup},reason=\"own_source\"}} 0"));
    has(&format!("vipd_instance_master_down_seconds{{{backup}}} 2.6"));
    has(&format!("vipd_instance_last_advert_age_seconds{{{backup}}} 1.009"));
    has(&format!("vipd_instance_lease_remaining_seconds{{{backup}}} 0.0"));
    has(&format!("vipd_vip_owned{{{backup},vip=\"2001:db8::100\"}} 0"));
}

#[test]
fn what_is_not_known_is_left_out() {
    let lines = lines();
    for (metric, label) in [
        ("vipd_instance_lease_margin_least_seconds", "vrrp_instance=\"VI_6\""),
        ("vipd_instance_master_down_seconds", "vrrp_instance=\"VI_1\""),
        ("vipd_instance_last_advert_age_seconds", "vrrp_instance=\"VI_1\""),
        ("vipd_tracked_well", "name=\"load\""),
        ("vipd_tracked_well", "name=\"new\""),
    ] {
        assert!(lines.iter().any(|line| line.starts_with(metric)), "{metric}");
        assert!(
            !lines.iter().any(|line| line.starts_with(metric) && line.contains(label)),
            "{metric} {label}"
        );
    }
}

#[test]
fn every_sample_belongs_to_a_family_of_the_list_and_has_its_labels() {
    let families: BTreeMap<String, _> = ALL.iter().map(|family| (family.full_name(), family)).collect();
    assert_eq!(families.len(), ALL.len(), "a name is there twice");
    let mut seen = BTreeMap::new();
    let lines = lines();
    assert_eq!(lines.last().map(String::as_str), Some("# EOF"));
    for line in lines.iter().filter(|line| !line.starts_with('#') && !line.starts_with("process_")) {
        let name = line.split(['{', ' ']).next().unwrap();
        // No value of the sample has a comma or a brace in it.
        let inside =
            line.split_once('{').and_then(|(_, rest)| rest.split_once('}')).map_or("", |(inside, _)| inside);
        let labels: Vec<&str> =
            inside.split(',').filter(|l| !l.is_empty()).map(|l| l.split('=').next().unwrap()).collect();
        let family = families.get(name).unwrap_or_else(|| panic!("{line}"));
        assert_eq!(labels, family.labels(), "{line}");
        *seen.entry(name.to_owned()).or_insert(0) += 1;
    }
    assert!(families.keys().all(|name| seen.contains_key(name)), "only {seen:?}");
}

#[test]
fn names_from_a_configuration_are_escaped() {
    let mut status = samples::status();
    status.instances[0].name = "a\"b\\c".into();
    for format in [Format::OpenMetrics, Format::Classic] {
        let text = encoded(format, &status);
        assert!(text.contains(r#"vipd_instance_priority{vrrp_instance="a\"b\\c",interface"#), "{text}");
    }
}

/// Each sample by its name and labels, as a reader of either format understands them.
fn samples_of(format: Format) -> BTreeMap<String, f64> {
    let text = encoded(format, &samples::status());
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    let sample = |line: &str| {
        let (series, value) = line.rsplit_once(' ').unwrap();
        (series.trim_end_matches("{}").to_owned(), value.parse().unwrap())
    };
    // The process goes on while it is asked.
    samples.map(sample).filter(|(series, _)| !series.starts_with("process_")).collect()
}

#[test]
fn both_formats_have_the_same_samples() {
    assert_eq!(samples_of(Format::Classic), samples_of(Format::OpenMetrics));
}

#[test]
fn the_classic_format_names_a_counter_as_its_samples_and_an_info_a_gauge() {
    let text = encoded(Format::Classic, &samples::status());
    for lines in [
        "# HELP vipd_build_info The version of vipd.\n# TYPE vipd_build_info gauge\nvipd_build_info{version=\"0.1.0\"} 1\n",
        "# TYPE vipd_uptime_seconds gauge\nvipd_uptime_seconds 93600\n",
        "# TYPE vipd_xdp_frames_total counter\nvipd_xdp_frames_total{kind=\"",
        "# TYPE process_cpu_seconds_total counter\nprocess_cpu_seconds_total ",
        "# TYPE process_threads gauge\nprocess_threads ",
    ] {
        assert!(text.contains(lines), "{lines} is not in\n{text}");
    }
    assert!(!text.contains("EOF") && !text.contains("# UNIT") && text.ends_with('\n'), "{text}");
    let families = text.lines().filter(|line| line.starts_with("# TYPE "));
    let names: Vec<&str> = families.map(|line| line.split(' ').nth(2).unwrap()).collect();
    assert_eq!(
        names.len(),
        names.iter().collect::<std::collections::BTreeSet<_>>().len(),
        "a family is there twice"
    );
}
