//! A fuzzer's octets as values. What runs out reads as zero, so every input means something and small ones stay small.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

pub struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    pub fn new(octets: &'a [u8]) -> Self {
        Self(octets)
    }

    pub fn array<const N: usize>(&mut self) -> [u8; N] {
        let mut array = [0; N];
        let (taken, rest) = self.0.split_at(N.min(self.0.len()));
        array[..taken.len()].copy_from_slice(taken);
        self.0 = rest;
        array
    }

    pub fn u8(&mut self) -> u8 {
        u8::from_be_bytes(self.array())
    }

    pub fn u16(&mut self) -> u16 {
        u16::from_be_bytes(self.array())
    }

    pub fn u32(&mut self) -> u32 {
        u32::from_be_bytes(self.array())
    }

    pub fn bool(&mut self) -> bool {
        self.u8() & 1 != 0
    }

    pub fn ipv4(&mut self) -> Ipv4Addr {
        self.array::<4>().into()
    }

    pub fn ipv6(&mut self) -> Ipv6Addr {
        self.array::<16>().into()
    }

    pub fn address(&mut self, v6: bool) -> IpAddr {
        if v6 { self.ipv6().into() } else { self.ipv4().into() }
    }
}
