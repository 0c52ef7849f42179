use std::{
    fs,
    os::unix::fs::{PermissionsExt, chown, lchown, symlink},
};

use super::*;

/// A directory of the test's own, gone with it.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("vipd-files-{}-{name}", std::process::id()));
        fs::create_dir(&dir).unwrap();
        Self(dir)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn is_root() -> bool {
    let is_root = Uid::effective().is_root();
    if !is_root {
        vipd_tests::skip("needs root");
    }
    is_root
}

#[test]
fn links_of_others_are_not_followed_to_a_directory() {
    if !is_root() {
        return;
    }
    let scratch = Scratch::new("links");
    let (real, link) = (scratch.0.join("real"), scratch.0.join("link"));
    fs::create_dir(&real).unwrap();
    symlink(&real, &link).unwrap();
    replace(&link.join("pid"), "1\n", 0o644).unwrap();
    assert_eq!(fs::metadata(real.join("pid")).unwrap().permissions().mode() & 0o777, 0o644);
    lchown(&link, Some(12345), None).unwrap();
    let error = format!("{:#}", replace(&link.join("pid"), "2\n", 0o644).unwrap_err());
    assert!(error.contains("link that uid 12345 has made"), "{error}");
    assert_eq!(fs::read_to_string(real.join("pid")).unwrap(), "1\n");
}

#[test]
fn a_private_directory_is_nobody_elses() {
    if !is_root() {
        return;
    }
    let scratch = Scratch::new("private");
    let dir = scratch.0.join("a/b");
    Dir::private(&dir, 0o700).unwrap();
    assert_eq!(fs::metadata(&dir).unwrap().permissions().mode() & 0o777, 0o700);
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o1777)).unwrap();
    let error = format!("{:#}", Dir::private(&dir, 0o700).unwrap_err());
    assert!(error.contains("mode 1777") && error.contains("chmod go-w"), "{error}");
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o755)).unwrap();
    Dir::private(&dir, 0o700).unwrap();
    chown(&dir, Some(12345), None).unwrap();
    let error = format!("{:#}", Dir::private(&dir, 0o700).unwrap_err());
    assert!(error.contains("belongs to uid 12345"), "{error}");
}

#[test]
fn only_a_regular_file_is_read() {
    let scratch = Scratch::new("read");
    let (file, fifo) = (scratch.0.join("file"), scratch.0.join("fifo"));
    fs::write(&file, "0123456789").unwrap();
    assert_eq!(read_regular(&file, 4).unwrap().bytes, b"0123");
    nix::unistd::mkfifo(&fifo, Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
    for path in [&fifo, &scratch.0, Path::new("/dev/zero")] {
        assert_eq!(read_regular(path, 4).unwrap_err().to_string(), "it is not a regular file");
    }
    symlink(&fifo, scratch.0.join("link")).unwrap();
    assert!(read_regular(&scratch.0.join("link"), 4).is_err());
}

#[test]
fn what_is_overwritten_is_no_other_file() {
    let scratch = Scratch::new("overwrite");
    let (victim, file) = (scratch.0.join("victim"), scratch.0.join("file"));
    fs::write(&victim, "precious").unwrap();
    overwrite(&file, "1\n").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o666)).unwrap();
    overwrite(&file, "2\n").unwrap();
    assert_eq!(fs::read_to_string(&file).unwrap(), "2\n");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o666);
    fs::remove_file(&file).unwrap();
    symlink(&victim, &file).unwrap();
    assert!(overwrite(&file, "3\n").unwrap_err().to_string().contains("it is a link"));
    fs::remove_file(&file).unwrap();
    fs::hard_link(&victim, &file).unwrap();
    assert!(overwrite(&file, "3\n").unwrap_err().to_string().contains("2 hard links"));
    assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
}
