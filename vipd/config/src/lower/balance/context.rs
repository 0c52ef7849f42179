//! What is known while services are lowered.

use std::{
    collections::{HashMap, HashSet},
    net::IpAddr,
};

use vipd_balance::TransportProtocol;
use vipd_common::Family;

use super::placed::PlacedStatement;
use crate::{
    model::tracking::TrackedFile,
    schema::words,
    source::Outside,
    syntax::{diagnostic::Code, report::Report},
};

/// What is known while services are lowered.
pub struct BalanceContext<'b> {
    pub report: &'b mut Report,
    pub outside: &'b dyn Outside,
    pub files: &'b [TrackedFile],
    pub groups: HashMap<&'b str, ServiceGroup<'b>>,
    /// The protocols that a group is served by already.
    pub grouped: HashSet<(&'b str, TransportProtocol)>,
    /// Virtual servers of each group so far.
    pub ordinals: HashMap<&'b str, u32>,
    pub tls: TlsCommon,
    /// `smtp_alert_checker`, else `smtp_alert`.
    pub mail: Option<bool>,
    /// Addresses that ranges may still be written out to.
    pub addresses_left: usize,
}

/// What `SSL` says for all checks.
#[derive(Clone, Debug, Default)]
pub struct TlsCommon {
    pub client_certificate: Option<(String, String)>,
    /// `ca`.
    pub authorities: Option<String>,
}

/// The lines of a group.
#[derive(Debug, Default)]
pub struct ServiceGroup<'g> {
    pub entries: Vec<GroupEntry<'g>>,
}

/// A line of a group.
#[derive(Clone, Copy, Debug)]
pub struct GroupEntry<'g> {
    pub placed: PlacedStatement<'g>,
    pub members: GroupMembers,
}

/// What a line stands for.
#[derive(Clone, Copy, Debug)]
pub enum GroupMembers {
    /// From the first address to the last.
    Addresses {
        first: IpAddr,
        last: IpAddr,
        port: u16,
    },
    Mark {
        mark: u32,
        family: Option<Family>,
    },
}

impl GroupMembers {
    pub fn family(&self) -> Option<Family> {
        match self {
            Self::Addresses { first, .. } => Some(words::family_of(*first)),
            Self::Mark { family, .. } => *family,
        }
    }
}

impl BalanceContext<'_> {
    /// What keepalived ignores too.
    pub fn ignored(&mut self, placed: PlacedStatement<'_>, why: &str, hint: &str) {
        let message = format!("`{}` is ignored: {why}", placed.statement.keyword);
        self.report.warning(Code::Ignored, placed.at(), message, hint);
    }
}

/// In all groups together. keepalived makes a service of the kernel's of each.
pub const ADDRESSES_MAX: usize = 65_536;
