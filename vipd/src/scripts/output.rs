//! What a tool of the system says.

use std::{
    io,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use tokio::{process::Command, time::timeout};

/// Why nothing is known.
#[derive(Debug, thiserror::Error)]
pub enum Unread {
    #[error("{0} is not installed")]
    NotInstalled(&'static str),
    #[error("{program}: {error}")]
    NotRun { program: &'static str, error: io::Error },
    #[error("{program} fails: {said}")]
    Failed { program: &'static str, said: String },
    #[error("{0} does not end")]
    TimedOut(&'static str),
}

/// What a program writes, which has to succeed within `limit`. It is killed with whoever waits for it.
pub async fn read(program: &'static str, arguments: &[&str], limit: Duration) -> Result<Vec<u8>, Unread> {
    let path = find(program).ok_or(Unread::NotInstalled(program))?;
    let mut command = Command::new(path);
    command
        .args(arguments)
        .env("PATH", SYSTEM.join(":"))
        .env_remove("LD_PRELOAD")
        .env_remove("LD_LIBRARY_PATH");
    command.current_dir("/").stdin(Stdio::null()).kill_on_drop(true);
    let output = timeout(limit, command.output()).await.map_err(|_| Unread::TimedOut(program))?;
    let output = output.map_err(|error| Unread::NotRun { program, error })?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let said = said.lines().next().unwrap_or_default().to_owned();
        return Err(Unread::Failed { program, said });
    }
    Ok(output.stdout)
}

/// A tool in the directories of the system, never in one that the environment names: root may run this with somebody else's PATH.
fn find(program: &str) -> Option<PathBuf> {
    SYSTEM.iter().map(|dir| Path::new(dir).join(program)).find(|path| path.is_file())
}

const SYSTEM: [&str; 6] = ["/usr/sbin", "/sbin", "/usr/bin", "/bin", "/usr/local/sbin", "/usr/local/bin"];
