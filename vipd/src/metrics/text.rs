//! A status as OpenMetrics text.

use std::fmt;

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, NoLabelSet, text},
    registry::{Registry, Unit},
};

use super::families::{ALL, Kind, Sample, Value};
use crate::control::model::Status;

/// Content type of [`encode`]'s output.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Writes every metric of [`ALL`] from a status.
pub fn encode(status: Status) -> String {
    let mut registry = Registry::with_prefix("vipd");
    registry.register_collector(Box::new(Snapshot(status)));
    let mut out = String::new();
    text::encode(&mut out, &registry).expect("memory can be written to");
    out
}

#[derive(Debug)]
struct Snapshot(Status);

impl Collector for Snapshot {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        for family in ALL {
            let seconds = family.seconds.then_some(&Unit::Seconds);
            let mut metric =
                encoder.encode_descriptor(family.name, family.help, seconds, family.kind.metric_type())?;
            for Sample { labels, value } in family.samples(&self.0) {
                match (family.kind, value) {
                    (Kind::Info, _) => metric.encode_info(&labels)?,
                    (Kind::Counter, Value::Whole(n)) => {
                        metric.encode_family(&labels)?.encode_counter::<NoLabelSet, _, f64>(&n, None)?;
                    }
                    (Kind::Counter, Value::Real(x)) => {
                        metric.encode_family(&labels)?.encode_counter::<NoLabelSet, _, f64>(&x, None)?;
                    }
                    (Kind::Gauge, Value::Whole(n)) => metric.encode_family(&labels)?.encode_gauge(&n)?,
                    (Kind::Gauge, Value::Real(x)) => metric.encode_family(&labels)?.encode_gauge(&x)?,
                }
            }
        }
        Ok(())
    }
}
