//! Attacks by a user without rights on the node.

use std::{
    env, fs,
    os::unix::fs::{MetadataExt, PermissionsExt, chown},
    path::PathBuf,
};

use anyhow::{Result, ensure};
use nix::libc;
use vipd_tests::Node;

pub const NOBODY: u32 = 65534;

/// Makes the calling thread nobody's; system calls by number change the one thread, the C library's all.
fn become_nobody() -> Result<()> {
    let id = libc::c_long::from(NOBODY);
    // SAFETY: no pointer is followed with a length of 0, and nothing else is passed by pointer.
    let done = unsafe {
        libc::syscall(libc::SYS_setgroups, 0, std::ptr::null::<libc::gid_t>()) == 0
            && libc::syscall(libc::SYS_setresgid, id, id, id) == 0
            && libc::syscall(libc::SYS_setresuid, id, id, id) == 0
    };
    ensure!(done, "cannot become nobody: {}", std::io::Error::last_os_error());
    Ok(())
}

/// Runs something on a node as nobody.
pub fn as_nobody<T: Send>(node: &Node, attack: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    node.ns().run(|| {
        become_nobody()?;
        attack()
    })?
}

/// A directory of a node that nobody owns, so that no sysctl about sticky directories applies.
pub fn nobodys(node: &Node) -> Result<PathBuf> {
    let dir = node.dir().join("nobodys");
    fs::create_dir(&dir)?;
    chown(&dir, Some(NOBODY), Some(NOBODY))?;
    // He can come to it, and could to the node's files.
    for above in node.dir().ancestors().take_while(|above| *above != env::temp_dir()) {
        let mode = fs::metadata(above)?.mode();
        fs::set_permissions(above, fs::Permissions::from_mode(mode | 0o055))?;
    }
    Ok(dir)
}
