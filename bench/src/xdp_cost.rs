//! What the program costs per frame, by kind of frame, under XDP and at tc ingress: `BPF_PROG_TEST_RUN` on one CPU, no driver.
//!
//! The kernel's own overhead of a test run is in every figure, so each kind is also run through a program that only passes,
//! in turns, and what the daemon's program adds is the difference of two neighbouring rounds.
//! Frames that the program rewrites are run one at a time, since a repeated run would feed the reply back in; that costs
//! more, to the program that only passes too.

mod probes;

use std::{
    net::{Ipv4Addr, Ipv6Addr},
    path::PathBuf,
    time::{Duration, Instant as Clock},
};

use crate::report::Report;
use anyhow::{Context, Result, ensure};
use aya::{
    TestRun,
    programs::{TestRunOptions, TestRunResult},
};
use vipd_common::abi::{IndexEntry, InstanceHead, InstanceKey, VipEntry, VipKey, instance_flag, mapped};
use vipd_core::time::Instant;
use vipd_dataplane::{Contents, Dataplane, Identity};
use vipd_tests::xdp::Program;

const ROUNDS: usize = 15;
const FRAMES: u32 = 200_000;
/// Of frames that are run one at a time.
const RUNS: u32 = 2_000;
/// Loopback, where test frames come in.
const IFINDEX: u32 = 1;
const PRIMARY: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 10);
const VIP: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 100);
const OTHER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 50);
const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
const VIRTUAL_MAC: [u8; 6] = [0, 0, 0x5e, 0, 1, 51];
const VIP6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x100);
const OTHER6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x50);
const ANOTHER6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x51);
const PRIMARY6: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0x10);
const PRIMARY6_OF_PEER: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 2);
const ADVERTS6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x12);
const GROUP_OF_VIP6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00, 0x100);

const PART: &str = "XDP cost";

pub fn run(report: &mut Report) -> Result<()> {
    let dir = PathBuf::from(format!("/sys/fs/bpf/vdbench-{}", std::process::id()));
    let (mut dataplane, _events) = Dataplane::load(&dir, false)?;
    let result = measure(&mut dataplane, report);
    dataplane.remove()?;
    result
}

fn measure(dataplane: &mut Dataplane, report: &mut Report) -> Result<()> {
    let (empty, empty_at_tc) = (Program::pass()?, Program::pass_at_tc()?);
    let key = |family| InstanceKey { ifindex: IFINDEX, vlan: 0, family, vrid: 51, reserved: [0; 2] };
    let four = Identity {
        head: InstanceHead { key: key(4), lease_slot: 0 },
        primary: mapped(PRIMARY.octets()),
        destination: mapped([224, 0, 0, 18]),
        auth_type: 0,
        auth_data: [0; 8],
        lease_ns: 4_000_000_000,
        stale_after_ns: 1_500_000_000,
        address_list_digest: 0,
        interval_cs: 100,
        priority: 100,
        version: 3,
        flags: instance_flag::VIRTUAL_MAC,
        mac: MAC,
    };
    let six = Identity {
        head: InstanceHead { key: key(6), lease_slot: 0 },
        primary: PRIMARY6.octets(),
        destination: ADVERTS6.octets(),
        ..four.clone()
    };
    dataplane.pages().instances().write(0, &four);
    dataplane.pages().instances().write(1, &six);
    let entry = VipEntry { lease_slot: 0, instance: 0, reply_slot: 0, mac: MAC, flags: 0, reserved: 0 };
    let vip = |address| (VipKey { ifindex: IFINDEX, vlan: 0, address }, entry);
    dataplane.replace_tables(&Contents {
        vips: vec![vip(mapped(VIP.octets())), vip(VIP6.octets())],
        index: vec![(key(4), IndexEntry { slot: 0, line: 0 }), (key(6), IndexEntry { slot: 1, line: 0 })],
        peers: Vec::new(),
    })?;
    let verified = dataplane.xdp()?.info()?.verified_instruction_count();
    report.note(PART, format!("the verifier looked at {} instructions", verified.unwrap_or_default()));

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
    let advert6 = ipv6(112, PRIMARY6_OF_PEER, ADVERTS6, &advert6_message());
    let solicitation = ipv6(58, OTHER6, GROUP_OF_VIP6, &solicitation_message());
    let mut to_virtual_mac = ipv4(OTHER);
    to_virtual_mac[..6].copy_from_slice(&VIRTUAL_MAC);
    let mut measuring = Measuring { dataplane, empty, empty_at_tc, report };
    for (kind, owned, frame, repeat) in [
        ("not IP", false, &lldp, FRAMES),
        ("IPv4 to another address", false, &ipv4(OTHER), FRAMES),
        ("IPv4 to a VIP owned elsewhere, dropped", false, &ipv4(VIP), FRAMES),
        ("IPv4 to an owned VIP, passed", true, &ipv4(VIP), FRAMES),
        ("ARP request for another address", false, &arp(OTHER), FRAMES),
        ("ARP request for a VIP owned elsewhere, dropped", false, &arp(VIP), FRAMES),
        ("advert of another router, stamped", false, &advert, FRAMES),
        ("IPv6 to another address", false, &ipv6(6, OTHER6, ANOTHER6, &[0; 20]), FRAMES),
        ("IPv6 to a VIP owned elsewhere, dropped", false, &ipv6(6, OTHER6, VIP6, &[0; 20]), FRAMES),
        ("NS for a VIP owned elsewhere, dropped", false, &solicitation, FRAMES),
        ("advert of another router over IPv6, stamped", false, &advert6, FRAMES),
        ("frame to a virtual MAC owned elsewhere, dropped", false, &to_virtual_mac, FRAMES),
        ("not IP, one at a time", false, &lldp, 1),
        ("ARP request for an owned VIP, answered, one at a time", true, &arp(VIP), 1),
        ("NS for an owned VIP, answered, one at a time", true, &solicitation, 1),
        ("frame to an owned virtual MAC, readdressed, one at a time", true, &to_virtual_mac, 1),
    ] {
        measuring.measure(kind, owned, frame, repeat)?;
    }
    probes::set_up(measuring.dataplane, &four, vec![vip(mapped(VIP.octets()))])?;
    for (kind, owned, frame) in [
        ("probe of a backup, answered, one at a time", true, &probes::of_backup(1)),
        ("probe of a backup of 255 routers, answered, one at a time", true, &probes::of_backup(255)),
        ("probe of a master, answered, one at a time", false, &probes::of_master(1)),
        ("probe of a master of 255 routers, answered, one at a time", false, &probes::of_master(255)),
    ] {
        let before = measuring.probes_answered()?;
        measuring.measure(kind, owned, frame, 1)?;
        // All that were no empty program's: at XDP, and at tc.
        let runs = 2 * ROUNDS as u64 * u64::from(RUNS);
        ensure!(measuring.probes_answered()? == before + runs, "{kind}: not answered");
    }
    for (kind, frame) in [
        ("answer to a probe, stamped and dropped", &probes::answer(1)),
        ("IPv4 to an owned VIP whose lease needs a sponsor, passed", &ipv4(VIP)),
    ] {
        measuring.measure(kind, true, frame, FRAMES)?;
    }
    Ok(())
}

/// What all frames are measured with.
struct Measuring<'a> {
    dataplane: &'a mut Dataplane,
    empty: Program,
    empty_at_tc: Program,
    report: &'a mut Report,
}

impl Measuring<'_> {
    /// Runs a frame through the program and through one that only passes, at both hooks, while the VIP is owned here or elsewhere.
    fn measure(&mut self, kind: &str, owned: bool, frame: &[u8], repeat: u32) -> Result<()> {
        // A year from boot: owned for as long as this runs.
        let until =
            if owned { Instant::default() + Duration::from_secs(365 * 86_400) } else { Instant::default() };
        self.dataplane.pages().leases().acquire(0, until);
        for _ in 0..ROUNDS {
            let program = self.dataplane.xdp()?;
            let ns = round(repeat, || run_daemons(program, frame, repeat))?;
            let empty_ns = round(repeat, || self.empty.test_run(frame, repeat))?;
            self.report.add(PART, kind, "vipd", "time per frame", "ns", ns);
            self.report.add(PART, kind, "empty program", "time per frame", "ns", empty_ns);
            self.report.add(PART, kind, "vipd", "more than empty", "ns", ns - empty_ns);
            let program = self.dataplane.tc()?;
            let ns = round(repeat, || run_daemons(program, frame, repeat))?;
            let empty_ns = round(repeat, || self.empty_at_tc.test_run(frame, repeat))?;
            self.report.add(PART, kind, "vipd at tc", "time per frame", "ns", ns);
            self.report.add(PART, kind, "empty program at tc", "time per frame", "ns", empty_ns);
            self.report.add(PART, kind, "vipd at tc", "more than empty", "ns", ns - empty_ns);
        }
        Ok(())
    }

    fn probes_answered(&self) -> Result<u64> {
        Ok(self.dataplane.pages().counters()?.probes_reflected)
    }
}

/// Mean time of one run, in nanoseconds, where `run` says that of `repeat` runs.
fn round(repeat: u32, mut run: impl FnMut() -> Result<Duration>) -> Result<f64> {
    let runs = if repeat == 1 { RUNS } else { 1 };
    let mut total = Duration::ZERO;
    for _ in 0..runs {
        let begin = Clock::now();
        total += run()?;
        // No probe is one too many, and every frame meets the same caches.
        while runs > 1 && begin.elapsed() < probes::BETWEEN {
            std::hint::spin_loop();
        }
    }
    Ok(total.as_secs_f64() * 1e9 / f64::from(runs))
}

/// Runs the daemon's program; with `repeat` the kernel reports the mean of the repeats.
fn run_daemons<P>(program: &P, frame: &[u8], repeat: u32) -> Result<Duration>
where
    P: for<'a> TestRun<Opts<'a> = TestRunOptions<'a>, Result = TestRunResult>,
{
    let mut options = TestRunOptions::new();
    options.data_in = Some(frame);
    options.repeat = repeat;
    Ok(program.test_run(options).context("run the program")?.duration)
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

/// From `source` with the hop limit of messages that no router forwards.
fn ipv6(next_header: u8, source: Ipv6Addr, destination: Ipv6Addr, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 0xaa, 0x86, 0xdd, 0x60, 0, 0, 0];
    // At most 40 octets.
    frame.extend((payload.len() as u16).to_be_bytes());
    frame.extend([next_header, 255]);
    frame.extend(source.octets());
    frame.extend(destination.octets());
    frame.extend(payload);
    frame
}

/// The public vector v3-ipv6-basic, from fe80::2.
fn advert6_message() -> Vec<u8> {
    let mut message = vec![0x31, 0x33, 0x64, 0x02, 0x00, 0x64, 0x3d, 0xfc];
    message.extend(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0x100).octets());
    message.extend(VIP6.octets());
    message
}

/// The public frame ns-for-vip, from 2001:db8::50.
fn solicitation_message() -> Vec<u8> {
    let mut message = vec![0x87, 0x00, 0x19, 0x33, 0, 0, 0, 0];
    message.extend(VIP6.octets());
    message.extend([1, 1, 2, 0, 0, 0, 0, 0xaa]);
    message
}
