//! The calls of bpf(2) that aya does not offer.

use std::{
    ffi::CString,
    io,
    os::{
        fd::{AsFd, AsRawFd, FromRawFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
};

const BPF_MAP_LOOKUP_ELEM: libc::c_int = 1;
const BPF_OBJ_PIN: libc::c_int = 6;
const BPF_OBJ_GET: libc::c_int = 7;
const BPF_OBJ_GET_INFO_BY_FD: libc::c_int = 15;
const BPF_LINK_DETACH: libc::c_int = 34;

/// The part of `union bpf_attr` that map element commands use (include/uapi/linux/bpf.h).
#[repr(C)]
struct ElementAttr {
    map_fd: u32,
    reserved: u32,
    key: u64,
    value: u64,
    flags: u64,
}

/// Reads the element at `index` of an array into `value`, which is as long as the map's values; of an array of maps that is
/// an id of 4 octets. False if there is none.
///
/// aya's `ArrayOfMaps::get` opens the inner map by its id, for which the kernel asks CAP_SYS_ADMIN; the id itself is free.
/// Its `Array` wants the type of the value, which is not known of another version's.
pub fn lookup(map: impl AsFd, index: u32, value: &mut [u8]) -> io::Result<bool> {
    let attr = ElementAttr {
        map_fd: u32::try_from(map.as_fd().as_raw_fd()).map_err(io::Error::other)?,
        reserved: 0,
        key: (&raw const index) as u64,
        value: value.as_mut_ptr() as u64,
        flags: 0,
    };
    // SAFETY: the key is 4 octets, as the kernel demands of an array, and the value as long as the caller has found the
    // map's values to be; both outlive the call.
    let result = unsafe {
        libc::syscall(libc::SYS_bpf, BPF_MAP_LOOKUP_ELEM, &raw const attr, size_of::<ElementAttr>())
    };
    if result == 0 {
        return Ok(true);
    }
    match io::Error::last_os_error() {
        error if error.raw_os_error() == Some(libc::ENOENT) => Ok(false),
        error => Err(error),
    }
}

/// Detaches a pinned link; returns when it is done.
///
/// Removing the pin is not enough: the kernel lets go of a pinned link in a work queue, some time later.
pub fn detach_pinned_link(path: &Path) -> io::Result<()> {
    let link = pinned(path)?;
    let attr = u32::try_from(link.as_raw_fd()).map_err(io::Error::other)?;
    // SAFETY: `attr` is all of the attributes that the command has.
    let result = unsafe { libc::syscall(libc::SYS_bpf, BPF_LINK_DETACH, &raw const attr, size_of::<u32>()) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The index of the interface that a link of XDP or tcx is attached to; 0 if it was detached, or the interface is gone.
pub fn interface_of_link(link: impl AsFd) -> io::Result<u32> {
    /// The part of `union bpf_attr` for `BPF_OBJ_GET_INFO_BY_FD`.
    #[repr(C)]
    struct InfoAttr {
        bpf_fd: u32,
        info_len: u32,
        info: u64,
    }
    /// `struct bpf_link_info` as far as it is of interest; the kernel writes no more than it is told the length of.
    #[derive(Default)]
    #[repr(C)]
    struct LinkInfo {
        kind: u32,
        id: u32,
        prog_id: u32,
        padding: u32,
        /// The first field of `xdp` and of `tcx`.
        ifindex: u32,
        rest: u32,
    }
    let mut info = LinkInfo::default();
    let attr = InfoAttr {
        bpf_fd: u32::try_from(link.as_fd().as_raw_fd()).map_err(io::Error::other)?,
        info_len: size_of::<LinkInfo>() as u32,
        info: (&raw mut info) as u64,
    };
    // SAFETY: `attr` is all of the attributes that the command has, and `info` as long as it says; both outlive the call.
    let result = unsafe {
        libc::syscall(libc::SYS_bpf, BPF_OBJ_GET_INFO_BY_FD, &raw const attr, size_of::<InfoAttr>())
    };
    if result == 0 { Ok(info.ifindex) } else { Err(io::Error::last_os_error()) }
}

/// The ids of the maps that a pinned program uses.
///
/// aya's `ProgramInfo::map_ids` opens the program by its id, for which the kernel asks CAP_SYS_ADMIN.
pub fn maps_of_pinned_program(path: &Path) -> io::Result<Vec<u32>> {
    /// More than any program of vipd uses.
    const MOST: usize = 64;
    /// The part of `union bpf_attr` for `BPF_OBJ_GET_INFO_BY_FD`.
    #[repr(C)]
    struct InfoAttr {
        bpf_fd: u32,
        info_len: u32,
        info: u64,
    }
    /// `struct bpf_prog_info` as far as it is of interest; the kernel writes no more than it is told the length of.
    #[derive(Default)]
    #[repr(C)]
    struct ProgramInfo {
        kind: u32,
        id: u32,
        tag: [u8; 8],
        lengths: [u32; 2],
        instructions: [u64; 2],
        load_time: u64,
        created_by_uid: u32,
        map_count: u32,
        maps: u64,
    }
    let program = pinned(path)?;
    let mut ids = [0_u32; MOST];
    let mut info =
        ProgramInfo { map_count: MOST as u32, maps: ids.as_mut_ptr() as u64, ..ProgramInfo::default() };
    let attr = InfoAttr {
        bpf_fd: u32::try_from(program.as_raw_fd()).map_err(io::Error::other)?,
        info_len: size_of::<ProgramInfo>() as u32,
        info: (&raw mut info) as u64,
    };
    // SAFETY: `attr` is all of the attributes that the command has, `info` as long as it says, and there is room for as many ids as it
    // says; all outlive the call.
    let result = unsafe {
        libc::syscall(libc::SYS_bpf, BPF_OBJ_GET_INFO_BY_FD, &raw const attr, size_of::<InfoAttr>())
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    let count = usize::try_from(info.map_count).map_err(io::Error::other)?;
    let ids = ids.get(..count).ok_or_else(|| io::Error::other(format!("it uses {count} maps")))?;
    Ok(ids.to_vec())
}

/// The part of `union bpf_attr` for `BPF_OBJ_GET` and `BPF_OBJ_PIN`.
#[repr(C)]
struct ObjectAttr {
    pathname: u64,
    bpf_fd: u32,
    file_flags: u32,
}

/// Pins a map, program or link.
pub fn pin(object: impl AsFd, path: &Path) -> io::Result<()> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let bpf_fd = u32::try_from(object.as_fd().as_raw_fd()).map_err(io::Error::other)?;
    let attr = ObjectAttr { pathname: path.as_ptr() as u64, bpf_fd, file_flags: 0 };
    // SAFETY: the path outlives the call.
    let result =
        unsafe { libc::syscall(libc::SYS_bpf, BPF_OBJ_PIN, &raw const attr, size_of::<ObjectAttr>()) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Opens what is pinned there.
pub fn pinned(path: &Path) -> io::Result<OwnedFd> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let attr = ObjectAttr { pathname: path.as_ptr() as u64, bpf_fd: 0, file_flags: 0 };
    // SAFETY: the path outlives the call.
    let fd = unsafe { libc::syscall(libc::SYS_bpf, BPF_OBJ_GET, &raw const attr, size_of::<ObjectAttr>()) };
    let fd = libc::c_int::try_from(fd).map_err(io::Error::other)?;
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
