//! The properties that are fuzzed (`tests/fuzz`), over the committed corpus: what a fuzzer once found stays fixed.

use std::{fs, panic, path::Path};

use vipd_properties::{config, control::Server, wire, xdp::Program};

/// Checks every input of a target, and names those that fail.
fn check(target: &str, mut property: impl FnMut(&[u8])) {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut inputs: Vec<_> = fs::read_dir(&dir)
        .unwrap_or_else(|error| panic!("{}: {error}", dir.display()))
        .map(|entry| entry.expect("the corpus can be listed").path())
        .collect();
    inputs.sort();
    assert!(!inputs.is_empty(), "{} is empty", dir.display());
    let mut broken = |path: &&std::path::PathBuf| {
        let octets = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        panic::catch_unwind(panic::AssertUnwindSafe(|| property(&octets))).is_err()
    };
    let broken: Vec<_> = inputs.iter().filter(|path| broken(path)).collect();
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn the_wire_corpus_holds() {
    check("wire", wire::check);
}

#[test]
fn the_control_corpus_holds() {
    let server = Server::start().expect("a local socket works");
    check("control", |octets| server.check(octets));
}

#[test]
fn the_config_corpus_holds() {
    check("config", config::check);
}

#[test]
fn the_xdp_corpus_holds() {
    if vipd_tests::require_lab().is_none() {
        return;
    }
    let mut program = Program::load().expect("the program loads");
    check("xdp", |octets| program.check(octets));
}
