//! What a command is between fork and exec: whose, with what rights, with which files.
//!
//! Everything here is async-signal-safe: system calls on values that were made before the fork.

use std::{ffi::CString, io, mem};

use nix::{
    libc,
    sys::signal::Signal,
    unistd::{Gid, Uid, setgroups, setresgid, setresuid},
};

use crate::{capabilities, resources};

/// Whom a command is run as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunAs {
    pub uid: Uid,
    pub gid: Gid,
    /// The user's groups, as after a login.
    pub groups: Vec<Gid>,
}

/// What is done before a command takes the place of the new process.
#[derive(Debug)]
pub(super) struct Setup {
    /// `None`: whoever vipd is.
    pub account: Option<RunAs>,
    /// The path that is about to be run, and the file that was checked, as device and inode.
    pub same: Option<(CString, (u64, u64))>,
}

impl Setup {
    /// To be called in the child.
    ///
    /// # Errors
    ///
    /// Then the command is not run.
    pub fn apply(&self) -> io::Result<()> {
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

/// Has every descriptor but the three standard ones closed by exec: vipd's own are, but whoever has started vipd may have left it others.
fn close_descriptors() -> io::Result<()> {
    // SAFETY: no pointers are passed.
    let result =
        unsafe { libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
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
