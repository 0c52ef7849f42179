//! What the election asks for: effects as values, and the words they use.

use std::{fmt, net::IpAddr, time::Duration};

use vipd_common::{Priority, types::ChecksumForm};

use crate::time::Instant;

/// Number of an instance, its own for as long as it lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct InstanceId(pub u16);

impl InstanceId {
    /// Its slot in arrays that have one for each instance.
    pub const fn slot(self) -> u32 {
        self.0 as u32
    }
}

impl fmt::Display for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Number of a lease: of one instance, or of all the members of a sync group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GroupId(pub u16);

impl GroupId {
    /// Its slot in arrays that have one for each lease.
    pub const fn slot(self) -> u32 {
        self.0 as u32
    }
}

/// One thing for the driver to do. Actions are done in the order in which they come.
#[expect(missing_docs, reason = "the sentence of a variant names its fields")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Build and send one advert now.
    ///
    /// With `renew_for`, the lease is then to last until the time of sending plus that: acquire it if it is not held, so
    /// that XDP starts to answer, or renew it. Answer with `AdvertSent`, `AdvertFailed` or, if it was held and the word
    /// was not what we last wrote, `LeaseLost`. Without, the lease is not to be touched and no answer is wanted.
    Advertise {
        instance: InstanceId,
        priority: Priority,
        checksum: ChecksumForm,
        renew_for: Option<Duration>,
    },
    /// Store 0 in the lease word, whatever it holds.
    Release { instance: InstanceId },
    /// Gratuitous ARP or unsolicited NA for every address, each `repeat` times.
    Announce { instance: InstanceId, repeat: u8 },
    /// Drop the announcements that are still queued.
    CancelAnnounce { instance: InstanceId },
    /// The rank that XDP compares adverts with from now on.
    Publish { instance: InstanceId, rank: Rank },
    /// Leaving: compare-exchange the lease word from the value last written to `until`, which is no later.
    ///
    /// The last renewal then looks that much older, so that any successor's advert revokes the lease.
    /// If the word holds anything else, answer with `LeaseLost`.
    Shorten { instance: InstanceId, until: Instant },
    /// Adverts are sent with `checksum` from now on, because a peer that uses it was heard. For the log.
    Mirroring { instance: InstanceId, checksum: ChecksumForm },
    /// A master has heard a router that it beats. For notifications.
    LowerHeard { instance: InstanceId },
    /// Nothing is heard of the master of this instance's group: make sure that it serves no more. Answer with
    /// [`Input::Fenced`](crate::coordinator::Input::Fenced); until then nobody of the group takes over.
    Fence { instance: InstanceId, round: u64 },
    /// A backup is about to take over, unless its master is heard: make ready whatever its VIPs need. Or it is not any more.
    Prepare { instance: InstanceId, takes_over: bool },
    /// The state changed. `master` is the master as now known: ourselves, the router we follow or our successor.
    Transition {
        instance: InstanceId,
        from: StateName,
        to: StateName,
        reason: Reason,
        master: Option<(IpAddr, Priority)>,
    },
    /// After `Remove`, the last: the instance is no more.
    Removed { instance: InstanceId },
    /// After `Shutdown`, once: every instance has stopped. Only the coordinator says so.
    Finished,
}

/// What XDP compares an advert with to decide who is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rank {
    /// Any advert of a higher priority beats us. 0: any advert but another's goodbye.
    pub priority: Priority,
    /// An advert of equal priority from a greater address beats us. `None` only while not participating.
    ///
    /// Not a source address to recognise our own adverts by: a v2 owner publishes the greatest address there is.
    pub address: Option<IpAddr>,
    /// Whether adverts are of interest at all.
    pub participating: bool,
}

impl Rank {
    /// A router that takes no part; what a new instance starts with.
    pub const ABSENT: Self = Self { priority: Priority::LEAVING, address: None, participating: false };
}

/// A state as keepalived names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StateName {
    /// Not started yet.
    Init,
    /// Follows a master, or waits for one.
    Backup,
    /// Advertises, and holds the lease.
    Master,
    /// Cannot take part.
    Fault,
    /// Has handed over and ended.
    Stopped,
}

impl StateName {
    /// Name as `status` and notify scripts show it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Init => "INIT",
            Self::Backup => "BACKUP",
            Self::Master => "MASTER",
            Self::Fault => "FAULT",
            Self::Stopped => "STOP",
        }
    }
}

impl fmt::Display for StateName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Why an instance cannot take part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FaultReason {
    /// The link is down.
    LinkDown,
    /// The link is down or gone, but a heartbeat link is up: a master says goodbye over it.
    CutOff,
    /// There is no interface of that name.
    NoInterface,
    /// An interface that it depends on is there, and cannot carry VIPs.
    Refused,
    /// The interface has no usable primary address of the family.
    NoAddress,
    /// The address that adverts are configured to come from is missing.
    NoSource,
    /// The host cannot keep what packets to the VIPs need, such as their routes: nobody would reach them here. As `Tracked`.
    Unserved,
    /// A script, file, process or interface that is tracked without a weight failed. The link is up: a master says goodbye.
    Tracked,
    /// Too few of an arbiter's targets answer. As `Tracked`: whoever still hears us is told.
    Isolated,
    /// Another member of the sync group is in fault. As `Tracked`.
    Group,
}

impl FaultReason {
    /// Whether an advert may leave and be heard all the same. An interface that has another name is there, and an address that was deleted
    /// a moment ago is known: a goodbye says that nobody is to wait. What cannot be sent is not.
    pub fn adverts_leave(self) -> bool {
        match self {
            Self::LinkDown => false,
            Self::NoInterface | Self::Refused | Self::NoAddress | Self::NoSource => true,
            Self::CutOff | Self::Unserved | Self::Tracked | Self::Isolated | Self::Group => true,
        }
    }
}

/// Why the state changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The interface became usable.
    Started,
    /// The lease of the vipd before this one still stood: its mastership goes on.
    Inherited,
    /// The interface became usable, and the router owns the addresses (priority 255).
    Owner,
    /// No master was heard for the master-down interval (RFC 8347 no-response).
    MasterDown,
    /// The master said goodbye (RFC 8347 priority).
    MasterLeft,
    /// The master heard has a lower priority (RFC 8347 preempted).
    Preempting,
    /// The master's host answers no probe and says nothing: it was outbid.
    HostSilent,
    /// The master's host is alive, and nobody owns the addresses.
    Orphaned,
    /// The master that was outbid goes on answering: it does not hear this router.
    ClaimUnheard,
    /// A router that does not hear this one is master.
    OneWay,
    /// A better master was heard.
    BetterMaster,
    /// A router that we beat took over while we were silent.
    Superseded,
    /// We did not renew our lease in time: the process was frozen, or sending failed for too long.
    LeaseLapsed,
    /// The lease was revoked and the advert that did it is not known.
    LeaseRevoked,
    /// Another member of the sync group has stepped down.
    Group,
    /// The first advert could not be sent.
    SendFailed,
    /// The instance cannot take part.
    Fault(FaultReason),
    /// Stopped as asked, without having been master.
    Shutdown,
    /// Handed over as asked; the successor was heard, or its advert revoked the lease.
    HandedOver,
    /// Stopped as asked; nobody was heard to take over.
    NoSuccessor,
}

impl Reason {
    /// Its name for programs, which stays as it is.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::Inherited => "inherited",
            Self::Owner => "owner",
            Self::MasterDown => "master_down",
            Self::MasterLeft => "master_left",
            Self::Preempting => "preempting",
            Self::HostSilent => "host_silent",
            Self::Orphaned => "orphaned",
            Self::ClaimUnheard => "claim_unheard",
            Self::OneWay => "one_way",
            Self::BetterMaster => "better_master",
            Self::Superseded => "superseded",
            Self::LeaseLapsed => "lease_lapsed",
            Self::LeaseRevoked => "lease_revoked",
            Self::Group => "group",
            Self::SendFailed => "send_failed",
            Self::Fault(FaultReason::LinkDown) => "fault_link_down",
            Self::Fault(FaultReason::CutOff) => "fault_cut_off",
            Self::Fault(FaultReason::NoInterface) => "fault_no_interface",
            Self::Fault(FaultReason::Refused) => "fault_refused",
            Self::Fault(FaultReason::NoAddress) => "fault_no_address",
            Self::Fault(FaultReason::NoSource) => "fault_no_source",
            Self::Fault(FaultReason::Unserved) => "fault_unserved",
            Self::Fault(FaultReason::Tracked) => "fault_tracked",
            Self::Fault(FaultReason::Isolated) => "fault_isolated",
            Self::Fault(FaultReason::Group) => "fault_group",
            Self::Shutdown => "shutdown",
            Self::HandedOver => "handed_over",
            Self::NoSuccessor => "no_successor",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Started => "interface ready",
            Self::Inherited => "lease inherited from the previous vipd",
            Self::Owner => "address owner",
            Self::MasterDown => "no advert from a master",
            Self::MasterLeft => "master left",
            Self::Preempting => "preempting a master of lower priority",
            Self::HostSilent => "the master's host answers no probe",
            Self::Orphaned => "the master's host is alive, and nobody owns the addresses",
            Self::ClaimUnheard => "the master that was outbid does not hear this router",
            Self::OneWay => "another master does not hear this router",
            Self::BetterMaster => "better master heard",
            Self::Superseded => "another router took over while this one was silent",
            Self::LeaseLapsed => "lease lapsed",
            Self::LeaseRevoked => "lease revoked",
            Self::Group => "another instance of the sync group stepped down",
            Self::SendFailed => "first advert could not be sent",
            Self::Fault(FaultReason::LinkDown) => "link down",
            Self::Fault(FaultReason::CutOff) => "link down, a heartbeat link is up",
            Self::Fault(FaultReason::NoInterface) => "no such interface",
            Self::Fault(FaultReason::Refused) => "the interface cannot be used",
            Self::Fault(FaultReason::NoAddress) => "no usable address on the interface",
            Self::Fault(FaultReason::NoSource) => "the source address of the adverts is missing",
            Self::Fault(FaultReason::Unserved) => "this host cannot serve the VIPs",
            Self::Fault(FaultReason::Tracked) => "a tracked check failed",
            Self::Fault(FaultReason::Isolated) => "isolated",
            Self::Fault(FaultReason::Group) => "another instance of the sync group is in fault",
            Self::Shutdown => "stopped",
            Self::HandedOver => "handed over",
            Self::NoSuccessor => "stopped, no successor heard",
        })
    }
}
