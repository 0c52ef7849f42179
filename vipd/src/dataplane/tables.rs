//! The table of VIPs behind its pointer, and the index of instances.

use anyhow::{Context, Result, bail};
use aya::maps::{ArrayOfMaps, HashMap, MapData, MapInfo};
use vipd_common::abi::{InstanceKey, MAX_VIPS, VipEntry, VipKey};

use super::pins::PinDir;

type VipTable = HashMap<MapData, VipKey, VipEntry>;

pub struct Tables {
    pointer: ArrayOfMaps<MapData, VipTable>,
    tables: [VipTable; 2],
    /// Which of `tables` the pointer points to.
    active: Option<usize>,
    index: HashMap<MapData, InstanceKey, u32>,
}

impl Tables {
    /// `active` is the id of the map that `pointer` points to.
    pub fn new(
        active: Option<u32>,
        pointer: ArrayOfMaps<MapData, VipTable>,
        tables: [VipTable; 2],
        index: HashMap<MapData, InstanceKey, u32>,
        pins: &PinDir,
    ) -> Result<Self> {
        let active = match active {
            None => None,
            Some(id) => {
                let mut active = None;
                for (i, name) in ["VIPS_A", "VIPS_B"].into_iter().enumerate() {
                    if MapInfo::from_pin(pins.path().join(name))?.id() == id {
                        active = Some(i);
                    }
                }
                if active.is_none() {
                    bail!("VIPS points to map {id}, which is neither VIPS_A nor VIPS_B");
                }
                active
            }
        };
        Ok(Self { pointer, tables, active, index })
    }

    /// Fills the table that is not in use, points to it, then empties the other.
    pub fn replace(
        &mut self,
        vips: impl IntoIterator<Item = (VipKey, VipEntry)>,
        index: impl IntoIterator<Item = (InstanceKey, u32)>,
    ) -> Result<()> {
        let next = self.active.map_or(0, |active| 1 - active);
        clear(&mut self.tables[next])?;
        for (key, entry) in vips {
            self.tables[next]
                .insert(key, entry, 0)
                .with_context(|| format!("add a VIP to the table of at most {MAX_VIPS}"))?;
        }
        self.pointer.set(0, &self.tables[next], 0).context("swap the table of VIPs")?;
        if let Some(active) = self.active.replace(next) {
            clear(&mut self.tables[active])?;
        }
        let index: std::collections::HashMap<_, _> = index.into_iter().collect();
        let gone: Vec<_> = self.index.keys().collect::<Result<_, _>>()?;
        for key in gone.iter().filter(|key| !index.contains_key(key)) {
            self.index.remove(key)?;
        }
        for (key, slot) in index {
            self.index.insert(key, slot, 0).context("add a virtual router to the index")?;
        }
        Ok(())
    }
}

fn clear(table: &mut VipTable) -> Result<()> {
    let keys: Vec<_> = table.keys().collect::<Result<_, _>>()?;
    for key in keys {
        table.remove(&key)?;
    }
    Ok(())
}
