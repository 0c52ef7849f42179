//! A vipd with services that another one follows: by `vipd upgrade`, by `vipd run --replace` with the same and with other maps, and by a restart. The
//! kernel's table is not touched, no server enters unchecked, and no request fails.
//!
//! Needs IPVS in the kernel: `cargo xtask guest --kernel debian-12 balancing_successor`.

#![allow(clippy::disallowed_methods, reason = "tests measure")]

mod support;

use std::{
    collections::BTreeSet,
    fs,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{JoinHandle, sleep},
    time::Duration,
};

use anyhow::{Context, Result, anyhow, ensure};
use support::{
    directors::{Directors, SERVICE, TWO, conf_of, web},
    web::read_table,
    *,
};
use vipd_common::abi::ABI_VERSION;
use vipd_tests::{Daemon, Node, probe::HttpProber, wait_for};

/// Between two requests.
const PERIOD: Duration = Duration::from_millis(50);
/// Between two looks at the table.
const LOOK: Duration = Duration::from_millis(5);

/// Every table that the kernel of a node has had.
struct TableWatch {
    ends: Arc<AtomicBool>,
    thread: JoinHandle<Result<Result<BTreeSet<Vec<String>>>>>,
}

impl TableWatch {
    fn start(node: &Node) -> Result<Self> {
        let ends = Arc::new(AtomicBool::new(false));
        let is_over = ends.clone();
        let thread = node.ns().spawn("table", move || -> Result<BTreeSet<Vec<String>>> {
            let mut seen = BTreeSet::new();
            while !is_over.load(Ordering::Relaxed) {
                seen.insert(read_table(&fs::read_to_string("/proc/thread-self/net/ip_vs")?)?);
                sleep(LOOK);
            }
            Ok(seen)
        })?;
        Ok(Self { ends, thread })
    }

    fn stop(self) -> Result<BTreeSet<Vec<String>>> {
        self.ends.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| anyhow!("the thread has panicked"))??
    }
}

/// web1 is dead, which only the first vipd has found out: a check of the next ones would come in more than half an hour.
#[test]
fn a_successor_takes_services_over() -> Result<()> {
    let Some(mut directors) = Directors::new()? else { return Ok(()) };
    directors.serve("web1", false)?;
    let conf = |interval: u8, warmup: &str| {
        let services =
            web(&["web1", "web2"]).replace("delay_loop 1\n", &format!("delay_loop 1\n warmup {warmup}\n"));
        conf_of(150, &services).replace("advert_int 1\n", &format!("advert_int {interval}\n"))
    };
    let mut first = directors.bed.start("lb01", &conf(1, "0"))?;
    directors.bed.wait("lb01", "MASTER")?;
    directors.wait_table(directors.bed.lb01(), &[TWO])?;
    // A lease that outlasts a restart on a slow machine.
    directors.bed.reloaded("lb01", &conf(30, "3600"))?;
    directors.wait_reached(&["web2"])?;
    let connections = || -> Result<u64> {
        let counted = &directors.balancing("lb01")?["services"][0]["traffic"]["connections"];
        counted.as_u64().with_context(|| format!("{counted}"))
    };
    let before = connections()?;
    let watch = TableWatch::start(directors.bed.lb01())?;
    let prober = HttpProber::start(directors.bed.client().ns(), SERVICE.parse()?, PERIOD, SOON)?;

    let node = directors.bed.lb01();
    let said = directors.bed.told("lb01", &["upgrade"])?;
    ensure!(said.contains("has taken over"), "{said}");
    first.wait(SOON)?;
    node.wait_ready(&directors.bed.vipd, SOON)?;
    // The one that has been started so is nobody's child.
    let replace = |abi: u32| -> Result<Daemon> {
        let mut command = node.vipd_run(&directors.bed.vipd);
        command.arg("--replace").env("VIPD_TEST_ABI", abi.to_string());
        let next = Daemon::start("the next vipd", &mut command, &node.vipd_log())?;
        // The one before answers until it has ended.
        let answers = || node.status(&directors.bed.vipd).is_ok_and(|status| status["pid"] == next.pid());
        wait_for("the next vipd to answer", SOON * 3, answers)?;
        Ok(next)
    };
    let mut second = replace(ABI_VERSION)?;
    let mut third = replace(ABI_VERSION + 1)?;
    second.wait(SOON)?;
    directors.bed.told("lb01", &["stop", "--for-restart"])?;
    third.wait(SOON)?;
    let _fourth = directors.bed.start("lb01", &conf(30, "3600"))?;
    directors.bed.wait("lb01", "MASTER")?;
    wait_for("the table", SOON, || directors.balancing("lb01").is_ok_and(|it| it["settled"] == true))?;

    let requests = prober.stop();
    let failed: Vec<_> =
        requests.iter().filter(|it| it.retried || it.answer.as_deref() != Ok("web2")).collect();
    println!("{} requests, {} failed", requests.len(), failed.len());
    ensure!(requests.len() > 20, "only {} requests", requests.len());
    ensure!(
        failed.is_empty(),
        "{} of {} requests failed, the first: {:?}",
        failed.len(),
        requests.len(),
        failed[0]
    );
    let seen = watch.stop()?;
    let expect = vec![format!("TCP {SERVICE} rr"), format!("  {TWO}")];
    ensure!(seen == [expect].into(), "the table has changed: {seen:?}");
    // A service that was made anew would count from 0. The kernel's counts are two seconds old.
    let expect = before + u64::try_from(requests.len())?;
    wait_for(format_args!("{expect} connections"), SOON, || {
        connections().is_ok_and(|count| count >= expect)
    })?;
    let down = directors.balancing("lb01")?["services"][0]["servers"][0].clone();
    ensure!(down["state"] == "down" && down["checks"][0]["passed"].is_null(), "{down}");
    Ok(())
}
