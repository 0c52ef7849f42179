//! Where each file of the package goes.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};

use crate::sh;

/// From the repository: source, place, mode.
const FILES: &[(&str, &str, u32)] = &[
    ("vipd/dist/vipd.service", "usr/lib/systemd/system/vipd.service", 0o644),
    ("vipd/dist/vipd.default", "etc/default/vipd", 0o644),
    ("vipd/dist/vipd.sysusers", "usr/lib/sysusers.d/vipd.conf", 0o644),
    ("vipd/dist/rt_protos.conf", "etc/iproute2/rt_protos.d/vipd.conf", 0o644),
    ("vipd/dist/vipd.conf.example", "usr/share/doc/vipd/examples/vipd.conf", 0o644),
    ("vipd/dist/strict.conf", "usr/share/doc/vipd/examples/strict.conf", 0o644),
    ("vipd/dist/copyright", "usr/share/doc/vipd/copyright", 0o644),
    ("vipd/dist/changelog", "usr/share/doc/vipd/changelog", 0o644),
    ("README.md", "usr/share/doc/vipd/README.md", 0o644),
    ("vipd/dist/postinst", "DEBIAN/postinst", 0o755),
    ("vipd/dist/prerm", "DEBIAN/prerm", 0o755),
    ("vipd/dist/postrm", "DEBIAN/postrm", 0o755),
];

/// The directories of `docs` that operators read; the rest is for developers.
const DOCS: [&str; 2] = ["operate", "reference"];

/// Of those that are generated.
const COMPLETIONS: [(&str, &str); 3] = [
    ("vipd.bash", "usr/share/bash-completion/completions/vipd"),
    ("_vipd", "usr/share/zsh/vendor-completions/_vipd"),
    ("vipd.fish", "usr/share/fish/vendor_completions.d/vipd.fish"),
];

/// The programs: the second is what `vipd top` runs (`vipd/src/cli/top.rs`).
pub const VIPD: &str = "usr/sbin/vipd";
pub const VIPD_TOP: &str = "usr/libexec/vipd/vipd-top";

/// Lays all of it into `stage`.
pub fn lay(stage: &Path, vipd: &Path, generated: &Path) -> Result<()> {
    let repository = sh::workspace();
    for (from, to, mode) in FILES {
        put(&repository.join(from), &stage.join(to), *mode)?;
    }
    for directory in DOCS {
        for page in files(&repository.join("docs").join(directory))? {
            let name = page.file_name().context("a page has a name")?;
            put(&page, &stage.join("usr/share/doc/vipd").join(directory).join(name), 0o644)?;
        }
    }
    for example in files(&repository.join("examples"))? {
        let name = example.file_name().context("an example has a name")?;
        put(&example, &stage.join("usr/share/doc/vipd/examples").join(name), 0o644)?;
    }
    for (from, to) in COMPLETIONS {
        put(&generated.join("completions").join(from), &stage.join(to), 0o644)?;
    }
    let mut pages = files(&generated.join("man"))?;
    ensure!(!pages.is_empty(), "no manual pages were made");
    for page in &mut pages {
        let name = page.file_name().context("a page has a name")?;
        let to = stage.join("usr/share/man/man8").join(name);
        put(page, &to, 0o644)?;
        *page = to;
    }
    pages.push(stage.join("usr/share/doc/vipd/changelog"));
    sh::run(Command::new("gzip").args(["-9", "--no-name"]).args(&pages))?;

    let top = vipd.with_file_name("vipd-top");
    for (from, to) in [(vipd, VIPD), (top.as_path(), VIPD_TOP)] {
        let binary = stage.join(to);
        put(from, &binary, 0o755)?;
        // What backtraces and profilers need stays with the build.
        sh::run(Command::new("strip").args(["--strip-unneeded", "--remove-section=.comment"]).arg(&binary))?;
    }
    // The administrator's; empty, so that nothing starts by itself.
    fs::create_dir_all(stage.join("etc/vipd")).context("make etc/vipd")
}

/// Copies one file, making its directory.
pub fn put(from: &Path, to: &Path, mode: u32) -> Result<()> {
    let context = || format!("copy {} to {}", from.display(), to.display());
    fs::create_dir_all(to.parent().context("a file of the package has a directory")?)
        .with_context(context)?;
    fs::copy(from, to).with_context(context)?;
    fs::set_permissions(to, fs::Permissions::from_mode(mode)).with_context(context)
}

/// The files of a directory, by name.
fn files(dir: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(dir).with_context(|| format!("read {}", dir.display()))?;
    let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    paths.sort();
    Ok(paths)
}
