//! `docs/reference/grafana-dashboard.json` and `vipd-alerts.yml`: they ask for metrics and labels that exist, in panels that do
//! not cover each other. `tests/tests/metrics.rs` runs the alerts.

use std::{collections::BTreeSet, fs, path::Path};

use serde_json::Value;

use crate::metrics::{
    families::ALL,
    process::{self, ProcessMetrics},
};

fn dashboard() -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/reference/grafana-dashboard.json");
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

fn panels(dashboard: &Value) -> Vec<&Value> {
    dashboard["panels"].as_array().unwrap().iter().collect()
}

/// Every PromQL expression, of panels and variables.
fn expressions(dashboard: &Value) -> Vec<&str> {
    let of_panels = panels(dashboard).into_iter().filter_map(|panel| panel["targets"].as_array()).flatten();
    let of_variables = dashboard["templating"]["list"].as_array().unwrap().iter();
    of_panels
        .map(|target| target["expr"].as_str().unwrap())
        .chain(of_variables.filter_map(|variable| variable["query"]["query"].as_str()))
        .collect()
}

/// The words of an expression that are no part of a longer one.
fn words(expression: &str) -> impl Iterator<Item = &str> {
    expression.split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
}

/// Every metric that is served, as a query names it.
fn served() -> BTreeSet<String> {
    let of_process = process::ALL.iter().map(|family| family.metric(&ProcessMetrics::default()).full_name());
    ALL.iter().map(|family| family.full_name()).chain(of_process).collect()
}

fn is_metric(word: &str) -> bool {
    word.starts_with("vipd_") || word.starts_with("process_")
}

#[test]
fn the_dashboard_asks_for_metrics_that_there_are() {
    let names = served();
    let dashboard = dashboard();
    let asked: BTreeSet<&str> =
        expressions(&dashboard).into_iter().flat_map(words).filter(|word| is_metric(word)).collect();
    let unknown: Vec<_> = asked.iter().filter(|name| !names.contains(**name)).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
    let names: Vec<_> = names.iter().filter(|name| name.starts_with("vipd_")).collect();
    let unasked: Vec<_> = names.iter().filter(|name| !asked.contains(name.as_str())).collect();
    assert!(unasked.is_empty(), "no panel shows {unasked:?}");
}

#[test]
fn the_dashboard_names_labels_that_there_are() {
    let mut labels: BTreeSet<&str> = ALL.iter().flat_map(|family| family.labels()).collect();
    // Prometheus adds them: what it scrapes, and as part of which job; `cluster` if it is told to.
    labels.extend(["instance", "job", "cluster"]);
    let dashboard = dashboard();
    for expression in expressions(&dashboard) {
        for (i, _) in expression
            .match_indices('=')
            .filter(|(i, _)| expression[i + 1..].trim_start_matches('~').starts_with('"'))
        {
            let label =
                expression[..i].rsplit(|c: char| !c.is_ascii_alphanumeric() && c != '_').next().unwrap();
            assert!(labels.contains(label), "{label} in {expression}");
        }
    }
    let targets = panels(&dashboard).into_iter().filter_map(|panel| panel["targets"].as_array()).flatten();
    for legend in targets.filter_map(|target| target["legendFormat"].as_str()) {
        for label in legend.split("{{").skip(1).map(|rest| rest.split("}}").next().unwrap()) {
            assert!(labels.contains(label), "{label} in {legend}");
        }
    }
}

#[test]
fn panels_stand_side_by_side() {
    let dashboard = dashboard();
    let mut ids = BTreeSet::new();
    let mut taken = BTreeSet::new();
    for panel in panels(&dashboard) {
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "an id twice: {panel}");
        let place = |side: &str| panel["gridPos"][side].as_u64().unwrap();
        assert!(place("x") + place("w") <= 24, "{} is too wide", panel["title"]);
        for x in place("x")..place("x") + place("w") {
            for y in place("y")..place("y") + place("h") {
                assert!(taken.insert((x, y)), "{} covers another", panel["title"]);
            }
        }
    }
}

#[test]
fn the_alerts_ask_for_metrics_and_labels_that_there_are() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/reference/vipd-alerts.yml");
    let text = fs::read_to_string(path).unwrap();
    let text: Vec<&str> = text.lines().filter(|line| !line.trim_start().starts_with('#')).collect();
    let names = served();
    let asked: BTreeSet<&str> =
        text.iter().flat_map(|line| words(line)).filter(|word| is_metric(word)).collect();
    let unknown: Vec<_> = asked.iter().filter(|name| !names.contains(**name)).collect();
    assert!(unknown.is_empty() && asked.len() > 10, "{unknown:?} of {asked:?}");

    let mut labels: BTreeSet<&str> = ALL.iter().flat_map(|family| family.labels()).collect();
    labels.extend(["instance", "job", "cluster"]);
    for shown in text.iter().flat_map(|line| line.split("{{ $labels.").skip(1)) {
        let label = shown.split(" }}").next().unwrap();
        assert!(labels.contains(label), "{label}");
    }
    for lists in text
        .iter()
        .flat_map(|line| ["by (", "on (", "without ("].map(|word| line.split(word).skip(1)))
        .flatten()
    {
        for label in lists.split(')').next().unwrap().split(", ") {
            assert!(labels.contains(label), "{label}");
        }
    }
}
