//! The properties that are fuzzed (`tests/fuzz`), over the committed corpus: what a fuzzer once found stays fixed.

use std::{
    collections::BTreeSet,
    fs, panic,
    path::{Path, PathBuf},
};

use vipd_properties::{
    control::{self, Server},
    wire,
    xdp::{Program, mutate},
};

/// The committed inputs of a target, with where each stands.
fn corpus(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut paths: Vec<_> = fs::read_dir(&dir)
        .unwrap_or_else(|error| panic!("{}: {error}", dir.display()))
        .map(|entry| entry.expect("the corpus can be listed").path())
        .collect();
    paths.sort();
    assert!(!paths.is_empty(), "{} is empty", dir.display());
    let read = |path: &Path| fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    paths.into_iter().map(|path| (path.clone(), read(&path))).collect()
}

/// Checks every input of a target, and names those that fail.
fn check(target: &str, mut property: impl FnMut(&[u8])) {
    let mut breaks =
        |octets: &[u8]| panic::catch_unwind(panic::AssertUnwindSafe(|| property(octets))).is_err();
    let mut broken = corpus(target);
    broken.retain(|(_, octets)| breaks(octets));
    let broken: Vec<_> = broken.iter().map(|(path, _)| path).collect();
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
fn the_control_corpus_has_every_request() {
    let corpus = corpus("control");
    let found: BTreeSet<_> = corpus.iter().flat_map(|(_, octets)| control::names_in(octets)).collect();
    assert_eq!(found, control::NAMES.iter().copied().collect());
}

#[test]
fn the_config_corpus_holds() {
    check("config", vipd_config_properties::check);
}

#[test]
fn the_xdp_corpus_holds() {
    if vipd_tests::require_lab().is_none() {
        return;
    }
    let mut program = Program::load().expect("the program loads");
    check("xdp", |octets| program.check(octets));
}

/// What the fuzzer's mutator makes of frames, from seeds: also what the committed corpus has none of.
#[test]
fn the_xdp_program_holds_for_mutated_frames() {
    const SEEDS: u32 = 50_000;
    const ROOM: usize = 1500;
    if vipd_tests::require_lab().is_none() {
        return;
    }
    let mut program = Program::load().expect("the program loads");
    let (mut frame, mut size) = (vec![0; ROOM], 0);
    for seed in 0..SEEDS {
        size = mutate::mutate(&mut frame, size, ROOM, seed, |_, size, _| size);
        program.check(&frame[..size]);
    }
}
