//! `vipd top` in a terminal: what is on the screen, and that the terminal is given back as it was.

mod support;

use std::{
    fs::File,
    io::{Read, Write},
    os::fd::OwnedFd,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex, PoisonError},
    thread,
};

use anyhow::{Context, Result, ensure};
use nix::{
    pty::{Winsize, openpty},
    sys::{
        signal::{Signal, kill},
        termios::{LocalFlags, Termios, tcgetattr},
    },
    unistd::Pid,
};
use support::{Bed, HIGH, SOON, node_conf};
use vipd_tests::{Node, vipd_bin, wait_for};

const LEAVES_THE_SCREEN: &str = "\x1b[?1049l";

/// A terminal, and `vipd top` in it.
struct Screen {
    child: Child,
    keyboard: File,
    terminal: OwnedFd,
    before: Termios,
    /// Everything that was written to it.
    written: Arc<Mutex<Vec<u8>>>,
}

impl Screen {
    fn new(bed: &Bed, node: &Node) -> Result<Self> {
        let size = Winsize { ws_row: 30, ws_col: 120, ws_xpixel: 0, ws_ypixel: 0 };
        let pty = openpty(&size, None)?;
        let before = tcgetattr(&pty.slave)?;
        let mut command = node.command(&bed.vipd);
        command.args(["top", "--interval", "0.2", "--runtime-dir"]).arg(node.runtime_dir());
        command.env("TERM", "xterm-256color").env_remove("NO_COLOR");
        command.stdin(pty.slave.try_clone()?).stdout(pty.slave.try_clone()?).stderr(pty.slave.try_clone()?);
        let child = command.spawn().context("start vipd top")?;
        // The command has copies of the terminal.
        drop(command);
        let keyboard = File::from(pty.master);
        let mut screen = keyboard.try_clone()?;
        let written = Arc::new(Mutex::new(Vec::new()));
        let record = Arc::clone(&written);
        // Ends with the terminal.
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(length @ 1..) = screen.read(&mut buffer) {
                record.lock().unwrap_or_else(PoisonError::into_inner).extend(&buffer[..length]);
            }
        });
        Ok(Self { child, keyboard, terminal: pty.slave, before, written })
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.written.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }

    /// Waits until this is written behind the first `from` octets; returns how much is written then.
    fn shows(&self, text: &str, from: usize) -> Result<usize> {
        let is_there = || self.text().get(from..).is_some_and(|new| new.contains(text));
        wait_for(format_args!("{text:?} on the screen"), SOON, is_there)
            .with_context(|| format!("the screen: {:?}", self.text()))?;
        Ok(self.text().len())
    }

    /// Waits for the end, and checks that the terminal is as it was.
    fn ends(&mut self) -> Result<ExitStatus> {
        let mut ended = None;
        wait_for("the end of vipd top", SOON, || {
            ended = self.child.try_wait().ok().flatten();
            ended.is_some()
        })?;
        self.shows(LEAVES_THE_SCREEN, 0)?;
        ensure!(tcgetattr(&self.terminal)? == self.before, "the terminal is not as it was");
        ended.context("ended, then not")
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn it_follows_a_daemon_that_goes_and_comes() -> Result<()> {
    let Some(bed) = Bed::new()? else { return Ok(()) };
    let mut daemon = bed.start("lb01", &node_conf(HIGH, ""))?;
    bed.wait("lb01", "MASTER")?;
    let mut screen = Screen::new(&bed, bed.lb01())?;
    screen.shows("1 MASTER", 0)?;
    screen.shows("vrid 51 on eth0", 0)?;
    ensure!(!tcgetattr(&screen.terminal)?.local_flags.contains(LocalFlags::ECHO), "keys are echoed");

    let from = screen.text().len();
    daemon.kill9()?;
    let from = screen.shows("no vipd is running", from)?;
    let _daemon = bed.restart("lb01")?;
    screen.shows("1 MASTER", from)?;

    screen.keyboard.write_all(b"q")?;
    let status = screen.ends()?;
    ensure!(status.success(), "{status}: {}", screen.text());
    Ok(())
}

#[test]
fn a_signal_gives_the_terminal_back() -> Result<()> {
    let Some(bed) = Bed::new()? else { return Ok(()) };
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        // Without a daemon: it waits for one.
        let mut screen = Screen::new(&bed, bed.lb01())?;
        screen.shows("no vipd is running", 0)?;
        kill(Pid::from_raw(i32::try_from(screen.child.id())?), signal)?;
        let status = screen.ends()?;
        ensure!(status.success(), "{signal}: {status}: {}", screen.text());
    }
    Ok(())
}

#[test]
fn without_a_terminal_it_names_the_command_for_that() -> Result<()> {
    let output = Command::new(vipd_bin()?).arg("top").stdin(Stdio::null()).output()?;
    let err = String::from_utf8(output.stderr)?;
    ensure!(output.status.code() == Some(1) && output.stdout.is_empty(), "{}: {err}", output.status);
    ensure!(err.contains("vipd status"), "{err}");
    Ok(())
}
