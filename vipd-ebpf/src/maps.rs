//! Every map: key, value, who writes, who reads, and why this size. All are pinned under their name.

use aya_ebpf::{
    btf_maps::{Array, ArrayOfMaps, HashMap, PerCpuArray, RingBuf},
    macros::btf_map,
};
use vipd_common::abi::{
    BFD_RING_BYTES, BfdEvent, BfdKey, BfdRecord, CAPTURE_RING_BYTES, CaptureLease, CapturedFrame, Counters,
    EVENT_RING_BYTES, IndexEntry, InstanceCounters, InstanceKey, InstanceRecord, MAX_BFD_SESSIONS, MAX_INDEX,
    MAX_INSTANCES, MAX_LEASES, MAX_PEERS, MAX_PROBE_INDEX, MAX_PROBE_PEERS, MAX_VIPS, PeerEntry, PeerKey,
    ProbeEntry, ProbeKey, ProbedPeer, REPLY_SLOTS, RingEvent, Sponsors, VipEntry, VipKey,
};
use vipd_common::bloom::Bits;

/// The daemon maps the array into its memory and stores without a system call (Linux 5.5).
const BPF_F_MMAPABLE: usize = 1 << 10;
/// Entries are allocated as they are inserted.
const BPF_F_NO_PREALLOC: usize = 1;

/// A table of VIPs.
pub type VipTable = HashMap<VipKey, VipEntry, { MAX_VIPS as usize }, BPF_F_NO_PREALLOC>;

/// Ownership: lease slot → time until which this node owns the VIPs under that lease (ns, boot-time clock); 0 is "not owner".
/// Acquired, renewed and released by the daemon (compare-exchange), revoked by this program (store 0).
#[btf_map]
pub static LEASES: Array<u64, { MAX_LEASES as usize }, BPF_F_MMAPABLE> = Array::new();

/// One entry: a Bloom filter of the VIPs in `VIPS_A` or `VIPS_B`. Read before either, since most frames are about no VIP. Written
/// by the daemon: bits are set before a table is swapped in, and cleared after.
#[btf_map]
pub static BLOOM_FILTER: Array<Bits, 1, BPF_F_MMAPABLE> = Array::new();

/// Slot 0 points to the table in force, `VIPS_A` or `VIPS_B`. The daemon fills the other one and swaps the pointer, so
/// that a packet sees the old configuration or the new one, never a mixture.
#[btf_map]
pub static VIPS: ArrayOfMaps<VipTable, 1> = ArrayOfMaps::new();

/// One of the two tables behind `VIPS`. Written by the daemon.
#[btf_map]
pub static VIPS_A: VipTable = HashMap::new();

/// The other one.
#[btf_map]
pub static VIPS_B: VipTable = HashMap::new();

/// Instance slot → identity (written by the daemon) and what was last heard (written here).
#[btf_map]
pub static INSTANCES: Array<InstanceRecord, { MAX_INSTANCES as usize }, BPF_F_MMAPABLE> = Array::new();

/// Interface, VLAN, family and VRID → instance slot, and which of its lines that is. Written by the daemon.
#[btf_map]
pub static INSTANCE_INDEX: HashMap<InstanceKey, IndexEntry, { MAX_INDEX as usize }> = HashMap::new();

/// Instance slot and address → what a unicast peer's adverts may look like. Written by the daemon.
#[btf_map]
pub static PEERS: HashMap<PeerKey, PeerEntry, { MAX_PEERS as usize }, BPF_F_NO_PREALLOC> = HashMap::new();

/// Two addresses on a link → slot of `PROBE_PEERS`. Written by the daemon; empty where nothing is probed.
#[btf_map]
pub static PROBE_INDEX: HashMap<ProbeKey, ProbeEntry, { MAX_PROBE_INDEX as usize }, BPF_F_NO_PREALLOC> =
    HashMap::new();

/// What the daemon says of a host that is probed, and what was heard of it. Written by the daemon and here, each its part.
#[btf_map]
pub static PROBE_PEERS: Array<ProbedPeer, { MAX_PROBE_PEERS as usize }, BPF_F_MMAPABLE> = Array::new();

/// One entry: who vouches for this node's leases. The daemon writes its beat and which leases need one; the program writes when each backup
/// that takes over early has last probed.
#[btf_map]
pub static SPONSORS: Array<Sponsors, 1, BPF_F_MMAPABLE> = Array::new();

/// Changes, for the daemon. See `EVENT_RING_BYTES` for what happens when it is full.
#[btf_map]
pub static EVENTS: RingBuf<RingEvent, { EVENT_RING_BYTES as usize }> = RingBuf::new();

/// One entry: until when events of all instances together are paid for, as `Instance::events_paid_ns` of one. Written and read here, by
/// all CPUs; a lost race costs an event more or less.
#[btf_map]
pub static EVENTS_PAID: Array<u64, 1> = Array::new();

/// One entry: what was done that belongs to no instance. Written here, summed over CPUs by the daemon.
#[btf_map]
pub static COUNTERS: PerCpuArray<Counters, 1> = PerCpuArray::new();

/// Instance slot → adverts by verdict. Written here, summed over CPUs by the daemon.
#[btf_map]
pub static INSTANCE_COUNTERS: PerCpuArray<InstanceCounters, { MAX_INSTANCES as usize }> = PerCpuArray::new();

/// Slot of a VIP → its ARP replies and solicited Neighbor Advertisements. Added to here, by all CPUs; read through its mapping by
/// the daemon, which clears a slot before it gives it to a VIP. Not per CPU: that would be 1 MiB for each, and a system call for
/// each VIP that is read; requests for one VIP seldom come in on two CPUs at once.
#[btf_map]
pub static VIP_REPLIES: Array<u64, { REPLY_SLOTS as usize }, BPF_F_MMAPABLE> = Array::new();

/// One entry: until when adverts, ARP and Neighbor Discovery are captured, and how many frames found `CAPTURED` full. The time is written by
/// the daemon, through its mapping, while a client asks; it is 0 else, and the program writes 0 when it has passed.
#[btf_map]
pub static CAPTURE: Array<CaptureLease, 1, BPF_F_MMAPABLE> = Array::new();

/// One entry: the frame that is being captured, before its verdict is known. Written and read here, 288 octets for each CPU.
#[btf_map]
pub static CAPTURED_FRAME: PerCpuArray<CapturedFrame, 1> = PerCpuArray::new();

/// Captured frames, for the daemon. See `CAPTURE_RING_BYTES` for what happens when it is full.
#[btf_map]
pub static CAPTURED: RingBuf<CapturedFrame, { CAPTURE_RING_BYTES as usize }> = RingBuf::new();

/// Neighbor, our address, interface (of a single hop) and UDP port → slot of a BFD session. Written by the daemon's thread of BFD.
#[btf_map]
pub static BFD_INDEX: HashMap<BfdKey, u32, { MAX_BFD_SESSIONS as usize }> = HashMap::new();

/// Slot → a BFD session: its identity (written by the daemon) and what was last heard (written here). A daemon that starts goes on with the
/// sessions that its predecessor has left Up.
#[btf_map]
pub static BFD_SESSIONS: Array<BfdRecord, { MAX_BFD_SESSIONS as usize }, BPF_F_MMAPABLE> = Array::new();

/// BFD packets that say something new, for the daemon's thread of BFD. See `BFD_RING_BYTES` for what happens when it is full.
#[btf_map]
pub static BFD_EVENTS: RingBuf<BfdEvent, { BFD_RING_BYTES as usize }> = RingBuf::new();
