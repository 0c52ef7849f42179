//! The peers that are probed and answered: which addresses lead to which slot.

use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result};
use aya::maps::{HashMap, MapData, MapError};
use vipd_common::abi::{MAX_PROBE_PEERS, ProbeEntry, ProbeKey};

use super::pages::ProbePage;

type ProbeIndex = HashMap<MapData, ProbeKey, ProbeEntry>;

/// `PROBE_INDEX` and `PROBE_PEERS`. One thread uses it; the lock is for what cannot be told otherwise.
#[derive(Debug)]
pub struct ProbeTable {
    index: Mutex<ProbeIndex>,
    page: ProbePage,
}

impl ProbeTable {
    pub(super) fn new(index: ProbeIndex, page: ProbePage) -> Self {
        Self { index: Mutex::new(index), page }
    }

    /// The peers' slots.
    pub fn page(&self) -> &ProbePage {
        &self.page
    }

    /// What the index has, also of a predecessor. Entries whose slot does not exist are left out.
    ///
    /// # Errors
    ///
    /// What the kernel refuses.
    pub fn entries(&self) -> Result<Vec<(ProbeKey, ProbeEntry)>> {
        let index = self.index();
        let entries =
            index.iter().collect::<Result<Vec<_>, _>>().context("read the index of probed peers")?;
        Ok(entries.into_iter().filter(|(_, entry)| entry.slot < MAX_PROBE_PEERS).collect())
    }

    /// Leads the program from two addresses to a slot, which is described already.
    ///
    /// # Errors
    ///
    /// What the kernel refuses.
    pub fn add(&self, key: ProbeKey, entry: ProbeEntry) -> Result<()> {
        self.index().insert(key, entry, 0).context("add a probed peer")
    }

    /// Has the program know nothing of two addresses any more.
    ///
    /// # Errors
    ///
    /// What the kernel refuses.
    pub fn remove(&self, key: &ProbeKey) -> Result<()> {
        match self.index().remove(key) {
            // It is as it is to be.
            Err(MapError::KeyNotFound) => Ok(()),
            result => result.context("remove a probed peer"),
        }
    }

    fn index(&self) -> MutexGuard<'_, ProbeIndex> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
