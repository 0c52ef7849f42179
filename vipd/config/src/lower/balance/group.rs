//! `virtual_server_group`: addresses, ranges of them, and firewall marks that share their servers.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use vipd_balance::{ServiceAddress, TransportProtocol};
use vipd_common::Family;

use super::{
    context::{ADDRESSES_MAX, BalanceContext, GroupEntry, GroupMembers, ServiceGroup},
    placed::PlacedStatement,
};
use crate::{
    schema::{value::Value, words},
    syntax::{diagnostic::Code, report::fit},
};

impl<'b> BalanceContext<'b> {
    pub fn group(&mut self, block: PlacedStatement<'b>) {
        let Some(name) = block.text() else { return };
        let entry = |placed: PlacedStatement<'b>| Some(GroupEntry { members: members(placed)?, placed });
        let entries = block.inside(None).iter().filter_map(entry).collect();
        // Of two with one name it is said already.
        self.groups.entry(name).or_insert(ServiceGroup { entries });
    }

    /// The addresses of a group, ranges written out; `family`: of marks that do not say theirs.
    pub fn members(
        &mut self,
        name: &str,
        protocol: TransportProtocol,
        family: Family,
    ) -> Vec<ServiceAddress> {
        let entries = self.groups.get(name).map(|group| group.entries.clone()).unwrap_or_default();
        let mut addresses = Vec::new();
        for GroupEntry { placed, members } in entries {
            if members.family().is_some_and(|of_entry| of_entry != family) {
                let message = format!("the addresses of group `{}` are of both families", fit(name));
                let hint = "the servers of a group are of one family: write another group for the other";
                self.report.error_hint(Code::MixedFamilies, placed.value_at(0), message, hint);
                continue;
            }
            match members {
                GroupMembers::Mark { mark, .. } => addresses.push(ServiceAddress::Mark { mark, family }),
                GroupMembers::Addresses { first, last, port } => {
                    let count = count(first, last).filter(|count| *count <= self.addresses_left);
                    let Some(count) = count else {
                        let message =
                            format!("the groups of this file have more than {} addresses", ADDRESSES_MAX);
                        let hint = "each is a service of its own: mark the packets and write `fwmark`";
                        self.report.error_hint(Code::TooMany, placed.value_at(0), message, hint);
                        continue;
                    };
                    self.addresses_left -= count;
                    let socket = |address| ServiceAddress::Socket { protocol, address, port };
                    addresses.extend(all(first, last).map(socket));
                }
            }
        }
        addresses
    }
}

fn members(line: PlacedStatement<'_>) -> Option<GroupMembers> {
    match line.statement.values.as_slice() {
        [Value::Word("fwmark"), Value::Number(mark), rest @ ..] => Some(GroupMembers::Mark {
            mark: u32::try_from(*mark).ok()?,
            family: match rest.first() {
                Some(Value::Word("inet")) => Some(Family::V4),
                Some(Value::Word("inet6")) => Some(Family::V6),
                _ => None,
            },
        }),
        [Value::Text(range), rest @ ..] => {
            let (first, last) = bounds(range)?;
            let port = match rest.first() {
                Some(Value::Number(port)) => u16::try_from(*port).ok()?,
                _ => 0,
            };
            Some(GroupMembers::Addresses { first, last, port })
        }
        _ => None,
    }
}

/// The first and the last address of a range that `Range` has read.
fn bounds(range: &str) -> Option<(IpAddr, IpAddr)> {
    let Some((first, last)) = range.split_once('-') else {
        let (address, len) = words::prefix(range, words::address).ok()?;
        return Some(match address {
            IpAddr::V4(v4) => {
                let host = u32::MAX.checked_shr(len.into()).unwrap_or(0);
                (
                    Ipv4Addr::from_bits(v4.to_bits() & !host).into(),
                    Ipv4Addr::from_bits(v4.to_bits() | host).into(),
                )
            }
            IpAddr::V6(v6) => {
                let host = u128::MAX.checked_shr(len.into()).unwrap_or(0);
                (
                    Ipv6Addr::from_bits(v6.to_bits() & !host).into(),
                    Ipv6Addr::from_bits(v6.to_bits() | host).into(),
                )
            }
        });
    };
    let first = words::address(first).ok()?;
    let last = match (words::address(last), first) {
        (Ok(last), _) => last,
        (Err(_), IpAddr::V4(v4)) => {
            let octet = last.parse::<u8>().ok()?;
            Ipv4Addr::from_bits(v4.to_bits() & !0xff | u32::from(octet)).into()
        }
        (Err(_), IpAddr::V6(v6)) => {
            let group = u16::from_str_radix(last, 16).ok()?;
            Ipv6Addr::from_bits(v6.to_bits() & !0xffff | u128::from(group)).into()
        }
    };
    Some((first, last))
}

/// `None`: more than can be counted.
fn count(first: IpAddr, last: IpAddr) -> Option<usize> {
    let (first, last) = (bits(first), bits(last));
    usize::try_from(last.checked_sub(first)?).ok()?.checked_add(1)
}

fn all(first: IpAddr, last: IpAddr) -> impl Iterator<Item = IpAddr> {
    let is_v4 = first.is_ipv4();
    (bits(first)..=bits(last)).filter_map(move |bits| match is_v4 {
        true => Some(Ipv4Addr::from_bits(u32::try_from(bits).ok()?).into()),
        false => Some(Ipv6Addr::from_bits(bits).into()),
    })
}

fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => v4.to_bits().into(),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}
