//! What the kernel lets through to a socket on a port of BFD: packets of neighbors of sessions whose TTL suffices, so that nobody else's wake the
//! thread. Of a neighbor's packets whose TTL is too low one in 16 gets through, and is counted: the status is to say why a session is not up.

use std::{collections::BTreeMap, net::IpAddr};

use socket2::SockFilter;

/// Neighbors of one family, each with the least TTL or hop limit that its packets may have.
pub type Sources = BTreeMap<IpAddr, u8>;

/// The program for a socket of that family.
pub fn program(v4: bool, sources: &Sources) -> Vec<SockFilter> {
    let (address, hop_limit) = if v4 { (12, 8) } else { (8, 7) };
    let mut program = Vec::new();
    for (source, least) in sources {
        let words = words(*source);
        let rest = judged(hop_limit, *least);
        for (nth, word) in words.iter().enumerate() {
            let left = 2 * (words.len() - nth - 1) + rest.len();
            program.push(load_word(NETWORK.wrapping_add(address + 4 * nth as u32)));
            program.push(unless_equal(*word, left as u8));
        }
        program.extend(rest);
    }
    program.push(DROP);
    program
}

/// The same without the neighbors, which may be too many for the kernel.
pub fn program_by_hop_limit(v4: bool, sources: &Sources) -> Vec<SockFilter> {
    let least = sources.values().copied().min().unwrap_or(u8::MAX);
    judged(if v4 { 8 } else { 7 }, least)
}

/// Takes a packet with that hop limit, and one in 16 of others.
fn judged(at: u32, least: u8) -> Vec<SockFilter> {
    // linux/bpf_common.h, linux/filter.h: BPF_LD | BPF_B | BPF_ABS; BPF_JMP | BPF_JGE and BPF_JSET, with BPF_K.
    vec![
        SockFilter::new(0x30, 0, 0, NETWORK.wrapping_add(at)),
        SockFilter::new(0x35, 0, 1, least.into()),
        TAKE,
        load_word(RANDOM),
        SockFilter::new(0x45, 0, 1, 0xf),
        DROP,
        TAKE,
    ]
}

fn words(address: IpAddr) -> Vec<u32> {
    match address {
        IpAddr::V4(v4) => vec![v4.to_bits()],
        IpAddr::V6(v6) => {
            let bits = v6.to_bits();
            [96, 64, 32, 0].map(|shift| (bits >> shift) as u32).to_vec()
        }
    }
}

/// BPF_LD | BPF_W | BPF_ABS.
fn load_word(at: u32) -> SockFilter {
    SockFilter::new(0x20, 0, 0, at)
}

/// BPF_JMP | BPF_JEQ | BPF_K: skips so many instructions.
fn unless_equal(word: u32, skip: u8) -> SockFilter {
    SockFilter::new(0x15, 0, skip, word)
}

/// SKF_NET_OFF: offsets from the IP header.
const NETWORK: u32 = -0x10_0000i32 as u32;
/// SKF_AD_OFF + SKF_AD_RANDOM: a random number.
const RANDOM: u32 = (-0x1000i32 + 56) as u32;
/// BPF_RET | BPF_K.
const TAKE: SockFilter = SockFilter::new(0x06, 0, 0, u32::MAX);
const DROP: SockFilter = SockFilter::new(0x06, 0, 0, 0);
