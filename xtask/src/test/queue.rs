//! Runs tests from one queue over all binaries, each in a process of its own.
//!
//! Tests in network namespaces sleep most of the time, so several run at once. The others compute; they get the
//! processor time that is left, so that they do not disturb what is measured in a lab.

use std::{
    collections::VecDeque,
    fs::{self, File},
    os::unix::process::CommandExt,
    path::Path,
    process::{Command, ExitStatus, Stdio},
    sync::{Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};

use super::{
    Args,
    build::Test,
    report::{Outcome, Ran, Report},
};
use crate::sh;

/// A test that takes longer has hung; the slowest takes minutes.
const HUNG: Duration = Duration::from_secs(1800);
/// How often the long tier does what tests do again and again.
const MANY: [(&str, &str); 4] = [
    ("VIPD_RESTARTS", "300"),
    ("VIPD_REPLACEMENTS", "100"),
    ("VIPD_HANDOVERS", "40"),
    ("VIPD_RELOADS", "1000"),
];
/// Of tests outside labs.
const NICE: libc::c_int = 19;

/// Runs the tests, printing a line for each and the output of those that fail.
pub fn run(mut tests: Vec<Test>, args: &Args, scratch: &Path) -> Result<Report> {
    let mut report = Report::new(args.output);
    if !args.all {
        report.ignored = tests.extract_if(.., |test| test.ignored).count();
    }
    report.total = tests.len();
    tests.sort_by(|a, b| a.name.cmp(&b.name));
    let (labs, others): (VecDeque<_>, VecDeque<_>) = tests.into_iter().partition(|test| test.in_lab);
    let processors = thread::available_parallelism().map_or(1, usize::from);
    let (labs, others, report) = (Mutex::new(labs), Mutex::new(others), Mutex::new(report));
    let work = |queue: &Mutex<VecDeque<Test>>| -> Result<()> {
        // Not `while let`: the lock would be held while the test runs.
        loop {
            let Some(test) = lock(queue).pop_front() else { return Ok(()) };
            let ran = play(&test, args.all, scratch).with_context(|| test.name.clone())?;
            lock(&report).add(ran);
        }
    };
    thread::scope(|scope| {
        let in_labs = (0..args.labs).map(|_| &labs);
        let workers =
            in_labs.chain((0..processors).map(|_| &others)).map(|queue| scope.spawn(|| work(queue)));
        let workers: Vec<_> = workers.collect();
        workers.into_iter().try_for_each(|worker| worker.join().expect("a worker does not panic"))
    })?;
    Ok(report.into_inner().unwrap_or_else(PoisonError::into_inner))
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs one test. The caller's thread outlives it.
fn play(test: &Test, all: bool, scratch: &Path) -> Result<Ran> {
    let file = |kind: &str| scratch.join(format!("{}.{kind}", test.name.replace("::", ".")));
    let (log, skips) = (file("log"), file("skips"));
    let out = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
    let mut command = Command::new(&test.binary);
    command.args([&test.path, "--exact", "--include-ignored", "--nocapture"]);
    command
        .current_dir(&test.dir)
        .env("TMPDIR", scratch)
        .env("VIPD_SKIP_LOG", &skips)
        .env("RUST_LIB_BACKTRACE", "0");
    command.stdin(Stdio::null()).stdout(out.try_clone()?).stderr(out);
    if sh::is_root() {
        command.env("VIPD_REQUIRE_LAB", "1");
    }
    if all {
        command.envs(MANY);
    }
    sh::ends_with_us(&mut command);
    if !test.in_lab {
        be_nice(&mut command);
    }
    let start = Instant::now();
    let status = wait(&mut command)?;
    let took = start.elapsed();
    let output = String::from_utf8_lossy(&fs::read(&log)?).into_owned();
    let skipped = fs::read_to_string(&skips).unwrap_or_default();
    fs::remove_file(&log)?;
    let outcome = match status {
        None => Outcome::Failed(format!("still ran after {HUNG:?}")),
        Some(status) if !status.success() => Outcome::Failed(status.to_string()),
        // Otherwise a test that is not found has passed.
        Some(_) if !output.contains("test result: ok. 1 passed;") => Outcome::Failed("did not run".into()),
        Some(_) if !skipped.is_empty() => Outcome::Skipped(skipped.trim().replace('\n', "; ")),
        Some(_) => Outcome::Passed,
    };
    Ok(Ran { name: test.name.clone(), outcome, took, output })
}

/// Runs a command to its end; `None` if it had to be killed.
fn wait(command: &mut Command) -> Result<Option<ExitStatus>> {
    let mut child =
        command.spawn().with_context(|| format!("cannot run {}", command.get_program().display()))?;
    let deadline = Instant::now() + HUNG;
    let mut pause = Duration::from_millis(1);
    while Instant::now() < deadline {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(20));
    }
    child.kill()?;
    child.wait()?;
    Ok(None)
}

fn be_nice(command: &mut Command) {
    // SAFETY: between fork and exec the closure makes one system call, which is async-signal-safe.
    unsafe {
        command.pre_exec(|| {
            libc::nice(NICE);
            Ok(())
        });
    }
}
