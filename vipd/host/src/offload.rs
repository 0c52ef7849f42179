//! Stripping of VLAN tags by a NIC on reception (`ethtool -K IF rxvlan on|off`).
//!
//! With it on, XDP sees frames whose tag is gone already and cannot tell two VLANs of an interface apart.

use std::{collections::BTreeMap, io, path::Path};

use anyhow::{Context, Result, bail};
use nix::net::if_::if_nametoindex;
use serde::{Deserialize, Serialize};

use super::{
    ethtool,
    saved::{Saved, by_current_names, current_name},
};
use vipd_system::{Problems, resources::is_shortage};

/// Interface, to the setting before vipd.
type Originals = BTreeMap<String, Original>;

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "SettingState")]
struct Original {
    on: bool,
    /// An interface may have another name by now.
    ifindex: u32,
}

/// As it is in the file.
#[derive(Deserialize)]
#[serde(untagged)]
enum SettingState {
    Original {
        on: bool,
        ifindex: u32,
    },
    /// By an earlier version.
    Setting(bool),
}

impl From<SettingState> for Original {
    fn from(written: SettingState) -> Self {
        match written {
            SettingState::Original { on, ifindex } => Self { on, ifindex },
            SettingState::Setting(on) => Self { on, ifindex: 0 },
        }
    }
}

#[derive(Debug)]
pub(super) struct RxVlan {
    saved: Saved<Originals>,
}

impl RxVlan {
    pub const FILE: &str = "rx_vlan.json";

    pub fn new(state_dir: &Path) -> Self {
        Self { saved: Saved::new(state_dir, Self::FILE) }
    }

    /// Writes the file again if somebody has removed it.
    pub fn restore_file(&self) -> Result<Option<String>> {
        self.saved.restore()
    }

    /// The interfaces whose setting is another than before vipd, and what it was.
    pub fn changed(&self) -> Result<Vec<(String, bool)>> {
        let differs = |(name, original): &(String, Original)| get(name).is_ok_and(|now| now != original.on);
        Ok(self
            .originals()?
            .into_iter()
            .filter(differs)
            .map(|(name, original)| (name, original.on))
            .collect())
    }

    pub fn set(&self, interface: &str, on: bool) -> Result<()> {
        let current = get(interface).with_context(|| format!("rx-vlan-offload of {interface}"))?;
        if current == on {
            return Ok(());
        }
        let mut originals = self.originals()?;
        let ifindex = if_nametoindex(interface).with_context(|| format!("interface {interface}"))?;
        // First remembered, then changed. An original from before a crash is the true one.
        originals.entry(interface.to_owned()).or_insert(Original { on: current, ifindex });
        self.saved.save(&originals)?;
        let result = set(interface, on);
        let now = if result.is_ok() { on } else { current };
        if originals.get(interface).is_some_and(|original| original.on == now) {
            originals.remove(interface);
            self.saved.save(&originals)?;
        }
        result
    }

    /// Turns the stripping off again where somebody has turned it on; returns whether somebody had. An interface that is gone
    /// strips nothing. A host that is short of descriptors cannot be asked at the moment: that is no reason to give the interface up.
    pub fn keep_off(&self, interface: &str) -> Result<bool> {
        match get(interface) {
            Ok(false) => Ok(false),
            Ok(true) => self.set(interface, false).map(|()| true),
            Err(error) if error.raw_os_error() == Some(libc::ENODEV) || is_shortage(&error) => Ok(false),
            Err(error) => Err(error).with_context(|| format!("rx-vlan-offload of {interface}")),
        }
    }

    /// Restores the setting of one interface, if it was changed.
    pub fn restore_one(&self, interface: &str) -> Result<()> {
        match self.originals()?.get(interface) {
            Some(original) => self.set(interface, original.on),
            None => Ok(()),
        }
    }

    /// Restores what was changed and deletes the file. Goes on after an error; an interface that is gone needs nothing.
    pub fn restore(&self) -> Result<()> {
        let mut problems = Problems::default();
        let mut failed = Originals::new();
        let originals = self.originals()?;
        for (interface, &original) in &originals {
            let restored = restore_at(interface, original);
            if restored.is_err() {
                failed.insert(interface.clone(), original);
            }
            problems.note(restored);
        }
        problems.note(self.saved.save(&failed));
        problems.into_result()
    }

    /// What was saved, by the names that the interfaces have now; those that are gone need nothing.
    fn originals(&self) -> Result<Originals> {
        by_current_names(self.saved.load()?, |original| original.ifindex)
    }
}

/// An interface that is renamed meanwhile is restored under its new name.
fn restore_at(interface: &str, original: Original) -> Result<()> {
    let mut name = interface.to_owned();
    loop {
        let restored = match get(&name) {
            Ok(current) if current == original.on => Ok(()),
            Ok(_) => set(&name, original.on),
            Err(error) => Err(error).with_context(|| format!("rx-vlan-offload of {name}")),
        };
        match current_name(&name, original.ifindex)? {
            Some(now) if now != name => name = now,
            Some(_) => return restored,
            None => return Ok(()),
        }
    }
}

pub(super) fn get(interface: &str) -> io::Result<bool> {
    Ok(ethtool::flags(interface)? & ETH_FLAG_RXVLAN != 0)
}

fn set(interface: &str, on: bool) -> Result<()> {
    let (name, consequence) = if on {
        ("on", "it stays as vipd set it")
    } else {
        ("off", "with it on, XDP sees frames without their tags, and two VLANs of the interface look alike")
    };
    let what = || {
        format!(
            "rx-vlan-offload of {interface} cannot be turned {name}: {consequence} \
             (try `ethtool -K {interface} rxvlan {name}`; if the driver has it fixed, use another interface)"
        )
    };
    let flags = ethtool::flags(interface).with_context(what)?;
    let wanted = if on { flags | ETH_FLAG_RXVLAN } else { flags & !ETH_FLAG_RXVLAN };
    ethtool::set_flags(interface, wanted).with_context(what)?;
    // Some drivers take the wish and keep their setting.
    if get(interface).with_context(what)? != on {
        bail!("{}", what());
    }
    Ok(())
}

// linux/ethtool.h.
const ETH_FLAG_RXVLAN: u32 = 1 << 8;
