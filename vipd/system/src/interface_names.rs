//! Names and numbers of interfaces, as the kernel has them at this moment.

use std::{ffi::CStr, io};

use nix::net::if_;

/// The number of an interface; `None`: there is none of this name.
///
/// # Errors
///
/// If the host is short of descriptors or memory, so that nothing is known.
pub fn index_of(name: &str) -> io::Result<Option<u32>> {
    found(if_::if_nametoindex(name).map_err(io::Error::from))
}

/// The name of an interface; `None`: there is none of this number.
///
/// # Errors
///
/// As [`index_of`].
pub fn name_of(ifindex: u32) -> io::Result<Option<String>> {
    let mut buffer = [0u8; libc::IF_NAMESIZE];
    // Not by `nix`, whose `if_indextoname` (0.31) has an empty name for an interface that is not there.
    // SAFETY: the buffer has room for any interface's name, and outlives the call.
    let name = unsafe { libc::if_indextoname(ifindex, buffer.as_mut_ptr().cast()) };
    if name.is_null() {
        return found(Err(io::Error::last_os_error()));
    }
    Ok(CStr::from_bytes_until_nul(&buffer).ok().map(|name| name.to_string_lossy().into_owned()))
}

fn found<T>(answer: io::Result<T>) -> io::Result<Option<T>> {
    match answer {
        Ok(found) => Ok(Some(found)),
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENODEV | libc::ENXIO)) => Ok(None),
        // ENOENT of the C library: it has no descriptor for a socket to ask by.
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interface_that_is_not_there_has_neither_name_nor_number() {
        for ifindex in [0, u32::MAX >> 1] {
            assert_eq!(name_of(ifindex).unwrap(), None, "{ifindex}");
        }
        assert_eq!(index_of("vipd-none").unwrap(), None);
        let lo = index_of("lo").unwrap().unwrap();
        assert_eq!(name_of(lo).unwrap().as_deref(), Some("lo"));
    }
}
