//! `process_*`: what every program that Prometheus watches says of itself, read from `/proc/self` for each scrape.

use std::{fs, str::FromStr};

use nix::{
    sys::resource::{Resource, getrlimit},
    unistd::{SysconfVar, sysconf},
};

use super::families::{Metric, MetricKind, MetricSample, MetricValue, Unit};

/// What this process is and uses; what could not be read is absent.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ProcessMetrics {
    stat: Option<Stat>,
    /// Seconds since 1970.
    booted: Option<u64>,
    open_fds: Option<u64>,
    max_fds: Option<u64>,
    ticks_a_second: u64,
    page_bytes: u64,
}

/// Of `/proc/self/stat`, see proc_pid_stat(5).
#[derive(Clone, Copy, Debug, PartialEq)]
struct Stat {
    cpu_ticks: u64,
    threads: u64,
    /// Since the host was booted.
    start_ticks: u64,
    virtual_bytes: u64,
    resident_pages: u64,
}

impl FromStr for Stat {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        // The second field is the name in parentheses, and may have any in it. After it comes the third.
        let (_, rest) = text.rsplit_once(')').ok_or(())?;
        let fields: Vec<&str> = rest.split_whitespace().collect();
        let number = |field: usize| fields.get(field - 3).and_then(|text| text.parse().ok()).ok_or(());
        let (user, system): (u64, u64) = (number(14)?, number(15)?);
        Ok(Self {
            cpu_ticks: user.saturating_add(system),
            threads: number(20)?,
            start_ticks: number(22)?,
            virtual_bytes: number(23)?,
            resident_pages: number(24)?,
        })
    }
}

impl ProcessMetrics {
    /// This one, now.
    pub fn of_self() -> Self {
        let configured =
            |variable| sysconf(variable).ok().flatten().and_then(|value| u64::try_from(value).ok());
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        // The directory that is read has a descriptor too.
        let open = fs::read_dir("/proc/self/fd").map(|fds| fds.count().saturating_sub(1));
        Self {
            stat: read("/proc/self/stat").parse().ok(),
            booted: booted(&read("/proc/stat")),
            open_fds: open.ok().and_then(|open| open.try_into().ok()),
            max_fds: getrlimit(Resource::RLIMIT_NOFILE).ok().map(|(soft, _)| soft),
            ticks_a_second: configured(SysconfVar::CLK_TCK).unwrap_or(100),
            page_bytes: configured(SysconfVar::PAGE_SIZE).unwrap_or(4096),
        }
    }

    fn seconds(&self, ticks: u64) -> f64 {
        let (whole, part) = (ticks / self.ticks_a_second.max(1), ticks % self.ticks_a_second.max(1));
        // Exact up to 136 years.
        let real = |n: u64| f64::from(u32::try_from(n).unwrap_or(u32::MAX));
        real(whole) + real(part) / real(self.ticks_a_second.max(1))
    }
}

fn booted(stat: &str) -> Option<u64> {
    stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

/// A metric of a process.
#[derive(Debug)]
pub struct ProcessFamily {
    /// Without `process_`, the unit, and what the kind appends.
    name: &'static str,
    unit: Option<Unit>,
    kind: MetricKind,
    help: &'static str,
    value: fn(&ProcessMetrics) -> Option<MetricValue>,
}

impl ProcessFamily {
    pub fn metric(&self, process: &ProcessMetrics) -> Metric {
        let sample = |value| MetricSample { labels: Vec::new(), value };
        Metric {
            name: format!("process_{}", self.name),
            unit: self.unit,
            kind: self.kind,
            help: self.help,
            samples: (self.value)(process).map(sample).into_iter().collect(),
        }
    }
}

const fn family(
    name: &'static str,
    unit: Option<Unit>,
    kind: MetricKind,
    help: &'static str,
    value: fn(&ProcessMetrics) -> Option<MetricValue>,
) -> ProcessFamily {
    ProcessFamily { name, unit, kind, help, value }
}

/// Names and meanings are those of Prometheus's client libraries.
pub const ALL: &[ProcessFamily] = &[
    family(
        "start_time",
        Some(Unit::Seconds),
        MetricKind::Gauge,
        "When the process was started, since 1970.",
        |p| {
            let booted = f64::from(u32::try_from(p.booted?).ok()?);
            Some(MetricValue::Real(booted + p.seconds(p.stat?.start_ticks)))
        },
    ),
    family("cpu", Some(Unit::Seconds), MetricKind::Counter, "User and system time of all threads.", |p| {
        Some(MetricValue::Real(p.seconds(p.stat?.cpu_ticks)))
    }),
    family(
        "resident_memory",
        Some(Unit::Bytes),
        MetricKind::Gauge,
        "Resident memory, without BPF maps.",
        |p| Some(MetricValue::Whole(p.stat?.resident_pages.saturating_mul(p.page_bytes))),
    ),
    family("virtual_memory", Some(Unit::Bytes), MetricKind::Gauge, "Virtual memory.", |p| {
        Some(MetricValue::Whole(p.stat?.virtual_bytes))
    }),
    family("open_fds", None, MetricKind::Gauge, "Open file descriptors.", |p| {
        p.open_fds.map(MetricValue::Whole)
    }),
    family("max_fds", None, MetricKind::Gauge, "The limit of open file descriptors.", |p| {
        p.max_fds.map(MetricValue::Whole)
    }),
    family("threads", None, MetricKind::Gauge, "Threads.", |p| Some(MetricValue::Whole(p.stat?.threads))),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_kernel_is_read() {
        let text = "4711 (vi) pd (x) S 1 4711 4711 0 -1 4194560 5000 0 3 0 250 150 0 0 20 0 3 0 90000 123456789 2048 \
                    18446744073709551615 1 1 0 0 0 0 0 0 0 0 0 0 17 1 0 0 0 0 0 0 0 0 0 0 0 0 0\n";
        let process = ProcessMetrics {
            stat: text.parse().ok(),
            booted: booted("cpu  1 2 3\nbtime 1700000000\nprocesses 9\n"),
            open_fds: Some(20),
            max_fds: None,
            ticks_a_second: 100,
            page_bytes: 4096,
        };
        let values: Vec<_> = ALL
            .iter()
            .map(|family| {
                let metric = family.metric(&process);
                (metric.full_name(), metric.samples.first().map(|sample| sample.value))
            })
            .collect();
        let expect = [
            ("process_start_time_seconds", Some(MetricValue::Real(1_700_000_900.0))),
            ("process_cpu_seconds_total", Some(MetricValue::Real(4.0))),
            ("process_resident_memory_bytes", Some(MetricValue::Whole(8_388_608))),
            ("process_virtual_memory_bytes", Some(MetricValue::Whole(123_456_789))),
            ("process_open_fds", Some(MetricValue::Whole(20))),
            ("process_max_fds", None),
            ("process_threads", Some(MetricValue::Whole(3))),
        ];
        assert_eq!(values, expect.map(|(name, value)| (name.to_owned(), value)));
        for broken in
            ["", "1 (vipd", "1 (vipd) S 1 2", "1 (vipd) S 1 1 1 0 -1 0 0 0 0 0 x 1 0 0 20 0 3 0 9 1 2"]
        {
            assert!(broken.parse::<Stat>().is_err(), "{broken}");
        }
    }

    #[test]
    fn this_process_says_all() {
        let process = ProcessMetrics::of_self();
        for family in ALL {
            let metric = family.metric(&process);
            let value = metric.samples.first().map(|sample| sample.value);
            let positive = match value {
                Some(MetricValue::Whole(n)) => n > 0,
                // A test may have used less than a tick.
                Some(MetricValue::Real(x)) => x >= 0.0,
                None => false,
            };
            assert!(positive, "{} is {value:?}", metric.full_name());
        }
    }
}
