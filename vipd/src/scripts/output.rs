//! What a tool of the system says.

use std::{env, io, path::PathBuf, process::Stdio, time::Duration};

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
    command.args(arguments).current_dir("/").stdin(Stdio::null()).kill_on_drop(true);
    let output = timeout(limit, command.output()).await.map_err(|_| Unread::TimedOut(program))?;
    let output = output.map_err(|error| Unread::NotRun { program, error })?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let said = said.lines().next().unwrap_or_default().to_owned();
        return Err(Unread::Failed { program, said });
    }
    Ok(output.stdout)
}

/// Tools of the system are not in everybody's PATH.
fn find(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/sbin", "/sbin", "/usr/bin", "/bin"].map(PathBuf::from);
    env::split_paths(&path)
        .chain(system)
        .map(|dir| dir.join(program))
        .find(|path| path.is_absolute() && path.is_file())
}
