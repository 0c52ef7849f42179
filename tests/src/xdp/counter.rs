//! A program that counts frames of one kind and drops them.

use std::os::fd::{AsRawFd, OwnedFd};

use anyhow::{Context, Result};

use super::{
    Link, Program, XDP_PASS, bpf, fd_u32,
    instructions::{EXIT, check_length, instruction},
    syscall,
};
use crate::Netns;

/// Counts, and drops, frames that have all of the given big-endian words; lets others pass.
///
/// Counting in XDP costs the receiver the least: its kernel sees nothing of what is counted.
#[derive(Debug)]
pub struct Counter {
    program: Program,
    map: OwnedFd,
}

impl Counter {
    /// For frames that have each word at its offset from the Ethernet header, in octets.
    pub fn new(words: &[(u16, u16)]) -> Result<Self> {
        let create = MapCreate {
            map_type: BPF_MAP_TYPE_ARRAY,
            key_size: 4,
            value_size: 8,
            max_entries: 1,
            rest: [0; 14],
        };
        let map = bpf(BPF_MAP_CREATE, &create).context("BPF_MAP_CREATE")?;
        let program = Program::load(&instructions(words, &map)).context("the counting program")?;
        Ok(Self { program, map })
    }

    /// Attaches natively to an interface of a namespace.
    pub fn attach(&self, ns: &Netns, ifname: &str) -> Result<Link> {
        self.program.attach(ns, ifname)
    }

    /// How many frames there have been since the program was loaded.
    pub fn count(&self) -> Result<u64> {
        let (key, mut value) = (0_u32, 0_u64);
        let attr = MapLookup {
            map_fd: fd_u32(&self.map),
            reserved: 0,
            key: (&raw const key) as u64,
            value: (&raw mut value) as u64,
            flags: 0,
        };
        syscall(BPF_MAP_LOOKUP_ELEM, &attr).context("BPF_MAP_LOOKUP_ELEM")?;
        Ok(value)
    }
}

fn instructions(words: &[(u16, u16)], map: &OwnedFd) -> Vec<u64> {
    let length = words.iter().map(|(offset, _)| u32::from(*offset) + 2).max().unwrap_or(0);
    // After each comparison: the comparisons that follow, with their loads, and the counting.
    let to_exit = |following: usize| (2 * following + COUNTING) as u16;
    let mut program = vec![instruction(0xb7, 0, 0, 0, XDP_PASS.cast_unsigned())]; // r0 = XDP_PASS
    program.extend(check_length(1, length, to_exit(words.len()).into()));
    for (i, (offset, word)) in words.iter().enumerate() {
        program.push(instruction(0x69, 5, 2, *offset, 0)); // r5 = word at offset
        program.push(instruction(0x55, 5, 0, to_exit(words.len() - 1 - i), u32::from(word.to_be()))); // if r5 != word goto exit
    }
    let counting: [u64; COUNTING] = [
        instruction(0x18, 1, BPF_PSEUDO_MAP_VALUE, 0, map.as_raw_fd().cast_unsigned()), // r1 = &map[0]
        0,
        instruction(0xb7, 2, 0, 0, 1),        // r2 = 1
        instruction(0xdb, 1, 2, 0, 0),        // lock *r1 += r2
        instruction(0xb7, 0, 0, 0, XDP_DROP), // r0 = XDP_DROP
    ];
    program.extend(counting);
    program.push(EXIT);
    program
}

/// The start of `union bpf_attr` for `BPF_MAP_CREATE`.
#[repr(C)]
struct MapCreate {
    map_type: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    rest: [u32; 14],
}

/// `union bpf_attr` for `BPF_MAP_LOOKUP_ELEM`.
#[repr(C)]
struct MapLookup {
    map_fd: u32,
    reserved: u32,
    key: u64,
    value: u64,
    flags: u64,
}

/// Instructions between the last comparison and the exit.
const COUNTING: usize = 5;
const BPF_MAP_CREATE: libc::c_int = 0;
const BPF_MAP_LOOKUP_ELEM: libc::c_int = 1;
const BPF_MAP_TYPE_ARRAY: u32 = 2;
const BPF_PSEUDO_MAP_VALUE: u8 = 2;
const XDP_DROP: u32 = 1;
