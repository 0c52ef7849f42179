//! Figures, and what is written of them: JSON with every value, a Markdown table and a plot of medians and spreads.

use std::{collections::BTreeSet, fmt::Write, fs, path::Path};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

/// The names of two versions that are compared, for the column of their ratio.
pub const BEFORE: &str = "before";
pub const AFTER: &str = "after";

/// Everything that was measured, each part of it in one run of the bench.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Report {
    /// What the machine is.
    pub machine: String,
    pub notes: Vec<Note>,
    pub figures: Vec<Figure>,
}

/// What the figures of a part do not say.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Note {
    pub part: String,
    pub text: String,
}

/// One quantity of one daemon in one situation, over several runs.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Figure {
    pub part: String,
    /// The situation, such as `kill -9, adverts every 1 s`.
    pub what: String,
    pub daemon: String,
    pub metric: String,
    pub unit: String,
    pub values: Vec<f64>,
}

impl Figure {
    fn sorted(&self) -> Vec<f64> {
        let mut values = self.values.clone();
        values.sort_by(f64::total_cmp);
        values
    }

    pub fn median(&self) -> f64 {
        let values = self.sorted();
        let middle = values.len() / 2;
        match values.len() {
            0 => f64::NAN,
            n if n % 2 == 1 => values[middle],
            _ => f64::midpoint(values[middle - 1], values[middle]),
        }
    }

    fn spread(&self) -> (f64, f64) {
        let values = self.sorted();
        (values.first().copied().unwrap_or(f64::NAN), values.last().copied().unwrap_or(f64::NAN))
    }

    fn cell(&self) -> String {
        let (least, greatest) = self.spread();
        format!("{} ({}-{})", short(self.median()), short(least), short(greatest))
    }

    /// Of the medians; `None` where the other one is nothing.
    fn ratio_to(&self, other: &Self) -> Option<f64> {
        (other.median() > 0.0).then(|| self.median() / other.median())
    }
}

impl Report {
    pub fn new() -> Self {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        let cpu = read("/proc/cpuinfo");
        let model =
            cpu.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": ")).map(|m| m.1);
        let kernel = read("/proc/sys/kernel/osrelease");
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let machine = format!("{cores} cores, {}, Linux {}", model.unwrap_or("unknown CPU"), kernel.trim());
        Self { machine, ..Self::default() }
    }

    /// Keeps one value.
    pub fn add(&mut self, part: &str, what: &str, daemon: &str, metric: &str, unit: &str, value: f64) {
        eprintln!("{part}: {what}: {daemon}: {metric}: {} {unit}", short(value));
        let same =
            |f: &&mut Figure| f.part == part && f.what == what && f.daemon == daemon && f.metric == metric;
        match self.figures.iter_mut().find(same) {
            Some(figure) => figure.values.push(value),
            None => self.figures.push(Figure {
                part: part.into(),
                what: what.into(),
                daemon: daemon.into(),
                metric: metric.into(),
                unit: unit.into(),
                values: vec![value],
            }),
        }
    }

    pub fn note(&mut self, part: &str, text: String) {
        eprintln!("{part}: {text}");
        self.notes.push(Note { part: part.into(), text });
    }

    /// Goes on from what was measured earlier into `dir`, if it was on this machine: what is added comes to those values.
    pub fn go_on(&mut self, dir: &Path) -> Result<()> {
        let earlier = Self::read(dir)?;
        if earlier.machine == self.machine {
            *self = earlier;
        }
        Ok(())
    }

    /// What is in `dir`; nothing, if nothing is.
    fn read(dir: &Path) -> Result<Self> {
        let json = dir.join("results.json");
        match fs::read(&json) {
            Ok(text) => serde_json::from_slice(&text)
                .with_context(|| format!("{} is not of this bench; remove it", json.display())),
            Err(_) => Ok(Self::default()),
        }
    }

    /// Writes `results.json`, `results.md` and a plot of each part into `dir`.
    ///
    /// Parts that were not measured this time stay as they are there, if they are of the same machine.
    pub fn write(&self, dir: &Path) -> Result<()> {
        fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
        let json = dir.join("results.json");
        let earlier = Self::read(dir)?;
        if !earlier.machine.is_empty() && earlier.machine != self.machine {
            eprintln!("{} was of another machine ({}) and goes", json.display(), earlier.machine);
        }
        let all = self.beside(earlier);
        fs::write(json, serde_json::to_string_pretty(&all)? + "\n")?;
        fs::write(dir.join("results.md"), all.markdown())?;
        for part in self.parts() {
            let name: String = part.chars().map(|c| if c.is_alphanumeric() { c } else { '-' }).collect();
            fs::write(dir.join(format!("{}.svg", name.to_lowercase())), self.plot(part))?;
        }
        Ok(())
    }

    /// What was measured now, and of what was measured earlier on this machine the other parts.
    fn beside(&self, earlier: Self) -> Self {
        let measured = self.parts();
        let kept = |part: &str| earlier.machine == self.machine && !measured.contains(&part);
        let figures = earlier.figures.into_iter().filter(|f| kept(&f.part));
        let notes = earlier.notes.into_iter().filter(|note| kept(&note.part));
        let mut all = Self {
            machine: self.machine.clone(),
            notes: notes.chain(self.notes.iter().cloned()).collect(),
            figures: figures.chain(self.figures.iter().cloned()).collect(),
        };
        // Whatever was measured last: a part has its place.
        all.figures.sort_by(|a, b| a.part.cmp(&b.part));
        all.notes.sort_by(|a, b| a.part.cmp(&b.part));
        all
    }

    /// In their order in the figures.
    fn parts(&self) -> Vec<&str> {
        distinct(self.figures.iter().map(|f| f.part.as_str()))
    }

    pub fn markdown(&self) -> String {
        let mut text = format!("Measured on {}. Medians, in brackets least and greatest.\n", self.machine);
        for part in self.parts() {
            let figures: Vec<&Figure> = self.figures.iter().filter(|f| f.part == part).collect();
            let daemons = distinct(figures.iter().map(|f| f.daemon.as_str()));
            // Two versions are compared.
            let compares = [BEFORE, AFTER].iter().all(|version| daemons.contains(version));
            let _ = write!(text, "\n## {part}\n\n| | |");
            daemons.iter().for_each(|daemon| {
                let _ = write!(text, " {daemon} |");
            });
            let (ratio, line) = if compares { (" after / before |", "---|") } else { ("", "") };
            let _ = writeln!(text, "{ratio} runs |\n|---|---|{line}{}---|", "---|".repeat(daemons.len()));
            for (what, metric) in distinct(figures.iter().map(|f| (f.what.as_str(), f.metric.as_str()))) {
                let of = |daemon: &str| {
                    figures
                        .iter()
                        .copied()
                        .find(|f| f.what == what && f.metric == metric && f.daemon == daemon)
                };
                let unit = figures.iter().find(|f| f.metric == metric).map_or("", |f| f.unit.as_str());
                let runs =
                    daemons.iter().filter_map(|daemon| of(daemon)).map(|f| f.values.len()).max().unwrap_or(0);
                let _ = write!(text, "| {what} | {metric}, {unit} |");
                for daemon in &daemons {
                    let _ = write!(text, " {} |", of(daemon).map_or(String::new(), Figure::cell));
                }
                if compares {
                    let ratio = of(BEFORE).zip(of(AFTER)).and_then(|(before, after)| after.ratio_to(before));
                    let _ = write!(text, " {} |", ratio.map_or(String::new(), short));
                }
                let _ = writeln!(text, " {runs} |");
            }
        }
        if !self.notes.is_empty() {
            text.push_str("\n## Notes\n\n");
            self.notes.iter().for_each(|note| {
                let _ = writeln!(text, "- {}: {}", note.part, note.text);
            });
        }
        text
    }

    /// Bars on a logarithmic scale, one row for each situation and metric, one bar for each daemon.
    fn plot(&self, part: &str) -> String {
        const LEFT: f64 = 360.0;
        const WIDTH: f64 = 460.0;
        const BAR: f64 = 13.0;
        let figures: Vec<&Figure> = self.figures.iter().filter(|f| f.part == part).collect();
        let daemons = distinct(figures.iter().map(|f| f.daemon.as_str()));
        let positive = || figures.iter().flat_map(|f| &f.values).copied().filter(|v| *v > 0.0);
        let low = positive().fold(f64::INFINITY, f64::min).log10().floor();
        let high = positive().fold(0.0, f64::max).log10().ceil().max(low + 1.0);
        let x = |value: f64| LEFT + WIDTH * ((value.log10() - low) / (high - low)).clamp(0.0, 1.0);
        let mut body = String::new();
        let mut y = 48.0;
        for (what, metric) in distinct(figures.iter().map(|f| (f.what.as_str(), f.metric.as_str()))) {
            let unit = figures.iter().find(|f| f.metric == metric).map_or("", |f| f.unit.as_str());
            let label = format!("{what}: {metric}, {unit}");
            let _ = writeln!(body, r#"<text x="8" y="{}">{}</text>"#, y + BAR - 3.0, escape(&label));
            for figure in figures.iter().filter(|f| f.what == what && f.metric == metric) {
                let colour = ["#1f77b4", "#d62728", "#7f7f7f", "#2ca02c"]
                    [daemons.iter().position(|d| *d == figure.daemon).unwrap_or(0) % 4];
                let (least, greatest) = figure.spread();
                let median = figure.median();
                let _ = writeln!(
                    body,
                    r#"<rect x="{LEFT}" y="{y}" width="{:.1}" height="{}" fill="{colour}"/><line x1="{:.1}" x2="{:.1}" y1="{mid}" y2="{mid}" stroke="black"/><text x="{:.1}" y="{}">{}</text>"#,
                    (x(median) - LEFT).max(1.0),
                    BAR - 2.0,
                    x(least),
                    x(greatest),
                    x(greatest) + 5.0,
                    y + BAR - 3.0,
                    short(median),
                    mid = y + BAR / 2.0 - 1.0,
                );
                y += BAR;
            }
            y += 5.0;
        }
        let mut head = String::new();
        for (i, daemon) in daemons.iter().enumerate() {
            let colour = ["#1f77b4", "#d62728", "#7f7f7f", "#2ca02c"][i % 4];
            let at = LEFT + 130.0 * i as f64;
            let _ = writeln!(
                head,
                r#"<rect x="{at}" y="26" width="10" height="10" fill="{colour}"/><text x="{}" y="35">{}</text>"#,
                at + 14.0,
                escape(daemon)
            );
        }
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{}\" height=\"{}\" font-family=\"sans-serif\" \
             font-size=\"11\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n<text x=\"8\" y=\"16\" \
             font-size=\"13\">{}: medians and spread, logarithmic</text>\n{head}{body}</svg>\n",
            LEFT + WIDTH + 90.0,
            y + 10.0,
            escape(part)
        )
    }
}

/// Each once, in the order of their first appearance.
fn distinct<T: Copy + Ord>(items: impl Iterator<Item = T>) -> Vec<T> {
    let mut seen = BTreeSet::new();
    items.filter(|item| seen.insert(*item)).collect()
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

/// Three digits that count.
fn short(value: f64) -> String {
    match value.abs() {
        v if !v.is_finite() => "-".into(),
        v if v >= 100.0 || v == 0.0 => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        v if v >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_versions_are_compared() {
        let mut report = Report { machine: "m".into(), ..Report::default() };
        report.add("Takeovers", "kill -9", BEFORE, "late", "ms", 4.0);
        report.add("Takeovers", "kill -9", AFTER, "late", "ms", 1.0);
        report.add("Takeovers", "kill -9", BEFORE, "lost", "echoes", 0.0);
        report.add("Takeovers", "kill -9", AFTER, "lost", "echoes", 2.0);
        let text = report.markdown();
        assert!(
            text.contains("| | | before | after | after / before | runs |\n|---|---|---|---|---|---|"),
            "{text}"
        );
        assert!(text.contains("| 4.00 (4.00-4.00) | 1.00 (1.00-1.00) | 0.250 | 1 |"), "{text}");
        assert!(
            text.contains("| 0 (0-0) | 2.00 (2.00-2.00) |  | 1 |"),
            "nothing is divided by nothing: {text}"
        );
    }

    #[test]
    fn a_table_has_medians_spreads_and_a_column_for_each_daemon() {
        let mut report = Report { machine: "m".into(), ..Report::default() };
        for (daemon, values) in [("vipd", [1.0, 3.0, 2.0]), ("keepalived", [40.0, 10.0, 20.0])] {
            for value in values {
                report.add("Outage", "kill -9", daemon, "gap", "ms", value);
            }
        }
        let text = report.markdown();
        assert!(text.contains("| | | vipd | keepalived | runs |"), "{text}");
        assert!(text.contains("| kill -9 | gap, ms | 2.00 (1.00-3.00) | 20.0 (10.0-40.0) | 3 |"), "{text}");
        assert!(report.plot("Outage").contains("keepalived"));
    }

    #[test]
    fn a_later_run_adds_to_the_values_of_an_earlier_one_on_the_same_machine() {
        let dir = std::env::temp_dir().join(format!("vipd-bench-report-{}", std::process::id()));
        let measured = |machine: &str, value| {
            let mut report = Report { machine: machine.into(), ..Report::default() };
            report.go_on(&dir).unwrap();
            report.add("Outage", "kill -9", "vipd", "gap", "ms", value);
            report.write(&dir).unwrap();
            report.figures[0].values.clone()
        };
        let values = [measured("m", 1.0), measured("m", 2.0), measured("another", 3.0)];
        fs::remove_dir_all(&dir).unwrap();
        assert_eq!(values, [vec![1.0], vec![1.0, 2.0], vec![3.0]]);
    }

    #[test]
    fn parts_that_were_not_measured_again_are_kept() {
        let measured = |parts: &[(&str, f64)], machine: &str| {
            let mut report = Report { machine: machine.into(), ..Report::default() };
            for (part, value) in parts {
                report.add(part, "what", "vipd", "gap", "ms", *value);
                report.note(part, value.to_string());
            }
            report
        };
        let now = measured(&[("Outage", 1.0)], "m");
        let all = now.beside(measured(&[("Outage", 2.0), ("CPU", 3.0)], "m"));
        let values = |report: &Report| report.figures.iter().map(|f| f.values[0]).collect::<Vec<_>>();
        assert_eq!(values(&all), [3.0, 1.0]);
        assert_eq!(all.notes.iter().map(|note| &*note.text).collect::<Vec<_>>(), ["3", "1"]);
        let elsewhere = now.beside(measured(&[("CPU", 3.0)], "another machine"));
        assert_eq!(values(&elsewhere), [1.0]);
    }
}
