//! Running programs, checked. What they print goes to stderr, so that stdout is ours.

use std::{
    env,
    io::{Error, ErrorKind, stderr},
    os::{fd::AsFd, unix::process::CommandExt},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};
use nix::{
    sys::{prctl::set_pdeathsig, signal::Signal},
    unistd::{getpid, getppid},
};

/// Runs a command, showing it first, and fails if it does.
pub fn run(command: &mut Command) -> Result<()> {
    eprintln!("$ {}", display(command));
    let status = command
        .stdout(Stdio::from(stderr().as_fd().try_clone_to_owned()?))
        .status()
        .with_context(|| format!("cannot run {}", command.get_program().display()))?;
    ensure!(status.success(), "`{}` failed: {status}", display(command));
    Ok(())
}

/// Runs a command silently and returns what it prints; `None` if it cannot be run or fails.
pub fn output(command: &mut Command) -> Option<String> {
    let output = command.stderr(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Makes the kernel kill a command when the thread that starts it ends, however this process ends.
pub fn ends_with_us(command: &mut Command) {
    let parent = getpid();
    // SAFETY: between fork and exec the closure makes two system calls, which are async-signal-safe, and allocates nothing.
    unsafe {
        command.pre_exec(move || {
            set_pdeathsig(Signal::SIGKILL)?;
            // It may have ended before.
            if getppid() == parent { Ok(()) } else { Err(Error::from(ErrorKind::BrokenPipe)) }
        });
    }
}

/// The command as one would type it.
pub fn display(command: &Command) -> String {
    let variables = command.get_envs().filter_map(|(k, v)| v.map(|v| (k, v)));
    let shown = variables.filter(|(k, _)| *k != "PATH").map(|(k, v)| {
        // The separator of encoded flags is not printable.
        format!("{}={}", k.display(), quote(&v.to_string_lossy().replace('\x1f', " ")))
    });
    let words = [command.get_program()].into_iter().chain(command.get_args());
    shown.chain(words.map(|w| quote(&w.to_string_lossy()))).collect::<Vec<_>>().join(" ")
}

/// The root of the workspace this xtask belongs to.
pub fn workspace() -> PathBuf {
    let xtask = env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    Path::new(&xtask).parent().map_or_else(|| ".".into(), Path::to_owned)
}

/// The cargo that runs us, at the root of the workspace.
pub fn cargo() -> Command {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(workspace());
    // Set by `cargo run` for this process; children would take them for their own.
    for (name, _) in env::vars_os() {
        if name.to_string_lossy().starts_with("CARGO_PKG_") || name == "CARGO_MANIFEST_DIR" {
            cargo.env_remove(name);
        }
    }
    cargo
}

pub fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=./:,+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) { word.to_owned() } else { format!("'{word}'") }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test")]
mod tests {
    use std::{os::unix::process::ExitStatusExt, thread};

    use super::*;

    #[test]
    fn a_child_ends_with_who_started_it() {
        let started = thread::spawn(|| {
            let mut command = Command::new("sleep");
            ends_with_us(command.arg("600"));
            command.spawn().unwrap()
        });
        let status = started.join().unwrap().wait().unwrap();
        assert_eq!(status.signal(), Some(9));
    }
}
