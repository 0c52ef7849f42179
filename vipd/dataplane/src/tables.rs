//! The table of VIPs behind its pointer and its Bloom filter, the index of instances, and their unicast peers.

use std::collections::HashSet;

use anyhow::{Context, Result, bail};
use aya::{
    Pod,
    maps::{ArrayOfMaps, HashMap, MapData, MapInfo},
};
use vipd_common::{
    abi::{IndexEntry, InstanceKey, MAX_PEERS, MAX_VIPS, PeerEntry, PeerKey, VipEntry, VipKey},
    address::Address,
    bloom,
};

use super::{
    pages::{BloomFilterPage, ReplyPage},
    pins::PinDir,
    replies::Replies,
};

pub type VipTable = HashMap<MapData, VipKey, VipEntry>;

pub struct Tables {
    pointer: ArrayOfMaps<MapData, VipTable>,
    tables: [VipTable; 2],
    /// Which of `tables` the pointer points to.
    active: Option<usize>,
    bloom_filter: BloomFilterPage,
    replies: Replies,
    index: HashMap<MapData, InstanceKey, IndexEntry>,
    peers: HashMap<MapData, PeerKey, PeerEntry>,
}

/// What the tables are to hold.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Contents {
    /// The table chooses `VipEntry::reply_slot` itself.
    pub vips: Vec<(VipKey, VipEntry)>,
    /// Where adverts of a virtual router come in, to its slot.
    pub index: Vec<(InstanceKey, IndexEntry)>,
    pub peers: Vec<(PeerKey, PeerEntry)>,
}

impl Contents {
    /// Adds entries of VIPs that are not there.
    pub fn keep(&mut self, vips: Vec<(VipKey, VipEntry)>) {
        let there: HashSet<VipKey> = self.vips.iter().map(|(key, _)| *key).collect();
        self.vips.extend(vips.into_iter().filter(|(key, _)| !there.contains(key)));
    }
}

impl Tables {
    /// `active` is which of `tables` the pointer points to.
    pub fn new(
        active: Option<usize>,
        pointer: ArrayOfMaps<MapData, VipTable>,
        tables: [VipTable; 2],
        bloom_filter: BloomFilterPage,
        replies: ReplyPage,
        index: HashMap<MapData, InstanceKey, IndexEntry>,
        peers: HashMap<MapData, PeerKey, PeerEntry>,
    ) -> Result<Self> {
        let replies = Replies::new(replies, active.map(|active| &tables[active]))?;
        Ok(Self { pointer, tables, active, bloom_filter, replies, index, peers })
    }

    /// Takes note of which of the tables another process has put in force.
    pub fn follow(&mut self, active: Option<usize>) -> Result<()> {
        self.active = active;
        self.replies.read_again(active.map(|active| &self.tables[active]))
    }

    pub fn replies(&self) -> &Replies {
        &self.replies
    }

    /// Which of the two tables the map with this id is.
    pub fn which(id: u32, pins: &PinDir) -> Result<usize> {
        for (i, name) in ["VIPS_A", "VIPS_B"].into_iter().enumerate() {
            if MapInfo::from_pin(pins.path().join(name))?.id() == id {
                return Ok(i);
            }
        }
        bail!("VIPS points to map {id}, which is neither VIPS_A nor VIPS_B");
    }

    /// Whether they hold exactly this, and nothing is left of a swap that was cut short.
    pub fn hold(&self, contents: &Contents) -> Result<bool> {
        let Some(active) = self.active else { return Ok(false) };
        let as_counted =
            |wanted: &VipEntry, there: &VipEntry| VipEntry { reply_slot: there.reply_slot, ..*wanted };
        Ok(holds(&self.tables[active], &contents.vips, as_counted)?
            && self.tables[1 - active].keys().next().is_none()
            && self.bloom_filter.is(&bloom_filter_of(&contents.vips))
            && holds(&self.index, &contents.index, |wanted, _| *wanted)?
            && holds(&self.peers, &contents.peers, |wanted, _| *wanted)?)
    }

    /// Fills the table that is not in use, points to it, then empties the other; then the index and the peers, entry by
    /// entry.
    pub fn replace(&mut self, contents: &Contents) -> Result<()> {
        let next = self.active.map_or(0, |active| 1 - active);
        clear(&mut self.tables[next])?;
        let full = || format!("add a VIP to the table of at most {MAX_VIPS}");
        let replies = self.replies.slots_for(contents.vips.iter().map(|(key, _)| key)).with_context(full)?;
        for (key, entry) in &contents.vips {
            let entry = VipEntry { reply_slot: replies[key], ..*entry };
            self.tables[next].insert(key, entry, 0).with_context(full)?;
        }
        let bits = bloom_filter_of(&contents.vips);
        self.bloom_filter.add(&bits);
        self.pointer.set(0, &self.tables[next], 0).context("swap the table of VIPs")?;
        self.replies.follow(replies);
        if let Some(active) = self.active.replace(next) {
            clear(&mut self.tables[active])?;
        }
        self.bloom_filter.keep(&bits);
        // Peers before the index: an instance that is found is complete.
        bring_to(&mut self.peers, &contents.peers)
            .with_context(|| format!("fill the table of at most {MAX_PEERS} unicast peers"))?;
        bring_to(&mut self.index, &contents.index).context("fill the index of virtual routers")
    }
}

/// Whether `map` holds exactly `wanted`; `adapt` takes from an entry that is there what is not compared.
fn holds<K, V>(map: &HashMap<MapData, K, V>, wanted: &[(K, V)], adapt: impl Fn(&V, &V) -> V) -> Result<bool>
where
    K: Pod + Eq + std::hash::Hash,
    V: Pod + PartialEq,
{
    let there: std::collections::HashMap<K, V> = map.iter().collect::<Result<_, _>>()?;
    let keys: HashSet<&K> = wanted.iter().map(|(key, _)| key).collect();
    let is_there = |(key, value): &(K, V)| there.get(key).is_some_and(|found| *found == adapt(value, found));
    Ok(there.len() == keys.len() && wanted.iter().all(is_there))
}

/// Makes `map` hold exactly `wanted`, without a moment at which an entry that stays is missing.
fn bring_to<K, V>(map: &mut HashMap<MapData, K, V>, wanted: &[(K, V)]) -> Result<()>
where
    K: Pod + Eq + std::hash::Hash,
    V: Pod,
{
    let keys: HashSet<K> = wanted.iter().map(|(key, _)| *key).collect();
    let present: Vec<K> = map.keys().collect::<Result<_, _>>()?;
    for key in present.iter().filter(|key| !keys.contains(key)) {
        map.remove(key)?;
    }
    for (key, value) in wanted {
        map.insert(key, value, 0)?;
    }
    Ok(())
}

fn bloom_filter_of(vips: &[(VipKey, VipEntry)]) -> bloom::Bits {
    let mut bits = [0; bloom::WORDS];
    for (key, _) in vips {
        let (word, bit) = bloom::place(bloom::bit(Address::from_octets(key.address)));
        bits[word] |= bit;
    }
    bits
}

fn clear(table: &mut VipTable) -> Result<()> {
    let keys: Vec<_> = table.keys().collect::<Result<_, _>>()?;
    for key in keys {
        table.remove(&key)?;
    }
    Ok(())
}
