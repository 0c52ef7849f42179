//! `vipd doctor`: prints the findings, for people or for programs.

use std::{
    io::{self, Write},
    path::PathBuf,
};

use anyhow::{Context, Result};
use serde::Serialize;
use tokio::runtime;

use super::{
    Exit,
    chosen::{Chosen, Why},
};
use crate::doctor::{FactSources, Facts, Finding, Level, judge};

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct DoctorReport<'f> {
    /// The configuration that was read.
    configuration: String,
    /// Why it is this one: `given`, `running`, `unit` or `keepalived`.
    chosen: &'static str,
    problems: usize,
    warnings: usize,
    findings: &'f [Finding],
}

/// Checks this host and prints the findings; the exit code says whether there is a problem.
pub fn doctor(
    chosen: Chosen,
    bpffs_dir: PathBuf,
    runtime_dir: PathBuf,
    json: bool,
    strict: bool,
) -> Result<Exit> {
    let places = &FactSources { source: chosen.source.clone(), bpffs_dir, runtime_dir };
    let runtime = runtime::Builder::new_current_thread().enable_all().build().context("start the runtime")?;
    let findings = judge(&runtime.block_on(Facts::gather(places)));
    let count = |level| findings.iter().filter(|finding| finding.level == level).count();
    let (problems, warnings) = (count(Level::Problem), count(Level::Warning));
    let printed = if json {
        let configuration = chosen.source.path.display().to_string();
        let report = DoctorReport {
            configuration,
            chosen: chosen.why.name(),
            problems,
            warnings,
            findings: &findings,
        };
        let mut text = serde_json::to_vec_pretty(&report)?;
        text.push(b'\n');
        io::stdout().write_all(&text)
    } else {
        people(&mut io::stdout().lock(), &chosen, &findings)
    };
    // A reader that has seen enough, as `vipd doctor | head`.
    if let Err(error) = printed
        && error.kind() != io::ErrorKind::BrokenPipe
    {
        return Err(error.into());
    }
    Ok(if problems > 0 || strict && warnings > 0 { Exit::Failure } else { Exit::Success })
}

/// The findings by subject, in the order of the first finding of each.
fn people(out: &mut impl Write, chosen: &Chosen, findings: &[Finding]) -> io::Result<()> {
    // A file that was given needs no reason.
    if chosen.why != Why::Given {
        writeln!(out, "{chosen}")?;
    }
    let mut abouts: Vec<&str> = Vec::new();
    for finding in findings {
        if !abouts.contains(&finding.about.as_str()) {
            abouts.push(&finding.about);
        }
    }
    for about in abouts {
        writeln!(out, "{about}")?;
        for Finding { level, what, fix, .. } in findings.iter().filter(|finding| finding.about == about) {
            writeln!(out, "  {level:<8} {what}")?;
            if let Some(fix) = fix {
                writeln!(out, "           -> {fix}")?;
            }
        }
    }
    let count = |level| findings.iter().filter(|finding| finding.level == level).count();
    let counted = |level| match count(level) {
        1 => format!("1 {level}"),
        count => format!("{count} {level}s"),
    };
    writeln!(
        out,
        "\n{}, {}, {} skipped, {} ok",
        counted(Level::Problem),
        counted(Level::Warning),
        count(Level::Skipped),
        count(Level::Ok)
    )
}
