//! How many ARP requests and Neighbor Solicitations for each VIP were replied to: which slot of `VIP_REPLIES` is whose.

use std::collections::{HashMap, HashSet};

use anyhow::{Context, Result};
use vipd_common::abi::{REPLY_SLOTS, VipKey};

use super::{pages::ReplyPage, tables::VipTable};

/// Where the replies for each VIP are counted.
pub type Slots = HashMap<VipKey, u32>;

/// The counts of the VIPs in the table in force.
#[derive(Debug)]
pub struct Replies {
    page: ReplyPage,
    slots: Slots,
}

impl Replies {
    /// With `table`, that of a predecessor, what it has counted goes on.
    pub fn new(page: ReplyPage, table: Option<&VipTable>) -> Result<Self> {
        let mut replies = Self { page, slots: Slots::new() };
        replies.read_again(table)?;
        Ok(replies)
    }

    /// The counts are now those of `table`, which another process has filled.
    pub fn read_again(&mut self, table: Option<&VipTable>) -> Result<()> {
        let entries = table.into_iter().flat_map(|table| table.iter());
        let slots = entries.map(|entry| entry.map(|(key, entry)| (key, entry.reply_slot)));
        self.slots = slots.collect::<Result<_, _>>().context("read the table of VIPs")?;
        Ok(())
    }

    /// Since the VIP is in the table; 0 if it is not.
    pub fn read(&self, vip: &VipKey) -> u64 {
        self.slots.get(vip).map_or(0, |slot| self.page.read(*slot))
    }

    /// A slot for each VIP of the table to come: the one it has, or one that nobody counts in and that is 0. `None` if there
    /// are too many VIPs.
    pub fn slots_for<'v>(&self, vips: impl Iterator<Item = &'v VipKey>) -> Option<Slots> {
        let used: HashSet<u32> = self.slots.values().copied().collect();
        let mut free = (0..REPLY_SLOTS).filter(|slot| !used.contains(slot));
        let mut slots = Slots::new();
        for key in vips {
            if let Some(slot) = self.slots.get(key) {
                slots.insert(*key, *slot);
            } else if !slots.contains_key(key) {
                let slot = free.next()?;
                self.page.clear(slot);
                slots.insert(*key, slot);
            }
        }
        Some(slots)
    }

    /// The table that was made with these is in force.
    pub fn follow(&mut self, slots: Slots) {
        self.slots = slots;
    }
}
