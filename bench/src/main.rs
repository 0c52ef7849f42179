//! What the XDP program costs per frame, by kind of frame: `BPF_PROG_TEST_RUN` on one CPU, no driver.
//!
//! Prints one JSON object per kind: the median over several rounds and their spread, in nanoseconds. The kernel's own
//! overhead of a test run is in every figure; compare kinds with each other. Frames that the program rewrites are run one
//! at a time, since a repeated run would feed the reply back in; that costs more, so those have their own baseline.

use std::{net::Ipv4Addr, path::PathBuf, time::Duration};

use anyhow::{Context, Result};
use aya::{TestRun, programs::TestRunOptions};
use vipd::{
    dataplane::{Contents, Dataplane, Identity},
    time::Instant,
};
use vipd_common::abi::{InstanceHead, InstanceKey, VipEntry, VipKey, mapped};

const ROUNDS: usize = 15;
const FRAMES: u32 = 200_000;
/// Loopback, where test frames come in.
const IFINDEX: u32 = 1;
const VIP: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 100);
const OTHER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 50);
const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];

fn main() -> Result<()> {
    let dir = PathBuf::from(format!("/sys/fs/bpf/vdbench-{}", std::process::id()));
    let (mut dataplane, _events) = Dataplane::load(&dir, false)?;
    let result = measure(&mut dataplane);
    dataplane.remove()?;
    result
}

fn measure(dataplane: &mut Dataplane) -> Result<()> {
    let key = InstanceKey { ifindex: IFINDEX, vlan: 0, family: 4, vrid: 51, reserved: [0; 2] };
    dataplane.instances().write(
        0,
        &Identity {
            head: InstanceHead { key, group: 0 },
            primary: mapped([192, 0, 2, 10]),
            destination: mapped([224, 0, 0, 18]),
            auth_type: 0,
            auth_data: [0; 8],
            lease_ns: 4_000_000_000,
            stale_after_ns: 1_500_000_000,
            address_list_digest: 0,
            interval_cs: 100,
            priority: 100,
            version: 3,
            flags: 0,
            mac: MAC,
        },
    );
    let entry = VipEntry { group: 0, instance: 0, mac: MAC, flags: 0, reserved: 0 };
    dataplane.replace_tables(&Contents {
        vips: vec![(VipKey { ifindex: IFINDEX, vlan: 0, address: mapped(VIP.octets()) }, entry)],
        index: vec![(key, 0)],
        peers: Vec::new(),
    })?;

    let lldp = [&[0; 12][..], &[0x88, 0xcc], &[0; 46]].concat();
    // The public vector v3-ipv4-message-only, from 192.0.2.2.
    let advert = [
        &[0x01, 0x00, 0x5e, 0x00, 0x00, 0x12, 2, 0, 0, 0, 0, 0xaa, 8, 0][..],
        &[
            0x45, 0xc0, 0x00, 0x20, 0x00, 0x01, 0x00, 0x00, 0xff, 0x70, 0x18, 0x98, 192, 0, 2, 2, 224, 0, 0,
            18,
        ],
        &[0x31, 0x33, 0x64, 0x01, 0x00, 0x64, 0xa8, 0x02, 192, 0, 2, 100],
    ]
    .concat();
    for (kind, owned, frame, repeat) in [
        ("not IP", false, &lldp, FRAMES),
        ("IPv4 to another address", false, &ipv4(OTHER), FRAMES),
        ("IPv4 to a VIP owned elsewhere, dropped", false, &ipv4(VIP), FRAMES),
        ("IPv4 to an owned VIP, passed", true, &ipv4(VIP), FRAMES),
        ("ARP request for another address", false, &arp(OTHER), FRAMES),
        ("ARP request for a VIP owned elsewhere, dropped", false, &arp(VIP), FRAMES),
        ("advert of another router, stamped", false, &advert, FRAMES),
        ("not IP, one at a time", false, &lldp, 1),
        ("ARP request for an owned VIP, answered, one at a time", true, &arp(VIP), 1),
    ] {
        // An hour from boot plus a year: owned for as long as this runs.
        let until =
            if owned { Instant::default() + Duration::from_secs(365 * 86_400) } else { Instant::default() };
        dataplane.leases().acquire(0, until);
        let mut rounds = (0..ROUNDS).map(|_| round(dataplane, frame, repeat)).collect::<Result<Vec<_>>>()?;
        rounds.sort_unstable();
        println!(
            "{}",
            serde_json::json!({
                "frame": kind,
                "median_ns": rounds[ROUNDS / 2],
                "min_ns": rounds[0],
                "max_ns": rounds[ROUNDS - 1],
                "rounds": ROUNDS,
            })
        );
    }
    Ok(())
}

/// Mean time of one run, in nanoseconds.
fn round(dataplane: &mut Dataplane, frame: &[u8], repeat: u32) -> Result<u128> {
    let runs = if repeat == 1 { 2_000 } else { 1 };
    let mut total = Duration::ZERO;
    for _ in 0..runs {
        let mut options = TestRunOptions::new();
        options.data_in = Some(frame);
        options.repeat = repeat;
        // With `repeat` the kernel reports the mean of the repeats.
        total += dataplane.program()?.test_run(options).context("run the program")?.duration;
    }
    Ok(total.as_nanos() / runs)
}

fn arp(target: Ipv4Addr) -> Vec<u8> {
    let mut frame = [&[0xff; 6][..], &[2, 0, 0, 0, 0, 0xaa, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1]].concat();
    frame.extend([2, 0, 0, 0, 0, 0xaa, 192, 0, 2, 77, 0, 0, 0, 0, 0, 0]);
    frame.extend(target.octets());
    frame
}

fn ipv4(destination: Ipv4Addr) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 0xaa, 8, 0];
    frame.extend([0x45, 0, 0, 40, 0, 1, 0, 0, 64, 6, 0, 0, 192, 0, 2, 77]);
    frame.extend(destination.octets());
    frame.extend([0; 20]);
    frame
}
