//! Settings of the kernel that VIPs need, with their originals kept in a file for the way back.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use vipd_common::Family;

use super::saved::Saved;

/// A setting, and the least value that it must have while there are VIPs of the family.
struct Setting {
    /// Below `/proc/sys/net`, of the calling task's network namespace.
    dir: &'static str,
    name: &'static str,
    minimum: u32,
    family: Family,
}

/// `arp_ignore` 1: no answer for an address that is not on the interface itself. `arp_announce` 2: no ARP request with a VIP
/// as its sender from a node that does not own it. Both in `all`, of which and of the interface's own the kernel takes the greater:
/// the data plane stands in front of the kernel only where it is attached, and a local route is of the whole host. So on a
/// second interface to the same network, on the parent of a macvlan, and on an interface that comes after vipd was killed,
/// nothing else keeps the kernel silent. IPv6 needs nothing of the kind: the kernel answers a neighbour solicitation
/// only for an address of the interface that it came in by (RFC 4861 7.2.3), and the VIPs are none.
///
/// `ip_nonlocal_bind` 1: services bind to a VIP also while another node owns it.
const SETTINGS: [Setting; 4] = [
    Setting { dir: EVERY_INTERFACE, name: "arp_ignore", minimum: 1, family: Family::V4 },
    Setting { dir: EVERY_INTERFACE, name: "arp_announce", minimum: 2, family: Family::V4 },
    Setting { dir: "ipv4", name: NONLOCAL_BIND, minimum: 1, family: Family::V4 },
    Setting { dir: "ipv6", name: NONLOCAL_BIND, minimum: 1, family: Family::V6 },
];

const EVERY_INTERFACE: &str = "ipv4/conf/all";
const NONLOCAL_BIND: &str = "ip_nonlocal_bind";

/// Directory, then setting, to the value before vipd. A directory without a slash is an interface of IPv4, by an earlier version.
type Originals = BTreeMap<String, BTreeMap<String, u32>>;

#[derive(Debug)]
pub(super) struct Sysctls {
    saved: Saved<Originals>,
    root: PathBuf,
}

impl Sysctls {
    pub const FILE: &str = "sysctls.json";

    pub fn new(state_dir: &Path) -> Self {
        Self { saved: Saved::new(state_dir, Self::FILE), root: PathBuf::from("/proc/sys/net") }
    }

    /// Writes the file again if somebody has removed it.
    pub fn restore_file(&self) -> Result<Option<String>> {
        self.saved.restore()
    }

    /// Raises the settings that VIPs of `families` need, of every interface, also of those that are still to come. Returns those that
    /// were not raised.
    pub fn raise(&self, families: &[Family]) -> Result<Vec<String>> {
        let mut raised = Vec::new();
        let before = self.originals()?;
        let mut originals = before.clone();
        let mut changes = Vec::new();
        for setting in SETTINGS.iter().filter(|setting| families.contains(&setting.family)) {
            let value = self.read(setting.dir, setting.name)?;
            if value < setting.minimum {
                // An original from before a crash is the true one.
                let values = originals.entry(setting.dir.to_owned()).or_default();
                values.entry(setting.name.to_owned()).or_insert(value);
                changes.push(setting);
            }
        }
        // First remembered, then changed: a crash between the two loses nothing.
        if originals != before {
            self.saved.save(&originals)?;
        }
        for setting in changes {
            self.write(setting.dir, setting.name, setting.minimum)?;
            raised.push(title(setting.dir, setting.name));
        }
        // An earlier version raised those of single interfaces.
        self.restore_those(|dir, _| SETTINGS.iter().all(|setting| setting.dir != dir))?;
        Ok(raised)
    }

    /// Restores what was raised for VIPs of no family in `needed`. What the operator changed meanwhile is left alone.
    pub fn restore_others(&self, needed: &[Family]) -> Result<()> {
        let is_needed = |dir: &str, name: &str| {
            let mut of = SETTINGS.iter().filter(|setting| needed.contains(&setting.family));
            of.any(|setting| setting.dir == dir && setting.name == name)
        };
        self.restore_those(|dir, name| !is_needed(dir, name))
    }

    /// What [`Self::restore_others`] of no family would put back: the setting, the value that it has and the one that it had.
    pub fn changed(&self) -> Result<Vec<(String, u32, u32)>> {
        let mut changed = Vec::new();
        for (dir, values) in self.originals()? {
            for (name, original) in values {
                let raised_to = SETTINGS.iter().find(|setting| setting.name == name).map(|s| s.minimum);
                if let Ok(value) = self.read(&dir, &name)
                    && Some(value) == raised_to
                {
                    changed.push((format!("net.{}.{name}", dir.replace('/', ".")), value, original));
                }
            }
        }
        Ok(changed)
    }

    /// Settings as vipd raises them, of which no value from before is saved: by a vipd whose file is gone, or by somebody else.
    pub fn unaccounted(&self) -> Result<Vec<(String, u32)>> {
        let known = self.originals()?;
        let is_raised = |setting: &&Setting| {
            let is_saved = known.get(setting.dir).is_some_and(|values| values.contains_key(setting.name));
            !is_saved && self.read(setting.dir, setting.name).is_ok_and(|value| value == setting.minimum)
        };
        let title = |setting: &Setting| format!("net.{}.{}", setting.dir.replace('/', "."), setting.name);
        let raised = SETTINGS.iter().filter(is_raised);
        Ok(raised.map(|setting| (title(setting), setting.minimum)).collect())
    }

    fn restore_those(&self, which: impl Fn(&str, &str) -> bool) -> Result<()> {
        let before = self.originals()?;
        let mut originals = before.clone();
        for (dir, values) in &mut originals {
            for (name, original) in std::mem::take(values) {
                if which(dir, &name) {
                    self.restore(dir, &name, original)?;
                } else {
                    values.insert(name, original);
                }
            }
        }
        originals.retain(|_, values| !values.is_empty());
        if originals == before { Ok(()) } else { self.saved.save(&originals) }
    }

    fn restore(&self, dir: &str, name: &str, original: u32) -> Result<()> {
        let raised_to = SETTINGS.iter().find(|setting| setting.name == name).map(|setting| setting.minimum);
        // An interface may be gone.
        if self.root.join(dir).exists() && Some(self.read(dir, name)?) == raised_to {
            self.write(dir, name, original)?;
        }
        Ok(())
    }

    fn originals(&self) -> Result<Originals> {
        let known = |(dir, values): (String, _)| {
            if dir.contains('/') || dir.starts_with("ipv") {
                (dir, values)
            } else {
                (format!("ipv4/conf/{dir}"), values)
            }
        };
        Ok(self.saved.load()?.into_iter().map(known).collect())
    }

    fn read(&self, dir: &str, name: &str) -> Result<u32> {
        let text = fs::read_to_string(self.root.join(dir).join(name)).with_context(|| title(dir, name))?;
        text.trim().parse().with_context(|| title(dir, name))
    }

    fn write(&self, dir: &str, name: &str, value: u32) -> Result<()> {
        fs::write(self.root.join(dir).join(name), value.to_string()).with_context(|| {
            format!("{}={value} (needs CAP_NET_ADMIN and a writable /proc/sys)", title(dir, name))
        })
    }
}

fn title(dir: &str, name: &str) -> String {
    format!("sysctl net.{}.{name}", dir.replace('/', "."))
}
