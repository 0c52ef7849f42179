//! The few XDP programs a lab itself may need, some instructions each, without a compiler or a BPF library.
//!
//! veth hands on what its peer sends with `XDP_TX` only if it has an XDP program itself: switch ports have
//! [`Program::pass`]. With GRO alone (tried) the frames lie in its ring until another frame wakes it.

mod counter;
mod generator;
mod instructions;

use std::{
    cell::Cell,
    ffi::CString,
    io,
    os::{
        fd::{AsRawFd, FromRawFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
    time::Duration,
};

use anyhow::{Context, Result};

pub use counter::Counter;
pub use generator::{Generator, Varying};

use crate::Netns;

/// A loaded program that returns one verdict for every frame.
#[derive(Debug)]
pub struct Program(OwnedFd);

/// An attachment; dropping it detaches.
#[derive(Debug)]
pub struct Link(OwnedFd);

impl Link {
    /// Keeps the attachment for as long as `path`, on bpffs, is there.
    pub fn pin(&self, path: &Path) -> Result<()> {
        let name = CString::new(path.as_os_str().as_bytes()).context("a path without NUL")?;
        let attr = ObjectPin { pathname: name.as_ptr() as u64, bpf_fd: fd_u32(&self.0), rest: [0; 3] };
        syscall(BPF_OBJ_PIN, &attr).with_context(|| format!("cannot pin {}", path.display()))?;
        Ok(())
    }
}

impl Program {
    /// Lets every frame pass.
    pub fn pass() -> Result<Self> {
        Self::verdict(XDP_PASS)
    }

    /// Lets every frame pass, at tc ingress.
    pub fn pass_at_tc() -> Result<Self> {
        // mov r0, TC_ACT_UNSPEC; exit
        Self::load_as(BPF_PROG_TYPE_SCHED_CLS, &[0xffff_ffff_0000_00b7, 0x95], 0)
    }

    /// Lets no frame pass.
    pub fn drop() -> Result<Self> {
        Self::verdict(XDP_DROP)
    }

    /// Lets no frame pass, at tc ingress.
    pub fn drop_at_tc() -> Result<Self> {
        // mov r0, TC_ACT_SHOT; exit
        Self::load_as(BPF_PROG_TYPE_SCHED_CLS, &[0x0000_0002_0000_00b7, 0x95], 0)
    }

    /// Attaches at tc ingress to an interface of a namespace, before all that is there (Linux 6.6).
    pub fn attach_first_at_tc(&self, ns: &Netns, ifname: &str) -> Result<Link> {
        self.attach_as(ns, ifname, BPF_TCX_INGRESS, BPF_F_BEFORE)
    }

    /// Sends every frame back unchanged out of the interface it came in by.
    pub fn reflect() -> Result<Self> {
        Self::verdict(XDP_TX)
    }

    /// Attaches natively to an interface of a namespace.
    pub fn attach(&self, ns: &Netns, ifname: &str) -> Result<Link> {
        self.attach_as(ns, ifname, BPF_XDP, XDP_FLAGS_DRV_MODE)
    }

    fn attach_as(&self, ns: &Netns, ifname: &str, attach_type: u32, flags: u32) -> Result<Link> {
        let ifindex = ns
            .run(|| nix::net::if_::if_nametoindex(ifname))?
            .with_context(|| format!("no interface {ifname} in {}", ns.name()))?;
        let attr = LinkCreate { prog_fd: fd_u32(&self.0), ifindex, attach_type, flags, rest: [0; 6] };
        let fd = ns.run(|| bpf(BPF_LINK_CREATE, &attr))?;
        Ok(Link(fd.with_context(|| format!("cannot attach a program to {ifname} in {}", ns.name()))?))
    }

    /// Runs it `repeat` times over a frame, without an interface; returns the mean time of one run, as the kernel has it.
    pub fn test_run(&self, frame: &[u8], repeat: u32) -> Result<Duration> {
        let attr = TestRun {
            prog_fd: fd_u32(&self.0),
            data_size_in: u32::try_from(frame.len()).context("a short frame")?,
            data_in: frame.as_ptr() as u64,
            repeat,
            ..TestRun::default()
        };
        syscall(BPF_PROG_TEST_RUN, &attr).context("BPF_PROG_TEST_RUN")?;
        Ok(Duration::from_nanos(attr.duration.get().into()))
    }

    fn verdict(verdict: i32) -> Result<Self> {
        // mov r0, verdict; exit
        Self::load(&[0xb7 | ((verdict as u64) << 32), 0x95])
    }

    fn load(instructions: &[u64]) -> Result<Self> {
        Self::load_as(BPF_PROG_TYPE_XDP, instructions, BPF_F_XDP_HAS_FRAGS)
    }

    fn load_as(prog_type: u32, instructions: &[u64], flags: u32) -> Result<Self> {
        let license = CString::new("MIT").context("a license string")?;
        let attr = ProgLoad {
            prog_type,
            insn_cnt: u32::try_from(instructions.len()).context("a short program")?,
            insns: instructions.as_ptr() as u64,
            license: license.as_ptr() as u64,
            // No log; the version of the kernel, which nobody asks for; flags.
            rest: [0, 0, 0, 0, 0, flags, 0, 0, 0, 0, 0, 0],
        };
        Ok(Self(bpf(BPF_PROG_LOAD, &attr).context("BPF_PROG_LOAD")?))
    }
}

fn fd_u32(fd: &OwnedFd) -> u32 {
    fd.as_raw_fd().cast_unsigned()
}

/// For the commands that return a descriptor.
fn bpf<A>(command: libc::c_int, attr: &A) -> io::Result<OwnedFd> {
    let fd = syscall(command, attr)?;
    // SAFETY: the commands passed here return a new descriptor that nobody else owns; descriptors fit in an int.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as libc::c_int) })
}

fn syscall<A>(command: libc::c_int, attr: &A) -> io::Result<libc::c_long> {
    // SAFETY: `attr` is a zero-padded prefix of `union bpf_attr` of the size that is passed, and what it points
    // to outlives the call.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, attr, size_of::<A>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// The start of `union bpf_attr` for `BPF_PROG_LOAD`.
#[repr(C)]
struct ProgLoad {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    rest: [u32; 12],
}

/// The start of `union bpf_attr` for `BPF_LINK_CREATE`.
#[repr(C)]
struct LinkCreate {
    prog_fd: u32,
    ifindex: u32,
    attach_type: u32,
    flags: u32,
    rest: [u32; 6],
}

/// The start of `union bpf_attr` for `BPF_PROG_TEST_RUN`; cells are what the kernel writes.
#[repr(C)]
#[derive(Default)]
struct TestRun {
    prog_fd: u32,
    retval: Cell<u32>,
    data_size_in: u32,
    data_size_out: Cell<u32>,
    data_in: u64,
    data_out: u64,
    repeat: u32,
    duration: Cell<u32>,
    ctx_size_in: u32,
    ctx_size_out: Cell<u32>,
    ctx_in: u64,
    ctx_out: u64,
    flags: u32,
    cpu: u32,
    batch_size: u32,
    reserved: u32,
}

/// The start of `union bpf_attr` for `BPF_OBJ_PIN`.
#[repr(C)]
struct ObjectPin {
    pathname: u64,
    bpf_fd: u32,
    rest: [u32; 3],
}

const BPF_PROG_LOAD: libc::c_int = 5;
const BPF_OBJ_PIN: libc::c_int = 6;
const BPF_PROG_TEST_RUN: libc::c_int = 10;
const BPF_LINK_CREATE: libc::c_int = 28;
const BPF_PROG_TYPE_SCHED_CLS: u32 = 3;
const BPF_F_XDP_HAS_FRAGS: u32 = 1 << 5;
const BPF_PROG_TYPE_XDP: u32 = 6;
const BPF_XDP: u32 = 37;
const XDP_FLAGS_DRV_MODE: u32 = 1 << 2;
const BPF_TCX_INGRESS: u32 = 46;
const BPF_F_BEFORE: u32 = 1 << 3;
const XDP_DROP: i32 = 1;
const XDP_PASS: i32 = 2;
const XDP_TX: i32 = 3;
