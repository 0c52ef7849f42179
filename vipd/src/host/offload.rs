//! Stripping of VLAN tags by a NIC on reception (`ethtool -K IF rxvlan on|off`).
//!
//! With it on, XDP sees frames whose tag is gone already and cannot tell two VLANs of an interface apart.

use std::{
    collections::BTreeMap,
    io, mem,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
    path::Path,
    ptr,
};

use anyhow::{Context, Result, bail};
use nix::net::if_::if_nametoindex;
use serde::{Deserialize, Serialize};

use super::{
    netlink::Problems,
    saved::{Saved, current_name},
};

/// Interface, to the setting before vipd.
type Originals = BTreeMap<String, Original>;

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "Written")]
struct Original {
    on: bool,
    /// An interface may have another name by now.
    ifindex: u32,
}

/// As it is in the file.
#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    Original {
        on: bool,
        ifindex: u32,
    },
    /// By an earlier version.
    Setting(bool),
}

impl From<Written> for Original {
    fn from(written: Written) -> Self {
        match written {
            Written::Original { on, ifindex } => Self { on, ifindex },
            Written::Setting(on) => Self { on, ifindex: 0 },
        }
    }
}

#[derive(Debug)]
pub(super) struct RxVlan {
    saved: Saved<Originals>,
}

impl RxVlan {
    pub fn new(state_dir: &Path) -> Self {
        Self { saved: Saved::new(state_dir, "rx_vlan.json") }
    }

    pub fn set(&self, interface: &str, on: bool) -> Result<()> {
        let current = get(interface).with_context(|| format!("rx-vlan-offload of {interface}"))?;
        if current == on {
            return Ok(());
        }
        let mut originals = self.originals();
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
    /// strips nothing.
    pub fn keep_off(&self, interface: &str) -> Result<bool> {
        match get(interface) {
            Ok(false) => Ok(false),
            Ok(true) => self.set(interface, false).map(|()| true),
            Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Ok(false),
            Err(error) => Err(error).with_context(|| format!("rx-vlan-offload of {interface}")),
        }
    }

    /// Restores the setting of one interface, if it was changed.
    pub fn restore_one(&self, interface: &str) -> Result<()> {
        match self.originals().get(interface) {
            Some(original) => self.set(interface, original.on),
            None => Ok(()),
        }
    }

    /// Restores what was changed and deletes the file. Goes on after an error; an interface that is gone needs nothing.
    pub fn restore(&self) -> Result<()> {
        let mut problems = Problems::default();
        let mut failed = Originals::new();
        let originals = self.originals();
        for (interface, &original) in &originals {
            let on = original.on;
            let restored = match get(interface) {
                Ok(current) if current == on => Ok(()),
                Ok(_) => set(interface, on),
                Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Ok(()),
                Err(error) => Err(error).with_context(|| format!("rx-vlan-offload of {interface}")),
            };
            if restored.is_err() {
                failed.insert(interface.clone(), original);
            }
            problems.note(restored);
        }
        problems.note(self.saved.save(&failed));
        problems.into_result()
    }

    /// What was saved, by the names that the interfaces have now; those that are gone need nothing.
    fn originals(&self) -> Originals {
        let named =
            |(name, original): (String, Original)| Some((current_name(&name, original.ifindex)?, original));
        self.saved.load().into_iter().filter_map(named).collect()
    }
}

pub(super) fn get(interface: &str) -> io::Result<bool> {
    Ok(flags(interface)? & ETH_FLAG_RXVLAN != 0)
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
    let flags = flags(interface).with_context(what)?;
    let wanted = if on { flags | ETH_FLAG_RXVLAN } else { flags & !ETH_FLAG_RXVLAN };
    ethtool(interface, ETHTOOL_SFLAGS, wanted).with_context(what)?;
    // Some drivers take the wish and keep their setting.
    if get(interface).with_context(what)? != on {
        bail!("{}", what());
    }
    Ok(())
}

fn flags(interface: &str) -> io::Result<u32> {
    ethtool(interface, ETHTOOL_GFLAGS, 0)
}

/// One request with a value, as `struct ethtool_value`. Returns the value that it leaves.
fn ethtool(interface: &str, command: u32, data: u32) -> io::Result<u32> {
    // SAFETY: socket() takes no pointers.
    let fd = unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor was just made and nobody else has it.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    // SAFETY: all zero is a valid `ifreq`.
    let mut request: libc::ifreq = unsafe { mem::zeroed() };
    if interface.len() >= request.ifr_name.len() {
        return Err(io::Error::from_raw_os_error(libc::ENODEV));
    }
    for (to, from) in request.ifr_name.iter_mut().zip(interface.bytes()) {
        *to = from.cast_signed();
    }
    let mut value = [command, data];
    request.ifr_ifru.ifru_data = ptr::from_mut(&mut value).cast();
    // SAFETY: `request` and the two words it points to live through the call, which writes no more than those.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), SIOCETHTOOL, &raw mut request) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(value[1]) }
}

// linux/sockios.h and linux/ethtool.h.
const SIOCETHTOOL: libc::Ioctl = 0x8946;
const ETHTOOL_GFLAGS: u32 = 0x25;
const ETHTOOL_SFLAGS: u32 = 0x26;
const ETH_FLAG_RXVLAN: u32 = 1 << 8;
