//! The two programs, XDP's and tc's, on one set of maps: loaded when they are needed, attached, taken over.

use std::{
    borrow::Cow,
    collections::{BTreeSet, HashMap},
    fs, io, mem,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, anyhow, bail};
use aya::{
    Ebpf, EbpfLoader, include_bytes_aligned,
    programs::{
        LinkOrder, ProgramError, SchedClassifier, TcAttachType, Xdp, XdpMode,
        links::{FdLink, PinnedLink},
        loaded_programs,
        tc::{NlOptions, SchedClassifierLink, TcAttachOptions},
        xdp::XdpLink,
    },
    sys::SyscallError,
};
use aya_log::EbpfLogger;
use aya_obj::programs::XdpAttachType;
use tokio::io::{Interest, unix::AsyncFd};
use vipd_system::XdpState;

use super::{
    attachment::{self, Attached, Attachment, FILTER_HANDLE, FILTER_PRIORITY, Mode, Pin, WantedHook},
    clsact,
    pinned_programs::{self, PinnedCandidate},
    pins::PinDir,
    precedence, refusal, sys,
    verification::{LoadRefused, Verified},
};

/// The programs, built by `cargo xtask build-ebpf` and embedded (see build.rs).
pub(super) static XDP_OBJECT: &[u8] =
    include_bytes_aligned!(concat!(env!("VIPD_BPF_DIR"), "/vipd-xdp.bpf.o"));
pub(super) static TC_OBJECT: &[u8] = include_bytes_aligned!(concat!(env!("VIPD_BPF_DIR"), "/vipd-tc.bpf.o"));

/// Names of the programs, as `bpftool prog show` prints them.
pub(super) const XDP_PROGRAM: &str = "vipd_xdp";
pub(super) const TC_PROGRAM: &str = "vipd_tc";
/// Their types, of `enum bpf_prog_type`.
const XDP_KIND: u32 = 6;
const TC_KIND: u32 = 3;
/// As libbpf.
const LOAD_ATTEMPTS: usize = 5;

/// The programs, and where they are attached.
pub struct Programs {
    object: Cow<'static, [u8]>,
    /// Read to make the maps, and not verified yet.
    read: Option<Ebpf>,
    /// Verified, by this process or by one before. `None`: no interface needed it yet.
    xdp: Option<Ready<Xdp>>,
    tc: Option<Ready<SchedClassifier>>,
    log: bool,
    pins: PinDir,
    attached: HashMap<u32, Held>,
    /// The maps by their names: a pin that somebody removes is made again of them.
    maps: Vec<(&'static str, OwnedFd)>,
}

/// What was attached to an interface, beside what is pinned of it.
struct Held {
    pin: Pin,
    /// With a link: who removes its pin does not detach it.
    link: Option<OwnedFd>,
}

/// A program that the kernel has verified.
struct Ready<P> {
    program: P,
    pin: PathBuf,
}

impl Programs {
    /// The XDP program, with the maps that are pinned, or else with new ones. The kernel has verified nothing yet.
    pub fn new(pins: PinDir, log: bool) -> Result<Self> {
        Self::of(Cow::Borrowed(XDP_OBJECT), pins, log)
    }

    /// With another XDP object.
    pub(super) fn of(object: Cow<'static, [u8]>, pins: PinDir, log: bool) -> Result<Self> {
        let read = if pins.check()? { None } else { Some(load_object(&object, Some(&pins), log)?) };
        let maps = pins.maps().map(|(name, path)| Ok((name, sys::pinned(&path)?)));
        let maps = maps.collect::<io::Result<_>>().context("open the pinned maps")?;
        Ok(Self { object, read, xdp: None, tc: None, log, pins, attached: HashMap::new(), maps })
    }

    pub fn pins(&self) -> &PinDir {
        &self.pins
    }

    pub fn is_attached(&self, ifindex: u32) -> bool {
        self.attached.contains_key(&ifindex)
    }

    /// Whether what this process has attached is in place: anybody with CAP_NET_ADMIN may detach it.
    ///
    /// # Errors
    ///
    /// If the kernel does not say it, for want of descriptors or memory.
    pub fn is_in_place(&mut self, ifindex: u32) -> Result<bool> {
        match self.attached.get(&ifindex) {
            None => Ok(false),
            Some(Held { link: Some(link), .. }) => {
                let info = sys::link_info(link);
                Ok(info.with_context(|| format!("look at the link of interface {ifindex}"))?.ifindex
                    == ifindex)
            }
            Some(Held { link: None, .. }) => {
                let id = self.tc()?.info().context("look at the tc program")?.id();
                let found = clsact::has_program(ifindex, FILTER_PRIORITY, FILTER_HANDLE.into(), id);
                found.with_context(|| format!("look at the tc filter of interface {ifindex}"))
            }
        }
    }

    /// The link of the program at tc ingress of an interface, if there is one (Linux 6.6).
    pub fn tcx_link(&self, ifindex: u32) -> Option<&OwnedFd> {
        self.attached.get(&ifindex).filter(|held| held.pin == Pin::Tcx)?.link.as_ref()
    }

    /// The ids of the programs at tc ingress of an interface that a frame meets before vipd's, in their order; none where vipd is at XDP.
    pub fn before(&self, ifindex: u32) -> Result<Vec<u32>> {
        let before = match self.attached.get(&ifindex) {
            Some(Held { pin: Pin::Tcx, link: Some(link) }) => precedence::before_link(ifindex, link),
            Some(Held { link: None, .. }) => {
                clsact::programs_before(ifindex, FILTER_PRIORITY, FILTER_HANDLE.into())
            }
            _ => Ok(Vec::new()),
        };
        before.with_context(|| format!("look at the programs at tc ingress of interface {ifindex}"))
    }

    /// The ids of the programs of this process that the kernel has verified.
    pub fn ids(&self) -> BTreeSet<u32> {
        let xdp = self.xdp.as_ref().and_then(|ready| ready.program.info().ok());
        let tc = self.tc.as_ref().and_then(|ready| ready.program.info().ok());
        xdp.into_iter().chain(tc).map(|info| info.id()).collect()
    }

    /// Attaches the program at tc ingress anew, before the programs that have come in front of it. A link has one place for as long as it
    /// lives, and the kernel takes no second link of a program: for some microseconds the interface is without.
    ///
    /// # Errors
    ///
    /// What the kernel refuses: the program may be detached then.
    pub fn move_to_front(&mut self, interface: &str, ifindex: u32) -> Result<()> {
        match self.attached.get(&ifindex) {
            Some(Held { pin: Pin::Tcx, link: Some(link) }) => {
                sys::detach_link(link).with_context(|| format!("detach the tc link of {interface}"))?;
                let path = self.pins.attachment(Pin::Tcx, ifindex);
                match fs::remove_file(&path) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => {
                        return Err(error).with_context(|| format!("unpin {}", path.display()));
                    }
                    _ => {}
                }
                self.attached.remove(&ifindex);
                self.attach_tc(interface, ifindex)?;
                self.hold(ifindex, Mode::Tc)
            }
            Some(Held { link: None, .. }) => {
                drop(attachment::filter(interface)?);
                self.make_filter(interface)
            }
            _ => Ok(()),
        }
    }

    /// Takes note that what was attached is not in place any more.
    pub fn forget(&mut self, ifindex: u32) {
        self.attached.remove(&ifindex);
    }

    /// Attaches the program to an interface as is wanted, and pins what holds it. `present` is the XDP program that the
    /// interface has now.
    ///
    /// An attachment of the other kind that a predecessor left is removed afterwards, so that the interface is never without.
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
        let reason = match wanted {
            WantedHook::Tc(reason) => reason,
            WantedHook::Native | WantedHook::Any => match self.attach_xdp(interface, ifindex, mtu, present) {
                Ok(attached) => {
                    self.attached.remove(&ifindex);
                    self.remove_pins(ifindex, &Pin::TC)?;
                    self.hold(ifindex, Mode::Native)?;
                    return Ok((attached, Attachment { mode: Mode::Native, reason: None }));
                }
                Err(error) if wanted == WantedHook::Any => format!("{error:#}"),
                Err(error) => return Err(error),
            },
        };
        let attached = self.attach_tc(interface, ifindex).with_context(|| {
            format!("attach the program to {interface} at tc ingress (instead of native XDP: {reason})")
        })?;
        self.attached.remove(&ifindex);
        self.remove_pins(ifindex, &[Pin::Xdp])?;
        self.hold(ifindex, Mode::Tc)?;
        Ok((attached, Attachment { mode: Mode::Tc, reason: Some(reason) }))
    }

    /// Takes note of what was attached and pinned.
    fn hold(&mut self, ifindex: u32, mode: Mode) -> Result<()> {
        let pins: &[Pin] = if mode == Mode::Native { &[Pin::Xdp] } else { &Pin::TC };
        let pin = pins.iter().copied().find(|pin| self.pins.attachment(*pin, ifindex).exists());
        let pin = pin.with_context(|| format!("what is attached to interface {ifindex} is not pinned"))?;
        let link =
            matches!(pin, Pin::Xdp | Pin::Tcx).then(|| sys::pinned(&self.pins.attachment(pin, ifindex)));
        let link = link.transpose().with_context(|| format!("open the link of interface {ifindex}"))?;
        self.attached.insert(ifindex, Held { pin, link });
        Ok(())
    }

    /// Pins again what somebody has unpinned; returns what that was. What is attached stays attached without its pin, but for as long
    /// as this process.
    ///
    /// # Errors
    ///
    /// There is no BPF file system any more, say.
    pub fn keep_pins(&mut self) -> Result<Vec<String>> {
        let gone =
            |path: &Path| path.symlink_metadata().is_err_and(|error| error.kind() == io::ErrorKind::NotFound);
        let attached = self.attached.iter().map(|(ifindex, held)| (*ifindex, held.pin));
        let attached: Vec<_> = attached
            .map(|(ifindex, pin)| (ifindex, self.pins.attachment(pin, ifindex)))
            .filter(|(_, path)| gone(path))
            .collect();
        let maps: Vec<_> = self.pins.maps().filter(|(_, path)| gone(path)).collect();
        // One with a log is for no other process.
        let kept = |pin: &PathBuf| !self.log && gone(pin);
        let xdp = self.xdp.as_mut().filter(|ready| kept(&ready.pin));
        let tc = self.tc.as_mut().filter(|ready| kept(&ready.pin));
        if attached.is_empty() && maps.is_empty() && xdp.is_none() && tc.is_none() {
            return Ok(Vec::new());
        }
        self.pins.make_again().context("pin again what somebody has unpinned")?;
        let mut pinned = Vec::new();
        let context = |path: &Path| format!("pin {}", path.display());
        for (name, path) in maps {
            if let Some((_, map)) = self.maps.iter().find(|(of, _)| *of == name) {
                sys::pin(map, &path).with_context(|| context(&path))?;
                pinned.push(format!("pin {}", path.display()));
            }
        }
        if let Some(Ready { program, pin }) = xdp {
            program.pin(&*pin).with_context(|| context(pin))?;
            pinned.push(format!("pin {}", pin.display()));
        }
        if let Some(Ready { program, pin }) = tc {
            program.pin(&*pin).with_context(|| context(pin))?;
            pinned.push(format!("pin {}", pin.display()));
        }
        for (ifindex, path) in attached {
            match self.attached.get(&ifindex).and_then(|held| held.link.as_ref()) {
                Some(link) => sys::pin(link, &path).with_context(|| context(&path))?,
                None => self.tc()?.pin(&path).with_context(|| context(&path))?,
            }
            pinned.push(format!("pin {}", path.display()));
        }
        Ok(pinned)
    }

    /// Detaches from interfaces that are not among `ifindexes`, whoever has pinned the attachment; unpins programs that are in no use.
    pub fn detach_others(&mut self, ifindexes: &[u32]) -> Result<()> {
        for (pin, ifindex) in self.pins.attachments()? {
            if !ifindexes.contains(&ifindex) {
                self.attached.remove(&ifindex);
                self.pins.detach(pin, ifindex)?;
            }
        }
        // A link without a pin goes with its descriptor.
        self.attached.retain(|ifindex, _| ifindexes.contains(ifindex));
        let in_use = self.xdp.iter().map(|ready| &ready.pin).chain(self.tc.iter().map(|ready| &ready.pin));
        pinned_programs::remove_others(&self.pins, &in_use.collect::<Vec<_>>())
    }

    /// The XDP program, verified.
    pub fn xdp(&mut self) -> Result<&mut Xdp> {
        let ready = match self.xdp.take() {
            Some(ready) => ready,
            None => self.ready_xdp()?,
        };
        Ok(&mut self.xdp.insert(ready).program)
    }

    fn ready_xdp(&mut self) -> Result<Ready<Xdp>> {
        let candidate = PinnedCandidate { name: XDP_PROGRAM, kind: XDP_KIND, object: &self.object };
        let open = |pin: PathBuf| {
            let program =
                Xdp::from_pin(&pin, XdpAttachType::Interface).context("open the pinned XDP program")?;
            Ok(Ready { program, pin })
        };
        if let Some(pin) = (!self.log).then(|| candidate.find(&self.pins)).flatten() {
            return open(pin);
        }
        let mut object = match self.read.take() {
            Some(object) => object,
            None => load_object(&self.object, Some(&self.pins), self.log)?,
        };
        let program = verified_xdp(&mut object)?;
        let pin = candidate.place(&self.pins, &program.info()?)?;
        program.pin(&pin).context("pin the XDP program")?;
        self.opened(open(pin), object)
    }

    /// The tc program, verified.
    pub fn tc(&mut self) -> Result<&mut SchedClassifier> {
        let ready = match self.tc.take() {
            Some(ready) => ready,
            None => self.ready_tc()?,
        };
        Ok(&mut self.tc.insert(ready).program)
    }

    fn ready_tc(&mut self) -> Result<Ready<SchedClassifier>> {
        let candidate = PinnedCandidate { name: TC_PROGRAM, kind: TC_KIND, object: TC_OBJECT };
        let open = |pin: PathBuf| {
            let program = SchedClassifier::from_pin(&pin).context("open the pinned tc program")?;
            Ok(Ready { program, pin })
        };
        if let Some(pin) = (!self.log).then(|| candidate.find(&self.pins)).flatten() {
            return open(pin);
        }
        let mut object = load_object(TC_OBJECT, Some(&self.pins), self.log)?;
        let program = verified_tc(&mut object)?;
        let pin = candidate.place(&self.pins, &program.info()?)?;
        program.pin(&pin).context("pin the tc program")?;
        self.opened(open(pin), object)
    }

    /// Has the log of a program read, if it has one. Only this process knows the map that it comes through, so the program is for no
    /// other.
    fn opened<P>(&self, ready: Result<Ready<P>>, mut object: Ebpf) -> Result<Ready<P>> {
        let ready = ready?;
        if self.log {
            fs::remove_file(&ready.pin).with_context(|| format!("unpin {}", ready.pin.display()))?;
            forward_log(EbpfLogger::init_with_logger(&mut object, Forward)?)?;
        }
        Ok(ready)
    }

    /// Has the kernel verify what a predecessor of any version has attached, before anything is changed.
    pub fn verify_attached(&mut self) -> Result<()> {
        let kinds = self.pins.kinds_of_all_versions().context("list pinned attachments")?;
        if kinds.contains(&Pin::Xdp) {
            self.xdp()?;
        }
        if kinds.iter().any(|pin| Pin::TC.contains(pin)) {
            self.tc()?;
        }
        Ok(())
    }

    fn attach_xdp(
        &mut self,
        interface: &str,
        ifindex: u32,
        mtu: u32,
        present: Option<XdpState>,
    ) -> Result<Attached> {
        let path = self.pins.attachment(Pin::Xdp, ifindex);
        if path.exists() || self.pins.claim(Pin::Xdp, ifindex).context("take over another version's link")? {
            // Generic mode is what vipd 0.1 fell back to.
            if present.is_some_and(|present| !present.generic) && self.adopt_xdp(ifindex).is_ok() {
                return Ok(Attached::Adopted);
            }
            // The interface went away and another came, and the link is defunct; or the mode has to change.
            self.pins.detach(Pin::Xdp, ifindex)?;
        } else if let Some(XdpState { program_id: id, .. }) = present {
            let name = loaded_programs().filter_map(Result::ok).find(|program| program.id() == id);
            bail!(
                "{interface} already has an XDP program, {} with id {id}, which vipd does not replace; see it with \
                 `bpftool prog show id {id}` and detach it with its own tool",
                name.as_ref().and_then(|program| program.name_as_str()).unwrap_or("without a name")
            );
        }
        let program = self.xdp()?;
        let id = refusal::attach(program, XdpMode::Driver, interface, ifindex, mtu)
            .with_context(|| format!("the driver of {interface} refused native XDP"))?;
        let link: FdLink = program
            .take_link(id)?
            .try_into()
            .map_err(|_| anyhow!("{interface}: the kernel made no link; vipd needs Linux 5.9 or later"))?;
        // The pin holds it.
        drop(link.pin(&path).with_context(|| format!("pin the link of {interface}"))?);
        Ok(Attached::New)
    }

    fn adopt_xdp(&mut self, ifindex: u32) -> Result<()> {
        let link: FdLink = PinnedLink::from_pin(self.pins.attachment(Pin::Xdp, ifindex))?.into();
        let program = self.xdp()?;
        let id = program.attach_to_link(XdpLink::try_from(link)?)?;
        let link: FdLink = program.take_link(id)?.try_into()?;
        // Dropping this descriptor does not detach: the pin holds the link.
        drop(link);
        Ok(())
    }

    fn attach_tc(&mut self, interface: &str, ifindex: u32) -> Result<Attached> {
        for pin in Pin::TC {
            let path = self.pins.attachment(pin, ifindex);
            if path.exists()
                || self.pins.claim(pin, ifindex).context("take over another version's attachment")?
            {
                let adopted = match pin {
                    Pin::Tcx => self.adopt_tcx(ifindex),
                    _ => self.adopt_filter(interface, pin, ifindex),
                };
                if adopted.is_ok() {
                    return Ok(Attached::Adopted);
                }
                // The interface went away and another came.
                self.pins.detach(pin, ifindex)?;
            }
        }
        // Before other programs, which may take the frame away.
        let options = TcAttachOptions::TcxOrder(LinkOrder::first());
        match self.tc()?.attach_with_options(interface, TcAttachType::Ingress, options) {
            Ok(id) => {
                let link: FdLink = self.tc()?.take_link(id)?.try_into()?;
                let path = self.pins.attachment(Pin::Tcx, ifindex);
                drop(link.pin(&path).with_context(|| format!("pin the tc link of {interface}"))?);
            }
            // Before Linux 6.6 there is no such link.
            Err(ProgramError::SyscallError(SyscallError { io_error, .. }))
                if io_error.raw_os_error() == Some(libc::EINVAL) =>
            {
                self.add_filter(interface, ifindex)?;
            }
            Err(error) => return Err(error.into()),
        }
        Ok(Attached::New)
    }

    fn adopt_tcx(&mut self, ifindex: u32) -> Result<()> {
        let link: FdLink = PinnedLink::from_pin(self.pins.attachment(Pin::Tcx, ifindex))?.into();
        let program = self.tc()?;
        let id = program.attach_to_link(SchedClassifierLink::try_from(link)?)?;
        let link: FdLink = program.take_link(id)?.try_into()?;
        drop(link);
        Ok(())
    }

    /// Has the filter that is there hold this program.
    fn adopt_filter(&mut self, interface: &str, pin: Pin, ifindex: u32) -> Result<()> {
        let id = self.tc()?.attach_to_link(attachment::filter(interface)?)?;
        self.keep_filter(id)?;
        // The pin of the program before this one goes when this one's is there.
        let path = self.pins.attachment(pin, ifindex);
        let new = self.pins.path().join(format!("new-{ifindex}"));
        self.tc()?.pin(&new).with_context(|| format!("pin the tc program of {interface}"))?;
        fs::rename(&new, &path).with_context(|| format!("rename {}", new.display()))
    }

    fn add_filter(&mut self, interface: &str, ifindex: u32) -> Result<()> {
        let made = clsact::add(interface).with_context(|| format!("add a clsact qdisc to {interface}"))?;
        let pin = if made { Pin::Qdisc } else { Pin::Filter };
        // First remembered, then made.
        let path = self.pins.attachment(pin, ifindex);
        self.tc()?.pin(&path).with_context(|| format!("pin the tc program of {interface}"))?;
        if let Err(error) = self.make_filter(interface) {
            self.pins.detach(pin, ifindex)?;
            return Err(error);
        }
        Ok(())
    }

    /// The kernel puts it before the filters of its priority that are there.
    fn make_filter(&mut self, interface: &str) -> Result<()> {
        let options = NlOptions { priority: FILTER_PRIORITY, handle: FILTER_HANDLE, classid: None };
        let options = TcAttachOptions::Netlink(options);
        let made = self.tc()?.attach_with_options(interface, TcAttachType::Ingress, options);
        self.keep_filter(made.context("add a tc filter")?)
    }

    /// Has a filter stay when this process ends.
    fn keep_filter(&mut self, id: aya::programs::tc::SchedClassifierLinkId) -> Result<()> {
        mem::forget(self.tc()?.take_link(id)?);
        Ok(())
    }

    fn remove_pins(&self, ifindex: u32, pins: &[Pin]) -> Result<()> {
        for &pin in pins.iter().filter(|pin| self.pins.attachment(**pin, ifindex).exists()) {
            self.pins.detach(pin, ifindex)?;
        }
        Ok(())
    }
}

/// Has the kernel verify the programs with maps of their own, and lets go of all of it: nothing is attached or pinned.
///
/// # Errors
///
/// [`LoadRefused`] by the kernel; anything else is an object that does not fit this vipd.
pub fn try_load() -> Result<Vec<Verified>> {
    let mut xdp = load_object(XDP_OBJECT, None, false)?;
    let mut tc = load_object(TC_OBJECT, None, false)?;
    Ok(vec![
        Verified::new(XDP_PROGRAM, verified_xdp(&mut xdp)?.info()),
        Verified::new(TC_PROGRAM, verified_tc(&mut tc)?.info()),
    ])
}

/// Loads again what a signal has interrupted: the verifier gives up with EAGAIN then (kernel/bpf/verifier.c).
fn unless_interrupted(mut load: impl FnMut() -> Result<(), ProgramError>) -> Result<(), ProgramError> {
    let interrupted = |result: &Result<(), ProgramError>| matches!(result, Err(ProgramError::LoadError { io_error, .. }) if io_error.raw_os_error() == Some(libc::EAGAIN));
    let mut result = load();
    for _ in 0..LOAD_ATTEMPTS {
        if !interrupted(&result) {
            break;
        }
        result = load();
    }
    result
}

pub(super) fn verified_xdp(object: &mut Ebpf) -> Result<&mut Xdp> {
    let program = object.program_mut(XDP_PROGRAM).context("the XDP object has no program")?;
    let program: &mut Xdp = program.try_into()?;
    if program.fd().is_err() {
        unless_interrupted(|| program.load()).map_err(|error| LoadRefused::of_program(XDP_PROGRAM, error))?;
    }
    Ok(program)
}

pub(super) fn verified_tc(object: &mut Ebpf) -> Result<&mut SchedClassifier> {
    let program = object.program_mut(TC_PROGRAM).context("the tc object has no program")?;
    let program: &mut SchedClassifier = program.try_into()?;
    if program.fd().is_err() {
        unless_interrupted(|| program.load()).map_err(|error| LoadRefused::of_program(TC_PROGRAM, error))?;
    }
    Ok(program)
}

/// Reads an object; its maps are those pinned, or new ones, pinned if there is a place.
pub(super) fn load_object(object: &[u8], pins: Option<&PinDir>, log: bool) -> Result<Ebpf> {
    let level = if log { aya_log::Level::Info as u8 } else { 0 };
    let mut loader = EbpfLoader::new();
    for (name, path) in pins.iter().flat_map(|pins| pins.maps()) {
        loader.map_pin_path(name, path);
    }
    loader.override_global(aya_log::LEVEL, &level, true).load(object).map_err(LoadRefused::of_object)
}

/// Passes what a program logs on to `tracing`, with the rest of the log.
struct Forward;

impl log::Log for Forward {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        tracing::info!(bpf = true, "{}", record.args());
    }

    fn flush(&self) {}
}

/// Starts a task that reads a program's log for ever; it goes with the runtime, and loses nothing but log lines.
fn forward_log(logger: EbpfLogger<Forward>) -> Result<()> {
    // SAFETY: the logger owns its ring's descriptor and never changes it.
    let logger = unsafe { AsyncFd::register_with_interest(logger, Interest::READABLE) };
    let mut logger = logger.context("watch the BPF program's log")?;
    tokio::task::spawn_local(async move {
        while let Ok(mut ready) = logger.readable_mut().await {
            ready.get_inner_mut().flush();
            ready.clear_ready();
        }
    });
    Ok(())
}
