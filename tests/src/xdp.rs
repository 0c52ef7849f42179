//! The two XDP programs a lab itself may need, two instructions each, without a compiler or a BPF library.
//!
//! veth hands on what its peer sends with `XDP_TX` only if it polls (NAPI): because GRO is on, which is what the
//! lab does, or because it has an XDP program, for which there is [`Program::pass`].

use std::{
    ffi::CString,
    io,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
};

use anyhow::{Context, Result};

use crate::Netns;

/// A loaded program that returns one verdict for every frame.
#[derive(Debug)]
pub struct Program(OwnedFd);

/// An attachment; dropping it detaches.
#[derive(Debug)]
pub struct Link {
    _fd: OwnedFd,
}

impl Program {
    /// Lets every frame pass.
    pub fn pass() -> Result<Self> {
        Self::verdict(XDP_PASS)
    }

    /// Sends every frame back unchanged out of the interface it came in by.
    pub fn reflect() -> Result<Self> {
        Self::verdict(XDP_TX)
    }

    /// Attaches natively to an interface of a namespace.
    pub fn attach(&self, ns: &Netns, ifname: &str) -> Result<Link> {
        let ifindex = ns
            .run(|| nix::net::if_::if_nametoindex(ifname))?
            .with_context(|| format!("no interface {ifname} in {}", ns.name()))?;
        let attr = LinkCreate {
            prog_fd: fd_u32(&self.0),
            ifindex,
            attach_type: BPF_XDP,
            flags: XDP_FLAGS_DRV_MODE,
            rest: [0; 6],
        };
        let fd = ns.run(|| bpf(BPF_LINK_CREATE, &attr))?;
        Ok(Link {
            _fd: fd.with_context(|| format!("cannot attach XDP to {ifname} in {}", ns.name()))?,
        })
    }

    fn verdict(verdict: i32) -> Result<Self> {
        // mov r0, verdict; exit
        let instructions: [u64; 2] = [0xb7 | ((verdict as u64) << 32), 0x95];
        let license = CString::new("MIT").context("a license string")?;
        let attr = ProgLoad {
            prog_type: BPF_PROG_TYPE_XDP,
            insn_cnt: 2,
            insns: instructions.as_ptr() as u64,
            license: license.as_ptr() as u64,
            rest: [0; 12],
        };
        Ok(Self(bpf(BPF_PROG_LOAD, &attr).context("BPF_PROG_LOAD")?))
    }
}

fn fd_u32(fd: &OwnedFd) -> u32 {
    fd.as_raw_fd().cast_unsigned()
}

fn bpf<A>(command: libc::c_int, attr: &A) -> io::Result<OwnedFd> {
    // SAFETY: `attr` is a zero-padded prefix of `union bpf_attr` of the size that is passed, and what it points
    // to outlives the call.
    let fd = unsafe { libc::syscall(libc::SYS_bpf, command, attr, size_of::<A>()) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: both commands return a new descriptor that nobody else owns; descriptors fit in an int.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as libc::c_int) })
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

const BPF_PROG_LOAD: libc::c_int = 5;
const BPF_LINK_CREATE: libc::c_int = 28;
const BPF_PROG_TYPE_XDP: u32 = 6;
const BPF_XDP: u32 = 37;
const XDP_FLAGS_DRV_MODE: u32 = 1 << 2;
const XDP_PASS: i32 = 2;
const XDP_TX: i32 = 3;
