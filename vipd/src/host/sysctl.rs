//! `arp_ignore` and `arp_announce`, with their originals kept in a file for the way back.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

use super::saved::Saved;

/// The least value each must have while IPv4 VIPs are local routes.
///
/// `arp_ignore` 1: no answer for an address that is not on the interface itself. `arp_announce` 2: no ARP request with a VIP
/// as its sender from a node that does not own it.
///
/// IPv6 has nothing of the kind and needs none: the kernel answers a neighbour solicitation only for an address of the
/// interface that it came in by (RFC 4861 7.2.3), and the VIPs are none.
const MINIMUM: [(&str, u32); 2] = [("arp_ignore", 1), ("arp_announce", 2)];

/// The settings of this one are of every interface: the kernel takes the greater of it and of the interface's own.
///
/// The data plane stands in front of the kernel only where it is attached, and a VIP is an address of the whole host. So on a
/// second interface to the same network, on the parent of a macvlan, and on an interface that comes after vipd was killed,
/// nothing else keeps the kernel silent.
const EVERY_INTERFACE: &str = "all";

/// Interface or [`EVERY_INTERFACE`], then setting, to the value before vipd.
type Originals = BTreeMap<String, BTreeMap<String, u32>>;

#[derive(Debug)]
pub(super) struct Sysctls {
    saved: Saved<Originals>,
    /// Where `conf/IFACE/` lies, of the calling task's network namespace.
    root: PathBuf,
}

impl Sysctls {
    pub fn new(state_dir: &Path) -> Self {
        Self { saved: Saved::new(state_dir, "sysctls.json"), root: PathBuf::from("/proc/sys/net/ipv4/conf") }
    }

    /// Raises the settings for every interface, also those that are still to come.
    pub fn raise(&self) -> Result<Vec<String>> {
        let mut raised = Vec::new();
        let mut originals = self.saved.load();
        let mut changes = Vec::new();
        for (setting, minimum) in MINIMUM {
            let value = self.read(EVERY_INTERFACE, setting)?;
            if value < minimum {
                // An original from before a crash is the true one.
                let values = originals.entry(EVERY_INTERFACE.to_owned()).or_default();
                values.entry(setting.to_owned()).or_insert(value);
                changes.push((setting, minimum));
            }
        }
        // First remembered, then changed: a crash between the two loses nothing.
        self.saved.save(&originals)?;
        for (setting, value) in changes {
            self.write(EVERY_INTERFACE, setting, value)?;
            raised.push(format!("sysctl net.ipv4.conf.{EVERY_INTERFACE}.{setting}"));
        }
        // An earlier version raised those of single interfaces.
        let single = originals.iter().filter(|(name, _)| name.as_str() != EVERY_INTERFACE);
        for (name, values) in single {
            self.restore_interface(name, values)?;
        }
        originals.retain(|name, _| name == EVERY_INTERFACE);
        self.saved.save(&originals)?;
        Ok(raised)
    }

    /// Restores what was raised and deletes the file. What the operator changed meanwhile is left alone.
    pub fn restore(&self) -> Result<()> {
        for (interface, values) in self.saved.load() {
            self.restore_interface(&interface, &values)?;
        }
        self.saved.save(&Originals::new())
    }

    fn restore_interface(&self, interface: &str, values: &BTreeMap<String, u32>) -> Result<()> {
        if !self.root.join(interface).exists() {
            return Ok(());
        }
        for (setting, minimum) in MINIMUM {
            if let Some(&original) = values.get(setting)
                && self.read(interface, setting)? == minimum
            {
                self.write(interface, setting, original)?;
            }
        }
        Ok(())
    }

    fn read(&self, interface: &str, setting: &str) -> Result<u32> {
        let name = format!("sysctl net.ipv4.conf.{interface}.{setting}");
        let text =
            fs::read_to_string(self.root.join(interface).join(setting)).with_context(|| name.clone())?;
        text.trim().parse().with_context(|| name)
    }

    fn write(&self, interface: &str, setting: &str, value: u32) -> Result<()> {
        fs::write(self.root.join(interface).join(setting), value.to_string()).with_context(|| {
            format!("sysctl net.ipv4.conf.{interface}.{setting}={value} (needs CAP_NET_ADMIN and a writable /proc/sys)")
        })
    }
}
