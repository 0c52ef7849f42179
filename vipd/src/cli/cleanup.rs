//! `vipd cleanup`: what was removed, for people or for programs.

use std::io::{self, Write};

use anyhow::{Context, Result};
use serde::Serialize;
use tokio::runtime;

use super::{Exit, print_json};
pub use crate::cleanup::StateDirs;
use crate::{
    cleanup::{CleanupOutcome, clean},
    daemon::{journal, locks::Running},
    host::Leftover,
};

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct CleanupReport<'o> {
    dry_run: bool,
    removed: &'o [Leftover],
    /// With `dry_run` what would be removed.
    left: &'o [Leftover],
    problems: &'o [String],
    /// Settings as vipd sets them, of which nothing is saved.
    unknown: &'o [String],
}

/// Removes what a dead vipd has left, and prints it; the exit code says whether anything is left.
pub fn cleanup(places: &StateDirs, dry_run: bool, json: bool) -> Result<Exit> {
    let runtime = runtime::Builder::new_current_thread().enable_all().build().context("start the runtime")?;
    let outcome = match runtime.block_on(clean(places, dry_run)) {
        Ok(outcome) => outcome,
        Err(error) => match error.downcast::<Running>() {
            Ok(running) => {
                let pid = running.pid.as_deref().map(|pid| format!(", pid {pid}")).unwrap_or_default();
                journal::complain(&format!(
                    "vipd: a vipd runs here{pid}, and nothing is removed: {running}. `vipd stop` ends it and removes what it has made"
                ));
                return Ok(Exit::Running);
            }
            Err(error) => return Err(error),
        },
    };
    let CleanupOutcome { removed, left, problems, unknown } = &outcome;
    let printed = if json {
        print_json(&CleanupReport { dry_run, removed, left, problems, unknown })
    } else {
        people(&mut io::stdout().lock(), &outcome, dry_run)
    };
    // The work is done, whether anybody reads of it or not.
    if let Err(error) = printed
        && error.kind() != io::ErrorKind::BrokenPipe
    {
        return Err(error.into());
    }
    Ok(if problems.is_empty() && (dry_run || left.is_empty()) { Exit::Success } else { Exit::Failure })
}

fn people(
    out: &mut impl Write,
    CleanupOutcome { removed, left, problems, unknown }: &CleanupOutcome,
    dry_run: bool,
) -> io::Result<()> {
    for Leftover { what, .. } in removed {
        writeln!(out, "removed      {what}")?;
    }
    for Leftover { what, fix, .. } in left {
        if dry_run {
            writeln!(out, "would remove {what}")?;
        } else {
            writeln!(out, "not removed  {what}\n             -> {fix}")?;
        }
    }
    for problem in problems {
        writeln!(out, "             {problem}")?;
    }
    for setting in unknown {
        writeln!(out, "not known    whether {setting} is a vipd's: nothing is saved of what it was before")?;
    }
    if left.is_empty() && !unknown.is_empty() {
        writeln!(out, "nothing else of vipd is left in this network namespace")?;
    } else if removed.is_empty() && left.is_empty() {
        writeln!(out, "nothing to do: no vipd has left anything in this network namespace")?;
    } else if left.is_empty() {
        writeln!(out, "nothing of vipd is left in this network namespace")?;
    }
    Ok(())
}
