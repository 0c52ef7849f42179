//! Writing a file where others may make files too.

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions},
    hash::{BuildHasher, RandomState},
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use anyhow::{Context, Result};

/// Puts a file with `text` in the place of whatever is at `path`, for its owner alone.
///
/// The directory is usually one where everybody may make files, and links that lead elsewhere: a new file, with a name that
/// nobody can know before, takes the place of the old one, so that no link is followed and a reader sees all of it or nothing.
///
/// # Errors
///
/// The file cannot be made, written or renamed. What was at `path` is left as it is.
pub fn replace(path: &Path, text: &str) -> Result<()> {
    let name = path.file_name().with_context(|| format!("{} names no file", path.display()))?;
    let mut fresh = OsString::from(".");
    fresh.push(name);
    fresh.push(format!(".{:016x}", RandomState::new().hash_one(name)));
    let fresh = path.with_file_name(fresh);
    let file = create(&fresh).with_context(|| format!("create {}", fresh.display()))?;
    let replaced = fill(file, text)
        .with_context(|| format!("write {}", fresh.display()))
        .and_then(|()| fs::rename(&fresh, path).with_context(|| format!("replace {}", path.display())));
    if replaced.is_err() {
        // It is ours. The error is the one to be told.
        let _ = fs::remove_file(&fresh);
    }
    replaced
}

/// Makes a file that was not there; a link is no such place, wherever it leads.
fn create(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(MODE).custom_flags(libc::O_NOFOLLOW).open(path)
}

fn fill(mut file: File, text: &str) -> std::io::Result<()> {
    file.write_all(text.as_bytes())
}

const MODE: u32 = 0o600;
