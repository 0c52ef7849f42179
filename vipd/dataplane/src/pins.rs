//! The pin directory: where maps and links outlive the process, and what is checked before any is adopted.

use std::{
    ffi::OsStr,
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use super::{attachment::Pin, pin_dirs, pinned_programs};
use anyhow::{Context, Result, bail};
use aya::maps::{MapInfo, MapType};
use nix::sys::stat::lstat;
use vipd_common::{
    abi::{
        ABI_VERSION, BFD_RING_BYTES, BfdKey, BfdRecord, CAPTURE_RING_BYTES, CaptureLease, CapturedFrame,
        Counters, EVENT_RING_BYTES, IndexEntry, InstanceCounters, InstanceKey, InstanceRecord,
        MAX_BFD_SESSIONS, MAX_INDEX, MAX_INSTANCES, MAX_LEASES, MAX_PEERS, MAX_PROBE_INDEX, MAX_PROBE_PEERS,
        MAX_VIPS, PeerEntry, PeerKey, ProbeEntry, ProbeKey, ProbedPeer, REPLY_SLOTS, Sponsors, VipEntry,
        VipKey,
    },
    bloom::Bits,
};

const BPF_F_NO_PREALLOC: u32 = 1;
const BPF_F_MMAPABLE: u32 = 1 << 10;

/// What a pinned map must be like to be adopted.
struct Shape {
    name: &'static str,
    kind: MapType,
    key: usize,
    value: usize,
    entries: u32,
    flags: u32,
}

/// Every map of the program (`vipd-ebpf/src/maps.rs`).
const MAPS: [Shape; 22] = [
    Shape {
        name: "LEASES",
        kind: MapType::Array,
        key: 4,
        value: 8,
        entries: MAX_LEASES,
        flags: BPF_F_MMAPABLE,
    },
    Shape {
        name: "BLOOM_FILTER",
        kind: MapType::Array,
        key: 4,
        value: size_of::<Bits>(),
        entries: 1,
        flags: BPF_F_MMAPABLE,
    },
    Shape { name: "VIPS", kind: MapType::ArrayOfMaps, key: 4, value: 4, entries: 1, flags: 0 },
    Shape {
        name: "VIPS_A",
        kind: MapType::Hash,
        key: size_of::<VipKey>(),
        value: size_of::<VipEntry>(),
        entries: MAX_VIPS,
        flags: BPF_F_NO_PREALLOC,
    },
    Shape {
        name: "VIPS_B",
        kind: MapType::Hash,
        key: size_of::<VipKey>(),
        value: size_of::<VipEntry>(),
        entries: MAX_VIPS,
        flags: BPF_F_NO_PREALLOC,
    },
    Shape {
        name: "INSTANCES",
        kind: MapType::Array,
        key: 4,
        value: size_of::<InstanceRecord>(),
        entries: MAX_INSTANCES,
        flags: BPF_F_MMAPABLE,
    },
    Shape {
        name: "INSTANCE_INDEX",
        kind: MapType::Hash,
        key: size_of::<InstanceKey>(),
        value: size_of::<IndexEntry>(),
        entries: MAX_INDEX,
        flags: 0,
    },
    Shape {
        name: "PEERS",
        kind: MapType::Hash,
        key: size_of::<PeerKey>(),
        value: size_of::<PeerEntry>(),
        entries: MAX_PEERS,
        flags: BPF_F_NO_PREALLOC,
    },
    Shape {
        name: "PROBE_INDEX",
        kind: MapType::Hash,
        key: size_of::<ProbeKey>(),
        value: size_of::<ProbeEntry>(),
        entries: MAX_PROBE_INDEX,
        flags: BPF_F_NO_PREALLOC,
    },
    Shape {
        name: "PROBE_PEERS",
        kind: MapType::Array,
        key: 4,
        value: size_of::<ProbedPeer>(),
        entries: MAX_PROBE_PEERS,
        flags: BPF_F_MMAPABLE,
    },
    Shape {
        name: "SPONSORS",
        kind: MapType::Array,
        key: 4,
        value: size_of::<Sponsors>(),
        entries: 1,
        flags: BPF_F_MMAPABLE,
    },
    Shape { name: "EVENTS", kind: MapType::RingBuf, key: 0, value: 0, entries: EVENT_RING_BYTES, flags: 0 },
    Shape { name: "EVENTS_PAID", kind: MapType::Array, key: 4, value: 8, entries: 1, flags: 0 },
    Shape {
        name: "COUNTERS",
        kind: MapType::PerCpuArray,
        key: 4,
        value: size_of::<Counters>(),
        entries: 1,
        flags: 0,
    },
    Shape {
        name: "INSTANCE_COUNTERS",
        kind: MapType::PerCpuArray,
        key: 4,
        value: size_of::<InstanceCounters>(),
        entries: MAX_INSTANCES,
        flags: 0,
    },
    Shape {
        name: "VIP_REPLIES",
        kind: MapType::Array,
        key: 4,
        value: 8,
        entries: REPLY_SLOTS,
        flags: BPF_F_MMAPABLE,
    },
    Shape {
        name: "CAPTURE",
        kind: MapType::Array,
        key: 4,
        value: size_of::<CaptureLease>(),
        entries: 1,
        flags: BPF_F_MMAPABLE,
    },
    Shape {
        name: "CAPTURED_FRAME",
        kind: MapType::PerCpuArray,
        key: 4,
        value: size_of::<CapturedFrame>(),
        entries: 1,
        flags: 0,
    },
    Shape {
        name: "CAPTURED",
        kind: MapType::RingBuf,
        key: 0,
        value: 0,
        entries: CAPTURE_RING_BYTES,
        flags: 0,
    },
    Shape {
        name: "BFD_INDEX",
        kind: MapType::Hash,
        key: size_of::<BfdKey>(),
        value: size_of::<u32>(),
        entries: MAX_BFD_SESSIONS,
        flags: 0,
    },
    Shape {
        name: "BFD_SESSIONS",
        kind: MapType::Array,
        key: 4,
        value: size_of::<BfdRecord>(),
        entries: MAX_BFD_SESSIONS,
        flags: BPF_F_MMAPABLE,
    },
    Shape { name: "BFD_EVENTS", kind: MapType::RingBuf, key: 0, value: 0, entries: BFD_RING_BYTES, flags: 0 },
];

/// The version in the directory's name. Builds for tests can be told to take themselves for another version with the same maps: an upgrade
/// is then one from the other.
fn version() -> u32 {
    let told = std::env::var("VIPD_TEST_ABI").ok().filter(|_| cfg!(debug_assertions));
    told.and_then(|version| version.parse().ok()).unwrap_or(ABI_VERSION)
}

/// `<bpffs>/vipd/v<ABI_VERSION>`.
#[derive(Clone, Debug)]
pub struct PinDir(PathBuf);

impl PinDir {
    /// Makes the directory, mode 0700, if it is not there. What another user has made of that name gives way.
    ///
    /// # Errors
    ///
    /// If `bpffs` is not on a mounted BPF file system, or others may take away what is in it.
    pub fn open(bpffs: &Path) -> Result<Self> {
        let vipd = pin_dirs::of_vipd(&pin_dirs::bpffs(bpffs)?, "vipd")?;
        let dir = pin_dirs::of_vipd(&vipd, &format!("v{}", version()))?;
        Ok(Self(dir.path().to_owned()))
    }

    /// Makes the directories again if somebody has removed them.
    ///
    /// # Errors
    ///
    /// As [`Self::open`].
    pub fn make_again(&self) -> Result<()> {
        let bpffs =
            self.0.parent().and_then(Path::parent).context("the pin directory is in a directory of vipd")?;
        Self::open(bpffs).map(drop)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    /// What tells the directory of all versions' pins from any other on this host, whatever path leads to it.
    pub fn identity(&self) -> io::Result<String> {
        let parent = fs::metadata(self.0.parent().unwrap_or(&self.0))?;
        Ok(format!("{}:{}", parent.dev(), parent.ino()))
    }

    /// Unpins maps of this version that nobody uses while another version's program is attached: an upgrade to this version was given up.
    pub fn remove_unused(&self) -> Result<()> {
        if self.attachments()?.is_empty() && !self.kinds_of_all_versions()?.is_empty() {
            self.unpin_maps()?;
        }
        Ok(())
    }

    /// The pin directories of other versions.
    pub fn others(&self) -> io::Result<Vec<PathBuf>> {
        let Some(parent) = self.0.parent() else { return Ok(Vec::new()) };
        let mut others = Vec::new();
        for entry in fs::read_dir(parent)? {
            let path = entry?.path();
            let is_version = path
                .file_name()
                .and_then(OsStr::to_str)
                .is_some_and(|name| pin_dirs::version(name).is_some());
            if path == self.0 || !is_version {
                continue;
            }
            // A link would lead to other programs' pins, which would be detached.
            if lstat(&path).is_ok_and(|found| pin_dirs::is_own(&found)) {
                others.push(path);
            } else {
                tracing::warn!(path = %path.display(), "left alone: not a directory of vipd");
            }
        }
        Ok(others)
    }

    /// Moves an attachment's pin here that another version has made; false if there is none.
    pub fn claim(&self, pin: Pin, ifindex: u32) -> io::Result<bool> {
        let name = pin.name(ifindex);
        for other in self.others()? {
            if other.join(&name).is_symlink() {
                continue;
            }
            match fs::rename(other.join(&name), self.0.join(&name)) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                done => return done.map(|()| true),
            }
        }
        Ok(false)
    }

    /// Names of all maps, with the path each is pinned at.
    pub fn maps(&self) -> impl Iterator<Item = (&'static str, PathBuf)> {
        MAPS.iter().map(|shape| (shape.name, self.0.join(shape.name)))
    }

    /// Where the pin of an attachment is.
    pub fn attachment(&self, pin: Pin, ifindex: u32) -> PathBuf {
        self.0.join(pin.name(ifindex))
    }

    /// Every attachment that is pinned: how, and the interface's index.
    pub fn attachments(&self) -> io::Result<Vec<(Pin, u32)>> {
        let mut pins = Vec::new();
        for entry in fs::read_dir(&self.0)? {
            pins.extend(entry?.file_name().to_str().and_then(Pin::parse));
        }
        Ok(pins)
    }

    /// The kinds of attachments that any version has pinned.
    pub fn kinds_of_all_versions(&self) -> io::Result<Vec<Pin>> {
        let mut kinds = Vec::new();
        for dir in self.others()?.iter().chain([&self.0]) {
            for entry in fs::read_dir(dir)? {
                kinds.extend(entry?.file_name().to_str().and_then(Pin::parse).map(|(pin, _)| pin));
            }
        }
        Ok(kinds)
    }

    /// Checks every pinned map against the layout this program was built with. The kernel does not, and neither does aya.
    ///
    /// Returns whether there is anything to adopt.
    ///
    /// # Errors
    ///
    /// Names the first map that differs, or that is missing among others that are there.
    pub fn check(&self) -> Result<bool> {
        let present = self.maps().filter(|(_, path)| path.exists()).count();
        if present == 0 {
            return Ok(false);
        }
        for shape in &MAPS {
            let path = self.0.join(shape.name);
            if !path.exists() {
                bail!("{} is missing among {present} pinned maps", path.display());
            }
            let info = MapInfo::from_pin(&path).with_context(|| format!("open {}", path.display()))?;
            let found =
                (info.map_type()?, info.key_size(), info.value_size(), info.max_entries(), info.map_flags());
            let expected = (
                shape.kind,
                u32::try_from(shape.key)?,
                u32::try_from(shape.value)?,
                shape.entries,
                shape.flags,
            );
            if found != expected {
                bail!(
                    "{}: (type, key size, value size, entries, flags) is {found:?}, expected {expected:?}",
                    path.display()
                );
            }
        }
        Ok(true)
    }

    /// Detaches a program from an interface and removes the pin.
    pub fn detach(&self, pin: Pin, ifindex: u32) -> Result<()> {
        pin.detach(&self.attachment(pin, ifindex), ifindex)
    }

    /// Removes attachments, then programs and maps, then the directories: the program detaches and the kernel frees everything.
    pub fn remove(&self) -> Result<()> {
        for (pin, ifindex) in self.attachments().context("list pinned attachments")? {
            self.detach(pin, ifindex)?;
        }
        self.unpin_maps()?;
        fs::remove_dir(&self.0).with_context(|| format!("remove {}", self.0.display()))?;
        self.remove_empty_parents();
        Ok(())
    }

    /// Removes programs and maps that were pinned for nothing, and the directories if that leaves them empty; attached links stay.
    pub fn withdraw(&self) -> Result<()> {
        self.unpin_maps()?;
        if fs::remove_dir(&self.0).is_ok() {
            self.remove_empty_parents();
        }
        Ok(())
    }

    fn unpin_maps(&self) -> Result<()> {
        pinned_programs::remove_others(self, &[])?;
        for (_, path) in self.maps() {
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(error).with_context(|| format!("unpin {}", path.display()));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// The parents may hold other versions, or be the operator's.
    fn remove_empty_parents(&self) {
        self.0.parent().into_iter().for_each(pin_dirs::remove_empty);
    }
}
