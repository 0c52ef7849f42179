//! The ways in which the program is attached to an interface, and what of each is pinned.

use std::{fs, io, path::Path};

use anyhow::{Context, Result};
use aya::programs::{
    TcAttachType,
    tc::{SchedClassifierLink, TcHandle},
};

use super::{clsact, sys};
use vipd_system::interface_names::name_of;

/// Where the program runs for an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// XDP in the driver.
    Native,
    /// tc ingress, on the logical interface.
    Tc,
}

impl Mode {
    /// As status and metrics name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Tc => "tc",
        }
    }
}

/// Which of them is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WantedHook {
    /// Native XDP, or else tc.
    Any,
    /// Native XDP or nothing.
    Native,
    /// tc, for this reason.
    Tc(String),
}

/// How the program is attached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attachment {
    pub mode: Mode,
    /// Why it is not native XDP.
    pub reason: Option<String>,
}

/// How it got there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attached {
    New,
    /// A predecessor's attachment was taken over; its program was replaced atomically.
    Adopted,
}

/// What is pinned of an attachment, under a name with the interface's index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pin {
    /// The link of an XDP program.
    Xdp,
    /// The link of a tc program (tcx, Linux 6.6).
    Tcx,
    /// The tc program, which a filter holds on a clsact qdisc that was there.
    Filter,
    /// As `Filter`, on a clsact qdisc that vipd has made.
    Qdisc,
}

impl Pin {
    const ALL: [Self; 4] = [Self::Xdp, Self::Tcx, Self::Filter, Self::Qdisc];
    pub const TC: [Self; 3] = [Self::Tcx, Self::Filter, Self::Qdisc];

    fn prefix(self) -> &'static str {
        match self {
            Self::Xdp => "link-",
            Self::Tcx => "tcx-",
            Self::Filter => "filter-",
            Self::Qdisc => "qdisc-",
        }
    }

    pub fn name(self, ifindex: u32) -> String {
        format!("{}{ifindex}", self.prefix())
    }

    /// What a pin of this name is, and of which interface.
    pub fn parse(name: &str) -> Option<(Self, u32)> {
        Self::ALL.into_iter().find_map(|pin| Some((pin, name.strip_prefix(pin.prefix())?.parse().ok()?)))
    }

    /// Removes the filter of an interface whose pin is gone; the interface may be gone too.
    pub fn remove_unpinned_filter(ifindex: u32) -> Result<()> {
        remove_filter(ifindex)
    }

    /// Detaches what `path` holds, and removes it.
    pub fn detach(self, path: &Path, ifindex: u32) -> Result<()> {
        if path.is_symlink() {
            // vipd makes none: it would lead to another program's link.
            return fs::remove_file(path).with_context(|| format!("remove {}", path.display()));
        }
        match self {
            Self::Xdp | Self::Tcx => {
                sys::detach_pinned_link(path).with_context(|| format!("detach {}", path.display()))?;
            }
            Self::Filter | Self::Qdisc => {
                remove_filter(ifindex)
                    .with_context(|| format!("remove the tc filter of interface {ifindex}"))?;
            }
        }
        if self == Self::Qdisc {
            clsact::remove_if_unused(ifindex)
                .with_context(|| format!("remove the clsact qdisc of interface {ifindex}"))?;
        }
        fs::remove_file(path).with_context(|| format!("unpin {}", path.display()))
    }
}

/// Priority of the filter: before any other's.
pub const FILTER_PRIORITY: u16 = 1;
/// Handle of the filter, by which it is found again: "vipd".
pub const FILTER_HANDLE: TcHandle = TcHandle::new(0x7669, 0x7064);

/// The filter on an interface, whether it is there or not; removed when this is dropped.
pub fn filter(interface: &str) -> io::Result<SchedClassifierLink> {
    SchedClassifierLink::attached(interface, TcAttachType::Ingress, FILTER_PRIORITY, FILTER_HANDLE, None)
}

fn remove_filter(ifindex: u32) -> Result<()> {
    // With the interface the filter is gone.
    let Some(name) = name_of(ifindex)? else { return Ok(()) };
    // Whoever has removed it before us did what was to be done.
    drop(filter(&name)?);
    Ok(())
}
