//! Against the real kernel, each test in a network namespace of its own that ends with the test's thread.

mod batches;
mod ipv4;
mod ipv6;
mod kept;
mod links;
mod multicast;
mod nic;
mod virtual_objects;
mod visible;

use std::{
    future::Future,
    path::PathBuf,
    process::Command,
    sync::{
        atomic::{AtomicU32, Ordering},
        mpsc,
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use vipd_common::wire::eth::MacAddr;

use super::*;

/// Installs a plan; returns what was missing.
async fn installed(host: &mut Host, plan: &Plan) -> Repairs {
    host.take_repairs();
    host.install(plan).await.unwrap();
    host.take_repairs()
}

/// Makes the virtual objects those of the masters; returns what was missing.
async fn synced(host: &mut Host) -> Repairs {
    host.take_repairs();
    host.sync_virtual().await.unwrap();
    host.take_repairs()
}

/// Runs a test in a fresh namespace with `lo`, and a veth pair `v0` (10.0.0.1, 10.0.0.2 secondary) and `v1`, all up.
/// The test gets an empty state directory.
fn in_namespace<F: Future<Output = ()>>(name: &str, test: impl FnOnce(PathBuf) -> F + Send) {
    // SAFETY: geteuid() takes no arguments and cannot fail.
    if unsafe { libc::geteuid() } != 0 {
        return vipd_tests::skip(format_args!("{name}: making a network namespace needs root"));
    }
    // Several tests may have one name.
    static TESTS: AtomicU32 = AtomicU32::new(0);
    let test_number = TESTS.fetch_add(1, Ordering::Relaxed);
    let dir = std::env::temp_dir().join(format!("vipd-host-{}-{test_number}-{name}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let path = dir.clone();
    let outcome = thread::scope(|scope| {
        scope
            .spawn(move || {
                // SAFETY: only this thread, made for the test, changes namespace; its children inherit it.
                let unshared = unsafe { libc::unshare(libc::CLONE_NEWNET) };
                assert_eq!(unshared, 0, "unshare: {}", std::io::Error::last_os_error());
                ip("link set lo up");
                ip("link add v0 type veth peer name v1");
                ip("addr add 10.0.0.1/24 dev v0");
                ip("addr add 10.0.0.2/24 dev v0");
                ip("link set v0 up");
                ip("link set v1 up");
                // The kernel tells of the carrier from a work queue, on a busy machine a while later.
                while ip("link").contains("NO-CARRIER") || ip("route show table all").contains("linkdown") {
                    thread::sleep(Duration::from_millis(5));
                }
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(async {
                    let limit = Duration::from_secs(180);
                    tokio::time::timeout(limit, test(path)).await.expect("the test hangs");
                });
            })
            .join()
    });
    std::fs::remove_dir_all(&dir).unwrap();
    if let Err(panic) = outcome {
        std::panic::resume_unwind(panic);
    }
}

/// One instance, key 3, with VIPs on `v0`.
async fn plan(host: &Host, vips: &[&str], visible: bool) -> Plan {
    let link = host.link("v0").await.unwrap();
    let link = PlannedLink {
        ifindex: link.ifindex,
        interface: link.name.clone(),
        source_v4: link.primary_v4(),
        source_v6: None,
        vips: vips.iter().map(|vip| addr(vip)).collect(),
        connected: Vec::new(),
        subnets: Vec::new(),
        announces_own_mac: true,
    };
    let instance = PlannedInstance {
        key: 3,
        families: Vec::new(),
        links: vec![link],
        filters: Vec::new(),
        routes: Vec::new(),
        rules: Vec::new(),
        visible,
    };
    Plan { instances: vec![instance] }
}

fn ip(args: &str) -> String {
    let output = Command::new("ip").args(args.split_whitespace()).output().unwrap();
    assert!(output.status.success(), "ip {args}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Lines with single spaces.
fn lines(text: &str) -> Vec<String> {
    text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

fn addr(s: &str) -> IpAddr {
    s.parse().unwrap()
}

fn sorted(mut lines: Vec<String>) -> Vec<String> {
    lines.sort();
    lines
}

/// Another host on the wire: a thread in a namespace of its own, which has taken `v1` with it.
struct Peer {
    work: Option<mpsc::Sender<Box<dyn FnOnce() + Send>>>,
    thread: Option<JoinHandle<()>>,
}

impl Peer {
    fn new() -> Self {
        let (work, queue) = mpsc::channel::<Box<dyn FnOnce() + Send>>();
        let (ready, thread_id) = mpsc::channel();
        let thread = thread::spawn(move || {
            // SAFETY: only this thread, made for the peer, changes namespace.
            let unshared = unsafe { libc::unshare(libc::CLONE_NEWNET) };
            assert_eq!(unshared, 0, "unshare: {}", std::io::Error::last_os_error());
            // SAFETY: gettid() takes no arguments and cannot fail.
            ready.send(unsafe { libc::gettid() }).unwrap();
            queue.into_iter().for_each(|task| task());
        });
        let thread_id = thread_id.recv().unwrap();
        ip(&format!("link set v1 netns {thread_id}"));
        let peer = Self { work: Some(work), thread: Some(thread) };
        peer.run(|| ip("link set lo up") + &ip("link set v1 up"));
        peer
    }

    /// Runs it there.
    fn run<R: Send + 'static>(&self, task: impl FnOnce() -> R + Send + 'static) -> R {
        let (done, result) = mpsc::channel();
        let task = Box::new(move || done.send(task()).unwrap());
        self.work.as_ref().unwrap().send(task).unwrap();
        result.recv().expect("the peer's task has panicked")
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.work = None;
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) && !thread::panicking() {
            panic!("the peer has panicked");
        }
    }
}
