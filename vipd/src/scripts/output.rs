//! Output of a tool of the system.

use std::{
    io,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt},
    process::Command,
    time::timeout,
};

use crate::{printable, resources};

/// Most octets of output. The rules of a large firewall have some hundred thousand.
const OUTPUT: usize = 16 << 20;
/// Octets kept of the error output.
const COMPLAINT: usize = 4096;

/// Why there is no output.
#[derive(Debug, thiserror::Error)]
pub enum Unread {
    #[error("{0} is not installed")]
    NotInstalled(&'static str),
    #[error("{program}: {error}")]
    NotRun { program: &'static str, error: io::Error },
    #[error("{program} fails: {said}")]
    Failed { program: &'static str, said: String },
    #[error("{0} did not end in time")]
    TimedOut(&'static str),
    #[error("{0} printed more than {OUTPUT} octets")]
    TooMuch(&'static str),
}

/// Output of a program that must succeed within `limit`. Dropping the future kills the program.
pub async fn read(program: &'static str, arguments: &[&str], limit: Duration) -> Result<Vec<u8>, Unread> {
    let path = system_tool(program).ok_or(Unread::NotInstalled(program))?;
    let mut command = Command::new(path);
    command
        .args(arguments)
        .env("PATH", SYSTEM.join(":"))
        .env_remove("LD_PRELOAD")
        .env_remove("LD_LIBRARY_PATH");
    command.current_dir("/").stdin(Stdio::null()).kill_on_drop(true);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    // SAFETY: setrlimit is async-signal-safe, and the closure does nothing else.
    unsafe {
        command.pre_exec(resources::restore_descriptors);
    }
    let run = async {
        let mut child = command.spawn()?;
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let (written, said) = tokio::try_join!(take(stdout, OUTPUT), take(stderr, COMPLAINT))?;
        match (written, said) {
            (Some(written), Some(said)) => Ok(Some((child.wait().await?, written, said))),
            // It is killed with the child's handle.
            _ => Ok(None),
        }
    };
    let run = timeout(limit, run).await.map_err(|_| Unread::TimedOut(program))?;
    let run = run.map_err(|error: io::Error| Unread::NotRun { program, error })?;
    let (status, written, said) = run.ok_or(Unread::TooMuch(program))?;
    if !status.success() {
        let said = String::from_utf8_lossy(&said);
        let said = printable(said.lines().next().unwrap_or_default());
        return Err(Unread::Failed { program, said });
    }
    Ok(written)
}

/// Reads to the end and keeps the first `kept` octets; `None` if there are more than [`OUTPUT`].
async fn take(pipe: Option<impl AsyncRead + Unpin>, kept: usize) -> io::Result<Option<Vec<u8>>> {
    let Some(mut pipe) = pipe else { return Ok(Some(Vec::new())) };
    let (mut octets, mut count, mut buffer) = (Vec::new(), 0, vec![0; 8192]);
    loop {
        let length = pipe.read(&mut buffer).await?;
        count += length;
        if length == 0 {
            return Ok(Some(octets));
        }
        if count > OUTPUT {
            return Ok(None);
        }
        let room = kept - octets.len();
        octets.extend_from_slice(&buffer[..length.min(room)]);
    }
}

/// Finds a tool in the system's directories, never through PATH: root may run this with another user's PATH.
pub(super) fn system_tool(program: &str) -> Option<PathBuf> {
    SYSTEM.iter().map(|dir| Path::new(dir).join(program)).find(|path| path.is_file())
}

const SYSTEM: [&str; 6] = ["/usr/sbin", "/sbin", "/usr/bin", "/bin", "/usr/local/sbin", "/usr/local/bin"];

#[cfg(test)]
mod tests {
    use super::*;

    fn run(script: &str) -> Result<Vec<u8>, Unread> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(read("sh", &["-c", script], Duration::from_secs(60)))
    }

    #[test]
    fn a_tool_that_writes_without_end_is_given_up() {
        assert_eq!(run("echo text; echo more >&2").unwrap(), b"text\n");
        let error = run("yes").unwrap_err().to_string();
        assert!(error.contains("more than 16777216 octets"), "{error}");
        let error = run("printf 'no\\033[2J such thing\\nmore' >&2; exit 3").unwrap_err().to_string();
        assert_eq!(error, "sh fails: no\\u{1b}[2J such thing");
        // Complaints without end are no reason to fail.
        assert_eq!(
            run("yes | head -c 1000000 >&2; echo text").map_err(|e| e.to_string()).unwrap_or_default(),
            b"text\n"
        );
    }
}
