//! The kernel's sync daemons, which copy connections to other hosts by multicast: `IPVS_CMD_ATTR_DAEMON`
//! (`ip_vs_genl_new_daemon`, `start_sync_thread` in `ip_vs_sync.c`).

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    num::{NonZeroU8, NonZeroU16},
};

use netlink_packet_core::DefaultNla;

use crate::{
    attributes::{AttributeList, AttributeReader, KernelName, MalformedReply, attribute, octets_of},
    step::Unfit,
};

/// What a sync daemon does. A network namespace may have one of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SyncRole {
    /// Sends its connections.
    Master,
    /// Receives connections.
    Backup,
}

impl SyncRole {
    /// What DEL_DAEMON wants.
    pub(crate) fn attributes(self) -> Vec<DefaultNla> {
        let state = match self {
            Self::Master => MASTER,
            Self::Backup => BACKUP,
        };
        vec![attribute(STATE, state.to_ne_bytes())]
    }
}

impl fmt::Display for SyncRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Master => "master",
            Self::Backup => "backup",
        })
    }
}

/// A sync daemon. What is `None` in a request is the kernel's default; in an answer, what a kernel before 4.3 does not tell.
///
/// The kernel refuses one while a service has destinations of the other family, and such destinations while it has one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyncDaemon {
    /// What it does.
    pub role: SyncRole,
    /// The interface of its messages.
    pub interface: KernelName<15>,
    /// A backup ignores the messages of masters with another id. With 0 it takes all.
    pub sync_id: u8,
    /// Most octets of a message: 1 to 65,507, for a backup from 1,024, and for an IPv6 group to 65,487. Else what an MTU of 1,500
    /// has room for, and for a backup the MTU of the interface if that is greater.
    pub max_length: Option<NonZeroU16>,
    /// The multicast group. Else 224.0.0.81.
    pub group: Option<IpAddr>,
    /// The UDP port of the first thread. Else 8848.
    pub port: Option<NonZeroU16>,
    /// Time to live, or hop limit. Else 1.
    pub ttl: Option<NonZeroU8>,
}

impl SyncDaemon {
    /// A daemon with the kernel's defaults.
    pub const fn new(role: SyncRole, interface: KernelName<15>, sync_id: u8) -> Self {
        Self { role, interface, sync_id, max_length: None, group: None, port: None, ttl: None }
    }

    /// Reads the view.
    ///
    /// # Errors
    ///
    /// What a field has that it cannot have.
    pub fn parse(view: &SyncDaemonView<'_>) -> Result<Self, MalformedReply> {
        Ok(Self {
            role: match view.state {
                MASTER => SyncRole::Master,
                BACKUP => SyncRole::Backup,
                other => return Err(MalformedReply::Role(other)),
            },
            interface: KernelName::parse(DAEMON.0, view.interface)?,
            sync_id: view.sync_id.try_into().map_err(|_| MalformedReply::SyncId(view.sync_id))?,
            max_length: NonZeroU16::new(view.max_length),
            group: view.group,
            port: NonZeroU16::new(view.port),
            ttl: NonZeroU8::new(view.ttl),
        })
    }

    /// The octets of the nest, as NEW_DAEMON wants them.
    pub fn emit(&self) -> Vec<u8> {
        octets_of(&self.attributes())
    }

    pub(crate) fn attributes(&self) -> Vec<DefaultNla> {
        let mut attributes = self.role.attributes();
        attributes.extend([
            attribute(MCAST_IFN, self.interface.value()),
            attribute(SYNC_ID, u32::from(self.sync_id).to_ne_bytes()),
        ]);
        attributes.extend(self.max_length.map(|length| attribute(SYNC_MAXLEN, length.get().to_ne_bytes())));
        attributes.extend(self.group.map(|group| match group {
            IpAddr::V4(group) => attribute(MCAST_GROUP, group.octets()),
            IpAddr::V6(group) => attribute(MCAST_GROUP6, group.octets()),
        }));
        // In the host's byte order, unlike the ports of services.
        attributes.extend(self.port.map(|port| attribute(MCAST_PORT, port.get().to_ne_bytes())));
        attributes.extend(self.ttl.map(|ttl| attribute(MCAST_TTL, [ttl.get()])));
        attributes
    }

    pub(crate) fn check(&self) -> Result<(), Unfit> {
        if let Some(group) = self.group.filter(|group| !group.is_multicast()) {
            return Err(Unfit::Group(group));
        }
        // The kernel would clamp it without a word, and never have what was asked for.
        let least = if self.role == SyncRole::Backup { MIN_BACKUP_LENGTH } else { 1 };
        let most =
            if self.group.is_some_and(|group| group.is_ipv6()) { MAX_LENGTH_V6 } else { MAX_LENGTH_V4 };
        match self.max_length {
            Some(length) if !(least..=most).contains(&length.get()) => {
                Err(Unfit::SyncLength { length: length.get(), least, most })
            }
            _ => Ok(()),
        }
    }

    /// Whether a kernel that has this daemon has what was asked for: the same role, interface and id, and what else was said.
    pub fn meets(&self, wanted: &Self) -> bool {
        fn meets<T: PartialEq>(present: Option<T>, wanted: Option<T>) -> bool {
            wanted.is_none() || wanted == present
        }
        self.role == wanted.role
            && self.interface == wanted.interface
            && self.sync_id == wanted.sync_id
            && meets(self.max_length, wanted.max_length)
            && meets(self.group, wanted.group)
            && meets(self.port, wanted.port)
            && meets(self.ttl, wanted.ttl)
    }
}

/// The view of a sync daemon.
#[derive(Clone, Copy, Debug)]
pub struct SyncDaemonView<'a> {
    state: u32,
    interface: &'a [u8],
    sync_id: u32,
    max_length: u16,
    group: Option<IpAddr>,
    port: u16,
    ttl: u8,
}

impl<'a> SyncDaemonView<'a> {
    /// The view of the nest.
    ///
    /// # Errors
    ///
    /// [`MalformedReply::Attribute`], [`MalformedReply::Length`], [`MalformedReply::Missing`]
    pub fn new_checked(octets: &'a [u8]) -> Result<Self, MalformedReply> {
        let (mut state, mut interface, mut sync_id, mut group) = (None, None, None, None);
        let (mut max_length, mut port, mut ttl) = (0, 0, 0);
        for (number, value) in AttributeList::new_checked(octets)?.iter() {
            match number {
                STATE => state = Some(DAEMON.u32(number, value)?),
                MCAST_IFN => interface = Some(value),
                SYNC_ID => sync_id = Some(DAEMON.u32(number, value)?),
                SYNC_MAXLEN => max_length = DAEMON.u16(number, value)?,
                MCAST_GROUP => group = Some(Ipv4Addr::from(DAEMON.fixed(number, value)?).into()),
                MCAST_GROUP6 => {
                    group = Some(Ipv6Addr::from(DAEMON.fixed::<16>(number, value)?).into());
                }
                MCAST_PORT => port = DAEMON.u16(number, value)?,
                MCAST_TTL => ttl = DAEMON.u8(number, value)?,
                _ => {}
            }
        }
        let missing = |number| DAEMON.missing(number);
        Ok(Self {
            state: state.ok_or(missing(STATE))?,
            interface: interface.ok_or(missing(MCAST_IFN))?,
            sync_id: sync_id.ok_or(missing(SYNC_ID))?,
            max_length,
            group,
            port,
            ttl,
        })
    }
}

// Of start_sync_thread: 65,535 less the headers of IP and UDP.
const MIN_BACKUP_LENGTH: u16 = 1024;
const MAX_LENGTH_V4: u16 = 65_507;
const MAX_LENGTH_V6: u16 = 65_487;

const DAEMON: AttributeReader = AttributeReader("a sync daemon");

// IPVS_DAEMON_ATTR_*
const STATE: u16 = 1;
const MCAST_IFN: u16 = 2;
const SYNC_ID: u16 = 3;
const SYNC_MAXLEN: u16 = 4;
const MCAST_GROUP: u16 = 5;
const MCAST_GROUP6: u16 = 6;
const MCAST_PORT: u16 = 7;
const MCAST_TTL: u16 = 8;

// IP_VS_STATE_*
const MASTER: u32 = 1;
const BACKUP: u32 = 2;
