//! `vipd top` in a terminal: what is on the screen, and that the terminal is given back as it was.

mod support;

use std::{
    fs::File,
    io::{Read, Write},
    num::NonZeroU16,
    os::fd::{AsRawFd, OwnedFd},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
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

const ROWS: NonZeroU16 = NonZeroU16::new(30).expect("not 0");
const COLUMNS: NonZeroU16 = NonZeroU16::new(120).expect("not 0");

/// A terminal, and `vipd top` in it.
struct Screen {
    child: Child,
    keyboard: File,
    terminal: OwnedFd,
    before: Termios,
    /// What is on it.
    picture: Arc<Mutex<vt100::Parser>>,
}

impl Screen {
    fn new(bed: &Bed, node: &Node) -> Result<Self> {
        let size = size(ROWS, COLUMNS);
        let pty = openpty(&size, None)?;
        let before = tcgetattr(&pty.slave)?;
        let mut command = node.vipd_ask(&bed.vipd, &["top", "--interval", "0.2"]);
        command.env("TERM", "xterm-256color").env_remove("NO_COLOR");
        command.stdin(pty.slave.try_clone()?).stdout(pty.slave.try_clone()?).stderr(pty.slave.try_clone()?);
        let child = command.spawn().context("start vipd top")?;
        // The command has copies of the terminal.
        drop(command);
        let keyboard = File::from(pty.master);
        let mut output = keyboard.try_clone()?;
        let picture = Arc::new(Mutex::new(vt100::Parser::new(ROWS, COLUMNS, 0)));
        let painted = Arc::clone(&picture);
        // Ends with the terminal.
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(length @ 1..) = output.read(&mut buffer) {
                painted.lock().unwrap_or_else(PoisonError::into_inner).process(&buffer[..length]);
            }
        });
        Ok(Self { child, keyboard, terminal: pty.slave, before, picture })
    }

    fn picture(&self) -> MutexGuard<'_, vt100::Parser> {
        self.picture.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn text(&self) -> String {
        self.picture().screen().contents()
    }

    /// Waits until this is to be read.
    fn shows(&self, text: &str) -> Result<()> {
        wait_for(format_args!("{text:?} on the screen"), SOON, || self.text().contains(text))
            .with_context(|| format!("the screen:\n{}", self.text()))
            .map(drop)
    }

    fn resize(&self, rows: u16, columns: u16) -> Result<()> {
        let (rows, columns) = (rows.try_into()?, columns.try_into()?);
        let size = size(rows, columns);
        self.picture().screen_mut().set_size(rows, columns);
        // SAFETY: the kernel reads the size that the pointer leads to.
        let set = unsafe { libc::ioctl(self.keyboard.as_raw_fd(), libc::TIOCSWINSZ, &raw const size) };
        ensure!(set == 0, "the terminal keeps its size");
        Ok(())
    }

    /// Waits for the end, and checks that the terminal is as it was.
    fn ends(&mut self) -> Result<ExitStatus> {
        let mut ended = None;
        wait_for("the end of vipd top", SOON, || {
            ended = self.child.try_wait().ok().flatten();
            ended.is_some()
        })?;
        wait_for("the screen of before", SOON, || !self.picture().screen().alternate_screen())?;
        ensure!(!self.picture().screen().hide_cursor(), "the cursor stays hidden");
        ensure!(tcgetattr(&self.terminal)? == self.before, "the terminal is not as it was");
        ended.context("ended, then not")
    }
}

fn size(rows: NonZeroU16, columns: NonZeroU16) -> Winsize {
    Winsize { ws_row: rows.get(), ws_col: columns.get(), ws_xpixel: 0, ws_ypixel: 0 }
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
    for text in ["1 MASTER", "VI_1     MASTER", "router     vrid 51 on eth0, VRRPv3, XDP native", "q quit"] {
        screen.shows(text)?;
    }
    ensure!(!tcgetattr(&screen.terminal)?.local_flags.contains(LocalFlags::ECHO), "keys are echoed");
    screen.keyboard.write_all(b"s")?;
    screen.shows("sort: name")?;
    screen.resize(10, 60)?;
    wait_for("the small picture", SOON, || {
        !screen.text().contains("router") && screen.text().contains("VI_1     MASTER")
    })
    .with_context(|| screen.text())?;

    daemon.kill9()?;
    screen.shows("no vipd is running")?;
    let _daemon = bed.restart("lb01")?;
    screen.shows("1 MASTER")?;

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
        screen.shows("no vipd is running")?;
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
