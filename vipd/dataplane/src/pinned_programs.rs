//! Verified programs, pinned beside the maps, so that the next vipd does not wait for the kernel's verifier.
//!
//! A pin's name says what was verified: a digest of the object and of the ids of the maps that it was loaded with, then the kernel's
//! tag, which is a hash of the instructions. A pin is used only if the name is the one that this vipd would give, and if the
//! program behind it has that tag, the type, the name and these maps. Anything else is verified anew.

use std::{
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    io,
    path::PathBuf,
};

use anyhow::{Context, Result, ensure};
use aya::{maps::MapInfo, programs::ProgramInfo};

use super::{pins::PinDir, sys};

/// What the name of every such pin begins with.
const PREFIX: &str = "program-";

/// A program as this vipd has it.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'o> {
    /// As `bpftool prog show` prints it.
    pub name: &'static str,
    /// Of `enum bpf_prog_type`.
    pub kind: u32,
    pub object: &'o [u8],
}

impl Candidate<'_> {
    /// Where it is pinned, verified; `None`: it is not, or what is there is not it.
    pub fn find(&self, pins: &PinDir) -> Option<PathBuf> {
        let begin = self.begin(pins).ok()?;
        let named = named(pins).ok()?.into_iter().find(|name| name.starts_with(&begin))?;
        let path = pins.path().join(&named);
        match self.check(&path, &named[begin.len()..], pins) {
            Ok(()) => Some(path),
            Err(error) => {
                tracing::warn!(
                    path = %path.display(),
                    error = format!("{error:#}"),
                    "a pinned program is not what its name says; it is verified anew"
                );
                None
            }
        }
    }

    /// Where it is to be pinned now that the kernel has verified it.
    pub fn place(&self, pins: &PinDir, verified: &ProgramInfo) -> Result<PathBuf> {
        let path = pins.path().join(format!("{}{:016x}", self.begin(pins)?, verified.tag()));
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("unpin {}", path.display()))
            }
            _ => Ok(path),
        }
    }

    /// The name without the tag.
    fn begin(&self, pins: &PinDir) -> Result<String> {
        let mut digest = DefaultHasher::new();
        self.object.hash(&mut digest);
        map_ids(pins)?.hash(&mut digest);
        Ok(format!("{PREFIX}{}-{:016x}-", self.name, digest.finish()))
    }

    fn check(&self, path: &PathBuf, tag: &str, pins: &PinDir) -> Result<()> {
        // A link would lead to another program's pin.
        ensure!(fs::symlink_metadata(path)?.is_file(), "it is no pin");
        let info = ProgramInfo::from_pin(path)?;
        ensure!(format!("{:016x}", info.tag()) == tag, "its tag is {:016x}", info.tag());
        ensure!(info.name_as_str() == Some(self.name), "its name is {:?}", info.name_as_str());
        let kind = info.program_type() as u32;
        ensure!(kind == self.kind, "it is a program of type {kind}");
        let used = sys::maps_of_pinned_program(path).context("look at the maps that it uses")?;
        for name in ESSENTIAL {
            let id = MapInfo::from_pin(pins.path().join(name))?.id();
            ensure!(used.contains(&id), "it does not use {name}");
        }
        Ok(())
    }
}

/// Maps that a program of vipd uses whatever it does.
const ESSENTIAL: [&str; 3] = ["LEASES", "VIPS", "INSTANCES"];

/// The ids of all pinned maps: a program that was verified with others reads and writes those others.
fn map_ids(pins: &PinDir) -> Result<Vec<u32>> {
    pins.maps().map(|(_, path)| Ok(MapInfo::from_pin(path)?.id())).collect()
}

/// Names of the pinned programs.
fn named(pins: &PinDir) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(pins.path())? {
        names.extend(entry?.file_name().into_string().ok().filter(|name| is_program(name)));
    }
    Ok(names)
}

/// Whether a pin of this name is one of a verified program.
pub fn is_program(name: &str) -> bool {
    name.starts_with(PREFIX)
}

/// Unpins the programs but for those at these places.
pub fn remove_others(pins: &PinDir, kept: &[&PathBuf]) -> Result<()> {
    for name in named(pins).context("list pinned programs")? {
        let path = pins.path().join(name);
        if !kept.contains(&&path) {
            fs::remove_file(&path).with_context(|| format!("unpin {}", path.display()))?;
        }
    }
    Ok(())
}
