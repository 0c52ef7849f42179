//! Programs of others that a frame meets before vipd's at tc ingress: they may take it away, and vipd would answer for nobody and hear
//! nobody, while all of its own is in place.
//!
//! Where such a program stands, a program of some instructions counts the frames that reach vipd's place on the interface
//! ([`ArrivalCounter`]). Nobody pays for it where there is none.

use std::{
    collections::HashMap,
    fmt, io,
    os::fd::{AsFd, OwnedFd},
};

use anyhow::{Context, Result};
use aya::programs::loaded_programs;

use super::{programs::Programs, sys};

/// A program of somebody else's that comes before vipd's.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct OtherProgram {
    /// Where it is attached.
    pub hook: &'static str,
    pub id: u32,
    /// `None`: it has none, or this process may not ask (CAP_SYS_ADMIN).
    pub name: Option<String>,
}

impl OtherProgram {
    /// The program with this id, attached there.
    pub fn new(hook: &'static str, id: u32) -> Self {
        let found = loaded_programs().flatten().find(|program| program.id() == id);
        let name = found.and_then(|program| program.name_as_str().map(str::to_owned));
        Self { hook, id, name: name.filter(|name| !name.is_empty()) }
    }
}

impl fmt::Display for OtherProgram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => write!(f, "the {} program {name} with id {}", self.hook, self.id),
            None => write!(f, "the {} program with id {}", self.hook, self.id),
        }
    }
}

/// The ids of the programs at tcx ingress of an interface that come before this link, in their order.
pub(super) fn before_link(ifindex: u32, link: impl AsFd) -> io::Result<Vec<u32>> {
    let own = sys::link_info(link)?.id;
    let before = sys::tcx_ingress(ifindex)?.into_iter().take_while(|(_, link)| *link != own);
    Ok(before.map(|(program, _)| program).collect())
}

/// What counts the frames that reach vipd's programs, by the interface.
#[derive(Default)]
pub(super) struct ArrivalCounters(HashMap<u32, ArrivalCounter>);

impl ArrivalCounters {
    /// The programs of others that come before vipd's at tc ingress of an interface.
    pub fn others_before(&self, ifindex: u32, programs: &Programs) -> Result<Vec<OtherProgram>> {
        let own = self.0.get(&ifindex).map(|counter| counter.program);
        let others = programs.before(ifindex)?.into_iter().filter(|id| Some(*id) != own);
        Ok(others.map(|id| OtherProgram::new("tc", id)).collect())
    }

    /// The frames that have reached vipd's program on an interface since it was asked first; `None`: there is no tcx link of vipd's to
    /// count at, as before Linux 6.6.
    pub fn count(&mut self, ifindex: u32, programs: &Programs) -> Result<Option<u64>> {
        let Some(link) = programs.tcx_link(ifindex) else { return Ok(None) };
        let is_next = |counter: &ArrivalCounter| {
            programs.before(ifindex).is_ok_and(|before| before.last() == Some(&counter.program))
        };
        if !self.0.get(&ifindex).is_some_and(is_next) {
            self.0.remove(&ifindex);
            let counter = ArrivalCounter::before(ifindex, link);
            let counter = counter.with_context(|| format!("count frames on interface {ifindex}"))?;
            self.0.insert(ifindex, counter);
        }
        let counter = self.0.get(&ifindex).context("it was made just now")?;
        Ok(Some(counter.frames().with_context(|| format!("read the count of interface {ifindex}"))?))
    }

    /// Nobody pays for the count any more.
    pub fn stop(&mut self, ifindex: u32) {
        self.0.remove(&ifindex);
    }
}

/// Counts the frames that reach the place before a tcx link of vipd's; dropping it ends that.
pub(super) struct ArrivalCounter {
    map: OwnedFd,
    /// Holds the program on the interface.
    _link: OwnedFd,
    program: u32,
}

impl ArrivalCounter {
    /// Begins with zero, on an interface with this link of vipd's.
    pub fn before(ifindex: u32, link: impl AsFd) -> io::Result<Self> {
        let map = sys::create_array(size_of::<u64>())?;
        let program = sys::load_classifier(&counting(&map)?)?;
        let held = sys::attach_before(&program, ifindex, link)?;
        let program = sys::link_info(&held)?.prog_id;
        Ok(Self { map, _link: held, program })
    }

    /// Frames so far.
    pub fn frames(&self) -> io::Result<u64> {
        let mut value = [0; size_of::<u64>()];
        sys::lookup(&self.map, 0, &mut value)?;
        Ok(u64::from_ne_bytes(value))
    }
}

/// `*lookup(map, 0) += 1; return TC_ACT_UNSPEC`, as the next program's turn is called (linux/bpf.h has the encoding).
fn counting(map: &OwnedFd) -> io::Result<[u64; 11]> {
    const MAP_BY_FD: u64 = 1 << 12;
    const LOOKUP: u64 = 1;
    let step = |code: u64, to: u64, from: u64, offset: i16, value: u32| {
        code | to << 8 | from << 12 | u64::from(offset.cast_unsigned()) << 16 | u64::from(value) << 32
    };
    let map = sys::number(map)?;
    Ok([
        // *(u32 *)(r10 - 4) = 0; r2 = r10 - 4
        step(0x62, 10, 0, -4, 0),
        step(0xbf, 2, 10, 0, 0),
        step(0x07, 2, 0, 0, (-4_i32).cast_unsigned()),
        // r1 = map, in two steps
        step(0x18, 1, 0, 0, map) | MAP_BY_FD,
        step(0x00, 0, 0, 0, 0),
        step(0x85, 0, 0, 0, LOOKUP as u32),
        // if r0 == 0 goto the end
        step(0x15, 0, 0, 2, 0),
        // r1 = 1; lock *(u64 *)(r0 + 0) += r1
        step(0xb7, 1, 0, 0, 1),
        step(0xdb, 0, 1, 0, 0),
        // r0 = TC_ACT_UNSPEC; exit
        step(0xb7, 0, 0, 0, u32::MAX),
        step(0x95, 0, 0, 0, 0),
    ])
}
