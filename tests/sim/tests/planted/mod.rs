//! Planting faults: each is one edit of a copy of the pure crates, which is built and run. The shipped code has no hook for it.

#![allow(clippy::disallowed_methods, reason = "the time it takes is printed")]
#![allow(clippy::unwrap_used, reason = "all of it is a test")]

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Instant,
};

pub struct Mutant {
    pub name: &'static str,
    pub file: &'static str,
    pub from: &'static str,
    pub to: &'static str,
}

/// Plants each of `faults`, of which the first edit has the name, in a copy in `target/<dir>`, and runs the simulation with `args`.
pub fn each_is_found(dir: &str, args: &[&str], seeds: u64, faults: &[&[Mutant]]) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap();
    let scratch = std::env::var_os("CARGO_TARGET_DIR").map_or(root.join("target"), PathBuf::from).join(dir);
    let copy = scratch.join("tree");
    let mut missed = Vec::new();
    // As it stands, so that what a mutant is caught by is not there without it.
    restore(&root, &copy);
    assert_eq!(caught(&copy, &scratch, args, seeds / 40), None, "the copy is not sound");
    // Some of them, by the beginnings of their names.
    let only = std::env::var("VIPD_SIM_FAULTS").unwrap_or_default();
    let wanted = |name: &str| only.split(',').any(|beginning| name.starts_with(beginning.trim()));
    for edits in faults.iter().filter(|edits| wanted(edits[0].name)) {
        let begin = Instant::now();
        let name = edits[0].name;
        let originals: Vec<_> = edits.iter().map(|edit| plant(&copy, edit)).collect();
        match caught(&copy, &scratch, args, seeds) {
            Some((seeds, cause)) => println!(
                "{name:<62} {cause:<22} after {seeds:>5} seeds ({:.1} s)",
                begin.elapsed().as_secs_f64()
            ),
            None => {
                println!("{name:<62} NOT FOUND in {seeds} seeds");
                missed.push(name);
            }
        }
        originals.into_iter().rev().for_each(|(path, source)| fs::write(path, source).unwrap());
    }
    assert!(missed.is_empty(), "not found: {missed:?}");
}

/// Plants each of `faults`, and runs the stories of `tests/<test>.rs`, of which one must fail: for faults that seeds find too seldom.
#[allow(dead_code, reason = "not every set of faults has stories")]
pub fn each_fails_a_story(dir: &str, test: &str, faults: &[Mutant]) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap();
    let scratch = std::env::var_os("CARGO_TARGET_DIR").map_or(root.join("target"), PathBuf::from).join(dir);
    let copy = scratch.join("tree");
    restore(&root, &copy);
    let file = format!("tests/sim/tests/{test}.rs");
    copy_all(&root.join(&file), &copy.join(&file));
    let run = || {
        cargo(&copy, &scratch)
            .args(["test", "--quiet", "--offline", "-p", "vipd-sim", "--test", test])
            .output()
    };
    let held = run().unwrap();
    assert!(held.status.success(), "the copy is not sound: {}", String::from_utf8_lossy(&held.stdout));
    let mut missed = Vec::new();
    for fault in faults {
        let (path, source) = plant(&copy, fault);
        let output = run().unwrap();
        let out = String::from_utf8_lossy(&output.stdout).into_owned();
        match out.lines().find_map(|line| line.strip_prefix("---- ")?.strip_suffix(" stdout ----")) {
            Some(story) => println!("{:<62} {story}", fault.name),
            None => {
                println!("{:<62} NOT FOUND: {}", fault.name, String::from_utf8_lossy(&output.stderr));
                missed.push(fault.name);
            }
        }
        fs::write(path, source).unwrap();
    }
    assert!(missed.is_empty(), "not found: {missed:?}");
}

/// The code that a fault takes the place of is there, so that it can be planted when its turn comes.
pub fn each_has_its_place<'m>(faults: impl IntoIterator<Item = &'m [Mutant]>) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    for edits in faults {
        let mut sources = BTreeMap::new();
        for edit in edits {
            let read = || fs::read_to_string(root.join(edit.file)).unwrap();
            let source = sources.entry(edit.file).or_insert_with(read);
            *source = edit.of(source);
        }
    }
}

impl Mutant {
    fn of(&self, source: &str) -> String {
        let Self { name, file, from, to } = self;
        assert_eq!(source.matches(from).count(), 1, "{name}: {from} is not in {file} once");
        source.replace(from, to)
    }
}

/// Makes an edit; returns the file and what stood in it.
fn plant(copy: &Path, edit: &Mutant) -> (PathBuf, String) {
    let path = copy.join(edit.file);
    let source = fs::read_to_string(&path).unwrap();
    fs::write(&path, edit.of(&source)).unwrap();
    (path, source)
}

/// Makes `copy` a workspace of the pure crates and the simulation.
fn restore(root: &Path, copy: &Path) {
    let _ = fs::remove_dir_all(copy);
    for dir in ["vipd-common", "vipd/core", "tests/sim"] {
        for part in ["Cargo.toml", "src"] {
            copy_all(&root.join(dir).join(part), &copy.join(dir).join(part));
        }
    }
    fs::copy(root.join("Cargo.lock"), copy.join("Cargo.lock")).unwrap();
    let manifest = fs::read_to_string(root.join("Cargo.toml")).unwrap();
    let (_, rest) = manifest.split_once("\n[workspace.package]").expect("the members come first");
    let (rest, _) = rest.split_once("\n[profile.").expect("the profiles come last");
    let members =
        "[workspace]\nresolver = \"3\"\nmembers = [\"vipd-common\", \"vipd/core\", \"tests/sim\"]\n";
    // Built more often than run for long.
    let profile = "[profile.dev]\nopt-level = 1\ndebug = false\n";
    let manifest = format!("{members}\n[workspace.package]{rest}\n{profile}");
    fs::write(copy.join("Cargo.toml"), manifest).unwrap();
}

fn copy_all(from: &Path, to: &Path) {
    if from.is_file() {
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(from, to).unwrap();
        return;
    }
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        copy_all(&entry.path(), &to.join(entry.file_name()));
    }
}

/// Cargo, for what stands in `copy`.
fn cargo(copy: &Path, scratch: &Path) -> Command {
    let mut command = Command::new(env!("CARGO"));
    command.current_dir(copy).env("CARGO_TARGET_DIR", scratch.join("build"));
    command.env_remove("RUSTFLAGS").env_remove("CARGO_ENCODED_RUSTFLAGS");
    command
}

/// Builds what stands in `copy` and runs it; how many seeds it took, and what was broken.
fn caught(copy: &Path, scratch: &Path, args: &[&str], seeds: u64) -> Option<(u64, String)> {
    let built =
        cargo(copy, scratch).args(["build", "--quiet", "--offline", "-p", "vipd-sim"]).output().unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    let program = scratch.join("build/debug/vipd-sim");
    let run = Command::new(program)
        .args(args)
        .args(["--seeds", &seeds.to_string(), "--lines", "0"])
        .output()
        .unwrap();
    let out = String::from_utf8_lossy(&run.stdout);
    if run.status.success() {
        return None;
    }
    let ran = out.split(" seeds:").next().and_then(|n| n.parse().ok()).unwrap_or_else(|| panic!("{out}"));
    let cause = out.lines().rev().find_map(|line| line.strip_prefix("seed ")?.split(": ").nth(1));
    let cause = cause.and_then(|cause| cause.split(' ').next()).unwrap_or("?");
    Some((ran, cause.to_owned()))
}
