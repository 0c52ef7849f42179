//! What another version's vipd has left pinned: its leases are read, its links taken over, the rest removed.
//!
//! Of another version's maps only what `vipd_common::abi` promises is read.

use std::{fs, path::PathBuf};

use anyhow::{Context, Result, bail};
use aya::maps::{MapData, MapInfo, MapType};
use vipd_common::abi::InstanceHead;
use zerocopy::FromBytes;

use super::{attachment::Pin, pages::FormerPage, pins::PinDir, sys};
use vipd_core::time::Instant;
use vipd_system::Problems;

/// The pin directory of another version.
#[derive(Debug)]
pub struct Predecessor(PathBuf);

impl Predecessor {
    pub(super) fn all(pins: &PinDir) -> Result<Vec<Self>> {
        Ok(pins.others().context("look for other versions' pins")?.into_iter().map(Self).collect())
    }

    /// A pin directory of whatever version.
    pub(super) const fn at(dir: PathBuf) -> Self {
        Self(dir)
    }

    /// The leases that are not released, with the virtual router that holds each.
    ///
    /// # Errors
    ///
    /// If the maps are not there, or not as they were promised to be.
    pub fn leases(&self) -> Result<Vec<(InstanceHead, Instant)>> {
        let (instances, value_size) = self.array("INSTANCES")?;
        if value_size < size_of::<InstanceHead>() {
            bail!("{}: INSTANCES has values of {value_size} octets", self.0.display());
        }
        let mut value = vec![0; value_size];
        let mut leases = Vec::new();
        let entries = MapInfo::from_pin(self.0.join("INSTANCES"))?.max_entries();
        for slot in 0..entries {
            sys::lookup(instances.fd(), slot, &mut value)?;
            let (head, _) = InstanceHead::read_from_prefix(&value).expect("the length was checked");
            if head.key.vrid == 0 {
                continue;
            }
            let deadline = self.lease(head.lease_slot)?;
            if deadline != Instant::default() {
                leases.push((head, deadline));
            }
        }
        Ok(leases)
    }

    /// All of its lease words, to be written too.
    ///
    /// # Errors
    ///
    /// If the map is not there, not as it was promised to be, or cannot be mapped.
    pub fn page(&self) -> Result<FormerPage> {
        let (leases, value_size) = self.array("LEASES")?;
        if value_size != size_of::<u64>() {
            bail!("{}: LEASES has values of {value_size} octets", self.0.display());
        }
        let slots = MapInfo::from_pin(self.0.join("LEASES"))?.max_entries();
        FormerPage::new(leases.fd(), slots).with_context(|| format!("map {}/LEASES", self.0.display()))
    }

    /// One of its lease words.
    pub fn lease(&self, slot: u32) -> Result<Instant> {
        let (leases, value_size) = self.array("LEASES")?;
        if value_size != size_of::<u64>() {
            bail!("{}: LEASES has values of {value_size} octets", self.0.display());
        }
        let mut deadline = [0; size_of::<u64>()];
        sys::lookup(leases.fd(), slot, &mut deadline)?;
        Ok(Instant::from_nanos(u64::from_ne_bytes(deadline)))
    }

    /// Detaches what is still attached and removes every pin. Goes on after an error.
    pub fn remove(self) -> Result<()> {
        let mut problems = Problems::default();
        for entry in fs::read_dir(&self.0).with_context(|| format!("list {}", self.0.display()))? {
            let path = entry?.path();
            problems.note(match path.file_name().and_then(|name| Pin::parse(name.to_str()?)) {
                Some((pin, ifindex)) => pin.detach(&path, ifindex),
                None => fs::remove_file(&path).with_context(|| format!("unpin {}", path.display())),
            });
        }
        problems.into_result()?;
        fs::remove_dir(&self.0).with_context(|| format!("remove {}", self.0.display()))
    }

    fn array(&self, name: &str) -> Result<(MapData, usize)> {
        let path = self.0.join(name);
        let info = MapInfo::from_pin(&path).with_context(|| format!("open {}", path.display()))?;
        if info.map_type()? != MapType::Array {
            bail!("{} is no array", path.display());
        }
        let value_size = usize::try_from(info.value_size())?;
        Ok((MapData::from_pin(&path).with_context(|| format!("open {}", path.display()))?, value_size))
    }
}
