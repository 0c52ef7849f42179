//! The one call of bpf(2) that aya does not offer.

use std::{
    io,
    os::fd::{AsFd, AsRawFd},
};

const BPF_MAP_LOOKUP_ELEM: libc::c_int = 1;

/// The part of `union bpf_attr` that map element commands use (include/uapi/linux/bpf.h).
#[repr(C)]
struct ElementAttr {
    map_fd: u32,
    reserved: u32,
    key: u64,
    value: u64,
    flags: u64,
}

/// Reads the id of the map that `slot` of an array of maps points to; `None` if it points to none.
///
/// aya's `ArrayOfMaps::get` opens the inner map by its id, for which the kernel asks CAP_SYS_ADMIN; the id itself is free.
pub fn inner_map_id(outer: impl AsFd, slot: u32) -> io::Result<Option<u32>> {
    let mut id = 0u32;
    let attr = ElementAttr {
        map_fd: u32::try_from(outer.as_fd().as_raw_fd()).map_err(io::Error::other)?,
        reserved: 0,
        key: (&raw const slot) as u64,
        value: (&raw mut id) as u64,
        flags: 0,
    };
    // SAFETY: key and value are 4 octets each, as the kernel demands of an array of maps, and outlive the call.
    let result = unsafe {
        libc::syscall(libc::SYS_bpf, BPF_MAP_LOOKUP_ELEM, &raw const attr, size_of::<ElementAttr>())
    };
    if result == 0 {
        return Ok(Some(id));
    }
    match io::Error::last_os_error() {
        error if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
        error => Err(error),
    }
}
