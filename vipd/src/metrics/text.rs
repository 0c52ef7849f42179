//! A status, and what the process says of itself, as text: OpenMetrics, or the classic format of Prometheus.

use std::fmt::{self, Write};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, NoLabelSet, text},
    registry::{self, Registry},
};

use super::{
    families::{ALL, Metric, MetricKind, MetricSample, MetricValue, Unit},
    format::Format,
    process::{self, ProcessMetrics},
};
use crate::control::model::Status;

/// Writes every metric from a status and the process.
pub fn encode(format: Format, status: &Status, process: &ProcessMetrics) -> String {
    let of_status = ALL.iter().map(|family| family.metric(status));
    let metrics = of_status.chain(process::ALL.iter().map(|family| family.metric(process))).collect();
    match format {
        Format::Classic => classic(metrics),
        Format::OpenMetrics => open_metrics(metrics),
    }
}

fn open_metrics(metrics: Vec<Metric>) -> String {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(MetricSnapshot(metrics)));
    let mut out = String::new();
    text::encode(&mut out, &registry).expect("memory can be written to");
    out
}

#[derive(Debug)]
struct MetricSnapshot(Vec<Metric>);

impl Collector for MetricSnapshot {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        for Metric { name, unit, kind, help, samples } in &self.0 {
            let unit = unit.map(|unit| match unit {
                Unit::Seconds => registry::Unit::Seconds,
                Unit::Bytes => registry::Unit::Bytes,
            });
            let mut metric = encoder.encode_descriptor(name, help, unit.as_ref(), kind.metric_type())?;
            for MetricSample { labels, value } in samples {
                match (kind, value) {
                    (MetricKind::Info, _) => metric.encode_info(labels)?,
                    (MetricKind::Counter, MetricValue::Whole(n)) => {
                        metric.encode_family(labels)?.encode_counter::<NoLabelSet, _, f64>(n, None)?;
                    }
                    (MetricKind::Counter, MetricValue::Real(x)) => {
                        metric.encode_family(labels)?.encode_counter::<NoLabelSet, _, f64>(x, None)?;
                    }
                    (MetricKind::Gauge, MetricValue::Whole(n)) => {
                        metric.encode_family(labels)?.encode_gauge(n)?
                    }
                    (MetricKind::Gauge, MetricValue::Real(x)) => {
                        metric.encode_family(labels)?.encode_gauge(x)?
                    }
                }
            }
        }
        Ok(())
    }
}

fn classic(metrics: Vec<Metric>) -> String {
    let mut out = String::new();
    for metric in metrics {
        // A family without a sample is said by nobody else either.
        if !metric.samples.is_empty() {
            classic_metric(&mut out, &metric).expect("memory can be written to");
        }
    }
    out
}

fn classic_metric(out: &mut String, metric: &Metric) -> fmt::Result {
    let name = metric.full_name();
    let kind = match metric.kind {
        MetricKind::Counter => "counter",
        // The classic format has no type for it.
        MetricKind::Gauge | MetricKind::Info => "gauge",
    };
    writeln!(out, "# HELP {name} {}", metric.help.replace('\\', "\\\\").replace('\n', "\\n"))?;
    writeln!(out, "# TYPE {name} {kind}")?;
    for MetricSample { labels, value } in &metric.samples {
        out.push_str(&name);
        for (n, (label, value)) in labels.iter().enumerate() {
            let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            write!(out, "{}{label}=\"{value}\"", if n == 0 { '{' } else { ',' })?;
        }
        out.push_str(if labels.is_empty() { " " } else { "} " });
        match value {
            MetricValue::Whole(n) => writeln!(out, "{n}")?,
            MetricValue::Real(x) => writeln!(out, "{x}")?,
        }
    }
    Ok(())
}
