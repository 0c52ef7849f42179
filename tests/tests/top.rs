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
use support::{Bed, HIGH, SOON, VIP, conf, node_conf};
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
        Self::of(bed, node, &["top", "--interval", "0.2"], ROWS, COLUMNS)
    }

    /// A terminal of this size with this command in it.
    fn of(bed: &Bed, node: &Node, arguments: &[&str], rows: NonZeroU16, columns: NonZeroU16) -> Result<Self> {
        let size = size(rows, columns);
        let pty = openpty(&size, None)?;
        let before = tcgetattr(&pty.slave)?;
        let mut command = node.vipd_ask(&bed.vipd, arguments);
        command.env("TERM", "xterm-256color").env_remove("NO_COLOR");
        command.stdin(pty.slave.try_clone()?).stdout(pty.slave.try_clone()?).stderr(pty.slave.try_clone()?);
        let child = command.spawn().context("start vipd top")?;
        // The command has copies of the terminal.
        drop(command);
        let keyboard = File::from(pty.master);
        let mut output = keyboard.try_clone()?;
        let picture = Arc::new(Mutex::new(vt100::Parser::new(rows, columns, 0)));
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

/// The instance of a pair and five more, with names that a small terminal has no room for.
fn six_instances() -> String {
    let more = (2..=6).map(|n| {
        conf("VI_1", "BACKUP", HIGH, "")
            .replace("VI_1", &format!("site_{n}_of_the_northern_region"))
            .replace("virtual_router_id 51", &format!("virtual_router_id {}", 50 + n))
            .replace(&VIP.to_string(), &format!("10.0.{n}.3\n        10.0.{n}.4"))
            .replace("global_defs {\n    vrrp_version 3\n}\n", "")
    });
    node_conf(HIGH, "") + &more.collect::<String>()
}

#[test]
fn a_small_terminal_is_searched_and_explained() -> Result<()> {
    let Some(bed) = Bed::new()? else { return Ok(()) };
    let _daemon = bed.start("lb01", &six_instances())?;
    bed.wait("lb01", "MASTER")?;
    for (rows, columns) in [(24, 80), (15, 60)] {
        let mut screen = Screen::new(&bed, bed.lb01())?;
        screen.shows("6 MASTER")?;
        screen.resize(rows, columns)?;
        screen.shows("site_6_of")?;
        wait_for("the picture of that size", SOON, || {
            screen.text().lines().last().is_some_and(|l| l.starts_with("q quit"))
        })
        .with_context(|| screen.text())?;
        let text = screen.text();
        ensure!(text.contains("VIP") && text.contains("10.0.2.3 +1") && text.contains("INSTANCE"), "{text}");
        ensure!(text.lines().all(|line| line.chars().count() <= columns.into()), "{text}");

        screen.keyboard.write_all(b"?")?;
        screen.shows("search names, interfaces, groups, addresses")?;
        screen.keyboard.write_all(b"?/10.0.4.4")?;
        screen.shows("1 of 6 shown (/10.0.4.4)")?;
        screen.shows("10.0.4.4 +1")?;
        wait_for("the others to go", SOON, || !screen.text().contains("site_6_of"))
            .with_context(|| screen.text())?;
        screen.keyboard.write_all(b"\rf")?;
        screen.shows("1 of 6 shown (/10.0.4.4, MASTER)")?;
        screen.keyboard.write_all(b"f")?;
        screen.shows("0 of 6 shown (/10.0.4.4, BACKUP)")?;
        // One Esc ends the filter, the next one all.
        screen.keyboard.write_all(b"\x1b")?;
        screen.shows("site_6_of")?;
        screen.keyboard.write_all(b"q")?;
        let status = screen.ends()?;
        ensure!(status.success(), "{status}: {}", screen.text());
    }
    Ok(())
}

#[test]
fn a_table_of_status_fits_its_terminal() -> Result<()> {
    let Some(bed) = Bed::new()? else { return Ok(()) };
    let _daemon = bed.start("lb01", &six_instances())?;
    bed.wait("lb01", "MASTER")?;
    for columns in [60, 80, 100] {
        let columns = NonZeroU16::new(columns).context("not 0")?;
        let mut screen = Screen::of(&bed, bed.lb01(), &["status"], ROWS, columns)?;
        screen.shows("details: vipd status")?;
        ensure!(screen.child.wait()?.success(), "{}", screen.text());
        let text = screen.text();
        let table: Vec<&str> =
            text.lines().skip_while(|line| !line.starts_with("INSTANCE")).take(7).collect();
        // A row that is wrapped would be two.
        let starts = |(line, start): (&&str, String)| line.starts_with(&start);
        let names =
            ["INSTANCE", "VI_1"].map(str::to_owned).into_iter().chain((2..=6).map(|n| format!("site_{n}_")));
        ensure!(table.len() == 7 && table.iter().zip(names).all(starts), "{columns}:\n{text}");
        ensure!(table[0].contains("INTERFACE  VRID") && table[0].contains("VIPS"), "{columns}:\n{text}");
        ensure!(
            table[2].contains("eth0") && table[2].contains("52") && table[2].contains("10.0.2.3"),
            "{columns}:\n{text}"
        );
    }
    let output = bed.lb01().vipd_ask(&bed.vipd, &["status"]).output()?;
    let piped = String::from_utf8(output.stdout)?;
    ensure!(
        piped.contains("site_6_of_the_northern_region") && piped.contains("10.0.6.3 10.0.6.4"),
        "{piped}"
    );
    ensure!(!piped.contains('…'), "{piped}");
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
