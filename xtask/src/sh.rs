//! Running programs, checked. What they print goes to stderr, so that stdout is ours.

use std::{
    env,
    io::stderr,
    os::fd::AsFd,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};

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
