//! Notifications about another router or station that acts as the owner of a VIP.

use std::{fmt, net::IpAddr};

use vipd_common::wire::eth::MacAddr;

/// A conflict, for `notify_conflict` and mail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conflict {
    pub kind: ConflictKind,
    /// The claimed VIP; for a rival that advertises, the first of the instance.
    pub vip: IpAddr,
    pub our_mac: MacAddr,
    pub our_address: Option<IpAddr>,
    pub their_mac: MacAddr,
    /// Known only if their adverts were heard.
    pub their_address: Option<IpAddr>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConflictKind {
    SplitBrain,
    SplitBrainOver,
    AddressConflict,
}

impl ConflictKind {
    /// Word for scripts; also the name of the event.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SplitBrain => "split_brain",
            Self::SplitBrainOver => "split_brain_over",
            Self::AddressConflict => "address_conflict",
        }
    }

    /// Title of the mail.
    pub const fn title(self) -> &'static str {
        match self {
            Self::SplitBrain => "Split brain",
            Self::SplitBrainOver => "Split brain over",
            Self::AddressConflict => "Address conflict",
        }
    }
}

impl Conflict {
    /// The arguments appended to those of `notify_conflict`: kind, instance, VIP, our MAC and address,
    /// their MAC and address; `-` for an address that is not known.
    pub fn arguments(&self, instance: &str) -> [String; 7] {
        let Self { kind, vip, our_mac, our_address, their_mac, their_address } = self;
        let known = |address: &Option<IpAddr>| address.map_or("-".to_owned(), |address| address.to_string());
        [
            kind.as_str().to_owned(),
            instance.to_owned(),
            vip.to_string(),
            our_mac.to_string(),
            known(our_address),
            their_mac.to_string(),
            known(their_address),
        ]
    }
}

/// A sentence for people.
impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, vip, our_mac, their_mac, their_address, .. } = self;
        let them = match their_address {
            Some(address) => format!("{address} ({their_mac})"),
            None => their_mac.to_string(),
        };
        match kind {
            ConflictKind::SplitBrain => {
                write!(
                    f,
                    "=> {them} acts as the master too, and does not give way. This node, which has {vip} at {our_mac}, \
                     goes on, and announces its addresses again. <="
                )
            }
            ConflictKind::SplitBrainOver => write!(f, "=> {them} does not act as the master any more. <="),
            ConflictKind::AddressConflict => {
                write!(f, "=> {them} claims {vip}, which this node has at {our_mac}. <=")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_and_letters() {
        let conflict = Conflict {
            kind: ConflictKind::AddressConflict,
            vip: [10, 0, 0, 3].into(),
            our_mac: MacAddr([2, 0, 0, 0, 0, 5]),
            our_address: Some([10, 0, 0, 5].into()),
            their_mac: MacAddr([2, 0, 0, 0, 0, 6]),
            their_address: None,
        };
        let arguments =
            "address_conflict VI_1 10.0.0.3 02:00:00:00:00:05 10.0.0.5 02:00:00:00:00:06 -".split(' ');
        assert!(conflict.arguments("VI_1").iter().eq(arguments));
        for (kind, their_address, expect) in [
            (
                ConflictKind::AddressConflict,
                None,
                "=> 02:00:00:00:00:06 claims 10.0.0.3, which this node has at 02:00:00:00:00:05. <=",
            ),
            (
                ConflictKind::SplitBrainOver,
                Some([10, 0, 0, 6].into()),
                "=> 10.0.0.6 (02:00:00:00:00:06) does not act as the master any more. <=",
            ),
        ] {
            assert_eq!(Conflict { kind, their_address, ..conflict }.to_string(), expect);
        }
    }
}
