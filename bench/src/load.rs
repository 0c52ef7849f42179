//! What keeps a machine busy: threads that spin, at ordinary and at real-time priority, and threads that dirty memory.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use nix::{
    sched::{CpuSet, sched_setaffinity},
    unistd::Pid,
};

/// SCHED_FIFO priority of the real-time hogs: that of keepalived with `vrrp_rt_priority 50`, and one above vipd's.
pub const RT_PRIORITY: u8 = 50;
/// A real-time hog spins for the one out of the other. All hogs do at once, so that no core is left for others to go to.
const RT_SPIN: Duration = Duration::from_millis(30);
const RT_PERIOD: Duration = Duration::from_millis(50);
const SPINNERS_PER_CORE: usize = 4;
/// Bytes that the memory load leaves to everyone else. Less available than half of it, and some is given back.
const LEFT: usize = 2 << 30;
const CHUNK: usize = 64 << 20;
const PAGE: usize = 4096;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Load {
    Idle,
    /// Four spinning threads of ordinary priority per core.
    Busy,
    /// A SCHED_FIFO thread on each core that spins for 30 ms out of 50.
    RealTime,
    /// Threads that have most of the available memory and keep dirtying it.
    Memory,
}

/// A load under way; dropping it ends it.
#[derive(Debug)]
pub struct Hogs {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
    /// What `oom_score_adj` was.
    score: Option<String>,
}

impl Load {
    pub const ALL: [Self; 4] = [Self::Idle, Self::Busy, Self::RealTime, Self::Memory];

    pub fn name(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Busy => "4 spinning threads per core",
            Self::RealTime => "SCHED_FIFO 50 on every core, 30 ms of 50",
            Self::Memory => "memory dirtied, 2 GiB left",
        }
    }

    pub fn start(self) -> Result<Hogs> {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let mut hogs = Hogs { stop: Arc::default(), threads: Vec::new(), score: None };
        match self {
            Self::Idle => (),
            Self::Busy => {
                for _ in 0..SPINNERS_PER_CORE * cores {
                    hogs.spawn(spin)?;
                }
            }
            Self::RealTime => {
                may_be_real_time()?;
                let begin = Instant::now();
                for core in 0..cores {
                    hogs.spawn(move |stop| spin_in_real_time(core, begin, stop))?;
                }
            }
            Self::Memory => {
                // Should it go wrong all the same, nobody else is to be ended for it.
                hogs.score = fs::read_to_string(OOM_SCORE).ok();
                fs::write(OOM_SCORE, "1000").context("oom_score_adj")?;
                for _ in 0..cores {
                    hogs.spawn(move |stop| dirty(LEFT + cores * CHUNK, stop))?;
                }
            }
        }
        Ok(hogs)
    }
}

impl Hogs {
    fn spawn(&mut self, work: impl FnOnce(&AtomicBool) + Send + 'static) -> Result<()> {
        let stop = Arc::clone(&self.stop);
        self.threads.push(thread::Builder::new().name("hog".into()).spawn(move || work(&stop))?);
        Ok(())
    }
}

impl Drop for Hogs {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
        if let Some(score) = &self.score {
            let _ = fs::write(OOM_SCORE, score.trim());
        }
    }
}

/// What the kernel allows real-time threads of each second, for the reader of the figures.
pub fn throttling() -> String {
    let read = |name: &str| {
        fs::read_to_string(format!("/proc/sys/kernel/sched_rt_{name}_us"))
            .unwrap_or_default()
            .trim()
            .to_owned()
    };
    let (runtime, period) = (read("runtime"), read("period"));
    format!("real-time threads may have {runtime} of each {period} us of a core; the hogs take 60 percent")
}

fn spin(stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        std::hint::spin_loop();
    }
}

fn spin_in_real_time(core: usize, begin: Instant, stop: &AtomicBool) {
    let mut set = CpuSet::new();
    // Where a core is not ours to use the hog goes where it may.
    let _ = set.set(core).and_then(|()| sched_setaffinity(Pid::from_raw(0), &set));
    if real_time(i32::from(RT_PRIORITY)).is_err() {
        return;
    }
    let mut next = begin;
    while !stop.load(Ordering::Relaxed) {
        while next.elapsed() < RT_SPIN {
            std::hint::spin_loop();
        }
        // Throttled or late: on with the next period, so that there is always a pause.
        while next <= Instant::now() {
            next += RT_PERIOD;
        }
        thread::sleep(next.saturating_duration_since(Instant::now()));
    }
}

fn may_be_real_time() -> Result<()> {
    thread::spawn(|| real_time(i32::from(RT_PRIORITY))).join().unwrap_or(Ok(()))
}

fn real_time(priority: i32) -> Result<()> {
    let parameters = libc::sched_param { sched_priority: priority };
    // SAFETY: the parameters outlive the call, which concerns this thread only.
    let set = unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &raw const parameters) };
    ensure!(set == 0, "SCHED_FIFO: {}", std::io::Error::last_os_error());
    Ok(())
}

/// Takes memory while more than `left` bytes are available, gives some back when others want it, and writes to each page
/// of what it has, over and over.
fn dirty(left: usize, stop: &AtomicBool) {
    let mut chunks: Vec<Vec<u8>> = Vec::new();
    let mut value = 0_u8;
    let mut next = 0;
    while !stop.load(Ordering::Relaxed) {
        match available() {
            Some(bytes) if bytes > left => {
                let mut chunk = Vec::new();
                if chunk.try_reserve_exact(CHUNK).is_ok() {
                    chunk.resize(CHUNK, 1);
                    chunks.push(chunk);
                }
            }
            Some(bytes) if bytes > LEFT / 2 => (),
            _ => drop(chunks.pop()),
        }
        value = value.wrapping_add(1);
        if !chunks.is_empty() {
            next = (next + 1) % chunks.len();
            chunks[next].iter_mut().step_by(PAGE).for_each(|byte| *byte = std::hint::black_box(value));
        }
    }
}

/// Bytes that can be had without swapping: the machine's, or less by a control group.
fn available() -> Option<usize> {
    let memory = fs::read_to_string("/proc/meminfo").ok()?;
    let line = memory.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: usize = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some((kib << 10).min(left_by_group().unwrap_or(usize::MAX)))
}

fn left_by_group() -> Option<usize> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let group = groups.lines().find_map(|line| line.strip_prefix("0::"))?;
    let read = |name: &str| -> Option<usize> {
        fs::read_to_string(format!("/sys/fs/cgroup{group}/{name}")).ok()?.trim().parse().ok()
    };
    Some(read("memory.max")?.saturating_sub(read("memory.current")?))
}

const OOM_SCORE: &str = "/proc/self/oom_score_adj";
