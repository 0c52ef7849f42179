//! What is loaded: its size to the verifier, and its pins.
//!
//! What is pinned is compared before it is adopted; the kernel and aya take any map of that name.

use std::process::Command;

use vipd_common::abi::ABI_VERSION;
use vipd_dataplane::{Dataplane, Pinned, Verified, try_load};

use crate::bench::LEASE_SLOT;

/// Instructions that the verifier may walk: a quarter more than Linux 6.18 does. Other kernels' verifiers take other ways
/// through the same program. The kernel's limit is a million, which a budget leaves far away: a change that exceeds its budget
/// has made the program costlier to verify than it looks.
const BUDGETS: [(&str, u32); 2] = [("vipd_xdp", 320_000), ("vipd_tc", 320_000)];

#[test]
fn the_verifier_walks_no_more_instructions_than_the_budget() {
    let Some(()) = vipd_tests::require_lab() else { return };
    let verified = try_load().expect("the kernel loads the programs");
    assert_eq!(verified.len(), BUDGETS.len(), "each program has a budget: {verified:?}");
    for Verified { program, instructions } in verified {
        let (_, budget) =
            BUDGETS.iter().find(|(name, _)| *name == program).expect("a budget of this program");
        let walked = instructions.expect("Linux 5.16 or later counts them");
        println!("{program}: {walked} instructions walked of {budget}");
        assert!(walked <= *budget, "{program}: {walked} instructions walked, budget {budget}");
    }
}

#[test]
fn maps_are_adopted_if_they_fit_and_refused_if_not() {
    let Some(()) = vipd_tests::require_lab() else { return };
    let bpffs = crate::bench::pins_dir();
    let bpffs = bpffs.as_path();
    let pins = bpffs.join("vipd").join(format!("v{ABI_VERSION}"));

    assert!(matches!(Dataplane::inspect(bpffs), Ok(Pinned::Nothing)));
    let (dataplane, _events) = Dataplane::load(bpffs, false).expect("loads");
    let until = crate::bench::now() + std::time::Duration::from_secs(60);
    dataplane.pages().leases().acquire(LEASE_SLOT, until);
    drop((dataplane, _events));
    assert!(matches!(Dataplane::inspect(bpffs), Ok(Pinned::Maps)));
    let (dataplane, _events) = Dataplane::load(bpffs, false).expect("adopts");
    assert_eq!(dataplane.pages().leases().read(LEASE_SLOT), until, "the same map, not a new one");
    drop((dataplane, _events));

    // Somebody else's map of that name: values of 4 octets instead of 8.
    std::fs::remove_file(pins.join("LEASES")).expect("unpin");
    let foreign = Command::new("bpftool")
        .args(["map", "create"])
        .arg(pins.join("LEASES"))
        .args([
            "type", "array", "key", "4", "value", "4", "entries", "1024", "name", "LEASES", "flags", "1024",
        ])
        .status();
    assert!(foreign.expect("bpftool runs").success());
    let misfit = |what: &str| match Dataplane::inspect(bpffs) {
        Ok(Pinned::Misfits(reason)) => assert!(format!("{reason:#}").contains(what), "{reason:#}"),
        other => panic!("{other:?}"),
    };
    misfit("LEASES: (type, key size, value size, entries, flags)");
    assert!(Dataplane::load(bpffs, false).is_err(), "nor is it loaded with it");

    std::fs::remove_file(pins.join("LEASES")).expect("unpin");
    misfit("LEASES is missing among 21 pinned maps");

    Dataplane::discard(bpffs).expect("removed");
    assert!(!bpffs.exists());
}
