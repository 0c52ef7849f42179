//! The prefix of every name that a process makes outside its own memory: namespaces, directories, pins.
//!
//! It tells the process, so that what a dead one has left is known and can be removed ([`crate::janitor::sweep`]).

use std::{
    env,
    fs::{self, File},
    io::Read,
    path::PathBuf,
    process,
};

use anyhow::{Context, Result};
use nix::{errno::Errno, sys::signal::kill, unistd::Pid};

/// A prefix, and the directory of that name.
#[derive(Debug)]
pub struct Prefix {
    pub name: String,
    pub dir: PathBuf,
}

impl Prefix {
    /// Takes a new prefix and makes its directory: unique among those of one process, of parallel checkouts and of
    /// leftovers.
    pub fn new() -> Result<Self> {
        Self::of(process::id())
    }

    /// The same for another process.
    pub fn of(pid: u32) -> Result<Self> {
        let mut random = [0; 4];
        File::open("/dev/urandom").and_then(|mut f| f.read_exact(&mut random)).context("/dev/urandom")?;
        let random = base36(u32::from_ne_bytes(random), RANDOM_DIGITS);
        let name = format!("{START}{}{random}", base36(pid, PID_DIGITS));
        let dir = env::temp_dir().join(&name);
        fs::create_dir(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
        Ok(Self { name, dir })
    }
}

/// Whether a name is a prefix whose process has ended.
pub fn is_orphan(name: &str) -> bool {
    owner(name).is_some_and(|pid| kill(pid, None) == Err(Errno::ESRCH))
}

/// The process that has taken a prefix; `None` if it is no prefix.
fn owner(name: &str) -> Option<Pid> {
    let digits = name.strip_prefix(START).filter(|digits| digits.len() == PID_DIGITS + RANDOM_DIGITS)?;
    let lower = |c: char| c.is_ascii_digit() || c.is_ascii_lowercase();
    let pid = digits.chars().all(lower).then(|| i32::from_str_radix(&digits[..PID_DIGITS], 36).ok())??;
    (pid > 0).then(|| Pid::from_raw(pid))
}

/// The last digits of a number.
fn base36(mut n: u32, digits: usize) -> String {
    let mut text = vec![b'0'; digits];
    for digit in text.iter_mut().rev() {
        *digit = b"0123456789abcdefghijklmnopqrstuvwxyz"[(n % 36) as usize];
        n /= 36;
    }
    text.into_iter().map(char::from).collect()
}

const START: &str = "vd";
/// Process ids have 22 bits.
const PID_DIGITS: usize = 5;
const RANDOM_DIGITS: usize = 4;

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test")]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_tells_its_process() {
        let Prefix { name, dir } = Prefix::new().unwrap();
        fs::remove_dir(dir).unwrap();
        assert_eq!(owner(&name), Some(Pid::this()));
        assert!(!is_orphan(&name));
        for other in
            ["vd", "vdpacket-17", "vd00000abcd", "xx0001zabcd", "vd0001zabcde", "vd0001Zabcd", "vd-001zabcd"]
        {
            assert_eq!(owner(other), None, "{other}");
        }
    }
}
