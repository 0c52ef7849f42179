//! A busy rtnl lock: loops that make and remove links, in a namespace of their own. The lock is the kernel's, for all namespaces.

use std::{
    fmt::Write,
    fs,
    path::Path,
    process::{Command, Stdio},
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
const ROUTES: usize = 250;
/// A loop each. Every kernel of the lab makes veths.
const LOOPS: [&str; 2] = ["one", "two"];

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
    /// In the namespace of the node.
    fn start(node: &Node) -> Result<Self> {
        let mut busy = Self { stop: Arc::default(), threads: Vec::new() };
        for name in LOOPS {
            let file = node.dir().join(format!("links-{name}"));
            fs::write(&file, links(name, LINKS))?;
            let stop = Arc::clone(&busy.stop);
            busy.threads.push(node.ns().spawn("rtnl", move || make_and_remove(name, &file, &stop))?);
        }
        // So that both are at it.
        thread::sleep(Duration::from_millis(50));
        for thread in &busy.threads {
            ensure!(!thread.is_finished(), "a loop of links has ended: does this kernel make veths?");
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

fn make_and_remove(name: &str, file: &Path, stop: &AtomicBool) -> Result<()> {
    while !stop.load(Ordering::Relaxed) {
        // In the namespace that this thread is in.
        let mut child =
            Command::new("ip").arg("-batch").arg(file).stdout(Stdio::null()).spawn().context("ip")?;
        let status = loop {
            if let Some(status) = child.try_wait()? {
                break status;
            }
            if stop.load(Ordering::Relaxed) {
                child.kill()?;
                child.wait()?;
                return remove(name);
            }
            thread::sleep(Duration::from_millis(5));
        };
        ensure!(status.success(), "ip -batch {}: {status}", file.display());
    }
    Ok(())
}

/// Removes what a loop has left that was ended between the two: a link goes with its peer.
fn remove(name: &str) -> Result<()> {
    let mut command = Command::new("ip");
    // Mostly there is none.
    command.args(["link", "delete", &format!("{name}-peer")]).stderr(Stdio::null()).status().context("ip")?;
    Ok(())
}

/// What `ip -batch` does.
fn links(name: &str, count: usize) -> String {
    let mut text = String::new();
    for i in 0..count {
        let _ = writeln!(text, "link add {name}-{i} type veth peer name {name}-peer\nlink delete {name}-{i}");
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
        let text = links("one", 2);
        assert_eq!(text.lines().count(), 4);
        let first = "link add one-0 type veth peer name one-peer\nlink delete one-0\n";
        assert!(text.starts_with(first), "{text}");
    }
}
