//! `enable_script_security`: root runs only files that root alone may change; checked at each run.
//!
//! The path is walked from the top, as written and as resolved; root alone may change each directory, link and file on the way
//! ([`crate::files::Walk`]). The checked file is the one that runs:
//!
//! - a program (ELF) by its descriptor, as `/proc/self/fd/N`: the kernel opens it before it closes the descriptor;
//! - a script by its path, because the interpreter opens it once more, a descriptor that is closed by then has no path, one that is
//!   not closed would be inherited, and `$0` leads many scripts to the files beside them. Nobody but root can make the path lead
//!   elsewhere after the walk: each part is root's, in a directory where others can neither rename nor replace it. The child
//!   compares the inode all the same, immediately before it runs the path. The interpreter is walked like the script.

use std::{
    ffi::CString,
    io::{self, Read},
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::{Path, PathBuf},
};

use nix::{fcntl::OFlag, sys::stat::fstat};

use super::resolve::UnusableCommand;
use crate::files::{self, Walk};

/// A file that only root may change, ready to be run.
#[derive(Debug)]
pub(super) struct Checked {
    pub program: PathBuf,
    /// Device and inode that `program` must have when it runs.
    pub same: Option<(CString, (u64, u64))>,
    /// The file of `program`; closed when the command has started.
    _fd: Option<OwnedFd>,
}

/// As many as the kernel follows from script to interpreter.
const INTERPRETERS_MAX: usize = 5;
/// Octets that the kernel reads to determine the format of a file.
const HEAD_LEN: u64 = 256;

pub(super) fn check(path: &Path) -> Result<Checked, UnusableCommand> {
    let (walk, head) = look(path)?;
    if head.starts_with(b"\x7fELF") {
        let fd = walk.into_fd();
        let program = format!("/proc/self/fd/{}", fd.as_raw_fd()).into();
        return Ok(Checked { program, same: None, _fd: Some(fd) });
    }
    let unreadable = |error: io::Error| UnusableCommand::Unreadable { path: path.to_owned(), error };
    let found = fstat(walk.fd()).map_err(|error| unreadable(error.into()))?;
    let name = CString::new(path.as_os_str().as_bytes()).map_err(|error| unreadable(error.into()))?;
    let mut interpreter = interpreter(&head);
    for _ in 0..INTERPRETERS_MAX {
        let Some(path) = interpreter else { break };
        interpreter = self::interpreter(&look(&path)?.1);
    }
    Ok(Checked { program: path.to_owned(), same: Some((name, (found.st_dev, found.st_ino))), _fd: None })
}

/// Walks to an executable file, and reads its first octets.
fn look(path: &Path) -> Result<(Walk, Vec<u8>), UnusableCommand> {
    let unreadable = |path: &Path, error| UnusableCommand::Unreadable { path: path.to_owned(), error };
    if path.is_relative() {
        return Err(UnusableCommand::Relative(path.to_owned()));
    }
    let walk = Walk::to(path).map_err(|stuck| unreadable(&stuck.path, stuck.error))?;
    if let Some((part, why)) = walk.open_to_others() {
        return Err(UnusableCommand::Insecure { path: part.path.clone(), why });
    }
    if !walk.end().is_file() || !walk.end().is_executable() {
        return Err(UnusableCommand::NotExecutable(path.to_owned()));
    }
    let mut head = Vec::new();
    files::reopen(walk.fd(), OFlag::O_RDONLY)
        .and_then(|file| file.take(HEAD_LEN).read_to_end(&mut head))
        .map_err(|error| unreadable(path, error))?;
    Ok((walk, head))
}

/// The interpreter in the first line of a script.
fn interpreter(head: &[u8]) -> Option<PathBuf> {
    let line = head.strip_prefix(b"#!")?.split(|octet| *octet == b'\n').next()?;
    let word = line.split(|octet| matches!(octet, b' ' | b'\t')).find(|word| !word.is_empty())?;
    Some(Path::new(std::ffi::OsStr::from_bytes(word)).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_names_the_interpreter() {
        for (head, expected) in [
            (&b"#!/bin/sh\necho"[..], Some("/bin/sh")),
            (b"#! \t/usr/bin/env python3\n", Some("/usr/bin/env")),
            (b"#!/bin/sh", Some("/bin/sh")),
            (b"#!\n/bin/sh", None),
            (b"#", None),
            (b"\x7fELF", None),
        ] {
            assert_eq!(interpreter(head).as_deref(), expected.map(Path::new), "{head:?}");
        }
    }
}
