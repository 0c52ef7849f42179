//! The data plane: loads the XDP program, attaches it, pins and adopts it, and gives typed handles on its maps.
//!
//! The only crate that knows aya. It decides nothing: who owns what comes from the engine, through [`LeasePage`].

mod attachment;
mod bfd;
mod capture;
mod clock;
mod clsact;
mod extack;
mod leftovers;
mod pages;
mod pin_dirs;
mod pinned_programs;
mod pins;
mod precedence;
mod predecessor;
mod privileges;
mod probes;
mod programs;
mod refusal;
mod replies;
mod sys;
mod tables;
mod verification;

use std::{
    fmt,
    os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd},
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::{Context, Result};
use aya::{
    maps::{Map, MapData, PerCpuArray, PerCpuValues, RingBuf},
    programs::{SchedClassifier, Xdp},
    util::nr_cpus,
};
use vipd_common::abi::{Counters, InstanceCounters, RingEvent, VipKey};
use vipd_system::XdpState;
use zerocopy::FromBytes;

pub use attachment::{Attached, Attachment, Mode, WantedHook};
pub use bfd::{BfdIdentity, BfdPlane};
pub use capture::FrameRing;
pub use clock::{ClockDiffers, compare_clock};
pub use leftovers::{leftovers, remove_leftovers, user_of_pins};
pub use pages::BfdPage;
use pages::{BloomFilterPage, CapturePage, ReplyPage};
pub use pages::{
    Deferred, FormerLeases, FormerPage, Identity, InstancePage, LeasePage, ProbePage, ProbeStamps,
    SponsorPage,
};
use pins::PinDir;
use precedence::ArrivalCounters;
pub use precedence::OtherProgram;
pub use predecessor::Predecessor;
pub use privileges::missing_capabilities;
pub use probes::ProbeTable;
use programs::Programs;
pub use programs::try_load;
pub use refusal::NATIVE_MTU;
pub use tables::Contents;
use tables::Tables;
pub use verification::{LoadRefused, Verified};

/// The oldest kernel that vipd is written for, as major and minor version.
pub const OLDEST_KERNEL: (u32, u32) = (6, 1);

/// What is pinned before anything is loaded.
#[derive(Debug)]
pub enum Pinned {
    Nothing,
    /// Maps of a predecessor, which [`Dataplane::load`] adopts.
    Maps,
    /// Maps that do not fit this program, for the reason given: [`Dataplane::discard`] them.
    Misfits(anyhow::Error),
}

/// The programs, where they are attached, and their tables.
pub struct Dataplane {
    /// Nobody has used the maps before.
    is_fresh: bool,
    programs: Programs,
    tables: Tables,
    pages: Pages,
    arrivals: ArrivalCounters,
}

/// What the election works with: the memory that it shares with the program, and the counters.
#[derive(Clone)]
pub struct Pages(Arc<Maps>);

struct Maps {
    leases: LeasePage,
    instances: InstancePage,
    probes: ProbeTable,
    sponsors: SponsorPage,
    counters: PerCpuArray<MapData, Counters>,
    /// Locked for a look, or to begin anew.
    instance_counters: Mutex<PerCpuArray<MapData, InstanceCounters>>,
}

impl fmt::Debug for Pages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pages")
    }
}

impl Pages {
    /// The lease words.
    pub fn leases(&self) -> &LeasePage {
        &self.0.leases
    }

    /// The instances.
    pub fn instances(&self) -> &InstancePage {
        &self.0.instances
    }

    /// The peers that are probed.
    pub fn probes(&self) -> &ProbeTable {
        &self.0.probes
    }

    /// Who vouches for the leases.
    pub fn sponsors(&self) -> &SponsorPage {
        &self.0.sponsors
    }

    /// The counters that belong to no instance, summed over CPUs.
    pub fn counters(&self) -> Result<Counters> {
        let mut sum = Counters::default();
        self.0.counters.get(&0, 0)?.iter().for_each(|cpu| sum.add(cpu));
        Ok(sum)
    }

    /// The counters of an instance slot, summed over CPUs.
    pub fn instance_counters(&self, slot: u32) -> Result<InstanceCounters> {
        let mut sum = InstanceCounters::default();
        let counters = self.0.instance_counters.lock().unwrap_or_else(PoisonError::into_inner);
        counters.get(&slot, 0)?.iter().for_each(|cpu| sum.add(cpu));
        Ok(sum)
    }

    /// Has the counters of an instance slot begin with zero.
    pub fn forget_counters(&self, slot: u32) -> Result<()> {
        let cpus = nr_cpus().map_err(|(_, error)| error)?;
        let zero = PerCpuValues::try_from(vec![InstanceCounters::default(); cpus])?;
        let mut counters = self.0.instance_counters.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(counters.set(slot, zero, 0)?)
    }
}

impl fmt::Debug for Dataplane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dataplane").field("pins", self.programs.pins()).finish_non_exhaustive()
    }
}

/// The events of the program. Readable (`AsFd`) when there are any.
pub struct Events(RingBuf<MapData>);

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Events")
    }
}

impl Events {
    /// Takes the oldest event, if there is one.
    pub fn pop(&mut self) -> Option<RingEvent> {
        let item = self.0.next()?;
        // The ring is written by our own program, whose version the pin directory names: another size is our bug.
        Some(RingEvent::read_from_bytes(&item).expect("the ring holds events only"))
    }
}

impl AsFd for Events {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for Events {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl Dataplane {
    /// Looks at what is pinned under `bpffs`. The kernel reuses a pinned map whatever its layout; this compares it.
    pub fn inspect(bpffs: &Path) -> Result<Pinned> {
        Ok(match PinDir::open(bpffs)?.check() {
            Ok(true) => Pinned::Maps,
            Ok(false) => Pinned::Nothing,
            Err(reason) => Pinned::Misfits(reason),
        })
    }

    /// Detaches a predecessor's program and removes its pins.
    ///
    /// While local routes for VIPs stand, the kernel answers for them from then on.
    pub fn discard(bpffs: &Path) -> Result<()> {
        PinDir::open(bpffs)?.remove()
    }

    /// Opens the maps that are pinned under `bpffs`, or makes new ones and pins them there. Nothing is attached yet, and the kernel
    /// verifies a program when it is attached first, unless a pinned one is the same.
    ///
    /// With `log` the programs' own diagnostics are compiled in and go to the log, by a task on the current thread's runtime.
    ///
    /// # Errors
    ///
    /// Pinned maps that do not fit, a mount that is missing, or [`LoadRefused`] by the kernel. Maps that were not there before
    /// are then unpinned again; those of a predecessor stay.
    pub fn load(bpffs: &Path, log: bool) -> Result<(Self, Events)> {
        let dataplane = Self::load_beside(bpffs, log)?;
        let events = dataplane.events()?;
        Ok((dataplane, events))
    }

    /// As [`Self::load`], without the events: a predecessor may still run and read them.
    pub fn load_beside(bpffs: &Path, log: bool) -> Result<Self> {
        let pins = PinDir::open(bpffs)?;
        pins.remove_unused()?;
        let adopts = pins.check()?;
        let loaded = Self::load_into(pins.clone(), !adopts, log);
        if loaded.is_err() && !adopts {
            Self::withdraw_from(&pins);
        }
        loaded
    }

    /// Whether the maps were made by this process.
    pub fn is_fresh(&self) -> bool {
        self.is_fresh
    }

    /// Unpins the maps if they were made for nothing; those of a predecessor stay.
    pub fn withdraw(&self) {
        if self.is_fresh {
            Self::withdraw_from(self.programs.pins());
        }
    }

    /// What tells the place of the pins from any other on this host.
    pub fn place(&self) -> Result<String> {
        self.programs.pins().identity().context("look at the pin directory")
    }

    fn withdraw_from(pins: &PinDir) {
        if let Err(error) = pins.withdraw() {
            tracing::warn!(
                error = format!("{error:#}"),
                "the maps of a program that was not loaded could not be unpinned"
            );
        }
    }

    fn load_into(pins: PinDir, is_fresh: bool, log: bool) -> Result<Self> {
        let mut programs = Programs::new(pins.clone(), log)?;
        // A predecessor that is attached goes on if the kernel refuses this version.
        programs.verify_attached()?;
        let array = |name: &str| {
            MapData::from_pin(pins.path().join(name)).with_context(|| format!("open map {name}"))
        };
        let leases = LeasePage::new(array("LEASES")?.fd()).context("map LEASES into memory")?;
        let instances = InstancePage::new(array("INSTANCES")?.fd()).context("map INSTANCES into memory")?;
        let tables = Tables::new(
            Self::active_table(&pins)?,
            open(&pins, "VIPS")?,
            [open(&pins, "VIPS_A")?, open(&pins, "VIPS_B")?],
            BloomFilterPage::new(array("BLOOM_FILTER")?.fd()).context("map BLOOM_FILTER into memory")?,
            ReplyPage::new(array("VIP_REPLIES")?.fd()).context("map VIP_REPLIES into memory")?,
            open(&pins, "INSTANCE_INDEX")?,
            open(&pins, "PEERS")?,
        )?;
        let probes = ProbePage::new(array("PROBE_PEERS")?.fd()).context("map PROBE_PEERS into memory")?;
        let probes = ProbeTable::new(open(&pins, "PROBE_INDEX")?, probes);
        let sponsors = SponsorPage::new(array("SPONSORS")?.fd()).context("map SPONSORS into memory")?;
        let counters = open(&pins, "COUNTERS")?;
        let instance_counters = Mutex::new(open(&pins, "INSTANCE_COUNTERS")?);
        let pages =
            Pages(Arc::new(Maps { leases, instances, probes, sponsors, counters, instance_counters }));
        Ok(Self { is_fresh, programs, tables, pages, arrivals: ArrivalCounters::default() })
    }

    /// Which of the two tables of VIPs is in force.
    fn active_table(pins: &PinDir) -> Result<Option<usize>> {
        let pointer = MapData::from_pin(pins.path().join("VIPS")).context("open map VIPS")?;
        let mut active = [0; 4];
        let is_set = sys::lookup(pointer.fd(), 0, &mut active).context("read VIPS")?;
        is_set.then(|| Tables::which(u32::from_ne_bytes(active), pins)).transpose()
    }

    /// Takes note of what a predecessor has changed since [`Self::load_beside`]; it is to have ended.
    pub fn refresh(&mut self) -> Result<()> {
        let active = Self::active_table(self.programs.pins())?;
        self.tables.follow(active)
    }

    /// The events of the program from now on: those that a predecessor left unread are discarded.
    ///
    /// The ring has one reader: nobody else may read it any more.
    pub fn events(&self) -> Result<Events> {
        let mut events = Events(open(self.programs.pins(), "EVENTS")?);
        while events.pop().is_some() {}
        Ok(events)
    }

    /// The captured frames from now on; a capture that a predecessor left running ends.
    ///
    /// The ring has one reader: nobody else may read it any more.
    pub fn frames(&self) -> Result<FrameRing> {
        let pins = self.programs.pins();
        let lease = MapData::from_pin(pins.path().join("CAPTURE")).context("open map CAPTURE")?;
        let page = CapturePage::new(lease.fd()).context("map CAPTURE into memory")?;
        Ok(FrameRing::new(page, open(pins, "CAPTURED")?))
    }

    /// The sessions of BFD, and the packets that say something new from now on. The ring has one reader.
    ///
    /// # Errors
    ///
    /// A map that cannot be opened.
    pub fn bfd(&self) -> Result<BfdPlane> {
        BfdPlane::new(self.programs.pins())
    }

    /// What vipds of other versions have left; to be removed when the program is attached.
    pub fn predecessors(&self) -> Result<Vec<Predecessor>> {
        Predecessor::all(self.programs.pins())
    }

    /// Attaches the program to an interface, in the way that is wanted.
    ///
    /// `present` is the XDP program that the interface has now.
    ///
    /// # Errors
    ///
    /// Native XDP is wanted and another program is attached (it is left alone); the kernel refuses what is wanted.
    pub fn attach(
        &mut self,
        interface: &str,
        ifindex: u32,
        mtu: u32,
        present: Option<XdpState>,
        wanted: WantedHook,
    ) -> Result<(Attached, Attachment)> {
        self.programs.attach(interface, ifindex, mtu, present, wanted)
    }

    /// Whether this process has attached the program there.
    pub fn is_attached(&self, ifindex: u32) -> bool {
        self.programs.is_attached(ifindex)
    }

    /// Whether what this process has attached there is in place.
    ///
    /// # Errors
    ///
    /// If the kernel does not say it.
    pub fn is_in_place(&mut self, ifindex: u32) -> Result<bool> {
        self.programs.is_in_place(ifindex)
    }

    /// Takes note that what was attached there is not in place any more; [`Self::attach`] attaches it anew.
    pub fn forget(&mut self, ifindex: u32) {
        self.arrivals.stop(ifindex);
        self.programs.forget(ifindex);
    }

    /// The programs of others that a frame meets at tc ingress of an interface before vipd's, in their order; none where vipd is at XDP.
    ///
    /// # Errors
    ///
    /// If the kernel does not say it.
    pub fn others_before(&self, ifindex: u32) -> Result<Vec<OtherProgram>> {
        self.arrivals.others_before(ifindex, &self.programs)
    }

    /// The programs of others at tcx ingress of an interface that is below one of vipd's.
    ///
    /// # Errors
    ///
    /// If the kernel does not say it.
    pub fn others_at(&self, ifindex: u32) -> Result<Vec<OtherProgram>> {
        let own = self.programs.ids();
        let all = sys::tcx_ingress(ifindex).context("look at the programs at tc ingress")?;
        let others = all.into_iter().filter(|(id, _)| !own.contains(id));
        Ok(others.map(|(id, _)| OtherProgram::new("tc", id)).collect())
    }

    /// The XDP program with this id, unless it is vipd's own.
    pub fn other_xdp(&self, id: u32) -> Option<OtherProgram> {
        (!self.programs.ids().contains(&id)).then(|| OtherProgram::new("XDP", id))
    }

    /// Attaches the program at tc ingress anew, before the programs that have come in front of it.
    ///
    /// # Errors
    ///
    /// What the kernel refuses; then the program may be attached nowhere.
    pub fn move_to_front(&mut self, interface: &str, ifindex: u32) -> Result<()> {
        self.arrivals.stop(ifindex);
        self.programs.move_to_front(interface, ifindex)
    }

    /// The frames that have reached the program at tc ingress since this was asked first; `None`: the kernel has no place to count at
    /// (before Linux 6.6). To be [ended](Self::stop_counting).
    ///
    /// # Errors
    ///
    /// What the kernel refuses.
    pub fn count_arrivals(&mut self, ifindex: u32) -> Result<Option<u64>> {
        self.arrivals.count(ifindex, &self.programs)
    }

    /// Ends [`Self::count_arrivals`], and begins with zero.
    pub fn stop_counting(&mut self, ifindex: u32) {
        self.arrivals.stop(ifindex);
    }

    /// Pins again what somebody has unpinned; returns what that was.
    ///
    /// # Errors
    ///
    /// There is no BPF file system any more, say: what is attached serves for as long as this process.
    pub fn keep_pins(&mut self) -> Result<Vec<String>> {
        self.programs.keep_pins()
    }

    /// Detaches from interfaces that are not among `ifindexes`, whoever has pinned the attachment.
    pub fn detach_others(&mut self, ifindexes: &[u32]) -> Result<()> {
        self.programs.detach_others(ifindexes)
    }

    /// Detaches everywhere and removes all pins.
    pub fn remove(self) -> Result<()> {
        let pins = self.programs.pins().clone();
        drop(self);
        pins.remove()
    }

    /// What the election works with.
    pub fn pages(&self) -> &Pages {
        &self.pages
    }

    /// Replaces the table of VIPs, the index of instances and their peers; packets see the old table of VIPs or the new.
    ///
    /// Takes an RCU grace period (7 to 16 ms measured): right for a reload, wrong for a takeover.
    pub fn replace_tables(&mut self, contents: &Contents) -> Result<()> {
        self.tables.replace(contents)
    }

    /// Whether the tables hold exactly this already.
    pub fn holds(&self, contents: &Contents) -> Result<bool> {
        self.tables.hold(contents)
    }

    /// ARP requests and Neighbor Solicitations for a VIP that were replied to since it is in the table; 0 if it is not.
    pub fn replies(&self, vip: &VipKey) -> u64 {
        self.tables.replies().read(vip)
    }

    /// The XDP program, for `BPF_PROG_TEST_RUN`.
    pub fn xdp(&mut self) -> Result<&mut Xdp> {
        self.programs.xdp()
    }

    /// The tc program, for `BPF_PROG_TEST_RUN`.
    pub fn tc(&mut self) -> Result<&mut SchedClassifier> {
        self.programs.tc()
    }
}

/// A pinned map; all of them are, once the object was read.
fn open<M>(pins: &PinDir, name: &str) -> Result<M>
where
    M: TryFrom<Map>,
    M::Error: std::error::Error + Send + Sync + 'static,
{
    let map = MapData::from_pin(pins.path().join(name)).and_then(Map::from_map_data);
    M::try_from(map.with_context(|| format!("open map {name}"))?).with_context(|| format!("use map {name}"))
}
