#![no_main]

use std::{
    cell::RefCell,
    sync::atomic::{AtomicU8, Ordering},
};

use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};
use vipd_properties::xdp::{Program, mutate};

/// libFuzzer sees no coverage of a BPF program, so it is shown which of the program's counters moved.
#[unsafe(link_section = "__libfuzzer_extra_counters")]
static COVERAGE: [AtomicU8; 1024] = [const { AtomicU8::new(0) }; 1024];

thread_local! {
    static PROGRAM: RefCell<Program> =
        RefCell::new(Program::load().unwrap_or_else(|error| panic!("{error:#}; this target needs root")));
}

fuzz_target!(|frame: &[u8]| {
    PROGRAM.with_borrow_mut(|program| {
        program.check(frame);
        for (seen, coverage) in program.moved().zip(&COVERAGE) {
            coverage.store(u8::from(seen), Ordering::Relaxed);
        }
    });
});

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    mutate::mutate(data, size, max_size, seed, fuzzer_mutate)
});
