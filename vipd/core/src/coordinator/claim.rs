//! Claims of whole sync groups: all members outbid their masters together, or none does.

use std::net::IpAddr;

use vipd_common::Priority;

use super::Coordinator;
use crate::{
    time::Instant,
    vrrp::{Advert, Event, GroupId, InstanceId, Reason, Settings},
};

impl Coordinator {
    /// The instances by what they share a lease with.
    pub fn groups(&self) -> Vec<(GroupId, Vec<InstanceId>)> {
        self.groups.iter().map(|(id, members)| (*id, members.clone())).collect()
    }

    /// The masters that the members of the instance's group follow, in the order of the members, if each of them could be outbid;
    /// none otherwise.
    pub fn outbids(&self, instance: InstanceId) -> Vec<IpAddr> {
        let members = self.group_members(instance);
        let masters = members.iter().map(|id| Some(self.members[id].machine.outbids()?.0.address));
        masters.collect::<Option<Vec<IpAddr>>>().unwrap_or_default()
    }

    /// Whether every member of the instance's group is a backup that may take over without a question.
    pub fn is_free(&self, instance: InstanceId) -> bool {
        let members = self.group_members(instance);
        !members.is_empty() && members.iter().all(|id| self.members[id].machine.is_free())
    }

    /// The adverts of other routers that an instance was told of last, one of each source, the newest first.
    pub fn heard_lately(&self, instance: InstanceId) -> impl Iterator<Item = &Advert> {
        self.members.get(&instance).into_iter().flat_map(|member| member.machine.heard_lately())
    }

    /// The claim of an instance that has outbid its master, while it stands.
    pub fn claim(&self, instance: InstanceId) -> Option<Priority> {
        self.members.get(&instance).and_then(|member| member.machine.claim())
    }

    /// Whether an instance was told that a peer is heard that does not hear it.
    pub fn is_one_way(&self, instance: InstanceId) -> bool {
        self.members.get(&instance).is_some_and(|member| member.machine.is_one_way())
    }

    /// The instance's settings, with the effective priority; `None` if there is no such instance.
    pub fn settings(&self, instance: InstanceId) -> Option<Settings> {
        self.members.get(&instance).map(|member| member.machine.settings())
    }

    fn can_bid(&self, members: &[InstanceId]) -> bool {
        !members.is_empty() && members.iter().all(|id| self.members[id].machine.bids().is_some())
    }

    pub(super) fn claim_group(&mut self, instance: InstanceId, reason: Reason, until: Instant, now: Instant) {
        let members = self.group_members(instance);
        if reason == Reason::Orphaned && !self.is_free(instance)
            || reason != Reason::Orphaned && !self.can_bid(&members)
        {
            return;
        }
        let before = self.actions.len();
        for member in &members {
            self.step(*member, Event::Claim { reason, until }, now);
        }
        if members.len() > 1 {
            self.adverts_first(before);
        }
        if members.iter().any(|id| self.members[id].machine.lease_until().is_some()) {
            self.sync(instance, now);
        }
    }

    /// Tells each of a group the same.
    pub(super) fn tell_group(&mut self, instance: InstanceId, event: Event, now: Instant) {
        let members = self.group_members(instance);
        let masters = |coordinator: &Self| {
            members.iter().filter(|id| coordinator.members[id].machine.lease_until().is_some()).count()
        };
        let before = masters(self);
        for member in &members {
            self.step(*member, event, now);
        }
        if masters(self) != before {
            self.sync(instance, now);
        }
    }
}
