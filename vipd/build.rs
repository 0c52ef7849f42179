//! Hands the XDP object that `cargo xtask build-ebpf` made to the compiler, so that `vipd` is one file.

use std::{env, path::PathBuf, process::exit};

fn main() {
    println!("cargo::rerun-if-env-changed=VIPD_BPF_OBJECT");
    let object = match env::var_os("VIPD_BPF_OBJECT") {
        Some(path) => PathBuf::from(path),
        None => PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target/bpf/vipd.bpf.o"),
    };
    println!("cargo::rerun-if-changed={}", object.display());
    if !object.is_file() {
        println!(
            "cargo::error=the XDP object {} is missing; build it first: cargo xtask build-ebpf",
            object.display()
        );
        exit(1);
    }
    println!("cargo::rustc-env=VIPD_BPF_OBJECT={}", object.display());
}
