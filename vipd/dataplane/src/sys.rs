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

const BPF_MAP_CREATE: libc::c_int = 0;
const BPF_MAP_LOOKUP_ELEM: libc::c_int = 1;
const BPF_PROG_LOAD: libc::c_int = 5;
const BPF_OBJ_PIN: libc::c_int = 6;
const BPF_OBJ_GET: libc::c_int = 7;
const BPF_OBJ_GET_INFO_BY_FD: libc::c_int = 15;
const BPF_PROG_QUERY: libc::c_int = 16;
const BPF_LINK_CREATE: libc::c_int = 28;
const BPF_LINK_DETACH: libc::c_int = 34;

// include/uapi/linux/bpf.h.
const BPF_MAP_TYPE_ARRAY: u32 = 2;
const BPF_PROG_TYPE_SCHED_CLS: u32 = 3;
const BPF_TCX_INGRESS: u32 = 46;
const BPF_F_BEFORE: u32 = 1 << 3;
const BPF_F_LINK: u32 = 1 << 13;

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
    detach_link(pinned(path)?)
}

/// Detaches a link, whether it is pinned or not; returns when it is done.
pub fn detach_link(link: impl AsFd) -> io::Result<()> {
    let attr = number(&link)?;
    // SAFETY: `attr` is all of the attributes that the command has.
    let result = unsafe { libc::syscall(libc::SYS_bpf, BPF_LINK_DETACH, &raw const attr, size_of::<u32>()) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The number of a descriptor, as the attributes of bpf(2) have it.
pub fn number(fd: &impl AsFd) -> io::Result<u32> {
    u32::try_from(fd.as_fd().as_raw_fd()).map_err(io::Error::other)
}

/// What the kernel says of a link of XDP or tcx: `struct bpf_link_info` as far as it is of interest; the kernel writes no more than it is
/// told the length of.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct LinkInfo {
    kind: u32,
    pub id: u32,
    pub prog_id: u32,
    padding: u32,
    /// The first field of `xdp` and of `tcx`; 0 if it was detached, or the interface is gone.
    pub ifindex: u32,
    rest: u32,
}

/// What the kernel says of a link of XDP or tcx.
pub fn link_info(link: impl AsFd) -> io::Result<LinkInfo> {
    /// The part of `union bpf_attr` for `BPF_OBJ_GET_INFO_BY_FD`.
    #[repr(C)]
    struct InfoAttr {
        bpf_fd: u32,
        info_len: u32,
        info: u64,
    }
    let mut info = LinkInfo::default();
    let attr = InfoAttr {
        bpf_fd: number(&link)?,
        info_len: size_of::<LinkInfo>() as u32,
        info: (&raw mut info) as u64,
    };
    // SAFETY: `attr` is all of the attributes that the command has, and `info` as long as it says; both outlive the call.
    let result = unsafe {
        libc::syscall(libc::SYS_bpf, BPF_OBJ_GET_INFO_BY_FD, &raw const attr, size_of::<InfoAttr>())
    };
    if result == 0 { Ok(info) } else { Err(io::Error::last_os_error()) }
}

/// The programs at tcx ingress of an interface, in the order in which they run: the id of each, and that of its link (0: it has none).
/// aya's `query_tcx` opens each by its id, for which the kernel asks CAP_SYS_ADMIN. Empty where the kernel has no tcx (before Linux 6.6).
pub fn tcx_ingress(ifindex: u32) -> io::Result<Vec<(u32, u32)>> {
    /// More than the kernel lets an interface have (BPF_MPROG_MAX).
    const MOST: usize = 64;
    /// The part of `union bpf_attr` for `BPF_PROG_QUERY`.
    #[repr(C)]
    struct QueryAttr {
        target: u32,
        attach_type: u32,
        query_flags: u32,
        attach_flags: u32,
        prog_ids: u64,
        count: u32,
        padding: u32,
        prog_attach_flags: u64,
        link_ids: u64,
        link_attach_flags: u64,
        revision: u64,
    }
    let (mut programs, mut links) = ([0_u32; MOST], [0_u32; MOST]);
    let mut attr = QueryAttr {
        target: ifindex,
        attach_type: BPF_TCX_INGRESS,
        query_flags: 0,
        attach_flags: 0,
        prog_ids: programs.as_mut_ptr() as u64,
        count: MOST as u32,
        padding: 0,
        prog_attach_flags: 0,
        link_ids: links.as_mut_ptr() as u64,
        link_attach_flags: 0,
        revision: 0,
    };
    // SAFETY: `attr` is all of the attributes that the command has, and there is room for as many ids as it says; all outlive the call.
    let result =
        unsafe { libc::syscall(libc::SYS_bpf, BPF_PROG_QUERY, &raw mut attr, size_of::<QueryAttr>()) };
    if result != 0 {
        return match io::Error::last_os_error() {
            error if matches!(error.raw_os_error(), Some(libc::EINVAL | libc::ENOENT)) => Ok(Vec::new()),
            error => Err(error),
        };
    }
    let count = usize::try_from(attr.count).map_err(io::Error::other)?;
    Ok(programs.into_iter().zip(links).take(count).collect())
}

/// Makes an array of one element that is `value_size` octets long, and zero.
pub fn create_array(value_size: usize) -> io::Result<OwnedFd> {
    /// The part of `union bpf_attr` for `BPF_MAP_CREATE`.
    #[repr(C)]
    struct MapAttr {
        map_type: u32,
        key_size: u32,
        value_size: u32,
        max_entries: u32,
        map_flags: u32,
    }
    let value_size = u32::try_from(value_size).map_err(io::Error::other)?;
    made(
        BPF_MAP_CREATE,
        &MapAttr { map_type: BPF_MAP_TYPE_ARRAY, key_size: 4, value_size, max_entries: 1, map_flags: 0 },
    )
}

/// Has the kernel verify a classifier of these instructions.
pub fn load_classifier(instructions: &[u64]) -> io::Result<OwnedFd> {
    /// The part of `union bpf_attr` for `BPF_PROG_LOAD`.
    #[repr(C)]
    struct ProgramAttr {
        prog_type: u32,
        insn_cnt: u32,
        insns: u64,
        license: u64,
        log_level: u32,
        log_size: u32,
        log_buf: u64,
        kern_version: u32,
        prog_flags: u32,
        prog_name: [u8; 16],
    }
    let insn_cnt = u32::try_from(instructions.len()).map_err(io::Error::other)?;
    made(
        BPF_PROG_LOAD,
        &ProgramAttr {
            prog_type: BPF_PROG_TYPE_SCHED_CLS,
            insn_cnt,
            insns: instructions.as_ptr() as u64,
            license: c"MIT".as_ptr() as u64,
            log_level: 0,
            log_size: 0,
            log_buf: 0,
            kern_version: 0,
            prog_flags: 0,
            prog_name: *b"vipd_arrivals\0\0\0",
        },
    )
}

/// Attaches a classifier at tcx ingress, right before another link there; returns its link.
pub fn attach_before(program: impl AsFd, ifindex: u32, link: impl AsFd) -> io::Result<OwnedFd> {
    /// The part of `union bpf_attr` for `BPF_LINK_CREATE` with tcx.
    #[repr(C)]
    struct LinkAttr {
        prog_fd: u32,
        target_ifindex: u32,
        attach_type: u32,
        flags: u32,
        relative_fd: u32,
        padding: u32,
        expected_revision: u64,
    }
    made(
        BPF_LINK_CREATE,
        &LinkAttr {
            prog_fd: number(&program)?,
            target_ifindex: ifindex,
            attach_type: BPF_TCX_INGRESS,
            flags: BPF_F_BEFORE | BPF_F_LINK,
            relative_fd: number(&link)?,
            padding: 0,
            expected_revision: 0,
        },
    )
}

/// What a command that makes something returns: a descriptor of it.
fn made<A>(command: libc::c_int, attr: &A) -> io::Result<OwnedFd> {
    // SAFETY: `attr` is a zero-padded prefix of `union bpf_attr` of the size that is passed, and what it points to outlives the call.
    let fd = unsafe { libc::syscall(libc::SYS_bpf, command, attr, size_of::<A>()) };
    let fd = libc::c_int::try_from(fd).map_err(io::Error::other)?;
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
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
