//! The steps between fork and exec of a command: its user, capabilities and files.
//!
//! Everything here is async-signal-safe: only system calls, on values made before the fork.

use std::{
    ffi::{CStr, CString},
    fs::File,
    io::{self, Read},
    mem,
    os::fd::{AsRawFd, OwnedFd, RawFd},
    sync::mpsc::{self, RecvTimeoutError, Sender},
    thread,
    time::Duration,
};

use nix::{
    fcntl::{OFlag, open},
    libc,
    sys::{
        signal::{Signal, kill},
        stat::Mode,
    },
    unistd::{ForkResult, Gid, Pid, Uid, fork, pipe2, setgroups, setresgid, setresuid, setsid},
};

use crate::{capabilities, resources};

/// User of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunAs {
    pub uid: Uid,
    pub gid: Gid,
    /// The user's groups, as after a login.
    pub groups: Vec<Gid>,
}

/// The steps before the exec.
#[derive(Debug)]
pub(super) struct Setup {
    /// `None`: the user of vipd.
    pub account: Option<RunAs>,
    /// The path to run, and device and inode of the checked file.
    pub same: Option<(CString, (u64, u64))>,
    /// Tells a [`Guard`] the process id.
    pub guard: Option<RawFd>,
}

/// Kills a child that does not reach its exec.
///
/// The main thread waits for the exec. Between the change of the user and the exec the child belongs to that user, who could stop it,
/// and with it the main thread.
#[derive(Debug)]
pub(super) struct Guard {
    told: OwnedFd,
    /// Closes when the child has reached its exec.
    _done: Sender<()>,
}

/// Time limit between fork and exec.
const PATIENCE: Duration = Duration::from_secs(1);

impl Guard {
    pub fn new() -> io::Result<Self> {
        let (pid, told) = pipe2(OFlag::O_CLOEXEC)?;
        let (done, is_done) = mpsc::channel::<()>();
        thread::Builder::new().name("vipd-child".to_owned()).spawn(move || {
            let mut child = [0; size_of::<libc::pid_t>()];
            // Without a child there is nothing to read, and nothing to guard.
            if File::from(pid).read_exact(&mut child).is_err() {
                return;
            }
            if is_done.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
                // It is not waited for yet, so the number is still its own.
                let child = Pid::from_raw(libc::pid_t::from_ne_bytes(child));
                let killed = kill(child, Signal::SIGKILL);
                tracing::warn!(%child, ?killed, "killed a command that its user had stopped before it began");
            }
        })?;
        Ok(Self { told, _done: done })
    }

    pub fn told(&self) -> RawFd {
        self.told.as_raw_fd()
    }
}

impl Setup {
    /// Call it in the child of a command that is to be nobody's child, and to outlive vipd: the child itself ends at once.
    ///
    /// # Errors
    ///
    /// A step failed; the command does not run.
    pub fn outliving() -> io::Result<()> {
        // SAFETY: both go on with async-signal-safe calls only.
        match unsafe { fork() }? {
            // SAFETY: nothing of the parent is touched.
            ForkResult::Parent { .. } => unsafe { libc::_exit(0) },
            ForkResult::Child => {}
        }
        setsid()?;
        restore_oom_score();
        capabilities::clear_inherited()?;
        close_descriptors()
    }

    /// Call it in the child.
    ///
    /// # Errors
    ///
    /// A step failed; the command does not run.
    pub fn apply(&self) -> io::Result<()> {
        // A process group of its own, and no terminal: whoever has root's could type into it (TIOCSTI).
        setsid()?;
        if let Some(guard) = self.guard {
            let pid = Pid::this().as_raw().to_ne_bytes();
            // SAFETY: the octets outlive the call, and the parent holds the descriptor until the child has come to its exec.
            unsafe { libc::write(guard, pid.as_ptr().cast(), pid.len()) };
        }
        // Before the change of the user, who may not write there.
        restore_oom_score();
        if let Some(RunAs { uid, gid, groups }) = &self.account {
            setgroups(groups)?;
            setresgid(*gid, *gid, *gid)?;
            setresuid(*uid, *uid, *uid)?;
        }
        capabilities::clear_inherited()?;
        // After the change of the user, which would undo it.
        nix::sys::prctl::set_pdeathsig(Signal::SIGTERM)?;
        close_descriptors()?;
        resources::restore_descriptors()?;
        match &self.same {
            Some((path, checked)) if inode(path)? != *checked => Err(libc_error(libc::ESTALE)),
            _ => Ok(()),
        }
    }
}

/// Makes exec close every descriptor but the three standard ones. vipd's own are close-on-exec, but its parent may have left it others.
fn close_descriptors() -> io::Result<()> {
    // SAFETY: no pointers are passed.
    let result =
        unsafe { libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Takes the protection back that the service manager has given to vipd: where memory runs out, a script is ended before vipd is.
///
/// A command is run all the same where this fails (no `/proc`).
fn restore_oom_score() {
    const FILE: &CStr = c"/proc/self/oom_score_adj";
    let Ok(file) = open(FILE, OFlag::O_RDWR | OFlag::O_CLOEXEC, Mode::empty()) else { return };
    let mut text = [0; 16];
    let is_protected = nix::unistd::read(&file, &mut text).is_ok_and(|length| length > 0) && text[0] == b'-';
    if is_protected {
        let _ = nix::unistd::write(&file, b"0");
    }
}

fn inode(path: &CString) -> io::Result<(u64, u64)> {
    // SAFETY: all zero is a valid value.
    let mut found: libc::stat = unsafe { mem::zeroed() };
    // SAFETY: the path ends with NUL, and both outlive the call.
    let result = unsafe { libc::stat(path.as_ptr(), &raw mut found) };
    if result == 0 { Ok((found.st_dev, found.st_ino)) } else { Err(io::Error::last_os_error()) }
}

fn libc_error(number: libc::c_int) -> io::Error {
    io::Error::from_raw_os_error(number)
}

#[cfg(test)]
mod tests {
    use std::{os::unix::process::CommandExt, process::Command};

    use super::*;
    use crate::scripts::Executable;

    /// Otherwise it could type into the terminal from which root has started vipd.
    #[test]
    fn a_command_has_a_session_of_its_own() {
        let script = "read pid name state parent group session rest </proc/$$/stat; test $session = $$";
        let arguments = ["-c", script].map(str::to_owned).to_vec();
        let executable = Executable { path: "/bin/sh".into(), arguments, account: None, secure: false };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let outcome = runtime.block_on(executable.run(Duration::from_secs(60))).outcome;
        assert!(outcome.is_success(), "{outcome}");
    }

    /// Else the kernel ends everything else first where a script takes all memory.
    #[test]
    fn a_command_is_not_protected_from_the_kernel_as_vipd_is() {
        if !Uid::effective().is_root() {
            return vipd_tests::skip("needs root");
        }
        // The score is that of a process: a process of the test's own is protected.
        let me = std::env::current_exe().unwrap();
        let this = "scripts::child::tests::a_command_is_not_protected_from_the_kernel_as_vipd_is";
        let Some(score) = std::env::var_os("VIPD_TEST_SCORE") else {
            for (score, expect) in [("-900", "0"), ("500", "500")] {
                let mut again = Command::new("/bin/sh");
                let script = "echo $VIPD_TEST_SCORE >/proc/self/oom_score_adj || exit 99; exec \"$@\"";
                again.args(["-c", script, "sh"]).arg(&me).args(["--exact", this]);
                let output =
                    again.env("VIPD_TEST_SCORE", score).env("VIPD_TEST_EXPECT", expect).output().unwrap();
                if output.status.code() == Some(99) {
                    vipd_tests::skip(format_args!("a score of {score} needs CAP_SYS_RESOURCE"));
                    continue;
                }
                assert!(output.status.success(), "{score}: {}", String::from_utf8_lossy(&output.stdout));
            }
            return;
        };
        let own = || std::fs::read_to_string("/proc/self/oom_score_adj").unwrap().trim().to_owned();
        assert_eq!(own(), score.to_str().unwrap());
        let expect = std::env::var("VIPD_TEST_EXPECT").unwrap();
        let unprivileged =
            RunAs { uid: Uid::from_raw(65_534), gid: Gid::from_raw(65_534), groups: Vec::new() };
        for account in [None, Some(unprivileged)] {
            let script = format!("read score </proc/self/oom_score_adj; test $score = {expect}");
            let arguments = vec!["-c".to_owned(), script];
            let executable = Executable { path: "/bin/sh".into(), arguments, account, secure: false };
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let outcome = runtime.block_on(executable.run(Duration::from_secs(60))).outcome;
            assert!(outcome.is_success(), "{executable:?}: {outcome}");
        }
        assert_eq!(own(), score.to_str().unwrap(), "vipd's own stays");
    }

    /// The user of a script stopped it between the change of the user and its exec, and whoever started it waited for ever.
    #[test]
    fn a_child_that_its_user_stops_holds_nobody_up() {
        if !Uid::effective().is_root() {
            return vipd_tests::skip("needs root");
        }
        // Of nobody else's processes.
        let uid = 61_000 + std::process::id() % 4_000;
        let mut attacker = Command::new("/bin/sh");
        attacker.args(["-c", "while :; do kill -s STOP -- -1 2>/dev/null; done"]).uid(uid).gid(uid);
        let mut attacker = attacker.spawn().unwrap();
        let account = Some(RunAs { uid: Uid::from_raw(uid), gid: Gid::from_raw(uid), groups: Vec::new() });
        let executable =
            Executable { path: "/bin/true".into(), arguments: Vec::new(), account, secure: false };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            for _ in 0..30 {
                let mut child = executable.spawn(&[]).unwrap();
                crate::scripts::end(&mut child).await;
            }
        });
        attacker.kill().unwrap();
        attacker.wait().unwrap();
    }
}
