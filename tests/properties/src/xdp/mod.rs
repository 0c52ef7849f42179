//! The XDP and the tc program through `BPF_PROG_TEST_RUN`: what it does with a frame is what [`oracle`] allows.

mod bfd;
pub mod mutate;
mod oracle;
mod probes;
mod routers;

use std::{
    net::IpAddr,
    path::PathBuf,
    process,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use anyhow::{Context, Result};
use aya::{
    TestRun,
    programs::{TestRunOptions, TestRunResult},
};
use vipd_common::abi::{
    BfdKey, Counters, IndexEntry, InstanceCounters, InstanceHead, InstanceKey, PeerEntry, PeerKey,
    ProbeEntry, ProbeKey, VipEntry, VipKey, auth_type, instance_flag, mapped, vip_flag,
};
use vipd_common::{
    address::Address,
    wire::bfd::{Diagnostic, SessionState},
};
use vipd_core::time::Instant;
use vipd_dataplane::{BfdIdentity, BfdPlane, Contents, Dataplane, Events, Identity};

use oracle::{Expected, INTERVAL_S};
use routers::{MAC, ROUTERS, Router};

const XDP_DROP: u32 = 1;
const XDP_PASS: u32 = 2;
const XDP_TX: u32 = 3;

/// Loopback, where test frames come in.
const IFINDEX: u32 = 1;
/// `BPF_PROG_TEST_RUN` takes no less than an Ethernet header.
const MIN_FRAME: usize = 14;
/// Jumbo frames and then some.
const MAX_FRAME: usize = 9_216;
/// Whether the kernel makes an skb of the frame: one page with head and tail and, since Linux 6.17, a whole IP header.
fn is_testable_at_tc(frame: &[u8]) -> bool {
    let header = match frame.get(12..14) {
        Some([0x08, 0x00]) => 34,
        Some([0x86, 0xdd]) => 54,
        _ => MIN_FRAME,
    };
    (header..=3_300).contains(&frame.len())
}

/// linux/pkt_cls.h.
const TC_ACT_UNSPEC: i32 = -1;
const TC_ACT_SHOT: i32 = 2;
const TC_ACT_REDIRECT: i32 = 7;

/// Leases of routers that own their VIPs: a year after boot.
const OWNED_UNTIL: Duration = Duration::from_secs(365 * 86_400);

/// The loaded program, serving [`ROUTERS`]. Nothing of it is pinned, so it goes with the process however that ends.
pub struct Program {
    dataplane: Dataplane,
    events: Events,
    bfd: BfdPlane,
    output: Vec<u8>,
    /// Values of all counters, as they were last read.
    counters: Vec<u64>,
}

impl Program {
    pub fn load() -> Result<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let dir = PathBuf::from(format!("/sys/fs/bpf/vdfuzz-{}-{number}", process::id()));
        let loaded = Dataplane::load(&dir, false).and_then(|(mut dataplane, events)| {
            // While the maps are pinned: both programs are to share them.
            dataplane.xdp()?;
            dataplane.tc()?;
            let bfd = sessions(&dataplane)?;
            Ok((dataplane, events, bfd))
        });
        Dataplane::discard(&dir).context("unpin")?;
        let (mut dataplane, events, bfd) = loaded?;
        for (slot, router) in (0..).zip(&ROUTERS) {
            dataplane.pages().instances().write(slot, &identity(slot, router));
        }
        dataplane.replace_tables(&contents())?;
        lead_to_peer(&dataplane)?;
        let mut program =
            Self { dataplane, events, bfd, output: vec![0; MAX_FRAME + 256], counters: Vec::new() };
        program.counters = program.read_counters();
        Ok(program)
    }

    /// Runs the program over a frame. Frames that the kernel would not take from a link are left out.
    pub fn check(&mut self, frame: &[u8]) {
        if !(MIN_FRAME..=MAX_FRAME).contains(&frame.len()) {
            return;
        }
        let expected = oracle::expect(frame);
        self.check_hook(frame, &expected, |dataplane, options| {
            dataplane.xdp()?.test_run(options).map_err(Into::into)
        });
        if is_testable_at_tc(frame) {
            self.check_hook(frame, &expected, |dataplane, options| {
                let mut result = dataplane.tc()?.test_run(options)?;
                result.return_value = match result.return_value.cast_signed() {
                    TC_ACT_UNSPEC => XDP_PASS,
                    TC_ACT_SHOT => XDP_DROP,
                    TC_ACT_REDIRECT => XDP_TX,
                    other => panic!("verdict {other} on {}", hex(frame)),
                };
                Ok(result)
            });
        }
    }

    /// Runs one of the programs over a frame; `run` gives the verdict as XDP names it.
    fn check_hook(
        &mut self,
        frame: &[u8],
        expected: &Expected,
        run: impl FnOnce(&mut Dataplane, TestRunOptions<'_>) -> Result<TestRunResult>,
    ) {
        self.set_leases();
        self.forget_peer();
        let heard = self.heard();
        self.output.fill(0xa5);
        let mut options = TestRunOptions::new();
        options.data_in = Some(frame);
        options.data_out = Some(&mut self.output);
        let result = run(&mut self.dataplane, options).expect("the program runs");
        let output = &self.output[..result.data_size_out as usize];
        match result.return_value {
            XDP_PASS => {
                assert!(expected.pass, "passed, expected {expected:02x?}: {}", hex(frame));
                let mut unaltered = frame.to_vec();
                if let Some(mac) = expected.readdressed {
                    unaltered[..6].copy_from_slice(&mac);
                }
                assert!(output == unaltered, "{} became {}", hex(frame), hex(output));
            }
            XDP_DROP => assert!(expected.drop, "dropped, expected {expected:02x?}: {}", hex(frame)),
            XDP_TX => {
                let reply = expected.reply.as_ref();
                let reply = reply.unwrap_or_else(|| panic!("answered {}: {}", hex(frame), hex(output)));
                assert!(output == reply, "{} got {}, expected {}", hex(frame), hex(output), hex(reply));
            }
            verdict => panic!("verdict {verdict} on {}", hex(frame)),
        }
        self.check_leases(expected, result.return_value, frame);
        self.check_sessions(expected, &heard, frame);
        while let Some(event) = self.events.pop() {
            let about =
                expected.advert_of == Some(event.instance) || expected.claim_of == Some(event.instance);
            assert!(about, "{event:?} after {}", hex(frame));
        }
    }

    /// When each session was heard last.
    fn heard(&self) -> Vec<Instant> {
        (0..bfd::SESSIONS.len() as u32).map(|slot| self.bfd.page().heard(slot)).collect()
    }

    /// A valid packet stamps its session, and nothing else stamps any; only of such a packet the daemon is told.
    fn check_sessions(&mut self, expected: &Expected, before: &[Instant], frame: &[u8]) {
        for ((slot, before), after) in (0..).zip(before).zip(self.heard()) {
            assert_eq!(after > *before, expected.bfd_of == Some(slot), "session {slot}: {}", hex(frame));
        }
        while let Some(event) = self.bfd.pop() {
            assert_eq!(Some(event.slot), expected.bfd_of, "{event:?} after {}", hex(frame));
        }
    }

    /// Which counters, and which verdicts of the oracle's, the last frame moved.
    pub fn moved(&mut self) -> impl Iterator<Item = bool> {
        let counters = self.read_counters();
        let before = std::mem::replace(&mut self.counters, counters.clone());
        before.into_iter().zip(counters).map(|(before, after)| before != after)
    }

    fn read_counters(&self) -> Vec<u64> {
        let global: Counters = self.dataplane.pages().counters().expect("counters can be read");
        let slots = 0..ROUTERS.len() as u32;
        let of = |slot| -> InstanceCounters {
            self.dataplane.pages().instance_counters(slot).expect("counters can be read")
        };
        let instances: Vec<InstanceCounters> = slots.map(of).collect();
        let instances = instances.iter().flat_map(InstanceCounters::iter);
        global.iter().chain(instances).map(|(_, value)| value).collect()
    }

    fn set_leases(&self) {
        for (slot, router) in (0..).zip(&ROUTERS) {
            if router.owned {
                self.dataplane.pages().leases().acquire(lease_slot(slot), Instant::default() + OWNED_UNTIL);
            }
        }
    }

    /// No probe has come yet, and the daemon speaks, for ever.
    fn forget_peer(&self) {
        let pages = self.dataplane.pages();
        pages.probes().page().clear(PEER);
        pages.probes().page().describe(PEER, probes::DISCRIMINATOR, 0);
        pages.probes().page().set_sponsor(PEER, Some(BACKUP));
        pages.sponsors().clear(BACKUP);
        pages.sponsors().beat(Instant::default() + OWNED_UNTIL);
    }

    /// A valid advert takes the lease of its own virtual router if it beats us, and a probe takes what its sender owns or claims; nothing else
    /// does, and nothing gives one.
    fn check_leases(&self, expected: &Expected, verdict: u32, frame: &[u8]) {
        for (slot, router) in (0..).zip(&ROUTERS) {
            let lease = self.dataplane.pages().leases().read(lease_slot(slot));
            // An advert too long to be read is dropped and does nothing.
            let revoked = verdict == XDP_PASS && expected.revokes && expected.advert_of == Some(slot)
                || verdict == XDP_TX && expected.takes.contains(&slot);
            let held = router.owned && !revoked;
            let until = if held { Instant::default() + OWNED_UNTIL } else { Instant::default() };
            assert_eq!(lease, until, "slot {slot} after {}", hex(frame));
        }
    }
}

/// The sessions of BFD, each Up in its slot.
fn sessions(dataplane: &Dataplane) -> Result<BfdPlane> {
    let mut plane = dataplane.bfd()?;
    for (slot, (local, remote, port, min_hop_limit)) in (0..).zip(bfd::SESSIONS) {
        let ifindex = if port == 3784 { IFINDEX } else { 0 };
        let family = if local.is_ipv4() { 4 } else { 6 };
        let key = BfdKey { remote: octets(remote), local: octets(local), ifindex, vlan: 0, port, family };
        let local_discriminator = bfd::DISCRIMINATOR;
        let identity = BfdIdentity { key, local_discriminator, min_hop_limit, source_port: 49_152 };
        plane.page().begin(slot, &identity);
        plane.page().set_state(slot, SessionState::Up, Diagnostic::NONE, Instant::default());
        plane.lead(&key, slot)?;
    }
    Ok(plane)
}

/// Slot of the peer that is probed, and which of the early backups it is.
const PEER: u32 = 7;
const BACKUP: u32 = 13;

/// The peer's addresses lead to its slot, and all leases need a sponsor.
fn lead_to_peer(dataplane: &Dataplane) -> Result<()> {
    let address = |address| Address::from_octets(octets(address));
    let entry = ProbeEntry { slot: PEER, mac: probes::LINK_MAC, reserved: [0; 2] };
    for vlan in probes::VLANS {
        for (local, peer) in probes::PAIRS {
            let key = ProbeKey { ifindex: IFINDEX, vlan, local: address(local), peer: address(peer) };
            dataplane.pages().probes().add(key, entry)?;
        }
    }
    dataplane
        .pages()
        .sponsors()
        .set_leases(&(0..ROUTERS.len() as u32).map(lease_slot).collect::<std::collections::BTreeSet<u32>>());
    Ok(())
}

/// Not the slot, so that a mix-up of the two shows.
fn lease_slot(slot: u32) -> u32 {
    slot + 16
}

fn contents() -> Contents {
    let mut contents = Contents::default();
    for (slot, router) in (0..).zip(&ROUTERS) {
        let own = key(router);
        contents.index.push((own, IndexEntry { slot, line: 0 }));
        if let Some(vlan) = router.heartbeat {
            contents.index.push((InstanceKey { vlan, ..own }, IndexEntry { slot, line: 1 }));
        }
        for (vip, accept) in router.vips {
            let key = VipKey { ifindex: IFINDEX, vlan: router.vlan, address: octets(*vip) };
            let flags = if *accept { 0 } else { vip_flag::NO_ACCEPT };
            let mac = router.answering_mac();
            contents.vips.push((
                key,
                VipEntry {
                    lease_slot: lease_slot(slot),
                    instance: slot,
                    reply_slot: 0,
                    mac,
                    flags,
                    reserved: 0,
                },
            ));
        }
        if let Some(peer) = router.peer {
            let entry = PeerEntry { min_ttl: 1, max_ttl: 255, reserved: [0; 2] };
            contents.peers.push((PeerKey { instance: slot, address: octets(peer) }, entry));
        }
    }
    contents
}

fn identity(slot: u32, router: &Router) -> Identity {
    let mut flags = 0;
    if router.use_vmac {
        flags |= instance_flag::VIRTUAL_MAC;
    }
    if router.peer.is_some() {
        flags |= instance_flag::UNICAST | instance_flag::CHECK_SOURCE;
    }
    Identity {
        head: InstanceHead { key: key(router), lease_slot: lease_slot(slot) },
        primary: octets(router.primary),
        destination: octets(if router.peer.is_some() { router.primary } else { router.multicast_group() }),
        auth_type: if router.password.is_some() { auth_type::SIMPLE_TEXT } else { auth_type::NONE },
        auth_data: router.password.unwrap_or_default(),
        // As if renewed at boot, so any advert of another takes the lease; or as if renewed in a year, so a better one.
        lease_ns: if router.stale { Instant::default() + OWNED_UNTIL } else { Instant::default() }.as_nanos(),
        stale_after_ns: 1_500_000_000,
        address_list_digest: 0,
        interval_cs: u32::from(INTERVAL_S) * 100,
        priority: router.priority,
        version: router.version,
        flags,
        mac: MAC,
    }
}

fn key(router: &Router) -> InstanceKey {
    let family = if router.is_v6() { 6 } else { 4 };
    InstanceKey { ifindex: IFINDEX, vlan: router.vlan, family, vrid: router.vrid, reserved: [0; 2] }
}

fn octets(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => mapped(address.octets()),
        IpAddr::V6(address) => address.octets(),
    }
}

fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}
