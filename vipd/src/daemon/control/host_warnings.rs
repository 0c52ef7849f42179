//! What others have done to this host that may harm the VIPs, and that vipd leaves as it is: shown by the status and by doctor while it
//! stands, and told when it begins and when it ends.

use std::{
    collections::{BTreeMap, BTreeSet},
    mem,
};

use super::super::clock;
use crate::{control::model::HostWarning, detection::RateLimiter};

/// What stands.
#[derive(Debug, Default)]
pub struct HostWarnings(BTreeMap<(&'static str, String), Standing>);

#[derive(Debug)]
struct Standing {
    /// `None`: it is over.
    warning: Option<HostWarning>,
    /// It was told, so that its end is.
    told: bool,
    limiter: RateLimiter,
}

impl HostWarnings {
    /// All of one kind that stands now: of an object each, in words and with the remedy.
    pub fn set(&mut self, kind: &'static str, now: Vec<HostWarning>) {
        let stands: BTreeSet<String> = now.iter().map(|warning| warning.about.clone()).collect();
        for warning in now {
            self.begins(kind, warning);
        }
        for ((of, about), standing) in &mut self.0 {
            if *of == kind && !stands.contains(about) {
                standing.ends();
            }
        }
    }

    fn begins(&mut self, kind: &'static str, warning: HostWarning) {
        let new = || Standing { warning: None, told: false, limiter: RateLimiter::default() };
        let standing = self.0.entry((kind, warning.about.clone())).or_insert_with(new);
        if standing.warning.as_ref() == Some(&warning) {
            return;
        }
        if let Some(count) = standing.limiter.note(1, clock::now()) {
            let HostWarning { about, what, remedy, .. } = &warning;
            tracing::warn!(
                target: "vipd::event",
                event = "host_warning",
                kind,
                about,
                what,
                remedy,
                count,
                "another program has changed this host in a way that may harm the VIPs"
            );
            standing.told = true;
        }
        standing.warning = Some(warning);
    }

    /// All that stands.
    pub fn all(&self) -> Vec<HostWarning> {
        self.0.values().filter_map(|standing| standing.warning.clone()).collect()
    }
}

impl Standing {
    fn ends(&mut self) {
        let Some(warning) = self.warning.take() else { return };
        if mem::take(&mut self.told) {
            tracing::info!(
                target: "vipd::event",
                event = "host_warning_over",
                kind = warning.kind,
                about = warning.about,
                "it is over"
            );
        }
    }
}
