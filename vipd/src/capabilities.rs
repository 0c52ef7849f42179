//! The capabilities of a thread, and those that its programs would inherit.
//!
//! The kernel keeps capabilities for each thread. New threads and processes start with those of their parent.

use std::io;

use nix::libc;

/// The capabilities that vipd needs after its start, in the order of `linux/capability.h`. The unit grants no others
/// (`vipd/dist/vipd.service`; docs/operate/install.md has their purpose).
pub const NEEDED: [(&str, u32); 11] = [
    ("CAP_CHOWN", 0),
    ("CAP_DAC_OVERRIDE", 1),
    ("CAP_KILL", 5),
    ("CAP_SETGID", 6),
    ("CAP_SETUID", 7),
    ("CAP_NET_ADMIN", 12),
    ("CAP_NET_RAW", 13),
    ("CAP_IPC_LOCK", 14),
    ("CAP_SYS_NICE", 23),
    ("CAP_PERFMON", 38),
    ("CAP_BPF", 39),
];

/// Drops all capabilities that vipd does not need from the calling thread; its programs inherit none.
///
/// The bounding set stays, so root's scripts have root's capabilities again: `systemctl restart` and `mount` in a notify
/// script need them.
pub fn drop_unneeded() -> io::Result<()> {
    keep(NEEDED.iter().fold(0, |set, (_, number)| set | 1 << number))
}

/// Drops all capabilities, for a thread that needs none.
pub fn drop_all() -> io::Result<()> {
    keep(0)
}

/// Makes programs of the calling thread inherit no capability. Async-signal-safe: it is called between fork and exec.
pub fn clear_inherited() -> io::Result<()> {
    clear_ambient()?;
    let before = get()?;
    change(before, Sets { inheritable: 0, ..before })
}

fn keep(wanted: u64) -> io::Result<()> {
    clear_ambient()?;
    let before = get()?;
    let Sets { effective, permitted, .. } = before;
    change(before, Sets { effective: effective & wanted, permitted: permitted & wanted, inheritable: 0 })
}

/// Calls the kernel only if something has to change: the stricter unit forbids the call.
fn change(before: Sets, after: Sets) -> io::Result<()> {
    if before == after { Ok(()) } else { set(&after) }
}

/// A bit for each capability.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Sets {
    effective: u64,
    permitted: u64,
    inheritable: u64,
}

/// `struct __user_cap_header_struct` of linux/capability.h.
#[repr(C)]
struct CapabilityHeader {
    version: u32,
    /// 0: the calling thread.
    pid: libc::c_int,
}

/// `struct __user_cap_data_struct`; two of them are the low and the high half.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Half {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// `_LINUX_CAPABILITY_VERSION_3`.
const VERSION: u32 = 0x2008_0522;

fn get() -> io::Result<Sets> {
    let header = CapabilityHeader { version: VERSION, pid: 0 };
    let mut halves = [Half::default(); 2];
    // SAFETY: for this version the kernel reads one header and writes two halves; both outlive the call.
    let result = unsafe { libc::syscall(libc::SYS_capget, &raw const header, halves.as_mut_ptr()) };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    let [low, high] = halves;
    let whole = |low: u32, high: u32| u64::from(high) << 32 | u64::from(low);
    Ok(Sets {
        effective: whole(low.effective, high.effective),
        permitted: whole(low.permitted, high.permitted),
        inheritable: whole(low.inheritable, high.inheritable),
    })
}

fn set(sets: &Sets) -> io::Result<()> {
    let header = CapabilityHeader { version: VERSION, pid: 0 };
    let half = |shift: u32| Half {
        effective: (sets.effective >> shift & 0xffff_ffff) as u32,
        permitted: (sets.permitted >> shift & 0xffff_ffff) as u32,
        inheritable: (sets.inheritable >> shift & 0xffff_ffff) as u32,
    };
    let halves = [half(0), half(32)];
    // SAFETY: for this version the kernel reads one header and two halves; both outlive the call.
    let result = unsafe { libc::syscall(libc::SYS_capset, &raw const header, halves.as_ptr()) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn clear_ambient() -> io::Result<()> {
    // SAFETY: no pointers are passed.
    let result = unsafe {
        let clear = libc::c_ulong::from(libc::PR_CAP_AMBIENT_CLEAR_ALL as u32);
        libc::prctl(libc::PR_CAP_AMBIENT, clear, 0 as libc::c_ulong, 0 as libc::c_ulong, 0 as libc::c_ulong)
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use std::{fs, thread};

    use super::*;

    #[test]
    fn a_thread_gives_up_what_it_does_not_need() {
        if !nix::unistd::Uid::effective().is_root() {
            return vipd_tests::skip("needs root");
        }
        let of = |sets: Sets| sets.effective | sets.permitted | sets.inheritable;
        let before = get().unwrap();
        let test = || {
            drop_unneeded().unwrap();
            let some = get().unwrap();
            drop_all().unwrap();
            (some, get().unwrap())
        };
        let (some, none) = thread::scope(|scope| scope.spawn(test).join().unwrap());
        let sys_admin = 1 << 21;
        assert!(some.permitted & 1 << 12 == before.permitted & 1 << 12, "{some:?}");
        assert_eq!((of(some) & sys_admin, some.inheritable, of(none)), (0, 0, 0));
        assert_eq!(get().unwrap(), before, "another thread's are its own");
    }

    /// The unit gives what is kept, and no more.
    #[test]
    fn the_unit_gives_what_is_needed() {
        let unit = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/dist/vipd.service")).unwrap();
        let lines = unit.lines().filter_map(|line| line.strip_prefix("CapabilityBoundingSet="));
        let mut given: Vec<&str> = lines.flat_map(str::split_whitespace).collect();
        let mut needed: Vec<&str> = NEEDED.iter().map(|(name, _)| *name).collect();
        given.sort_unstable();
        needed.sort_unstable();
        assert_eq!(given, needed);
    }
}
