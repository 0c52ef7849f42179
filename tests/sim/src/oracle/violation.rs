//! The ways in which an invariant can be broken, and their names.

use std::fmt;

use vipd_core::vrrp::{Reason, StateName};

use crate::clock::Time;

/// A broken invariant.
#[derive(Clone, Debug)]
pub struct Violation {
    pub at: Time,
    pub cause: Cause,
}

#[derive(Clone, Debug)]
pub enum Cause {
    /// I1.
    TwoOwners {
        router: usize,
        nodes: (usize, usize),
        for_: Time,
        allowed: Time,
    },
    /// I2.
    NoOwner {
        router: usize,
        node: usize,
        for_: Time,
    },
    /// I2: a lease that ends otherwise than the policy says.
    LeaseLength {
        router: usize,
        node: usize,
        length: Time,
        expected: Time,
    },
    /// I2.
    LeftTooSoon {
        router: usize,
        node: usize,
    },
    /// I1: taken back what XDP had revoked.
    TakenBack {
        router: usize,
        node: usize,
    },
    /// I1: acquired without an advert that tells the former owner.
    Unannounced {
        router: usize,
        node: usize,
    },
    /// I1: somebody was heard after it ran out.
    LapsedLeaseRenewed {
        router: usize,
        node: usize,
    },
    /// I1: after the goodbye that gave it up.
    RenewedAfterGoodbye {
        router: usize,
        node: usize,
    },
    /// I2: offered, and taken back before its successor had the time to speak.
    OfferCutShort {
        router: usize,
        node: usize,
    },
    /// I1: nothing was heard of a master, and it was not fenced.
    Unfenced {
        router: usize,
        node: usize,
    },
    /// I3.
    TakeoverTooSoon {
        router: usize,
        node: usize,
        by: Time,
    },
    /// I3.
    NoCause {
        router: usize,
        node: usize,
        reason: Reason,
    },
    /// I3: with every fault long over.
    Restless {
        router: usize,
        node: usize,
    },
    /// I2, or I1, with every fault long over.
    Owners {
        router: usize,
        owners: Vec<usize>,
    },
    /// A router that would have to preempt the owner does not.
    NotTheBest {
        router: usize,
        owner: usize,
        better: usize,
    },
    /// Members of a sync group in several states, or owned apart.
    SplitGroup {
        router: usize,
        node: usize,
    },
    /// A configuration that is no other had an effect.
    IdleReload {
        router: usize,
        node: usize,
    },
    /// I2: a master that was to hand over has not said so.
    NoGoodbye {
        router: usize,
        node: usize,
    },
    /// I5.
    HostDisagrees {
        router: usize,
        node: usize,
    },
    /// A lease that is held in another state than master, or another one than the election knows.
    StrayLease {
        router: usize,
        node: usize,
        state: StateName,
    },
    /// An announcement of a VIP that is not owned.
    StrayAnnouncement {
        router: usize,
        node: usize,
    },
    Miscounted {
        router: usize,
        node: usize,
        counted: u64,
        seen: u64,
    },
    FramesMiscounted,
    /// More adverts than any rule asks for.
    Storm {
        router: usize,
        node: usize,
        adverts: u32,
    },
    /// R1: before the master's host was silent for long enough, or asked often enough; R7: or known to own nothing.
    ClaimTooSoon {
        router: usize,
        node: usize,
    },
    /// R2.
    ClaimUnarmed {
        router: usize,
        node: usize,
    },
    /// R1: by one that does not reach the arbiter.
    ClaimUnarbitrated {
        router: usize,
        node: usize,
    },
    /// R3: XDP compares adverts with another priority than the claim.
    ClaimUnpublished {
        router: usize,
        node: usize,
    },
    /// R3.
    ClaimNotRepeated {
        router: usize,
        node: usize,
    },
    /// R4: a probe that beats the owner has come, and it owns.
    ClaimIgnored {
        router: usize,
        node: usize,
    },
    /// R5: a claim that was heard is given up.
    YieldedToNobody {
        router: usize,
        node: usize,
    },
    /// R6.
    ClaimKept {
        router: usize,
        node: usize,
    },
    /// R8.
    ReturnUntold {
        router: usize,
        node: usize,
    },
    /// R9: a beat that is later than the probe that it stands for.
    BeatTooLate {
        node: usize,
    },
    /// R9: a beat makes it an owner, and the probe that bears the beat says that it is none.
    OwnedUntold {
        router: usize,
        node: usize,
    },
    /// R10: slept, and answers before it has listened.
    SpokeTooSoon {
        node: usize,
    },
    /// R11: a peer is heard that does not hear the node, and the node preempts.
    PreemptedOneWay {
        router: usize,
        node: usize,
        peer: usize,
    },
    /// Timers that do not advance.
    Spinning {
        node: usize,
    },
}

impl Cause {
    /// The name by which the tests know it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::TwoOwners { .. } => "two-owners",
            Self::NoOwner { .. } => "no-owner",
            Self::LeaseLength { .. } => "lease-length",
            Self::LeftTooSoon { .. } => "left-too-soon",
            Self::TakenBack { .. } => "taken-back",
            Self::Unannounced { .. } => "unannounced",
            Self::LapsedLeaseRenewed { .. } => "lapsed-lease-renewed",
            Self::RenewedAfterGoodbye { .. } => "renewed-after-goodbye",
            Self::OfferCutShort { .. } => "offer-cut-short",
            Self::Unfenced { .. } => "unfenced",
            Self::TakeoverTooSoon { .. } => "takeover-too-soon",
            Self::NoCause { .. } => "no-cause",
            Self::Restless { .. } => "restless",
            Self::Owners { .. } => "owners",
            Self::NotTheBest { .. } => "not-the-best",
            Self::SplitGroup { .. } => "split-group",
            Self::IdleReload { .. } => "idle-reload",
            Self::NoGoodbye { .. } => "no-goodbye",
            Self::HostDisagrees { .. } => "host-disagrees",
            Self::StrayLease { .. } => "stray-lease",
            Self::StrayAnnouncement { .. } => "stray-announcement",
            Self::Miscounted { .. } => "miscounted",
            Self::FramesMiscounted => "frames-miscounted",
            Self::Storm { .. } => "storm",
            Self::ClaimTooSoon { .. } => "claim-too-soon",
            Self::ClaimUnarmed { .. } => "claim-unarmed",
            Self::ClaimUnarbitrated { .. } => "claim-unarbitrated",
            Self::ClaimUnpublished { .. } => "claim-unpublished",
            Self::ClaimNotRepeated { .. } => "claim-not-repeated",
            Self::ClaimIgnored { .. } => "claim-ignored",
            Self::YieldedToNobody { .. } => "yielded-to-nobody",
            Self::ClaimKept { .. } => "claim-kept",
            Self::ReturnUntold { .. } => "return-untold",
            Self::BeatTooLate { .. } => "beat-too-late",
            Self::OwnedUntold { .. } => "owned-untold",
            Self::SpokeTooSoon { .. } => "spoke-too-soon",
            Self::PreemptedOneWay { .. } => "preempted-one-way",
            Self::Spinning { .. } => "spinning",
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {:.6} s: {:?}", self.cause.name(), self.at as f64 / 1e9, self.cause)
    }
}
