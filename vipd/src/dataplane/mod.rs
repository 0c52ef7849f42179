//! The data plane: loads the XDP program, attaches it, pins and adopts it, and gives typed handles on its maps.
//!
//! The only module that knows aya. It decides nothing: who owns what comes from the engine, through [`LeasePage`].

mod answers;
mod extack;
mod pages;
mod pins;
mod predecessor;
mod privileges;
mod refusal;
mod sys;
mod tables;
mod verification;

use std::{
    collections::HashMap,
    fmt,
    os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd},
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::{Context, Result, anyhow, bail};
use aya::{
    Ebpf, EbpfLoader, include_bytes_aligned,
    maps::{Map, MapData, PerCpuArray, PerCpuValues, RingBuf},
    programs::{
        Xdp, XdpMode,
        links::{FdLink, PinnedLink},
        loaded_programs,
        xdp::XdpLink,
    },
    util::nr_cpus,
};
use aya_log::EbpfLogger;
use tokio::io::{Interest, unix::AsyncFd};
use vipd_common::abi::{Counters, Event, InstanceCounters, VipKey};
use zerocopy::FromBytes;

use pages::{AnswerPage, SievePage};
pub use pages::{Identity, InstancePage, LeasePage};
use pins::PinDir;
pub use predecessor::Predecessor;
pub use privileges::missing_capabilities;
pub use refusal::NATIVE_MTU;
pub use tables::Contents;
use tables::Tables;
pub use verification::{Refused, Verified};

/// The oldest kernel that vipd is written for, as major and minor version.
pub const OLDEST_KERNEL: (u32, u32) = (5, 18);

/// The program, built by `cargo xtask build-ebpf` and embedded (see build.rs).
static OBJECT: &[u8] = include_bytes_aligned!(env!("VIPD_BPF_OBJECT"));

/// Name of the program, as `bpftool prog show` prints it.
const PROGRAM: &str = "vipd_xdp";

/// How the program is attached to an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// In the driver.
    Native,
    /// In the stack, on socket buffers: slower, for drivers without XDP.
    Generic,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Native => "native",
            Self::Generic => "generic",
        })
    }
}

/// How the program got there.
#[derive(Debug)]
pub enum Attached {
    New,
    /// Native mode was refused or avoided for this reason, so the program runs in generic mode.
    Fallback(anyhow::Error),
    /// A pinned link of a predecessor was taken over; its program was replaced atomically.
    Adopted,
}

/// What is pinned before anything is loaded.
#[derive(Debug)]
pub enum Pinned {
    Nothing,
    /// Maps of a predecessor, which [`Dataplane::load`] adopts.
    Maps,
    /// Maps that do not fit this program, for the reason given: [`Dataplane::discard`] them.
    Misfits(anyhow::Error),
}

/// The loaded program, where it is attached, and its tables.
pub struct Dataplane {
    ebpf: Ebpf,
    pins: PinDir,
    /// By interface.
    links: HashMap<u32, PinnedLink>,
    tables: Tables,
    pages: Pages,
}

/// What the election works with: the memory that it shares with the program, and the counters.
#[derive(Clone)]
pub struct Pages(Arc<Maps>);

struct Maps {
    leases: LeasePage,
    instances: InstancePage,
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
        f.debug_struct("Dataplane")
            .field("pins", &self.pins)
            .field("links", &self.links)
            .finish_non_exhaustive()
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
    pub fn pop(&mut self) -> Option<Event> {
        let item = self.0.next()?;
        // The ring is written by our own program, whose version the pin directory names: another size is our bug.
        Some(Event::read_from_bytes(&item).expect("the ring holds events only"))
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

    /// Loads the program; its maps are those pinned under `bpffs`, or new ones pinned there. Nothing is attached yet.
    ///
    /// Events that a predecessor left unread are discarded. With `log` the program's own diagnostics are compiled in and
    /// go to the log, by a task on the current thread's runtime.
    ///
    /// # Errors
    ///
    /// Pinned maps that do not fit, a mount that is missing, or [`Refused`] by the kernel. Maps that were not there before
    /// are then unpinned again; those of a predecessor stay.
    pub fn load(bpffs: &Path, log: bool) -> Result<(Self, Events)> {
        Self::load_object(OBJECT, PinDir::open(bpffs)?, log)
    }

    fn load_object(object: &[u8], pins: PinDir, log: bool) -> Result<(Self, Events)> {
        let adopts = pins.check()?;
        let loaded = Self::load_into(object, pins.clone(), log);
        if loaded.is_err()
            && !adopts
            && let Err(error) = pins.withdraw()
        {
            tracing::warn!(error = format!("{error:#}"), "maps of a program that was not loaded stay pinned");
        }
        loaded
    }

    fn load_into(object: &[u8], pins: PinDir, log: bool) -> Result<(Self, Events)> {
        let mut ebpf = load_programs(object, Some(&pins), log)?;
        if log {
            forward_log(EbpfLogger::init_with_logger(&mut ebpf, Forward)?)?;
        }

        let leases = LeasePage::new(map_fd(&ebpf, "LEASES")?).context("map LEASES into memory")?;
        let instances =
            InstancePage::new(map_fd(&ebpf, "INSTANCES")?).context("map INSTANCES into memory")?;
        let mut active = [0; 4];
        let active = sys::lookup(map_fd(&ebpf, "VIPS")?, 0, &mut active)
            .context("read VIPS")?
            .then(|| Tables::which(u32::from_ne_bytes(active), &pins))
            .transpose()?;
        let tables = Tables::new(
            active,
            take(&mut ebpf, "VIPS")?,
            [take(&mut ebpf, "VIPS_A")?, take(&mut ebpf, "VIPS_B")?],
            SievePage::new(map_fd(&ebpf, "SIEVE")?).context("map SIEVE into memory")?,
            AnswerPage::new(map_fd(&ebpf, "VIP_ANSWERS")?).context("map VIP_ANSWERS into memory")?,
            take(&mut ebpf, "INSTANCE_INDEX")?,
            take(&mut ebpf, "PEERS")?,
        )?;
        let mut events = Events(take(&mut ebpf, "EVENTS")?);
        while events.pop().is_some() {}
        let counters = take(&mut ebpf, "COUNTERS")?;
        let instance_counters = Mutex::new(take(&mut ebpf, "INSTANCE_COUNTERS")?);
        let pages = Pages(Arc::new(Maps { leases, instances, counters, instance_counters }));
        Ok((Self { ebpf, pins, links: HashMap::new(), tables, pages }, events))
    }

    /// What vipds of other versions have left; to be removed when the program is attached.
    pub fn predecessors(&self) -> Result<Vec<Predecessor>> {
        Predecessor::all(&self.pins)
    }

    /// Attaches the program to an interface and pins the link: natively, or else in generic mode and says why.
    ///
    /// `present` is the XDP program that the interface has now: its mode and id. With `avoid_native`, a reason, native mode
    /// is not tried.
    ///
    /// # Errors
    ///
    /// Another program is attached (it is left alone), or the kernel refuses both modes.
    pub fn attach(
        &mut self,
        interface: &str,
        ifindex: u32,
        mtu: u32,
        present: Option<(Mode, u32)>,
        avoid_native: Option<&'static str>,
    ) -> Result<(Attached, Mode)> {
        let path = self.pins.link(ifindex);
        if path.exists() || self.pins.claim_link(ifindex).context("take over another version's link")? {
            match present {
                Some((mode, _))
                    if (avoid_native.is_none() || mode == Mode::Generic)
                        && self.adopt(ifindex, &path).is_ok() =>
                {
                    return Ok((Attached::Adopted, mode));
                }
                // The interface went away and another came, and the link is defunct; or the mode has to change.
                _ => self.pins.detach(ifindex)?,
            }
        } else if let Some((_, id)) = present {
            let name = loaded_programs().filter_map(Result::ok).find(|program| program.id() == id);
            bail!(
                "{interface} already has an XDP program, {} with id {id}, which vipd does not replace; see it with \
                 `bpftool prog show id {id}` and detach it with its own tool",
                name.as_ref().and_then(|program| program.name_as_str()).unwrap_or("without a name")
            );
        }
        let program = xdp(&mut self.ebpf)?;
        let native = match avoid_native {
            Some(reason) => Err(anyhow!(reason)),
            None => refusal::attach(program, XdpMode::Driver, interface, ifindex, mtu)
                .context("the driver refused native mode"),
        };
        let (id, attached, mode) = match native {
            Ok(id) => (id, Attached::New, Mode::Native),
            Err(native) => match refusal::attach(program, XdpMode::Skb, interface, ifindex, mtu) {
                Ok(id) => (id, Attached::Fallback(native), Mode::Generic),
                Err(generic) => {
                    return Err(generic
                        .context(format!("{native:#}"))
                        .context(format!("attach the XDP program to {interface}")));
                }
            },
        };
        let link: FdLink = program
            .take_link(id)?
            .try_into()
            .map_err(|_| anyhow!("{interface}: the kernel made no link; vipd needs Linux 5.9 or later"))?;
        let link = link.pin(&path).with_context(|| format!("pin the link of {interface}"))?;
        self.links.insert(ifindex, link);
        Ok((attached, mode))
    }

    /// Whether this process has attached the program there.
    pub fn is_attached(&self, ifindex: u32) -> bool {
        self.links.contains_key(&ifindex)
    }

    /// Detaches from interfaces that are not among `ifindexes`, whoever has pinned the link.
    pub fn detach_others(&mut self, ifindexes: &[u32]) -> Result<()> {
        for ifindex in self.pins.links()? {
            if !ifindexes.contains(&ifindex) {
                self.links.remove(&ifindex);
                self.pins.detach(ifindex)?;
            }
        }
        Ok(())
    }

    /// Detaches everywhere and removes all pins.
    pub fn remove(self) -> Result<()> {
        let Self { ebpf, pins, links, .. } = self;
        drop(links);
        drop(ebpf);
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

    /// Questions about a VIP, by ARP or Neighbor Discovery, that were answered since it is in the table; 0 if it is not.
    pub fn answers(&self, vip: &VipKey) -> u64 {
        self.tables.answers().read(vip)
    }

    /// The program itself, for `BPF_PROG_TEST_RUN`.
    pub fn program(&mut self) -> Result<&mut Xdp> {
        xdp(&mut self.ebpf)
    }

    fn adopt(&mut self, ifindex: u32, path: &Path) -> Result<()> {
        let link: FdLink = PinnedLink::from_pin(path)?.into();
        let program = xdp(&mut self.ebpf)?;
        let id = program.attach_to_link(XdpLink::try_from(link)?)?;
        let link: FdLink = program.take_link(id)?.try_into()?;
        // Dropping this descriptor does not detach: the pin holds the link.
        drop(link);
        self.links.insert(ifindex, PinnedLink::from_pin(path)?);
        Ok(())
    }
}

/// Has the kernel verify the programs with maps of their own, and lets go of all of it: nothing is attached or pinned.
///
/// # Errors
///
/// [`Refused`] by the kernel; anything else is an object that does not fit this vipd.
pub fn try_load() -> Result<Vec<Verified>> {
    let mut ebpf = load_programs(OBJECT, None, false)?;
    Ok(vec![Verified::new(PROGRAM, xdp(&mut ebpf)?.info())])
}

/// Loads the maps and programs of an object; the maps are those that are pinned, or new ones. With `log` the programs' own
/// diagnostics are compiled in.
fn load_programs(object: &[u8], pins: Option<&PinDir>, log: bool) -> Result<Ebpf> {
    let level = if log { aya_log::Level::Info as u8 } else { 0 };
    let mut loader = EbpfLoader::new();
    for (name, path) in pins.iter().flat_map(|pins| pins.maps()) {
        loader.map_pin_path(name, path);
    }
    let mut ebpf =
        loader.override_global(aya_log::LEVEL, &level, true).load(object).map_err(Refused::of_object)?;
    xdp(&mut ebpf)?.load().map_err(|error| Refused::of_program(PROGRAM, error))?;
    Ok(ebpf)
}

/// Passes what the program logs on to `tracing`, with the rest of the log.
struct Forward;

impl log::Log for Forward {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        tracing::info!(xdp = true, "{}", record.args());
    }

    fn flush(&self) {}
}

/// Starts a task that reads the program's log for ever; it goes with the runtime, and loses nothing but log lines.
fn forward_log(logger: EbpfLogger<Forward>) -> Result<()> {
    // SAFETY: the logger owns its ring's descriptor and never changes it.
    let logger = unsafe { AsyncFd::register_with_interest(logger, Interest::READABLE) };
    let mut logger = logger.context("watch the XDP program's log")?;
    tokio::task::spawn_local(async move {
        while let Ok(mut ready) = logger.readable_mut().await {
            ready.get_inner_mut().flush();
            ready.clear_ready();
        }
    });
    Ok(())
}

fn xdp(ebpf: &mut Ebpf) -> Result<&mut Xdp> {
    let program =
        ebpf.program_mut(PROGRAM).with_context(|| format!("the XDP object has no program {PROGRAM}"))?;
    Ok(program.try_into()?)
}

fn take<M>(ebpf: &mut Ebpf, name: &str) -> Result<M>
where
    M: TryFrom<Map>,
    M::Error: std::error::Error + Send + Sync + 'static,
{
    let map = ebpf.take_map(name).with_context(|| format!("the XDP object has no map {name}"))?;
    M::try_from(map).with_context(|| format!("use map {name}"))
}

fn map_fd<'a>(ebpf: &'a Ebpf, name: &str) -> Result<BorrowedFd<'a>> {
    match ebpf.map(name) {
        Some(Map::Array(map) | Map::ArrayOfMaps(map)) => Ok(map.fd().as_fd()),
        _ => bail!("the XDP object has no array {name}"),
    }
}
