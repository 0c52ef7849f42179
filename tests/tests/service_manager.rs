//! What vipd tells a service manager (sd_notify(3)), and what the journal is shown. systemd itself:
//! `cargo xtask dist --try`.

#![allow(clippy::disallowed_methods, reason = "tests measure")]

mod support;

use std::{
    cell::RefCell,
    fs,
    io::ErrorKind,
    os::unix::{fs::MetadataExt, net::UnixDatagram},
    path::Path,
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use nix::libc;
use support::*;
use vipd_tests::Daemon;

/// A manager that gives vipd this long between two signs of life. The engine is held for far longer.
const WATCHDOG: Duration = Duration::from_millis(400);

/// The manager's end.
struct Manager {
    socket: UnixDatagram,
    heard: RefCell<Vec<String>>,
}

impl Manager {
    fn start(bed: &Bed) -> Result<(Self, Daemon)> {
        let node = bed.lb01();
        let path = node.dir().join("notify");
        let socket = UnixDatagram::bind(&path)?;
        socket.set_nonblocking(true)?;
        let log = node.vipd_log();
        fs::write(&log, "")?;
        let metadata = fs::metadata(&log)?;
        let mut command = node.vipd_run(&bed.vipd);
        command.env("NOTIFY_SOCKET", path).env("WATCHDOG_USEC", WATCHDOG.as_micros().to_string());
        // As if the log were the journal's.
        command.env("JOURNAL_STREAM", format!("{}:{}", metadata.dev(), metadata.ino()));
        let daemon = Daemon::start("vipd", &mut command, &log)?;
        Ok((Self { socket, heard: RefCell::default() }, daemon))
    }

    /// What has been said until now, a line each, in order.
    fn heard(&self) -> Result<Vec<String>> {
        let mut message = [0; 4096];
        loop {
            match self.socket.recv(&mut message) {
                Ok(length) => {
                    let text = std::str::from_utf8(&message[..length])?;
                    self.heard.borrow_mut().extend(text.lines().map(str::to_owned));
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(self.heard.borrow().clone())
    }

    /// Waits for a line after the first `after` lines; returns how many there are with it.
    fn wait(&self, what: &str, after: usize) -> Result<usize> {
        let start = Instant::now();
        loop {
            let heard = self.heard()?;
            if let Some(at) = heard.iter().skip(after).position(|line| line.starts_with(what)) {
                return Ok(after + at + 1);
            }
            if start.elapsed() > SOON {
                bail!("no {what} after the first {after} of {heard:?}");
            }
            sleep(Duration::from_millis(5));
        }
    }
}

#[test]
fn the_manager_hears_of_start_states_reloads_and_the_stop() -> Result<()> {
    let Some(bed) = Bed::new()? else { return Ok(()) };
    bed.lb01().write_vipd_conf(&node_conf(HIGH, ""))?;
    let (manager, mut daemon) = Manager::start(&bed)?;
    let ready = manager.wait("READY=1", 0)?;
    // Ready means that the socket answers.
    bed.status("lb01")?;
    let master = manager.wait("STATUS=1 MASTER", ready)?;

    ensure!(bed.reloaded("lb01", &node_conf(HIGH - 1, ""))?.contains("1 changed"));
    let reloading = manager.wait("RELOADING=1", master)?;
    let at = &manager.heard()?[reloading];
    ensure!(at.starts_with("MONOTONIC_USEC="), "{at} after RELOADING=1");
    let again = manager.wait("READY=1", reloading)?;
    // One that is refused ends as well.
    ensure!(!bed.reload("lb01", "nonsense\n")?.status.success());
    let refused = manager.wait("RELOADING=1", again)?;
    let last = manager.wait("READY=1", refused)?;

    daemon.sigterm()?;
    let stopping = manager.wait("STOPPING=1", last)?;
    manager.wait("EXTEND_TIMEOUT_USEC=", stopping)?;
    ensure!(daemon.wait(SOON)?.success());
    let odd = daemon.log().lines().find(|line| !is_for_the_journal(line)).map(str::to_owned);
    ensure!(odd.is_none(), "a line without a priority: {odd:?}");
    Ok(())
}

/// The next vipd is the service's main process before this one ends, and speaks for it from then on.
#[test]
fn an_upgrade_names_the_next_main_process() -> Result<()> {
    let Some(bed) = Bed::new()? else { return Ok(()) };
    bed.lb01().write_vipd_conf(&node_conf(HIGH, ""))?;
    let (manager, mut daemon) = Manager::start(&bed)?;
    let ready = manager.wait("READY=1", 0)?;
    bed.wait("lb01", "MASTER")?;
    bed.told("lb01", &["upgrade"])?;
    let named = manager.wait("MAINPID=", ready)?;
    ensure!(daemon.wait(SOON)?.success());
    let again = manager.wait("READY=1", named)?;
    manager.wait("WATCHDOG=1", again)?;
    bed.lb01().wait_ready(&bed.vipd, SOON)?;
    let pid = fs::read_to_string(bed.lb01().runtime_dir().join("vipd.pid"))?;
    let heard = manager.heard()?;
    ensure!(heard[named - 1] == format!("MAINPID={}", pid.trim()), "{heard:?}");
    ensure!(!heard[..named].contains(&"STOPPING=1".to_owned()), "{heard:?}");
    bed.told("lb01", &["stop"]).map(drop)
}

/// `<N>`, then no time.
fn is_for_the_journal(line: &str) -> bool {
    let rest = line.strip_prefix('<').and_then(|rest| rest.split_once('>'));
    rest.is_some_and(|(priority, text)| ["3", "4", "6", "7"].contains(&priority) && !text.starts_with("20"))
}

/// The main thread alone does not feed it.
#[test]
fn an_engine_that_hangs_starves_the_watchdog() -> Result<()> {
    let Some(bed) = Bed::new()? else { return Ok(()) };
    bed.lb01().write_vipd_conf(&node_conf(HIGH, ""))?;
    let (manager, daemon) = Manager::start(&bed)?;
    let fed = manager.wait("WATCHDOG=1", 0)?;
    manager.wait("WATCHDOG=1", fed)?;
    {
        let _held = Held::thread(daemon.pid(), "engine")?;
        // An answer may have been under way.
        sleep(WATCHDOG * 3);
        let before = manager.heard()?.len();
        sleep(WATCHDOG * 10);
        let heard = manager.heard()?;
        ensure!(heard.len() == before, "said while the engine hung: {:?}", &heard[before..]);
    }
    let before = manager.heard()?.len();
    manager.wait("WATCHDOG=1", before)?;
    Ok(())
}

/// One thread of a process, stopped while this lives; the other threads run.
struct Held(libc::pid_t);

impl Held {
    fn thread(pid: u32, name: &str) -> Result<Self> {
        for task in fs::read_dir(format!("/proc/{pid}/task"))? {
            let path = task?.path();
            if fs::read_to_string(path.join("comm"))?.trim() == name {
                return Self::stop(&path);
            }
        }
        bail!("{pid} has no thread {name}")
    }

    fn stop(task: &Path) -> Result<Self> {
        let tid = task.file_name().and_then(|name| name.to_str()).context("a thread's id")?.parse()?;
        ptrace(libc::PTRACE_SEIZE, tid)?;
        let held = Self(tid);
        ptrace(libc::PTRACE_INTERRUPT, tid)?;
        // SAFETY: the status is not asked for.
        let waited = unsafe { libc::waitpid(tid, std::ptr::null_mut(), libc::__WALL) };
        ensure!(waited == tid, "waitpid: {}", std::io::Error::last_os_error());
        Ok(held)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Err(error) = ptrace(libc::PTRACE_DETACH, self.0) {
            eprintln!("{error:#}");
        }
    }
}

fn ptrace(request: libc::c_uint, tid: libc::pid_t) -> Result<()> {
    // SAFETY: these requests read and write no memory of ours.
    let result = unsafe { libc::ptrace(request, tid, 0, 0) };
    ensure!(result == 0, "ptrace {request:#x}: {}", std::io::Error::last_os_error());
    Ok(())
}

/// A script that calls itself vipd to the manager is not vipd.
#[test]
fn scripts_do_not_speak_for_vipd() -> Result<()> {
    let Some(bed) = Bed::new()? else { return Ok(()) };
    let out = bed.lb01().dir().join("environment");
    let path = script(bed.lb01(), "tell", &format!("env >{0}.new; mv {0}.new {0}", out.display()))?;
    bed.lb01().write_vipd_conf(&node_conf(HIGH, &format!("notify_master \"{path}\" root")))?;
    let (manager, _daemon) = Manager::start(&bed)?;
    manager.wait("STATUS=1 MASTER", 0)?;
    vipd_tests::wait_for("the script", SOON, || out.exists())?;
    let environment = fs::read_to_string(out)?;
    ensure!(environment.contains("PATH="), "{environment}");
    for variable in ["NOTIFY_SOCKET", "WATCHDOG_USEC"] {
        ensure!(!environment.contains(variable), "{environment}");
    }
    Ok(())
}
