//! What the two threads tell each other: values and channel ends.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    io,
};

use tokio::sync::oneshot;
use vipd_common::wire::eth::MacAddr;

use super::{router::Router, sockets::Sockets, succession::Successor};
use crate::{
    control::{
        To,
        model::{InstanceStatus, ProbedPeerStatus, SponsorsStatus},
    },
    coordinator::{InstanceId, StateName},
    dataplane::Attachment,
    host::{LinkChange, Ownership},
    tracking::TrackingResult,
};

/// Messages waiting for the engine thread. It answers in microseconds; when it is frozen, the main thread waits.
pub const MESSAGES: usize = 64;

/// Who waits for a handover or a drain: the result, or why there is none, in words.
pub type Reply = oneshot::Sender<Result<String, String>>;

/// How the program is attached, by the index of the interface.
pub type AttachmentModes = HashMap<u32, Attachment>;

/// What the main thread tells the engine thread.
#[derive(Debug)]
pub enum EngineMessage {
    /// An interface or its addresses changed, or it is gone.
    Link(LinkChange),
    /// The interfaces of this host have these MACs now.
    OwnMacs(BTreeSet<MacAddr>),
    /// What an instance tracks has another result.
    Tracked { instance: InstanceId, result: TrackingResult },
    /// The instances whose VIPs this host cannot serve, all of them, and why.
    Unserved(BTreeMap<InstanceId, String>),
    /// Hand these over, and forget them; answered when they are gone.
    Remove { instances: BTreeSet<InstanceId>, reply: oneshot::Sender<()> },
    /// Another configuration, of which those are gone already that it does not have.
    Apply(Box<Apply>),
    /// Hand one over with its sync group, or have it rank as configured again.
    HandOver { instance: String, to: To, reply: Reply },
    /// Hand everything over, and rank last from then on.
    Drain(Reply),
    /// The end of that.
    Undrain(Reply),
    /// What has become of a fence that was asked for.
    Fenced { instance: InstanceId, round: u64, done: bool },
    /// Answered with what the engine thread knows.
    Status(oneshot::Sender<EngineStatus>),
    /// Answered with the state of each instance: what the service manager is shown, and that this thread runs.
    Ping(oneshot::Sender<Vec<StateName>>),
    /// Hand everything over and finish.
    Shutdown,
    /// Finish at once and leave every lease to the next vipd.
    Leave,
    /// The same, for one that runs already; answered when it has taken over, or if it is gone: then nothing has changed.
    Replace { successor: Successor, reply: oneshot::Sender<io::Result<()>> },
}

/// The engine thread's part of the status.
#[derive(Debug)]
pub struct EngineStatus {
    pub uptime_ms: u64,
    pub real_time: bool,
    pub drained: bool,
    /// In the order of the configuration.
    pub instances: Vec<EngineInstanceStatus>,
    pub probes: Vec<ProbedPeerStatus>,
    pub sponsors: Option<SponsorsStatus>,
    pub counters: BTreeMap<String, u64>,
}

/// What the engine thread knows of an instance.
#[derive(Debug)]
pub struct EngineInstanceStatus {
    pub id: InstanceId,
    /// What the main thread knows is empty in it.
    pub status: InstanceStatus,
}

/// How the election has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Everything is handed over: what was made is to be removed.
    Finished,
    /// Leases, tables, routes and the attached program are to stand for the next vipd.
    Left,
    /// As `Left`, and the next vipd runs already: nothing is to be done any more that it does too.
    Replaced,
}

/// Nothing is heard of the master of an instance's group: it is to be fenced, and [`EngineMessage::Fenced`] the answer.
#[derive(Clone, Copy, Debug)]
pub struct FenceRequest {
    pub instance: InstanceId,
    pub round: u64,
}

/// Another configuration: what is as it was goes on untouched.
#[derive(Debug)]
pub struct Apply {
    /// All virtual routers, with their numbers, and what each makes of what it tracks.
    pub routers: Vec<(Router, TrackingResult)>,
    /// If others are needed.
    pub sockets: Option<Sockets>,
    pub attachments: AttachmentModes,
    /// Answered with the sockets of before, to be closed where that may take its time.
    pub reply: oneshot::Sender<Option<Sockets>>,
}

/// How the host is to be for each router, as the election has it: the latest state is the one that counts.
pub type DesiredHostStates = BTreeMap<InstanceId, DesiredHostState>;

/// How the host is to be for one router.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DesiredHostState {
    /// It owns its VIPs.
    pub master: bool,
    /// It is about to.
    pub takes_over: bool,
    /// Rises when another master than before was heard: what the kernel knows of the VIPs' neighbours is out of date.
    pub masters_heard: u64,
}

impl DesiredHostState {
    /// What the host is to be to its VIPs.
    pub fn ownership(&self) -> Ownership {
        match self {
            Self { master: true, .. } => Ownership::Master,
            Self { takes_over: true, .. } => Ownership::Prepared,
            _ => Ownership::None,
        }
    }
}
