//! The clean-up of a lab, in a process of its own, so that it also happens after a panic, Ctrl-C or SIGKILL.
//!
//! The janitor waits on a pipe. When the lab closes it, or the lab's process dies, it ends the processes inside
//! the lab's namespaces, removes the pins, the namespaces and the directory. It touches nothing whose name does
//! not start with the lab's unique prefix.
//!
//! A janitor may be killed too, with all else of a container say. [`sweep`] removes what is left then.

use std::{
    collections::BTreeSet,
    env, fs,
    io::Write,
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};

use crate::{BPFFS, prefix::is_orphan};

/// Owns the clean-up of one lab; dropping it cleans up and waits for the end.
#[derive(Debug)]
pub struct Janitor {
    child: Child,
}

impl Janitor {
    /// Starts a janitor for everything named `prefix` and for the directory `dir`.
    pub fn start(prefix: &str, dir: &Path) -> Result<Self> {
        let child = script("read order && [ \"$order\" = keep ] && exit 0", prefix, dir)?
            .stdin(Stdio::piped())
            // Ctrl-C goes to the terminal's process group; the janitor must outlive it.
            .process_group(0)
            .spawn()
            .context("cannot start the lab's janitor")?;
        Ok(Self { child })
    }

    /// Lets the lab stand after this process ended; [`clean_up`] removes it later.
    pub fn keep(mut self) -> Result<()> {
        let mut stdin = self.child.stdin.take().context("the janitor has no stdin")?;
        stdin.write_all(b"keep\n").context("the janitor is gone")
    }
}

impl Drop for Janitor {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let deadline = Instant::now() + Duration::from_secs(20);
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Removes a lab that was kept.
pub fn clean_up(prefix: &str, dir: &Path) -> Result<()> {
    let status = script(":", prefix, dir)?.stdin(Stdio::null()).status().context("cannot run sh")?;
    ensure!(status.success(), "cleaning up lab {prefix} failed: {status}");
    Ok(())
}

/// Removes what labs of processes that have ended left behind, but for those with a prefix in `kept`; returns the
/// prefixes of what is gone.
pub fn sweep(kept: &[String]) -> Result<Vec<String>> {
    let temp = env::temp_dir();
    let mut left = BTreeSet::new();
    for dir in [Path::new(NAMESPACES), Path::new(BPFFS), &temp] {
        let names = fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.file_name());
        // A namespace or a directory of pins is `<prefix>-<node>`.
        let prefix = |name: &str| name.split('-').next().unwrap_or(name).to_owned();
        left.extend(names.filter_map(|name| name.to_str().map(prefix)));
    }
    left.retain(|prefix| is_orphan(prefix) && !kept.contains(prefix));
    left.iter().try_for_each(|prefix| clean_up(prefix, &temp.join(prefix)))?;
    Ok(left.into_iter().collect())
}

fn script(before: &str, prefix: &str, dir: &Path) -> Result<Command> {
    ensure!(
        prefix.len() >= 6 && prefix.bytes().all(|b| b.is_ascii_alphanumeric()),
        "odd lab prefix {prefix:?}"
    );
    ensure!(dir.ends_with(prefix), "lab directory {} is not named {prefix}", dir.display());
    let mut command = Command::new("sh");
    command
        .args(["-c", &format!("trap '' INT TERM HUP\n{before}\n{CLEAN_UP}"), "vipd-lab-janitor", prefix])
        .arg(dir)
        .arg(BPFFS)
        .stdout(Stdio::null());
    Ok(command)
}

const NAMESPACES: &str = "/run/netns";

/// `$1` prefix, `$2` directory, `$3` bpffs. Only processes whose network namespace is the lab's are ended.
const CLEAN_UP: &str = r#"
PATH="$PATH:/usr/sbin:/sbin"
end() { for pid in $(ip netns pids "$1" 2>/dev/null); do kill -9 "$pid" 2>/dev/null; done; }
for path in /run/netns/"$1"-*; do
    [ -e "$path" ] && end "${path##*/}"
done
rm -rf "$3/$1"-*
for path in /run/netns/"$1"-*; do
    [ -e "$path" ] || continue
    end "${path##*/}"
    ip netns del "${path##*/}"
done
rm -rf "$2"
"#;
