//! The NICs of a guest (`cargo xtask guest --nic MODEL`), one for each node of a lab, on one bridge.

use std::{env, fs, path::Path, process::Command};

use anyhow::{Context, Result, ensure};
use vipd_tests::Node;

use crate::{
    row::{Row, Served, install, ip},
    support::*,
    tags::check_foreign_vlan,
};

/// Names the model of the guest's NICs. Only a guest has it.
const MODEL: &str = "VIPD_GUEST_NIC";
const NIC: &str = "nic0";

/// The NICs in this network namespace, which is the guest's own.
fn nics() -> Result<Vec<String>> {
    let mut nics = Vec::new();
    for entry in fs::read_dir("/sys/class/net")? {
        let entry = entry?;
        if entry.path().join("device").exists() {
            nics.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    nics.sort();
    Ok(nics)
}

/// A lab whose nodes have a NIC each; `None`, and a skip, outside guests with three of them.
fn bed() -> Result<Option<(Bed, String)>> {
    let Ok(model) = env::var(MODEL) else {
        vipd_tests::skip("no guest with NICs");
        return Ok(None);
    };
    // The NICs of a machine that runs tests are its own.
    ensure!(Path::new("/run/guest/release").exists(), "{MODEL} is set outside a guest");
    let nics = nics()?;
    ensure!(nics.len() >= 3, "the guest has {nics:?}; give it --nic {model} three times");
    let Some(bed) = Bed::dual()? else { return Ok(None) };
    for (nic, node) in nics.iter().zip([bed.lb01(), bed.lb02(), bed.client()]) {
        let line = ["link", "set", "dev", nic, "down"];
        ensure!(Command::new("ip").args(line).status()?.success(), "ip {line:?}");
        let line = ["link", "set", "dev", nic, "name", NIC, "netns", node.ns().name()];
        ensure!(Command::new("ip").args(line).status()?.success(), "ip {line:?}");
        install(node, NIC, "")?;
    }
    Ok(Some((bed, model)))
}

/// Whether the driver has native XDP. A row for each: what is not known here is to be looked at first.
fn mode(model: &str, release: &str) -> Result<&'static str> {
    let driver = model.split(',').next().unwrap_or_default();
    // Without it the driver cannot turn the host's coalescing off, and XDP takes no frames that are longer than a page.
    if model.contains("ctrl_guest_offloads=off") {
        return Ok("tc");
    }
    let old = release.starts_with("6.1.");
    match driver {
        "virtio-net-pci" | "igb" => Ok("native"),
        // Linux 6.6.
        "vmxnet3" if !old => Ok("native"),
        "vmxnet3" | "e1000" | "e1000e" => Ok("tc"),
        other => anyhow::bail!("no row for {other}"),
    }
}

/// One after the other: untagged, with tags of another VLAN beside it, with the virtual MAC, and in a VLAN.
#[test]
#[ignore = "long tier: the matrix of interfaces"]
fn nic() -> Result<()> {
    let Some((bed, model)) = bed()? else { return Ok(()) };
    let release = fs::read_to_string("/run/guest/release")?;
    let mode = mode(&model, release.trim())?;
    let plain = Row::on(NIC).mode(mode);
    let served = Served::new(plain, bed)?;
    served
        .check(|served| {
            let fallbacks = served.bed.events_named("lb01", "xdp_fallback")?;
            ensure!(fallbacks.is_empty() == (mode == "native"), "{mode}: {fallbacks:?}");
            // One pair of queues unless asked for more, and the guest has two processors.
            let shared = served.bed.events_named("lb01", "xdp_shared_queues")?;
            let expected =
                mode == "native" && model.starts_with("virtio-net-pci") && !model.contains("mq=on");
            ensure!(shared.is_empty() != expected, "{model}: {shared:?}");
            for node in [served.bed.lb01(), served.bed.client()] {
                add_vlan(node, 7)?;
            }
            check_foreign_vlan(served, "nic0.7", NIC)
        })
        .with_context(|| format!("{model}, {mode}"))?;

    let served = Served::new(Row::on(NIC).mode(mode).extra("use_vmac"), served.bed)?;
    served.check(|_| Ok(())).with_context(|| format!("{model}, use_vmac"))?;

    let bed = served.bed;
    for node in [bed.lb01(), bed.lb02(), bed.client()] {
        add_vlan(node, 100)?;
        ip(node, &format!("address flush dev {NIC}"))?;
        install(node, "nic0.100", "")?;
    }
    let served = Served::new(Row::on("nic0.100"), bed)?;
    served.check(|_| Ok(())).with_context(|| format!("{model}, VLAN"))
}

fn add_vlan(node: &Node, id: u16) -> Result<()> {
    ip(node, &format!("link add link {NIC} name {NIC}.{id} type vlan id {id}"))?;
    ip(node, &format!("link set {NIC}.{id} up"))
}
