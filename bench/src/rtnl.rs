//! A busy rtnl lock: loops that make and remove links, in a namespace of their own. The lock is the kernel's, for all namespaces.

use std::{
    fmt::Write,
    fs,
    path::{Path, PathBuf},
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use vipd_tests::Node;

/// Links that one process makes and removes before the next one starts.
const LINKS: usize = 500;
/// Routes that are added and removed to see how long the lock takes to come.
const ROUTES: usize = 20;
const KINDS: [&str; 2] = ["dummy", "veth"];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lock {
    Idle,
    Busy,
}

impl Lock {
    pub const ALL: [Self; 2] = [Self::Idle, Self::Busy];

    pub fn name(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Busy => "rtnl lock busy",
        }
    }

    pub fn start(self, node: &Node) -> Result<Option<Busy>> {
        (self == Self::Busy).then(|| Busy::start(node)).transpose()
    }
}

/// The loops under way; dropping it ends them.
#[derive(Debug)]
pub struct Busy {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Result<Result<()>>>>,
}

impl Busy {
    /// One loop for each kind of link, in the namespace of the node.
    fn start(node: &Node) -> Result<Self> {
        let mut busy = Self { stop: Arc::default(), threads: Vec::new() };
        for kind in KINDS {
            let file = node.dir().join(format!("links-{kind}"));
            fs::write(&file, links(kind, LINKS))?;
            let stop = Arc::clone(&busy.stop);
            busy.threads.push(node.ns().spawn("rtnl", move || make_and_remove(&file, &stop))?);
        }
        // So that both are at it.
        thread::sleep(Duration::from_millis(50));
        for thread in &busy.threads {
            ensure!(!thread.is_finished(), "a loop of links has ended: can the node make dummy and veth?");
        }
        Ok(busy)
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn make_and_remove(file: &PathBuf, stop: &AtomicBool) -> Result<()> {
    while !stop.load(Ordering::Relaxed) {
        // In the namespace that this thread is in.
        let mut command = std::process::Command::new("ip");
        let mut child = command.arg("-batch").arg(file).stdout(Stdio::null()).spawn().context("ip")?;
        let status = loop {
            if let Some(status) = child.try_wait()? {
                break status;
            }
            if stop.load(Ordering::Relaxed) {
                child.kill()?;
                child.wait()?;
                // It may have been between the two.
                return Ok(());
            }
            thread::sleep(Duration::from_millis(5));
        };
        ensure!(status.success(), "ip -batch {}: {status}", file.display());
    }
    Ok(())
}

/// What `ip -batch` does. A link that an end in the middle has left goes first.
fn links(kind: &str, count: usize) -> String {
    let mut text = String::new();
    for i in 0..count {
        let peer = if kind == "veth" { format!(" peer name {kind}-peer") } else { String::new() };
        let _ = writeln!(text, "link add {kind}-{i} type {kind}{peer}\nlink delete {kind}-{i}");
    }
    text
}

/// How long a local route takes to be added, or removed, by a process that has nothing else to do; in ms.
pub fn route_takes(node: &Node) -> Result<f64> {
    let batch: String = (0..ROUTES).map(|_| "route add local 192.0.2.1 dev lo table local\nroute delete local 192.0.2.1 dev lo table local\n").collect();
    let file = node.dir().join("routes");
    fs::write(&file, batch)?;
    let empty = run_batch(node, Path::new("/dev/null"))?;
    let begun = run_batch(node, &file)?;
    Ok(begun.saturating_sub(empty).as_secs_f64() * 1e3 / (2 * ROUTES) as f64)
}

fn run_batch(node: &Node, file: &Path) -> Result<Duration> {
    let begin = Instant::now();
    let status = node.command("ip").arg("-batch").arg(file).status().context("ip")?;
    ensure!(status.success(), "ip -batch {}: {status}", file.display());
    Ok(begin.elapsed())
}

#[cfg(test)]
mod tests {
    use super::links;

    #[test]
    fn each_link_is_made_and_removed() {
        assert_eq!(links("dummy", 1), "link add dummy-0 type dummy\nlink delete dummy-0\n");
        let veth = links("veth", 2);
        assert_eq!(veth.lines().count(), 4);
        assert!(veth.starts_with("link add veth-0 type veth peer name veth-peer\n"), "{veth}");
    }
}
