//! The maps that are mapped into this process: lease words, instances, the Bloom filter of VIPs, replies by VIP, and the lease on the capture. All `unsafe` of the daemon's data plane is
//! in here and in `sys`.

mod bfd;
mod probe_page;
mod sponsor_page;

use std::{
    collections::BTreeMap,
    io,
    os::fd::{AsFd, AsRawFd},
    ptr::{self, NonNull},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use vipd_common::{
    abi::{CaptureLease, InstanceHead, InstanceRecord, MAX_INSTANCES, MAX_LEASES, REPLY_SLOTS, RingEvent},
    address::Address,
    bloom,
    lease::{self, LeaseWord},
};

pub use bfd::{BfdIdentity, BfdPage};
use zerocopy::FromZeros;

use vipd_core::{lease_manager::Heard, time::Instant};

pub use probe_page::{ProbePage, ProbeStamps};
pub use sponsor_page::SponsorPage;

/// A shared mapping of a `BPF_F_MMAPABLE` array of `T`.
#[derive(Debug)]
struct Mapping<T> {
    base: NonNull<T>,
    slots: usize,
    bytes: usize,
}

// SAFETY: the mapping is plain shared memory that lives as long as the value; all access goes through atomics or volatile
// accesses of single fields.
unsafe impl<T> Send for Mapping<T> {}
// SAFETY: as above.
unsafe impl<T> Sync for Mapping<T> {}

impl<T> Mapping<T> {
    fn new(fd: impl AsFd, slots: u32) -> io::Result<Self> {
        let slots = slots as usize;
        // SAFETY: sysconf reads a constant.
        let page = usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).map_err(io::Error::other)?;
        let bytes = (slots * size_of::<T>()).next_multiple_of(page);
        // SAFETY: a new mapping at an address of the kernel's choice; the kernel refuses lengths beyond the map.
        let base = unsafe {
            libc::mmap(
                ptr::null_mut(),
                bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                fd.as_fd().as_raw_fd(),
                0,
            )
        };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let base = NonNull::new(base.cast()).ok_or_else(|| io::Error::other("mmap returned address 0"))?;
        Ok(Self { base, slots, bytes })
    }

    /// # Panics
    ///
    /// If `slot` is not below the map's capacity; slots are handed out by the daemon, never by a packet.
    fn slot(&self, slot: u32) -> *mut T {
        let slot = slot as usize;
        assert!(slot < self.slots, "slot {slot} of {}", self.slots);
        // SAFETY: inside the mapping, by the line above.
        unsafe { self.base.as_ptr().add(slot) }
    }
}

impl<T> Drop for Mapping<T> {
    fn drop(&mut self) {
        // SAFETY: the mapping made in `new`; nothing borrows from it longer than `self`.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.bytes) };
    }
}

/// The lease words: who owns what, until when. See [`lease`] for the protocol.
#[derive(Debug)]
pub struct LeasePage {
    words: Mapping<u64>,
    former: Mutex<FormerLeases>,
}

/// Leases in the maps of another version's vipd, whose program is still attached: they follow this version's, or they would lapse where
/// attaching takes longer than a lease lasts.
#[derive(Debug, Default)]
pub struct FormerLeases(BTreeMap<u32, FormerLease>);

/// The map, and the place in it.
type FormerLease = (Arc<FormerPage>, u32);

/// The lease words of another version's vipd.
#[derive(Debug)]
pub struct FormerPage(Mapping<u64>);

impl FormerPage {
    /// `slots`: how many the map has.
    pub(super) fn new(fd: impl AsFd, slots: u32) -> io::Result<Self> {
        Mapping::new(fd, slots).map(Self)
    }
}

impl FormerLeases {
    /// The lease in this version's `slot` was in that place.
    pub fn add(&mut self, slot: u32, page: Arc<FormerPage>, from: u32) {
        self.0.insert(slot, (page, from));
    }
}

/// A word that XDP reads and writes as well.
struct SharedWord<'a>(&'a AtomicU64);

impl LeasePage {
    pub(super) fn new(fd: impl AsFd) -> io::Result<Self> {
        Ok(Self { words: Mapping::new(fd, MAX_LEASES)?, former: Mutex::default() })
    }

    /// Has those leases follow this version's from now on; an empty list ends it.
    pub fn lead(&self, leases: FormerLeases) {
        *self.former() = leases;
    }

    /// Whether the lease in another version's maps follows this one: not after it was acquired anew.
    pub fn leads(&self, slot: u32) -> bool {
        self.former().0.contains_key(&slot)
    }

    fn former(&self) -> MutexGuard<'_, FormerLeases> {
        self.former.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn word(&self, slot: u32) -> SharedWord<'_> {
        shared(&self.words, slot)
    }

    /// The word as it stands; 0 if nobody holds the lease.
    pub fn read(&self, slot: u32) -> Instant {
        Instant::from_nanos(self.word(slot).load())
    }

    /// See [`lease::acquire`].
    pub fn acquire(&self, slot: u32, until: Instant) {
        // A new lease, not the one that was carried over.
        self.former().0.remove(&slot);
        lease::acquire(&self.word(slot), until.as_nanos());
    }

    /// See [`lease::renew`]; the lease has also been revoked if another version's program has.
    pub fn renew(&self, slot: u32, from: Instant, to: Instant) -> Result<(), Instant> {
        let former = self.former();
        if let Some((page, place)) = former.0.get(&slot)
            && !lease::follow(&shared(&page.0, *place), to.as_nanos())
        {
            lease::release(&self.word(slot));
            return Err(self.read(slot));
        }
        lease::renew(&self.word(slot), from.as_nanos(), to.as_nanos()).map_err(Instant::from_nanos)
    }

    /// See [`lease::release`].
    pub fn release(&self, slot: u32) {
        if let Some((page, place)) = self.former().0.get(&slot) {
            lease::release(&shared(&page.0, *place));
        }
        lease::release(&self.word(slot));
    }
}

fn shared(words: &Mapping<u64>, slot: u32) -> SharedWord<'_> {
    // SAFETY: an aligned word that lives as long as the mapping; the kernel's side also only loads and stores whole words.
    SharedWord(unsafe { AtomicU64::from_ptr(words.slot(slot)) })
}

impl LeaseWord for SharedWord<'_> {
    fn load(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }

    fn store(&self, value: u64) {
        self.0.store(value, Ordering::Release);
    }

    fn compare_exchange(&self, old: u64, new: u64) -> Result<(), u64> {
        self.0.compare_exchange(old, new, Ordering::AcqRel, Ordering::Acquire).map(drop)
    }
}

/// The bits of all VIPs; see [`bloom`].
#[derive(Debug)]
pub struct BloomFilterPage(Mapping<u64>);

impl BloomFilterPage {
    pub(super) fn new(fd: impl AsFd) -> io::Result<Self> {
        Mapping::new(fd, bloom::WORDS as u32).map(Self)
    }

    /// Whether exactly these bits are set.
    pub fn is(&self, bits: &bloom::Bits) -> bool {
        self.words().zip(bits).all(|(word, bits)| word.load(Ordering::Acquire) == *bits)
    }

    /// Sets the bits that are set in `bits`, and leaves the others.
    pub fn add(&self, bits: &bloom::Bits) {
        for (word, bits) in self.words().zip(bits) {
            word.fetch_or(*bits, Ordering::Release);
        }
    }

    /// Clears the bits that are not set in `bits`.
    pub fn keep(&self, bits: &bloom::Bits) {
        for (word, bits) in self.words().zip(bits) {
            word.fetch_and(*bits, Ordering::Release);
        }
    }

    fn words(&self) -> impl Iterator<Item = &AtomicU64> {
        // SAFETY: aligned words that live as long as `self`; the program only loads whole words.
        (0..bloom::WORDS as u32).map(|word| unsafe { AtomicU64::from_ptr(self.0.slot(word)) })
    }
}

/// How many ARP requests and Neighbor Solicitations for each VIP were replied to.
#[derive(Debug)]
pub struct ReplyPage(Mapping<u64>);

impl ReplyPage {
    pub(super) fn new(fd: impl AsFd) -> io::Result<Self> {
        Mapping::new(fd, REPLY_SLOTS).map(Self)
    }

    pub fn read(&self, slot: u32) -> u64 {
        self.word(slot).load(Ordering::Relaxed)
    }

    pub fn clear(&self, slot: u32) {
        self.word(slot).store(0, Ordering::Relaxed);
    }

    fn word(&self, slot: u32) -> &AtomicU64 {
        // SAFETY: an aligned word that lives as long as `self`; the program adds to it atomically.
        unsafe { AtomicU64::from_ptr(self.0.slot(slot)) }
    }
}

/// Until when frames are captured, and how many were lost.
#[derive(Debug)]
pub struct CapturePage(Mapping<CaptureLease>);

impl CapturePage {
    pub(super) fn new(fd: impl AsFd) -> io::Result<Self> {
        Mapping::new(fd, 1).map(Self)
    }

    /// Has frames captured until then; at time 0, none.
    pub fn set(&self, until: Instant) {
        let lease = self.0.slot(0);
        // SAFETY: an aligned word that lives as long as `self`; the program only loads and stores whole words.
        unsafe { AtomicU64::from_ptr(&raw mut (*lease).until_ns) }.store(until.as_nanos(), Ordering::Release);
    }

    /// Frames that found the ring full, since the map was made.
    pub fn lost(&self) -> u64 {
        let lease = self.0.slot(0);
        // SAFETY: as above; the program adds to it atomically.
        unsafe { AtomicU64::from_ptr(&raw mut (*lease).lost) }.load(Ordering::Relaxed)
    }
}

/// What the program is to know of one virtual router.
#[derive(Clone, Debug)]
pub struct Identity {
    pub head: InstanceHead,
    /// Mapped if IPv4; all zero while the interface has none.
    pub primary: [u8; 16],
    pub destination: [u8; 16],
    pub auth_type: u8,
    pub auth_data: [u8; 8],
    pub lease_ns: u64,
    pub stale_after_ns: u64,
    pub address_list_digest: u64,
    pub interval_cs: u32,
    pub priority: u8,
    pub version: u8,
    /// Of [`vipd_common::abi::instance_flag`].
    pub flags: u8,
    /// The interface's own MAC.
    pub mac: [u8; 6],
}

/// How often a deferred event is looked at that changes meanwhile; the next look is soon.
const DEFERRED_READS: usize = 4;

/// Why there is no deferred event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deferred {
    /// The newest one was sent.
    Nothing,
    /// Others come in too fast to be read.
    Changing,
}

/// The instances: identities for XDP to check against, and what it heard.
#[derive(Debug)]
pub struct InstancePage(Mapping<InstanceRecord>);

impl InstancePage {
    pub(super) fn new(fd: impl AsFd) -> io::Result<Self> {
        Mapping::new(fd, MAX_INSTANCES).map(Self)
    }

    /// Which virtual router the slot describes, and its lease; all zero if none.
    pub fn head(&self, slot: u32) -> InstanceHead {
        // SAFETY: a field of a mapped slot, plain data in any state, written by this process or its predecessor only.
        unsafe { (&raw const (*self.0.slot(slot)).head).read_volatile() }
    }

    /// Writes the daemon's half of a slot. The program's half stays, but for who has taken the VIPs last and who was refused.
    pub fn write(&self, slot: u32, identity: &Identity) {
        let instance = self.0.slot(slot);
        // SAFETY: as in `describe`; a takeover in this very moment is not known of, and late packets are lost.
        unsafe {
            (&raw mut (*instance).successor_of_ns).write_volatile(0);
            (&raw mut (*instance).refused_source).write_volatile([0; 16]);
        }
        self.rank(slot, identity.priority, identity.primary);
        self.describe(slot, identity);
    }

    /// Writes the daemon's half of a slot but for its [`rank`](Self::rank), which is the election's.
    pub fn describe(&self, slot: u32, identity: &Identity) {
        let Identity {
            head,
            primary: _,
            destination,
            auth_type,
            auth_data,
            lease_ns,
            stale_after_ns,
            address_list_digest,
            interval_cs,
            priority: _,
            version,
            flags,
            mac,
        } = identity;
        let instance = self.0.slot(slot);
        // SAFETY: fields of a mapped slot that only this process writes; the program may read them at any moment and
        // takes a mixture of old and new for what it is, an advert that came while the configuration changed.
        unsafe {
            (&raw mut (*instance).head).write_volatile(*head);
            (&raw mut (*instance).destination).write_volatile(*destination);
            (&raw mut (*instance).auth_data).write_volatile(*auth_data);
            (&raw mut (*instance).lease_ns).write_volatile(*lease_ns);
            (&raw mut (*instance).stale_after_ns).write_volatile(*stale_after_ns);
            (&raw mut (*instance).address_list_digest).write_volatile(*address_list_digest);
            (&raw mut (*instance).interval_cs).write_volatile(*interval_cs);
            (&raw mut (*instance).version).write_volatile(*version);
            (&raw mut (*instance).auth_type).write_volatile(*auth_type);
            (&raw mut (*instance).flags).write_volatile(*flags);
            (&raw mut (*instance).mac).write_volatile(*mac);
        }
        self.resync(slot);
    }

    /// Whether the priority that adverts are ranked against is 0: nobody takes part there, or it has said goodbye.
    pub fn is_out(&self, slot: u32) -> bool {
        // SAFETY: as in `head`.
        unsafe { (&raw const (*self.0.slot(slot)).priority).read_volatile() == 0 }
    }

    /// The slot describes no virtual router any more; its lease is nobody's.
    pub fn clear(&self, slot: u32) {
        // SAFETY: as in `write`; nothing leads the program to a slot that is not in the index.
        unsafe { (&raw mut (*self.0.slot(slot)).head).write_volatile(InstanceHead::new_zeroed()) };
    }

    /// Changes what adverts are ranked against: our effective priority and primary address.
    pub fn rank(&self, slot: u32, priority: u8, primary: [u8; 16]) {
        let instance = self.0.slot(slot);
        // SAFETY: as in `write`.
        unsafe {
            (&raw mut (*instance).primary).write_volatile(primary);
            (&raw mut (*instance).priority).write_volatile(priority);
        }
    }

    /// The interface has another MAC now.
    pub fn set_mac(&self, slot: u32, mac: [u8; 6]) {
        // SAFETY: as in `write`; a frame that meets a mixture of both is lost, as is one that meets the old MAC.
        unsafe { (&raw mut (*self.0.slot(slot)).mac).write_volatile(mac) };
    }

    /// Has the next valid advert reported even if it says nothing new.
    pub fn resync(&self, slot: u32) {
        // SAFETY: as in `write`; the program only ever clears it.
        unsafe { (&raw mut (*self.0.slot(slot)).resync).write_volatile(1) };
    }

    /// When a valid advert was last heard on a line.
    ///
    /// # Panics
    ///
    /// If `line` is not below [`LINES`](vipd_common::abi::LINES).
    pub fn line_heard(&self, slot: u32, line: usize) -> Instant {
        let instance = self.0.slot(slot);
        // SAFETY: an aligned 8-byte element, in bounds by its index, that the program writes whole.
        let heard = unsafe { AtomicU64::from_ptr(&raw mut (*instance).line_heard_ns[line]) };
        Instant::from_nanos(heard.load(Ordering::Relaxed))
    }

    /// The last advert that failed a check: its sender, the check and its TTL or hop limit; `None` if none ever has.
    pub fn refused(&self, slot: u32) -> Option<([u8; 16], u32, u8)> {
        let instance = self.0.slot(slot);
        // SAFETY: as in `head`; of two adverts at once it may be a mixture.
        let (source, reason, hop_limit) = unsafe {
            (
                (&raw const (*instance).refused_source).read_volatile(),
                (&raw const (*instance).refused_reason).read_volatile(),
                (&raw const (*instance).refused_hop_limit).read_volatile(),
            )
        };
        (source != [0; 16]).then_some((source, reason, u8::try_from(hop_limit).unwrap_or(u8::MAX)))
    }

    /// The newest event that the program has deferred, if nothing is newer.
    pub fn deferred(&self, slot: u32) -> Result<RingEvent, Deferred> {
        let instance = self.0.slot(slot);
        // The program may write in between, or on two processors at once: a mixture of two is an advert of neither, as is any
        // other that somebody forges in such a storm.
        for _ in 0..DEFERRED_READS {
            let before = self.heard(slot).generation;
            // SAFETY: a field of a mapped slot, plain data in any state.
            let event = unsafe { (&raw const (*instance).deferred).read_volatile() };
            if self.heard(slot).generation != before {
                continue;
            }
            return if event.generation == before { Ok(event) } else { Err(Deferred::Nothing) };
        }
        Err(Deferred::Changing)
    }

    /// Whose advert was heard last, and when. Of two at once it may be the one's time with the other's address.
    pub fn last_advert(&self, slot: u32) -> (Address, Instant) {
        let instance = self.0.slot(slot);
        // SAFETY: an aligned 8-byte field that the program writes whole; octets in any state.
        let (at, source) = unsafe {
            let at = AtomicU64::from_ptr(&raw mut (*instance).heard_ns).load(Ordering::Acquire);
            (at, (&raw const (*instance).source).read_volatile())
        };
        (Address::from_octets(source), Instant::from_nanos(at))
    }

    /// The program's stamp.
    pub fn heard(&self, slot: u32) -> Heard {
        let instance = self.0.slot(slot);
        // SAFETY: aligned 8-byte fields that the program writes whole.
        let (generation, heard) = unsafe {
            (
                AtomicU64::from_ptr(&raw mut (*instance).generation),
                AtomicU64::from_ptr(&raw mut (*instance).heard_ns),
            )
        };
        // The stamp first: a generation that is still the expected one vouches for the stamp read before it.
        let at = heard.load(Ordering::Acquire);
        Heard { generation: generation.load(Ordering::Acquire), at: Instant::from_nanos(at) }
    }
}
