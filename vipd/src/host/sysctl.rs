//! `arp_ignore` and `arp_announce` of the interfaces, with their originals kept in a file for the way back.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

use super::saved::Saved;

/// The least value each must have while VIPs are local routes.
///
/// `arp_ignore` 1: no answer for an address that is not on the interface itself, should XDP not stand in front.
/// `arp_announce` 2: no ARP request with a VIP as its sender from a node that does not own it.
///
/// IPv6 has nothing of the kind and needs none: the kernel answers a neighbour solicitation only for an address of the
/// interface that it came in by (RFC 4861 7.2.3), and the VIPs are none.
const MINIMUM: [(&str, u32); 2] = [("arp_ignore", 1), ("arp_announce", 2)];

/// Interface, then setting, to the value before vipd.
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

    /// Raises the settings of these interfaces and restores those of others that vipd had raised.
    pub fn raise(&self, interfaces: &BTreeSet<&str>) -> Result<()> {
        let mut originals = self.saved.load();
        let others: Vec<String> =
            originals.keys().filter(|name| !interfaces.contains(name.as_str())).cloned().collect();
        for name in others {
            if let Some(values) = originals.get(&name) {
                self.restore_interface(&name, values)?;
            }
            originals.remove(&name);
        }
        let mut changes = Vec::new();
        for &interface in interfaces {
            for (setting, minimum) in MINIMUM {
                let value = self.read(interface, setting)?;
                if value < minimum {
                    // An original from before a crash is the true one.
                    let values = originals.entry(interface.to_owned()).or_default();
                    values.entry(setting.to_owned()).or_insert(value);
                    changes.push((interface, setting, minimum));
                }
            }
        }
        // First remembered, then changed: a crash between the two loses nothing.
        self.saved.save(&originals)?;
        for (interface, setting, value) in changes {
            self.write(interface, setting, value)?;
        }
        Ok(())
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
