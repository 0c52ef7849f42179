//! What vipds of whatever version have left attached and pinned: found, and removed, without making anything.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use aya::{
    maps::MapInfo,
    programs::{ProgramInfo, SchedClassifier, TcAttachType, loaded_programs},
};
use nix::{errno::Errno, net::if_::if_nameindex, sys::stat::lstat};

use super::{
    attachment::{FILTER_HANDLE, FILTER_PRIORITY, Pin},
    clsact, pin_dirs,
    pinned_programs::is_program,
    predecessor::Predecessor,
    programs::{TC_PROGRAM, XDP_PROGRAM},
    sys,
};
use vipd_system::{
    Problems,
    interface_names::name_of,
    leftover::{Leftover, LeftoverKind},
    processes::Process,
};

/// Everything of vipd's in a BPF file system and at this network namespace's interfaces, programs first. `xdp`: the ids of the XDP
/// programs of the interfaces, by their indexes.
///
/// # Errors
///
/// What is there cannot be read.
pub fn leftovers(bpffs: &Path, xdp: &BTreeMap<u32, u32>) -> Result<Vec<Leftover>> {
    let (mut found, mut filters, mut pinned_on) = (Vec::new(), BTreeSet::new(), BTreeSet::new());
    for dir in versions(bpffs)? {
        let (mut others, mut programs) = (0, 0);
        for path in entries(&dir)? {
            match attachment(&path) {
                Some((pin, ifindex)) => {
                    pinned_on.insert(ifindex);
                    if matches!(pin, Pin::Filter | Pin::Qdisc) {
                        filters.insert(ifindex);
                    }
                    found.push(program(&path, pin, ifindex));
                }
                None if path.file_name().and_then(|name| name.to_str()).is_some_and(is_program) => {
                    programs += 1
                }
                None => others += 1,
            }
        }
        let fix = format!("rm -r {}", dir.display());
        let programs = match programs {
            0 => String::new(),
            1 => " and a verified program".to_owned(),
            _ => format!(" and {programs} verified programs"),
        };
        let what = format!("{others} pinned maps{programs} in {}", dir.display());
        found.push(Leftover::new(LeftoverKind::Pins, what, fix));
    }
    let unpinned = our_filters()?.into_iter().filter(|(ifindex, _)| !filters.contains(ifindex));
    found.extend(unpinned.map(|(_, name)| {
        let fix = format!(
            "tc filter del dev {name} ingress pref {FILTER_PRIORITY} handle {:#x} bpf",
            u32::from(FILTER_HANDLE)
        );
        Leftover::new(LeftoverKind::Program, format!("tc filter of {name}, whose pin is gone"), fix)
    }));
    found.extend(pinned_elsewhere(&pinned_on, xdp)?);
    Ok(found)
}

/// Programs at interfaces that no pin of this BPF file system holds.
fn pinned_elsewhere(pinned_on: &BTreeSet<u32>, xdp: &BTreeMap<u32, u32>) -> Result<Vec<Leftover>> {
    let is_ours = |program: &ProgramInfo| matches!(program.name_as_str(), Some(XDP_PROGRAM | TC_PROGRAM));
    let ours: BTreeSet<u32> =
        loaded_programs().flatten().filter(is_ours).map(|program| program.id()).collect();
    let mut found = Vec::new();
    for interface in &if_nameindex().context("list interfaces")? {
        let (ifindex, name) = (interface.index(), interface.name().to_string_lossy().into_owned());
        if ours.is_empty() || pinned_on.contains(&ifindex) {
            continue;
        }
        // A kernel before 6.6 has no tcx, and its filters are found by their number.
        let tcx = SchedClassifier::query_tcx(&name, TcAttachType::Ingress);
        let at_tc =
            tcx.is_ok_and(|(_, programs)| programs.iter().any(|program| ours.contains(&program.id())));
        for (kind, is_there) in
            [("XDP", xdp.get(&ifindex).is_some_and(|id| ours.contains(id))), ("tc", at_tc)]
        {
            if is_there {
                let what = format!("{kind} program on {name}, of a vipd with another --bpffs-dir");
                let fix = "vipd cleanup --bpffs-dir DIR, with the directory of that vipd".to_owned();
                found.push(Leftover::new(LeftoverKind::Program, what, fix));
            }
        }
    }
    Ok(found)
}

/// Detaches the programs of every version, then removes all pins, then the directories. Goes on after an error.
///
/// While local routes for VIPs stand, the kernel answers for them from then on.
pub fn remove_leftovers(bpffs: &Path) -> Result<()> {
    let mut problems = Problems::default();
    for dir in versions(bpffs)? {
        problems.note(Predecessor::at(dir).remove());
    }
    for (ifindex, name) in our_filters()? {
        let removed = Pin::remove_unpinned_filter(ifindex);
        problems.note(removed.with_context(|| format!("remove the tc filter of {name}")));
    }
    // The directory for the versions may have something of the operator's in it, and the one above may be the operator's.
    pin_dirs::remove_empty(&bpffs.join("vipd"));
    problems.into_result()
}

/// A process that has one of the pinned maps open: a vipd that runs, in whatever network namespace.
pub fn user_of_pins(bpffs: &Path) -> Result<Option<u32>> {
    let mut maps = BTreeSet::new();
    for dir in versions(bpffs)? {
        let paths = entries(&dir)?.into_iter().filter(|path| attachment(path).is_none());
        // A pin that is no map has no id.
        maps.extend(paths.filter_map(|path| MapInfo::from_pin(path).ok()).map(|info| info.id()));
    }
    let uses = |process: &Process| process.maps().iter().any(|id| maps.contains(id));
    let others = Process::all().filter(|process| process.id() != std::process::id());
    Ok(if maps.is_empty() { None } else { others.filter(uses).map(|process| process.id()).next() })
}

/// The pin directories of all versions; those only that nobody else can have made.
fn versions(bpffs: &Path) -> Result<Vec<PathBuf>> {
    let vipd = bpffs.join("vipd");
    match lstat(&vipd) {
        Ok(found) if pin_dirs::is_own(&found) => {}
        // Somebody else's.
        Ok(_) | Err(Errno::ENOENT | Errno::ENOTDIR) => return Ok(Vec::new()),
        Err(error) => return Err(error).with_context(|| format!("look for {}", vipd.display())),
    }
    let is_version = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str());
        name.is_some_and(|name| pin_dirs::version(name).is_some())
            && lstat(path).is_ok_and(|found| pin_dirs::is_own(&found))
    };
    Ok(entries(&vipd)?.into_iter().filter(is_version).collect())
}

/// In the order of their names.
fn entries(dir: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(dir).and_then(|entries| {
        entries.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<Vec<PathBuf>>>()
    });
    let mut entries = entries.with_context(|| format!("list {}", dir.display()))?;
    entries.sort();
    Ok(entries)
}

fn attachment(path: &Path) -> Option<(Pin, u32)> {
    Pin::parse(path.file_name()?.to_str()?)
}

/// A program, where its pin says that it is.
fn program(path: &Path, pin: Pin, ifindex: u32) -> Leftover {
    let on = match pin {
        Pin::Xdp | Pin::Tcx if !path.is_symlink() => {
            sys::pinned(path).and_then(sys::link_info).map_or(ifindex, |info| info.ifindex)
        }
        _ => ifindex,
    };
    let kind = match pin {
        Pin::Xdp => "XDP program",
        Pin::Tcx | Pin::Filter | Pin::Qdisc => "tc program",
    };
    let what = match name_of(on).ok().flatten() {
        Some(name) => format!("{kind} on {name} ({})", path.display()),
        None => format!("{kind} of interface {ifindex}, which is gone ({})", path.display()),
    };
    let fix = match pin {
        Pin::Xdp | Pin::Tcx => {
            format!("bpftool link detach pinned {path}; rm {path}", path = path.display())
        }
        Pin::Filter | Pin::Qdisc => {
            let name = name_of(on).ok().flatten().unwrap_or_else(|| on.to_string());
            format!("tc filter del dev {name} ingress pref {FILTER_PRIORITY}; rm {}", path.display())
        }
    };
    Leftover::new(LeftoverKind::Program, what, fix)
}

/// Filters of vipd's (before Linux 6.6) at interfaces of this network namespace. They outlive a BPF file system that was unmounted, and
/// with it the pins that say who made them.
fn our_filters() -> Result<Vec<(u32, String)>> {
    let mut found = Vec::new();
    for interface in &if_nameindex().context("list interfaces")? {
        let (ifindex, name) = (interface.index(), interface.name().to_string_lossy().into_owned());
        if clsact::has_filter(ifindex, FILTER_PRIORITY, FILTER_HANDLE.into()).unwrap_or(false) {
            found.push((ifindex, name));
        }
    }
    Ok(found)
}
