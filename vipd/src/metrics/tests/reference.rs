//! `docs/reference/metrics.md`, made from the list of families.

use std::{fmt::Write, fs, path::Path};

use vipd_common::abi::{Counters, InstanceCounters};

use crate::metrics::{
    families::{ALL, INSTANCE_LABELS, MetricKind},
    process::{self, ProcessMetrics},
};

const HEAD: &str = "\
# Metrics

Made from `vipd/src/metrics/families.rs` by `VIPD_WRITE_DOCS=1 cargo test -p vipd --lib metrics_reference`; a test compares.

```console
# vipd run --metrics-listen 127.0.0.1:9812         # or [::1]:9812, or unix:/run/vipd/metrics.sock (mode 0660)
# curl http://127.0.0.1:9812/metrics
# curl --head http://127.0.0.1:9812/metrics        # whether it is served
# curl --unix-socket /run/vipd/metrics.sock http://localhost/metrics
```

Off by default. The answer is OpenMetrics 1.0 text for a client that asks for it (`Accept: application/openmetrics-text`), as
Prometheus does since 2.35; other clients get the classic text of Prometheus (`text/plain; version=0.0.4`). Names, labels and values are
the same in both.

```yaml
scrape_configs:
  - job_name: vipd
    static_configs:
      - targets: [lb01:9812, lb02:9812]
        labels: {cluster: web}             # one for each pair; needed where two pairs have the same VIP
rule_files:
  - /usr/share/doc/vipd/reference/vipd-alerts.yml
```

There is no TLS and no login: anybody who reaches the address can read the metrics. Listen on a loopback address or a unix socket, and put a
proxy in front where that matters. vipd answers `GET` and `HEAD` of `/metrics`, one request a connection, 32 connections at once; another
client takes the place of the slowest. A request may take 5 s, and a connection 20 s. If another process has the TCP port, vipd waits for it
(event `metrics_not_served`); any other error ends the start.

A scrape costs as much as `vipd status` and cannot delay an advert: the engine thread copies its state once, and the main thread writes
the text. `docs/reference/grafana-dashboard.json` is a dashboard for these metrics (Grafana 10 or later; Dashboards, New, Import).

Counters start at 0 with the daemon. Counters of the eBPF program continue over a restart that adopts its maps. Names and labels
keep their meaning; new ones may come.

## Alerts

The rules of [vipd-alerts.yml](vipd-alerts.yml), which `promtool test rules` tests:

";

fn document() -> String {
    let mut text = HEAD.to_owned() + "```yaml\n" + &rules() + "```\n";
    let is_of_instance = |labels: &[&str]| labels.starts_with(&INSTANCE_LABELS);
    let _ = writeln!(text, "\n## Of the daemon\n\n| metric | type | labels | |\n|---|---|---|---|");
    rows(&mut text, |labels| !is_of_instance(labels), 0);
    process_rows(&mut text);
    let labels = INSTANCE_LABELS.map(|label| format!("`{label}`")).join(", ");
    let _ = writeln!(
        text,
        "\n## Of each instance\n\nAll have the labels {labels}.\n\n| metric | type | more labels | |\n|---|---|---|---|"
    );
    rows(&mut text, is_of_instance, INSTANCE_LABELS.len());
    let frames = Counters::NAMES.iter().zip(Counters::MEANINGS);
    values(&mut text, "Values of `kind` of `vipd_xdp_frames_total`", frames);
    let reasons = InstanceCounters::NAMES.iter().zip(InstanceCounters::MEANINGS);
    let reasons = reasons.skip(InstanceCounters::FIRST_DISCARD);
    values(&mut text, "Values of `reason` of `vipd_instance_discards_total`", reasons);
    text
}

fn rules() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/reference/vipd-alerts.yml");
    fs::read_to_string(path).unwrap()
}

/// What the process says of itself.
fn process_rows(text: &mut String) {
    for family in process::ALL {
        let metric = family.metric(&ProcessMetrics::default());
        let kind = if metric.kind == MetricKind::Counter { "counter" } else { "gauge" };
        let _ = writeln!(text, "| `{}` | {kind} |  | {} |", metric.full_name(), metric.help);
    }
}

fn rows(text: &mut String, wanted: impl Fn(&[&str]) -> bool, known: usize) {
    for family in ALL.iter().filter(|family| wanted(&family.labels())) {
        let kind = match family.kind {
            MetricKind::Gauge => "gauge",
            MetricKind::Counter => "counter",
            MetricKind::Info => "info",
        };
        let labels: Vec<String> = family.labels()[known..].iter().map(|label| format!("`{label}`")).collect();
        let _ =
            writeln!(text, "| `{}` | {kind} | {} | {} |", family.full_name(), labels.join(", "), family.help);
    }
}

fn values<'a>(text: &mut String, title: &str, values: impl Iterator<Item = (&'a &'a str, &'a &'a str)>) {
    let _ = writeln!(text, "\n## {title}\n\n| value | |\n|---|---|");
    for (name, meaning) in values {
        let _ = writeln!(text, "| `{name}` | {} |", meaning.trim());
    }
}

#[test]
fn metrics_reference_is_that_of_the_list() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/reference/metrics.md");
    let document = document();
    if std::env::var_os("VIPD_WRITE_DOCS").is_some() {
        fs::write(&path, &document).unwrap();
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert!(document == written, "{} is out of date; write it with VIPD_WRITE_DOCS=1", path.display());
}
