//! BFD in the program: its sessions, and the packets that say something new. All of it belongs to one thread.

use std::{
    fmt,
    os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd},
};

use anyhow::{Context, Result, bail};
use aya::maps::{HashMap, MapData, RingBuf};
use vipd_common::abi::{BfdEvent, BfdKey, BfdRecord, MAX_BFD_SESSIONS};
use zerocopy::FromBytes;

pub use super::pages::BfdIdentity;
use super::{open, pages::BfdPage, pins::PinDir};

/// The index, the records and the ring. Readable (`AsFd`) when there are packets.
pub struct BfdPlane {
    page: BfdPage,
    index: HashMap<MapData, BfdKey, u32>,
    events: RingBuf<MapData>,
}

impl fmt::Debug for BfdPlane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BfdPlane")
    }
}

impl BfdPlane {
    pub(super) fn new(pins: &PinDir) -> Result<Self> {
        let sessions =
            MapData::from_pin(pins.path().join("BFD_SESSIONS")).context("open map BFD_SESSIONS")?;
        let page = BfdPage::open(sessions.fd()).context("map BFD_SESSIONS into memory")?;
        Ok(Self { page, index: open(pins, "BFD_INDEX")?, events: open(pins, "BFD_EVENTS")? })
    }

    /// The records.
    pub fn page(&self) -> &BfdPage {
        &self.page
    }

    /// What a process before this one has left: slots and records, in order.
    pub fn left(&self) -> impl Iterator<Item = (u32, BfdRecord)> {
        let all = (0..MAX_BFD_SESSIONS).map(|slot| (slot, self.page.read(slot)));
        all.filter(|(_, record)| record.local_discriminator != 0)
    }

    /// Has packets lead to a slot, whose record is there.
    ///
    /// # Errors
    ///
    /// They lead to another session, or what the kernel refuses.
    pub fn lead(&mut self, key: &BfdKey, slot: u32) -> Result<()> {
        let before = self.index.get(key, 0).ok().filter(|before| *before != slot);
        if before.is_some_and(|before| before < MAX_BFD_SESSIONS && self.page.read(before).key == *key) {
            bail!("another BFD session has the same addresses: remove one of the two");
        }
        self.index.insert(key, slot, 0).context("write BFD_INDEX")
    }

    /// Has packets pass; the record is cleared.
    ///
    /// # Errors
    ///
    /// What the kernel refuses; packets then go on being taken from the kernel.
    pub fn remove(&mut self, slot: u32) -> Result<()> {
        let key = self.page.read(slot).key;
        let removed = match self.index.get(&key, 0) {
            Ok(found) if found == slot => self.index.remove(&key).context("write BFD_INDEX"),
            _ => Ok(()),
        };
        self.page.clear(slot);
        removed
    }

    /// Takes the oldest packet, if there is one.
    pub fn pop(&mut self) -> Option<BfdEvent> {
        let item = self.events.next()?;
        // As of `Events`.
        Some(BfdEvent::read_from_bytes(&item).expect("the ring holds packets only"))
    }
}

impl AsFd for BfdPlane {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.events.as_fd()
    }
}

impl AsRawFd for BfdPlane {
    fn as_raw_fd(&self) -> RawFd {
        self.events.as_raw_fd()
    }
}
