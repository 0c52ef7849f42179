//! Keywords that count at the start alone: what the daemon runs with, whatever reloads have changed since.

use std::fmt;

use vipd_config::{Comparison, Config, MetricsListen};

/// What a change of such a keyword is said to need.
const NEEDS: &str = "needs a restart";

/// What the daemon has started with.
#[derive(Clone, Debug)]
pub struct AtStart {
    /// `None`: `--metrics-listen` was given, and the keyword has no effect.
    metrics_listen: Option<Option<MetricsListen>>,
    real_time_priority: Option<u8>,
}

/// A keyword whose new value counts at the next start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pending {
    pub keyword: &'static str,
    runs_with: Option<String>,
    configured: Option<String>,
}

impl AtStart {
    /// Of the configuration of the start. `listens`: `--metrics-listen` was given.
    pub fn of(config: &Config, listens: bool) -> Self {
        let metrics_listen = (!listens).then(|| config.metrics_listen.clone());
        Self { metrics_listen, real_time_priority: config.real_time_priority }
    }

    /// The keywords that have another value in a configuration.
    pub fn pending(&self, config: &Config) -> Vec<Pending> {
        let text = |value: &Option<MetricsListen>| value.as_ref().map(ToString::to_string);
        let metrics = self.metrics_listen.as_ref().map(|at_start| Pending {
            keyword: "metrics_listen",
            runs_with: text(at_start),
            configured: text(&config.metrics_listen),
        });
        let number = |value: Option<u8>| value.map(|value| value.to_string());
        let real_time = Pending {
            keyword: "vrrp_rt_priority",
            runs_with: number(self.real_time_priority),
            configured: number(config.real_time_priority),
        };
        let all = metrics.into_iter().chain([real_time]);
        all.filter(|keyword| keyword.runs_with != keyword.configured).collect()
    }

    /// What is pending, but for what the comparison itself says. Takes back what it says of a keyword that is again as at the start.
    pub fn complete(&self, comparison: &mut Comparison, config: &Config) -> Vec<String> {
        let pending = self.pending(config);
        let mut rest = pending.clone();
        for change in comparison.changes.iter_mut().filter(|change| change.effect == Some(NEEDS)) {
            rest.retain(|pending| pending.keyword != change.keyword);
            if !pending.iter().any(|pending| pending.keyword == change.keyword) {
                change.effect = Some("as vipd runs, needs nothing");
            }
        }
        rest.iter().map(ToString::to_string).collect()
    }
}

impl fmt::Display for Pending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { keyword, runs_with, configured } = self;
        match configured {
            Some(value) => write!(f, "{keyword} is {value} in the configuration")?,
            None => write!(f, "{keyword} is not in the configuration any more")?,
        }
        match runs_with {
            Some(value) => write!(f, ", and vipd runs with {value}: it {NEEDS}"),
            None => write!(f, ", and vipd runs without: it {NEEDS}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use vipd_config::{Loaded, Nothing, Unsupported, compare, parse};

    use super::*;

    fn loaded(global: &str) -> Loaded {
        let text = format!(
            "global_defs {{\nrouter_id A\n{global}\n}}\nvrrp_instance VI_1 {{\ninterface eth0\nvirtual_router_id 51\n\
             virtual_ipaddress {{\n10.0.0.3\n}}\n}}\n"
        );
        parse(std::path::Path::new("k.conf"), &text, &Nothing, Unsupported::Refused).unwrap()
    }

    #[test]
    fn a_change_is_remembered_until_the_restart() {
        let start = loaded("metrics_listen 127.0.0.1:9650\nvrrp_rt_priority 60");
        let changed = loaded("metrics_listen 127.0.0.1:9651");
        let at_start = AtStart::of(&start.config, false);
        let texts = |config: &Config| -> Vec<String> {
            at_start.pending(config).iter().map(ToString::to_string).collect()
        };
        let needs = [
            "metrics_listen is 127.0.0.1:9651 in the configuration, and vipd runs with 127.0.0.1:9650: it needs a restart",
            "vrrp_rt_priority is not in the configuration any more, and vipd runs with 60: it needs a restart",
        ];
        assert_eq!(texts(&changed.config), needs);
        assert!(texts(&start.config).is_empty());
        let listens = AtStart::of(&start.config, true).pending(&changed.config);
        assert!(matches!(&listens[..], [Pending { keyword: "vrrp_rt_priority", .. }]), "{listens:?}");

        // The reload that changes it says so in the line of the change; later ones in a warning.
        let says = |before: &Loaded, after: &Loaded| {
            let mut comparison = compare((&before.config, &before.origins), (&after.config, &after.origins));
            let warnings = at_start.complete(&mut comparison, &after.config);
            (comparison.changes.iter().filter(|change| change.effect == Some(NEEDS)).count(), warnings)
        };
        assert_eq!(says(&start, &changed), (2, Vec::new()));
        assert_eq!(says(&changed, &changed), (0, needs.map(str::to_owned).to_vec()));
        assert_eq!(says(&changed, &start), (0, Vec::new()), "it is as at the start again");
    }
}
