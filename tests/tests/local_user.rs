//! A user without rights on the same machine, in the same network namespace: what he can open, make, hold and replace neither
//! keeps vipd down nor leads it to files, links and programs that are not its own.
//!
//! The attacks are run for real, by threads whose user is nobody.

#![allow(clippy::disallowed_methods, reason = "tests measure")]

mod support;

use std::{
    fs::{self, File},
    os::{
        fd::AsRawFd,
        linux::net::SocketAddrExt,
        unix::{
            fs::{MetadataExt, PermissionsExt, chown, symlink},
            net::{SocketAddr, UnixDatagram, UnixListener},
        },
    },
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use nix::{
    fcntl::{Flock, FlockArg},
    sys::stat::Mode,
    unistd::mkfifo,
};
use support::{
    nobody::{NOBODY, as_nobody, nobodys},
    *,
};
use vipd_common::abi::ABI_VERSION;
use vipd_tests::{Daemon, Node, xdp};

/// A file of root's.
fn precious(node: &Node) -> Result<PathBuf> {
    let path = node.dir().join("precious");
    fs::write(&path, "precious")?;
    Ok(path)
}

fn is_untouched(precious: &Path) -> Result<()> {
    let (text, found) = (fs::read_to_string(precious)?, fs::metadata(precious)?);
    ensure!(text == "precious" && found.uid() == 0, "{text:?} of uid {}", found.uid());
    Ok(())
}

/// Every file that nobody can open below a directory, locked shared.
fn lock_all(dir: &Path) -> Vec<(PathBuf, Flock<File>)> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let lock = |path: PathBuf| {
        let file = File::open(&path).ok()?;
        Some((path, Flock::lock(file, FlockArg::LockSharedNonblock).ok()?))
    };
    entries.filter(|entry| entry.path().is_file()).filter_map(|entry| lock(entry.path())).collect()
}

/// He holds the name that was the lock of the network namespace, waits for every lock that he can open, and makes what he can
/// where locks are: vipd starts, and starts again after a crash.
#[test]
fn no_lock_can_be_held_by_others() -> Result<()> {
    let Some(bed) = Bed::new()? else { return Ok(()) };
    let lb01 = bed.lb01();
    nobodys(lb01)?;
    let name = SocketAddr::from_abstract_name("vipd/host")?;
    let _socket = as_nobody(lb01, || Ok(UnixDatagram::bind_addr(&name)?))?;
    let mut daemon = bed.start("lb01", &node_conf(HIGH, ""))?;
    bed.wait("lb01", "MASTER")?;

    let runtime = lb01.runtime_dir();
    let (held, made) = as_nobody(lb01, || {
        let mut held = lock_all(&runtime);
        held.extend(lock_all(Path::new("/run/vipd")));
        held.extend(lock_all(Path::new("/run/vipd/locks")));
        let made = [&*runtime, Path::new("/run/vipd"), Path::new("/run/vipd/locks")]
            .map(|dir| File::create(dir.join("mine")).is_ok());
        Ok((held, made))
    })?;
    ensure!(made == [false; 3], "nobody makes files where locks are: {made:?}");
    // The process id is for everybody to read, or the attack was none.
    ensure!(held.iter().any(|(path, _)| path.ends_with("vipd.pid")), "{held:?}");
    daemon.kill9()?;
    let _daemon = bed.restart("lb01")?;
    bed.wait("lb01", "MASTER")?;
    let locks = fs::metadata("/run/vipd/locks")?;
    ensure!(locks.mode() & 0o777 == 0o700 && locks.uid() == 0, "{locks:?}");
    for (dir, name) in [(runtime.as_path(), "vipd.lock"), (Path::new("/run/vipd/locks"), "net-")] {
        let locks = fs::read_dir(dir)?.flatten();
        let locks: Vec<_> =
            locks.filter(|entry| entry.file_name().to_string_lossy().starts_with(name)).collect();
        ensure!(!locks.is_empty(), "no {name} in {}", dir.display());
        for lock in locks {
            ensure!(lock.metadata()?.mode() & 0o777 == 0o600, "{lock:?}");
        }
    }
    Ok(())
}

/// Two daemons in one network namespace with another `/run` each, as in containers, know of each other.
#[test]
fn a_network_namespace_has_one_vipd_over_mount_namespaces() -> Result<()> {
    let Some(bed) = Bed::new()? else { return Ok(()) };
    let lb01 = bed.lb01();
    let _first = bed.start("lb01", &node_conf(HIGH, ""))?;
    bed.wait("lb01", "MASTER")?;
    let other = |name: &str| lb01.dir().join(format!("other-{name}")).display().to_string();
    let mut command = lb01.command("unshare");
    let script = "mount -t tmpfs tmpfs /run && exec \"$@\"";
    command.args(["--mount", "--propagation", "private", "sh", "-c", script, "sh"]);
    command.arg(&bed.vipd).arg("run").arg("-f").arg(lb01.vipd_conf());
    command.arg("--bpffs-dir").arg(lb01.bpffs_dir().join("other"));
    command.args(["--runtime-dir", &other("run"), "--state-dir", &other("state")]);
    let mut second = Daemon::start("vipd in a container", &mut command, &lb01.dir().join("second.log"))?;
    ensure!(second.wait(SOON)?.code() == Some(1), "{}", second.log());
    ensure!(second.log().contains("with another /run"), "{}", second.log());
    ensure!(bed.state("lb01")? == "MASTER");
    Ok(())
}

/// In a BPF file system of mode 1777 he makes vipd's directories first, with a link in them to the pins of another program.
#[test]
fn foreign_pin_directories_give_way() -> Result<()> {
    let Some(bed) = Bed::new()? else { return Ok(()) };
    let lb01 = bed.lb01();
    let bpffs = lb01.bpffs_dir();
    fs::create_dir(bpffs)?;
    fs::set_permissions(bpffs, fs::Permissions::from_mode(0o1777))?;
    // Another program of root's, on an interface that vipd has nothing to do with; its pin has a name that vipd's might have.
    lb01.exec(&["ip", "link", "add", "v0", "type", "veth", "peer", "name", "v1"])?;
    let ifindex = lb01.ns().run(|| nix::net::if_::if_nametoindex("v0"))??;
    let others = bpffs.join("others");
    fs::create_dir(&others)?;
    let pin = others.join(format!("link-{ifindex}"));
    xdp::Program::pass()?.attach(lb01.ns(), "v0")?.pin(&pin)?;
    let is_attached =
        || -> Result<bool> { Ok(lb01.exec(&["ip", "link", "show", "dev", "v0"])?.contains("xdp")) };
    ensure!(is_attached()?);

    let vipd = bpffs.join("vipd");
    let version = format!("v{ABI_VERSION}");
    let current = vipd.join(&version);
    // By way of a descriptor: this host's bpffs itself may be closed to others.
    let opened = File::open(bpffs)?;
    let his_vipd = Path::new("/proc/self/fd").join(opened.as_raw_fd().to_string()).join("vipd");
    let attack = |with_own: bool| {
        as_nobody(lb01, || {
            let all = Mode::S_IRWXU | Mode::S_IRWXG | Mode::S_IRWXO;
            nix::unistd::mkdir(&his_vipd, all)?;
            fs::set_permissions(&his_vipd, fs::Permissions::from_mode(0o777))?;
            symlink(&others, his_vipd.join("v4"))?;
            if with_own {
                let current = his_vipd.join(&version);
                fs::create_dir(&current)?;
                symlink(&pin, current.join("link-3"))?;
            }
            Ok(())
        })
    };
    let check = |daemon: &mut Daemon| -> Result<()> {
        bed.wait("lb01", "MASTER")?;
        ensure!(daemon.is_running() && is_attached()?, "the other program was detached: {}", daemon.log());
        ensure!(pin.exists() && daemon.log().contains("another user has made something where vipd pins"));
        for dir in [&vipd, &current] {
            let found = fs::symlink_metadata(dir)?;
            ensure!(found.is_dir() && found.uid() == 0 && found.mode() & 0o777 == 0o700, "{found:?}");
        }
        Ok(())
    };
    for with_own in [false, true] {
        attack(with_own)?;
        let mut daemon = bed.start("lb01", &node_conf(HIGH, ""))?;
        check(&mut daemon)?;
        lb01.stop_vipd(&bed.vipd)?;
        ensure!(daemon.wait(SOON)?.success(), "{}", daemon.log());
        ensure!(is_attached()? && pin.exists());
    }

    // The whole name is a link.
    as_nobody(lb01, || Ok(symlink(&others, &his_vipd)?))?;
    let mut daemon = bed.start("lb01", &node_conf(HIGH, ""))?;
    bed.wait("lb01", "MASTER")?;
    ensure!(daemon.log().contains("another user has made a link") && fs::symlink_metadata(&vipd)?.is_dir());

    // An earlier vipd has pinned in his directory: its lease is taken over from there.
    daemon.kill9()?;
    chown(&vipd, Some(NOBODY), None)?;
    let mut daemon = bed.restart("lb01")?;
    bed.wait("lb01", "MASTER")?;
    ensure!(fs::symlink_metadata(&vipd)?.uid() == 0 && current.exists());
    ensure!(daemon.log().contains("maps that an earlier vipd left are adopted"), "{}", daemon.log());
    lb01.stop_vipd(&bed.vipd)?;
    ensure!(daemon.wait(SOON)?.success(), "{}", daemon.log());
    fs::remove_file(&pin)?;
    Ok(())
}

/// Where others may take pins away vipd does not start, and says what mends it.
#[test]
fn a_directory_for_pins_that_others_may_empty_is_refused() -> Result<()> {
    let Some(bed) = Bed::new()? else { return Ok(()) };
    let lb01 = bed.lb01();
    lb01.write_vipd_conf(&node_conf(HIGH, ""))?;
    // Not sticky, and in a mount of its own, which nobody could give way to.
    let mount = lb01.dir().join("bpf");
    fs::create_dir(&mount)?;
    let mut command = lb01.command("unshare");
    let script = "mount -t bpf bpf \"$0\" && chmod 0777 \"$0\" && exec \"$@\"";
    command.args(["--mount", "--propagation", "private", "sh", "-c", script]).arg(&mount);
    command.arg(&bed.vipd).arg("run").arg("-f").arg(lb01.vipd_conf()).arg("--bpffs-dir").arg(&mount);
    command.arg("--runtime-dir").arg(lb01.runtime_dir()).arg("--state-dir").arg(lb01.state_dir());
    let mut daemon = Daemon::start("vipd", &mut command, &lb01.vipd_log())?;
    ensure!(daemon.wait(SOON)?.code() == Some(1), "{}", daemon.log());
    let remedy = format!("chmod 0700 {}", mount.display());
    ensure!(daemon.log().contains("mode 0777") && daemon.log().contains(&remedy), "{}", daemon.log());
    Ok(())
}

/// `--pid`, `--metrics-listen`, `init_file` and the file that is tracked, in a directory of his.
#[test]
fn no_file_is_written_through_his_links() -> Result<()> {
    let Some(bed) = Bed::new()? else { return Ok(()) };
    let lb01 = bed.lb01();
    let dir = nobodys(lb01)?;
    let precious = precious(lb01)?;
    let (pid, tracked, metrics) = (dir.join("vipd.pid"), dir.join("weight"), dir.join("metrics.sock"));
    let _listener = as_nobody(lb01, || {
        symlink(&precious, &pid)?;
        symlink(&precious, &tracked)?;
        Ok(UnixListener::bind(&metrics)?)
    })?;
    let track = format!("track_file load {{\n file {}\n init_file 0 overwrite\n}}\n", tracked.display());
    lb01.write_vipd_conf(&(track + &node_conf(HIGH, "track_file {\n load weight 1\n }")))?;
    let mut command = lb01.vipd_run(&bed.vipd);
    command.arg("--pid").arg(&pid).arg("--metrics-listen").arg(format!("unix:{}", metrics.display()));
    let mut daemon = Daemon::start("vipd", &mut command, &lb01.vipd_log())?;
    bed.wait("lb01", "MASTER")?;
    is_untouched(&precious)?;
    ensure!(fs::read_to_string(&pid)?.trim() == daemon.pid().to_string());
    let socket = fs::symlink_metadata(&metrics)?;
    ensure!(socket.uid() == 0 && socket.mode() & 0o777 == 0o660, "{socket:?}");
    lb01.stop_vipd(&bed.vipd)?;
    ensure!(daemon.wait(SOON)?.success() && !pid.exists() && !metrics.exists(), "{}", daemon.log());

    // What is tracked is a FIFO that nobody writes to: looking at it must not wait.
    as_nobody(lb01, || {
        fs::remove_file(&tracked)?;
        Ok(mkfifo(&tracked, Mode::S_IRUSR | Mode::S_IWUSR)?)
    })?;
    let track = format!("track_file load {{\n file {}\n}}\n", tracked.display());
    let conf = track + &node_conf(HIGH, "track_file {\n load weight 1\n }");
    let daemon = bed.start("lb01", &conf)?;
    bed.wait("lb01", "MASTER")?;
    ensure!(daemon.log().contains("it is not a regular file"), "{}", daemon.log());
    Ok(())
}

/// While vipd makes FIFOs in his directory he puts a link in the place of each as soon as it is there.
#[test]
fn a_fifo_is_not_given_away_by_name() -> Result<()> {
    let Some(bed) = Bed::new()? else { return Ok(()) };
    let lb01 = bed.lb01();
    let dir = nobodys(lb01)?;
    let precious = precious(lb01)?;
    let (fifo, link, stop) = (dir.join("fifo"), dir.join("link"), AtomicBool::new(false));
    let conf = |priority| {
        let fifo = format!("global_defs {{\n notify_fifo {} nobody\n}}\n", fifo.display());
        fifo + &node_conf(priority, "")
    };
    let attack = || -> Result<u32> {
        let mut replaced = 0;
        let _ = symlink(&precious, &link);
        while !stop.load(Ordering::Relaxed) {
            // As soon as it is made, and before it is given away.
            if fs::symlink_metadata(&fifo).is_ok() && fs::rename(&link, &fifo).is_ok() {
                replaced += 1;
                thread::sleep(Duration::from_millis(2));
                let _ = fs::remove_file(&fifo);
                let _ = symlink(&precious, &link);
            }
        }
        Ok(replaced)
    };
    thread::scope(|scope| -> Result<()> {
        let attacker = scope.spawn(|| as_nobody(lb01, attack));
        let result = (|| {
            let _daemon = bed.start("lb01", &conf(HIGH))?;
            for round in 0..times("VIPD_TEST_FIFO_ROUNDS", 60) {
                is_untouched(&precious).with_context(|| format!("round {round}"))?;
                // Without it, and with it again.
                bed.reloaded("lb01", &node_conf(HIGH, ""))?;
                bed.reloaded("lb01", &conf(HIGH))?;
            }
            is_untouched(&precious)
        })();
        stop.store(true, Ordering::Relaxed);
        let replaced = attacker.join().expect("the attacker does not panic")?;
        result?;
        ensure!(replaced > 0, "he never came to put his link there");
        Ok(())
    })
}

/// `vipd doctor` is run by root with whatever PATH he has.
#[test]
fn doctor_runs_programs_of_the_system_only() -> Result<()> {
    let Some(bed) = Bed::new()? else { return Ok(()) };
    let lb01 = bed.lb01();
    let (bin, ran) = (nobodys(lb01)?, lb01.dir().join("ran"));
    let nft = script(lb01, "nobodys/nft", &format!("touch {}", ran.display()))?;
    lb01.write_vipd_conf(&node_conf(HIGH, ""))?;
    let mut doctor = bed.ask("lb01", &["doctor"]);
    doctor.arg("-f").arg(lb01.vipd_conf()).arg("--bpffs-dir").arg(lb01.bpffs_dir());
    let path = format!("{}:{}", bin.display(), std::env::var("PATH")?);
    let said = doctor.env("PATH", path).output()?;
    ensure!(!ran.exists(), "{nft} was run: {}", String::from_utf8_lossy(&said.stdout));
    Ok(())
}

/// Somebody's process is named keepalived, and its configuration is a FIFO: `vipd doctor` does not wait for it.
#[test]
fn doctor_waits_for_no_fifo() -> Result<()> {
    let Some(bed) = Bed::new()? else { return Ok(()) };
    let lb01 = bed.lb01();
    let dir = nobodys(lb01)?;
    let (fifo, waits, keepalived) = (dir.join("conf"), dir.join("waits"), dir.join("keepalived"));
    mkfifo(&fifo, Mode::S_IRUSR)?;
    mkfifo(&waits, Mode::S_IRUSR)?;
    fs::copy("/bin/sh", &keepalived)?;
    let mut command = lb01.command(&keepalived);
    command.arg("-c").arg(format!("read line < {}", waits.display())).arg("-f").arg(&fifo);
    let _process = Daemon::start("keepalived", &mut command, &dir.join("log"))?;
    lb01.write_vipd_conf(&node_conf(HIGH, ""))?;
    let mut doctor = bed.ask("lb01", &["doctor"]);
    doctor.arg("-f").arg(lb01.vipd_conf()).arg("--bpffs-dir").arg(lb01.bpffs_dir());
    let mut doctor = Daemon::start("doctor", &mut doctor, &lb01.dir().join("doctor.log"))?;
    doctor.wait(SOON)?;
    ensure!(doctor.log().contains("keepalived"), "the process was not noticed: {}", doctor.log());
    Ok(())
}
