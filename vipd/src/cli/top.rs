//! `vipd top`: becomes `vipd-top`, a program of its own, so that this one, which locks its memory as the daemon, has no terminal view.

use std::{
    convert::Infallible,
    env, io,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, bail};

const PROGRAM: &str = "vipd-top";
/// Where packages put it, from the directory of vipd.
const OF_PACKAGES: &str = "../libexec/vipd";

/// Replaces this process.
///
/// # Errors
///
/// The program is in neither place, or cannot be run.
pub fn run(socket: &Path, interval: Duration) -> Result<Infallible> {
    let vipd = env::current_exe().context("find vipd-top: where is vipd itself?")?;
    run_beside(&vipd, socket, interval)
}

fn run_beside(vipd: &Path, socket: &Path, interval: Duration) -> Result<Infallible> {
    let dir = vipd.parent().unwrap_or(Path::new("/"));
    let places: [PathBuf; 2] = [dir.join(PROGRAM), dir.join(OF_PACKAGES).join(PROGRAM)];
    for place in &places {
        let mut command = Command::new(place);
        command.arg("--socket").arg(socket).arg("--interval").arg(interval.as_secs_f64().to_string());
        let error = command.exec();
        if error.kind() != io::ErrorKind::NotFound {
            return Err(error).with_context(|| format!("run {}", place.display()));
        }
    }
    let [beside, of_packages] = &places;
    bail!(
        "vipd top is a program of its own, and neither {} nor {} is there; copy {PROGRAM} of the same build beside vipd, or use vipd status",
        beside.display(),
        of_packages.display()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_program_is_named_with_its_places() {
        let vipd = Path::new("/nonexistent/sbin/vipd");
        let error = run_beside(vipd, Path::new("/run/vipd.sock"), Duration::from_secs(1)).unwrap_err();
        let text = error.to_string();
        for place in ["/nonexistent/sbin/vipd-top", "libexec/vipd/vipd-top", "vipd status"] {
            assert!(text.contains(place), "{text}");
        }
    }
}
