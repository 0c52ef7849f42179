//! Hands the BPF objects that `cargo xtask build-ebpf` made to the compiler, so that `vipd` is one file.

use std::{env, path::PathBuf, process::exit};

fn main() {
    println!("cargo::rerun-if-env-changed=VIPD_BPF_DIR");
    let dir = match env::var_os("VIPD_BPF_DIR") {
        Some(path) => PathBuf::from(path),
        // As it is when this runs: a copied target directory may bring a build script that was compiled elsewhere.
        None => {
            let package = env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it for build scripts");
            PathBuf::from(package).join("../../target/bpf")
        }
    };
    for name in ["vipd-xdp.bpf.o", "vipd-tc.bpf.o"] {
        let object = dir.join(name);
        println!("cargo::rerun-if-changed={}", object.display());
        if !object.is_file() {
            println!(
                "cargo::error=the BPF object {} is missing; build it first: cargo xtask build-ebpf",
                object.display()
            );
            exit(1);
        }
    }
    println!("cargo::rustc-env=VIPD_BPF_DIR={}", dir.display());
}
