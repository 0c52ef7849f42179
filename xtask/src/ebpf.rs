//! `build-ebpf`: compiles `vipd-ebpf` for BPF, once for each hook, and puts the objects where `vipd/dataplane/build.rs` embeds them from.
//!
//! The target has no `core` in rustup, so one of two compilers does it: Debian's `rustc-web`, which comes with a
//! built `core` for BPF, or a rustup nightly, which builds it from `rust-src`.

use std::{
    env,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use crate::sh;

pub const BPF_LINKER_VERSION: &str = "0.13.0";
const TARGET: &str = "bpfel-unknown-none";
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";

/// Builds the objects; leaves an old one untouched if it comes out the same.
pub fn build() -> Result<()> {
    build_for("xdp", &[])?;
    build_for("tc", &["--features", "tc"])
}

fn build_for(hook: &str, features: &[&str]) -> Result<()> {
    let workspace = sh::workspace();
    let Some(linker) = bpf_linker() else {
        bail!("bpf-linker {BPF_LINKER_VERSION} is not installed; run: cargo xtask setup");
    };
    let mut command = match compiler() {
        Some(Compiler::Debian) => {
            let mut cargo = sh::cargo();
            cargo.arg("build");
            clear(&mut cargo);
            // Debian's is a stable release; cargo's flags for BPF and the crate's features are unstable.
            cargo.env("RUSTC", DEBIAN_RUSTC).env("RUSTC_BOOTSTRAP", "1");
            cargo
        }
        Some(Compiler::Nightly) => {
            let mut cargo = Command::new("rustup");
            cargo.current_dir(&workspace).args(["run", "nightly", "cargo", "build", "-Z", "build-std=core"]);
            clear(&mut cargo);
            cargo
        }
        None => bail!(
            "no compiler for BPF. Either of these will do:\n  \
             on Debian 12, as root: apt-get install rustc-web libstd-rust-web-dev-bpf (or: cargo xtask setup)\n  \
             with rustup: rustup toolchain install nightly --component rust-src"
        ),
    };
    let build_dir = workspace.join("target/bpf-build");
    let linker_flag = format!("linker={}", linker.display());
    let flags = ["-C", &linker_flag, "-C", "link-arg=--btf", "-C", "debuginfo=2", "-C", "panic=abort"];
    command
        .args(["--release", "--package", "vipd-ebpf", "--target", TARGET, "--target-dir"])
        .arg(&build_dir)
        .args(features)
        // A panic is no way out of a BPF program: its arithmetic is masked and bounded where it is written, and the verifier looks.
        .env("CARGO_PROFILE_RELEASE_OVERFLOW_CHECKS", "false")
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"));
    sh::run(&mut command)?;

    let built = build_dir.join(TARGET).join("release/vipd-ebpf");
    let object = workspace.join(format!("target/bpf/vipd-{hook}.bpf.o"));
    let changed = replace_if_changed(&built, &object)?;
    eprintln!("build-ebpf: {} {}", object.display(), if changed { "is new" } else { "is unchanged" });
    Ok(())
}

/// bpf-linker of the right version, from PATH or where `cargo install` puts it.
pub fn bpf_linker() -> Option<PathBuf> {
    let mut places: Vec<PathBuf> = env::split_paths(&env::var_os("PATH").unwrap_or_default()).collect();
    places.extend(env::var_os("CARGO_INSTALL_ROOT").map(|root| Path::new(&root).join("bin")));
    places.extend(env::var_os("CARGO_HOME").map(|home| Path::new(&home).join("bin")));
    places.extend(env::home_dir().map(|home| home.join(".cargo/bin")));
    let wanted = format!("bpf-linker {BPF_LINKER_VERSION}");
    places
        .into_iter()
        .map(|dir| dir.join("bpf-linker"))
        .filter(|path| path.is_file())
        .find(|path| sh::output(Command::new(path).arg("--version")).is_some_and(|v| v == wanted))
}

/// Whether rustup has a nightly that can build `core` itself.
pub fn nightly_has_source() -> bool {
    let sysroot = sh::output(Command::new("rustup").args(["run", "nightly", "rustc", "--print", "sysroot"]));
    sysroot.is_some_and(|root| Path::new(&root).join("lib/rustlib/src/rust/library/core").is_dir())
}

/// For reports: which compiler makes the object.
pub fn compiler_version() -> Option<String> {
    match compiler()? {
        Compiler::Debian => sh::output(Command::new(DEBIAN_RUSTC).arg("--version")),
        Compiler::Nightly => {
            sh::output(Command::new("rustup").args(["run", "nightly", "rustc", "--version"]))
        }
    }
}

enum Compiler {
    Debian,
    Nightly,
}

fn compiler() -> Option<Compiler> {
    let sysroot = sh::output(Command::new(DEBIAN_RUSTC).args(["--print", "sysroot"]));
    if sysroot.is_some_and(|root| Path::new(&root).join("lib/rustlib").join(TARGET).is_dir()) {
        return Some(Compiler::Debian);
    }
    nightly_has_source().then_some(Compiler::Nightly)
}

/// Takes away what the caller's own build would bring along: flags, wrappers and toolchains for the host.
fn clear(command: &mut Command) {
    for name in env::vars_os().map(|(name, _)| name).chain(INHERITED.map(OsString::from)) {
        let text = name.to_string_lossy();
        if INHERITED.contains(&&*text)
            || text.starts_with("CARGO_PROFILE_")
            || text.starts_with("CARGO_TARGET_")
        {
            command.env_remove(&name);
        }
    }
}

const INHERITED: [&str; 12] = [
    "CARGO_BUILD_RUSTC",
    "CARGO_BUILD_RUSTC_WRAPPER",
    "CARGO_BUILD_RUSTFLAGS",
    "CARGO_BUILD_TARGET",
    "CARGO_ENCODED_RUSTFLAGS",
    "LLVM_PREFIX",
    "RUSTC",
    "RUSTC_BOOTSTRAP",
    "RUSTC_WORKSPACE_WRAPPER",
    "RUSTC_WRAPPER",
    "RUSTFLAGS",
    "RUSTUP_TOOLCHAIN",
];

/// Copies so that a reader sees the old file or the new one. An unchanged one keeps its time, so that cargo does
/// not build vipd again.
fn replace_if_changed(from: &Path, to: &Path) -> Result<bool> {
    let new = fs::read(from).with_context(|| format!("cannot read {}", from.display()))?;
    if fs::read(to).is_ok_and(|old| old == new) {
        return Ok(false);
    }
    let dir = to.parent().context("the object has no directory")?;
    fs::create_dir_all(dir)?;
    let temporary = dir.join(format!(".bpf.o.{}", std::process::id()));
    fs::write(&temporary, new)?;
    fs::rename(&temporary, to).with_context(|| format!("cannot write {}", to.display()))?;
    Ok(true)
}
