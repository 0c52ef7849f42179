//! A program that sends frames of an even length: out of an interface, by the million, at the least cost there is.

use std::cell::Cell;

use anyhow::{Context, Result};
use nix::net::if_::if_nametoindex;

use super::{
    BPF_PROG_TEST_RUN, Program, TestRun, XDP_TX, fd_u32,
    instructions::{EXIT, check_length, instruction},
    syscall,
};
use crate::Netns;

/// Where a frame differs each time: in 16 bits at random.
#[derive(Clone, Copy, Debug)]
pub struct Varying {
    /// Offset of the random word, in octets.
    pub word: u16,
    /// Offset of a word that gets its complement, so that a checksum over both stays as it is. It has to be 0xffff beside a
    /// random word of 0 in the frame given.
    pub complement: Option<u16>,
}

/// Sends frames by `BPF_PROG_TEST_RUN` with live frames (Documentation/bpf/bpf_prog_run.rst, Linux 5.18).
#[derive(Debug)]
pub struct Generator {
    program: Program,
    frame: Vec<u8>,
}

impl Generator {
    /// Of one frame, which may vary.
    pub fn new(frame: Vec<u8>, varying: Option<Varying>) -> Result<Self> {
        let program = Program::load(&instructions(&frame, varying)).context("the sending program")?;
        Ok(Self { program, frame })
    }

    /// Sends the frame out of an interface `count` times. The interface has to have an XDP program itself.
    pub fn send(&self, ns: &Netns, ifname: &str, count: u32) -> Result<()> {
        let length = u32::try_from(self.frame.len()).context("a short frame")?;
        ns.run(|| {
            let ingress_ifindex = if_nametoindex(ifname).with_context(|| format!("no interface {ifname}"))?;
            let context = XdpMd { data_end: length, ingress_ifindex, ..XdpMd::default() };
            let attr = TestRun {
                prog_fd: fd_u32(&self.program.0),
                data_size_in: length,
                data_in: self.frame.as_ptr() as u64,
                repeat: count,
                ctx_size_in: size_of::<XdpMd>() as u32,
                ctx_size_out: Cell::new(0),
                ctx_in: (&raw const context) as u64,
                flags: BPF_F_TEST_XDP_LIVE_FRAMES,
                ..TestRun::default()
            };
            syscall(BPF_PROG_TEST_RUN, &attr).context("BPF_PROG_TEST_RUN with live frames").map(drop)
        })?
    }
}

fn instructions(frame: &[u8], varying: Option<Varying>) -> Vec<u64> {
    // All of the frame each time: its memory comes back with whatever the receiver has written there.
    let mut writes = Vec::new();
    let words = frame.chunks_exact(2).enumerate();
    for (i, word) in words {
        let word = u16::from_ne_bytes([word[0], word[1]]);
        writes.push(instruction(0x6a, 2, 0, 2 * i as u16, word.into())); // *(u16 *)(r2 + 2 i) = word
    }
    if let Some(Varying { word, complement }) = varying {
        writes.push(instruction(0x6b, 2, 0, word, 0)); // *(u16 *)(r2 + word) = r0
        if let Some(complement) = complement {
            writes.push(instruction(0xa7, 0, 0, 0, 0xffff)); // r0 ^= 0xffff
            writes.push(instruction(0x6b, 2, 0, complement, 0)); // *(u16 *)(r2 + complement) = r0
        }
    }
    let mut program = vec![
        instruction(0xbf, 6, 1, 0, 0),                        // r6 = r1
        instruction(0x85, 0, 0, 0, BPF_FUNC_GET_PRANDOM_U32), // r0 = get_prandom_u32()
    ];
    program.extend(check_length(6, frame.len() as u32, writes.len()));
    program.extend(writes);
    program.push(instruction(0xb7, 0, 0, 0, XDP_TX.cast_unsigned())); // r0 = XDP_TX
    program.push(EXIT);
    program
}

/// `struct xdp_md`.
#[repr(C)]
#[derive(Default)]
struct XdpMd {
    data: u32,
    data_end: u32,
    data_meta: u32,
    ingress_ifindex: u32,
    rx_queue_index: u32,
    egress_ifindex: u32,
}

const BPF_FUNC_GET_PRANDOM_U32: u32 = 7;
const BPF_F_TEST_XDP_LIVE_FRAMES: u32 = 1 << 1;
