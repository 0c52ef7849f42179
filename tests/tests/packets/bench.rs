//! One loaded program, and what a row of a table looks like.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::{Path, PathBuf},
    time::Duration,
};

use aya::{
    maps::{Array, Map, MapData},
    programs::TestRunOptions,
};
use vipd_common::abi::{
    ABI_VERSION, ADDRESS_DIGEST_MASK, CAPTURE_OCTETS, CapturedFrame, CapturedReason, Counters, IndexEntry,
    InstanceCounters, InstanceHead, InstanceKey, InstanceRecord, OWN_INTERFACE, PeerEntry, PeerKey,
    RingEvent, Sponsors, VipEntry, VipKey, address_digest, address_digest_v6, capture_flag, mapped,
};
use vipd_core::time::Instant;
use vipd_dataplane::{Contents, Dataplane, Events, FrameRing, Identity};
use vipd_tests::{BPFFS, prefix::Prefix};

pub use crate::hook::{XDP_DROP, XDP_PASS, XDP_TX};

/// Where test frames come in.
pub const IFINDEX: u32 = 1;
/// Slots that are not 0, so that a mix-up of the two shows.
pub const SLOT: u32 = 5;
pub const LEASE_SLOT: u32 = 9;
pub const MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 0x01];
pub const VIP: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 100);
pub const PRIMARY: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 10);
pub const GROUP_ADDRESS: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 18);
/// 2001:db8::100, the VIP of the public IPv6 frames.
pub const VIP6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x100);
pub const LINK_LOCAL_VIP6: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0x100);
pub const PRIMARY6: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0x10);
pub const GROUP_ADDRESS6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x12);

/// A new name for a directory of pins.
pub fn pins_dir() -> PathBuf {
    let Prefix { name, dir } = Prefix::new().expect("a directory can be made");
    // Only the name is wanted.
    std::fs::remove_dir(dir).expect("and removed");
    Path::new(BPFFS).join(format!("{name}-pins"))
}

/// The program with its maps; gone on drop.
pub struct Bench {
    dataplane: Option<Dataplane>,
    events: Events,
    frames: FrameRing,
    dir: PathBuf,
}

/// What one frame caused.
#[derive(Debug)]
pub struct Outcome {
    pub verdict: u32,
    pub frame: Vec<u8>,
}

impl Bench {
    /// `None` if this machine cannot load programs; the reason has been printed.
    pub fn new() -> Option<Self> {
        vipd_tests::require_lab()?;
        let dir = pins_dir();
        let (mut dataplane, events) = Dataplane::load(&dir, false).expect("the maps are made");
        crate::HOOK.load(&mut dataplane);
        let frames = capturing(&dataplane);
        Some(Self { dataplane: Some(dataplane), events, frames, dir })
    }

    pub fn dataplane(&mut self) -> &mut Dataplane {
        self.dataplane.as_mut().expect("there until drop")
    }

    /// VIPs, each with its VLAN, of one virtual router as `identity` says, in the slots above.
    pub fn configure(&mut self, identity: &Identity, vips: &[(u32, impl Into<IpAddr> + Copy)]) {
        let entry = VipEntry {
            lease_slot: LEASE_SLOT,
            instance: SLOT,
            reply_slot: 0,
            mac: MAC,
            flags: 0,
            reserved: 0,
        };
        self.fill(identity, entry, vips, &[]);
    }

    /// The same, with what answers for the VIPs and with unicast peers.
    pub fn fill(
        &mut self,
        identity: &Identity,
        entry: VipEntry,
        vips: &[(u32, impl Into<IpAddr> + Copy)],
        peers: &[(IpAddr, PeerEntry)],
    ) {
        self.fill_lines(identity, entry, vips, peers, &[]);
    }

    /// The same, with VLANs that are heartbeat lines.
    pub fn fill_lines(
        &mut self,
        identity: &Identity,
        entry: VipEntry,
        vips: &[(u32, impl Into<IpAddr> + Copy)],
        peers: &[(IpAddr, PeerEntry)],
        heartbeats: &[u32],
    ) {
        let own = identity.head.key;
        let heartbeats = heartbeats.iter().map(|vlan| InstanceKey { vlan: *vlan, ..own });
        let lines = [own].into_iter().chain(heartbeats).zip(0..);
        let key = |(vlan, vip): &(u32, _)| VipKey { ifindex: IFINDEX, vlan: *vlan, address: octets(*vip) };
        let peer = |address| PeerKey { instance: SLOT, address: octets(address) };
        self.dataplane().pages().instances().write(SLOT, identity);
        let contents = Contents {
            vips: vips.iter().map(|vip| (key(vip), entry)).collect(),
            index: lines.map(|(key, line)| (key, IndexEntry { slot: SLOT, line })).collect(),
            peers: peers.iter().map(|(address, entry)| (peer(*address), *entry)).collect(),
        };
        self.dataplane().replace_tables(&contents).expect("tables are replaced");
    }

    /// Another virtual router beside what was filled in, without VIPs.
    pub fn also(&mut self, slot: u32, identity: &Identity) {
        self.dataplane().pages().instances().write(slot, identity);
        let entry = VipEntry {
            lease_slot: LEASE_SLOT,
            instance: SLOT,
            reply_slot: 0,
            mac: MAC,
            flags: 0,
            reserved: 0,
        };
        let vip = VipKey { ifindex: IFINDEX, vlan: 0, address: octets(VIP) };
        let first = InstanceKey { vrid: 51, ..identity.head.key };
        let own = |slot| IndexEntry { slot, line: OWN_INTERFACE };
        let index = vec![(first, own(SLOT)), (identity.head.key, own(slot))];
        let contents = Contents { vips: vec![(vip, entry)].into_iter().collect(), index, peers: Vec::new() };
        self.dataplane().replace_tables(&contents).expect("tables are replaced");
    }

    /// Makes this node the owner for an hour from now, renewed `ago`.
    pub fn own(&mut self, lease: Duration, ago: Duration) -> Instant {
        let until = now() + lease - ago;
        self.dataplane().pages().leases().acquire(LEASE_SLOT, until);
        until
    }

    /// Loads the program again, as the next daemon does: it adopts the maps.
    pub fn reload(&mut self) {
        drop(self.dataplane.take());
        let (mut dataplane, events) = Dataplane::load(&self.dir, false).expect("the maps are adopted");
        crate::HOOK.load(&mut dataplane);
        self.frames = capturing(&dataplane);
        (self.dataplane, self.events) = (Some(dataplane), events);
    }

    pub fn lease(&mut self) -> Instant {
        self.dataplane().pages().leases().read(LEASE_SLOT)
    }

    pub fn run(&mut self, frame: &[u8]) -> Outcome {
        let mut out = vec![0; 8192];
        let mut options = TestRunOptions::new();
        options.data_in = Some(frame);
        options.data_out = Some(&mut out);
        let result = crate::HOOK.run(self.dataplane(), options).expect("test run");
        out.truncate(result.data_size_out as usize);
        Outcome { verdict: result.return_value, frame: out }
    }

    /// Changes the record of the instance as the program would in time.
    pub fn change_record(&mut self, change: impl FnOnce(&mut InstanceRecord)) {
        let map = MapData::from_pin(self.pin("INSTANCES")).expect("pinned");
        let mut records = Array::<_, InstanceRecord>::try_from(Map::Array(map)).expect("an array");
        let mut record = records.get(&SLOT, 0).expect("a record");
        change(&mut record);
        records.set(SLOT, record, 0).expect("written");
    }

    /// Changes what is known of sponsors as time and others would.
    pub fn change_sponsors(&mut self, change: impl FnOnce(&mut Sponsors)) {
        let map = MapData::from_pin(self.pin("SPONSORS")).expect("pinned");
        let mut map = Array::<_, Sponsors>::try_from(Map::Array(map)).expect("an array");
        let mut sponsors = map.get(&0, 0).expect("an entry");
        change(&mut sponsors);
        map.set(0, sponsors, 0).expect("written");
    }

    /// As if no event of any instance had been paid for.
    pub fn forget_payments(&mut self) {
        self.change_record(|record| record.events_paid_ns = 0);
        let map = MapData::from_pin(self.pin("EVENTS_PAID")).expect("pinned");
        let mut paid = Array::<_, u64>::try_from(Map::Array(map)).expect("an array");
        paid.set(0, 0, 0).expect("written");
    }

    /// Where a map is pinned.
    pub fn pin(&self, map: &str) -> PathBuf {
        self.dir.join("vipd").join(format!("v{ABI_VERSION}")).join(map)
    }

    pub fn event(&mut self) -> Option<RingEvent> {
        self.events.pop()
    }

    pub fn counters(&mut self) -> Counters {
        self.dataplane().pages().counters().expect("counters")
    }

    pub fn instance_counters(&mut self) -> InstanceCounters {
        self.dataplane().pages().instance_counters(SLOT).expect("counters")
    }

    /// The questions about a VIP of an untagged frame that were answered.
    pub fn replies(&mut self, vip: impl Into<IpAddr>) -> u64 {
        self.dataplane().replies(&VipKey { ifindex: IFINDEX, vlan: 0, address: octets(vip) })
    }

    /// The captured frames.
    pub fn frames(&mut self) -> &mut FrameRing {
        &mut self.frames
    }

    /// Runs `frame` and names every counter that moved, each with by how much. What is captured agrees with it.
    pub fn moved(&mut self, frame: &[u8]) -> (Outcome, Vec<(&'static str, u64)>) {
        while self.frames.pop().is_some() {}
        let (global, instance) = (self.counters(), self.instance_counters());
        let outcome = self.run(frame);
        let (global_after, instance_after) = (self.counters(), self.instance_counters());
        let global = global.iter().zip(global_after.iter());
        let instance = instance.iter().zip(instance_after.iter());
        let moved: Vec<_> = global
            .chain(instance)
            .filter(|((_, before), (_, after))| before != after)
            .map(|((name, before), (_, after))| (name, after - before))
            .collect();
        if let Some(captured) = self.frames.pop() {
            agrees(&captured, frame, &outcome, &moved);
            let answer = self.frames.pop();
            assert_eq!(answer.is_some(), outcome.verdict == XDP_TX, "{answer:?}");
            if let Some(answer) = answer {
                assert_eq!(
                    (answer.flags ^ captured.flags, answer.reason),
                    (capture_flag::SENT, captured.reason)
                );
                agrees(&answer, &outcome.frame, &outcome, &moved);
            }
        }
        (outcome, moved)
    }
}

const HOUR: Duration = Duration::from_secs(3_600);

/// Captures whatever comes in from now on.
fn capturing(dataplane: &Dataplane) -> FrameRing {
    let mut frames = dataplane.frames().expect("pinned");
    frames.renew(now() + HOUR);
    frames
}

/// Asserts that a captured frame has these octets, this verdict, and one of the counters that moved.
fn agrees(captured: &CapturedFrame, frame: &[u8], outcome: &Outcome, moved: &[(&str, u64)]) {
    assert_eq!(u32::from(captured.verdict), outcome.verdict, "{captured:?}");
    let octets = &frame[..frame.len().min(CAPTURE_OCTETS)];
    assert_eq!(&captured.octets[..captured.captured as usize], octets);
    assert_eq!((captured.length as usize, captured.ifindex), (frame.len(), IFINDEX));
    match CapturedReason::from_number(captured.reason).name() {
        Some(reason) => assert!(moved.iter().any(|(name, _)| *name == reason), "{reason} of {moved:?}"),
        // Readdressed, and of no interest otherwise; or a bug that is counted beside the verdict.
        None => assert!(
            moved.iter().all(|(name, _)| ["vmac_rewritten", "dangling_entries"].contains(name)),
            "no reason for {moved:?}"
        ),
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        if let Some(dataplane) = self.dataplane.take() {
            dataplane.remove().expect("pins are removed");
        }
        assert!(!self.dir.exists(), "{} is left", self.dir.display());
    }
}

/// Now, on the clock that leases are compared with.
pub fn now() -> Instant {
    let time = nix::time::clock_gettime(nix::time::ClockId::CLOCK_BOOTTIME).expect("clock");
    Instant::from_nanos(u64::try_from(Duration::from(time).as_nanos()).expect("not in 584 years"))
}

/// VRID 51, priority 100, interval 1 s, version 3, one VIP: the standard receiver of the vectors.
pub fn identity() -> Identity {
    Identity {
        head: InstanceHead {
            key: InstanceKey { ifindex: IFINDEX, vlan: 0, family: 4, vrid: 51, reserved: [0; 2] },
            lease_slot: LEASE_SLOT,
        },
        primary: mapped(PRIMARY.octets()),
        destination: mapped(GROUP_ADDRESS.octets()),
        auth_type: 0,
        auth_data: [0; 8],
        lease_ns: 4_000_000_000,
        stale_after_ns: 1_500_000_000,
        address_list_digest: digest(&[VIP]),
        interval_cs: 100,
        priority: 100,
        version: 3,
        flags: 0,
        mac: MAC,
    }
}

/// The same over IPv6, with a link-local VIP and a global one.
pub fn identity6() -> Identity {
    let mut identity = identity();
    identity.head.key.family = 6;
    identity.primary = PRIMARY6.octets();
    identity.destination = GROUP_ADDRESS6.octets();
    identity.address_list_digest = digest(&[LINK_LOCAL_VIP6, VIP6]);
    identity
}

/// An address as the maps have it.
pub fn octets(address: impl Into<IpAddr>) -> [u8; 16] {
    match address.into() {
        IpAddr::V4(address) => mapped(address.octets()),
        IpAddr::V6(address) => address.octets(),
    }
}

pub fn digest(vips: &[impl Into<IpAddr> + Copy]) -> u64 {
    let mix = |vip: IpAddr| match vip {
        IpAddr::V4(vip) => address_digest(u32::from_ne_bytes(vip.octets())),
        IpAddr::V6(vip) => {
            let octets = vip.octets();
            let (upper, lower) = octets.split_at(8);
            let word = |half: &[u8]| u64::from_ne_bytes(half.try_into().expect("eight octets"));
            address_digest_v6(word(upper), word(lower))
        }
    };
    vips.iter().fold(0u64, |sum, vip| sum.wrapping_add(mix((*vip).into()))) & ADDRESS_DIGEST_MASK
}
