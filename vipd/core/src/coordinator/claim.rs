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

    /// The adverts of other routers that an instance was told of last, of two sources.
    pub fn heard_lately(&self, instance: InstanceId) -> [Option<Advert>; 2] {
        self.members.get(&instance).map_or([None; 2], |member| member.machine.heard_lately())
    }

    /// The claim of an instance that has outbid its master, while it stands.
    pub fn claim(&self, instance: InstanceId) -> Option<Priority> {
        self.members.get(&instance).and_then(|member| member.machine.claim())
    }

    /// The instance's settings, with the effective priority; `None` if there is no such instance.
    pub fn settings(&self, instance: InstanceId) -> Option<Settings> {
        self.members.get(&instance).map(|member| member.machine.settings())
    }

    pub(super) fn claim_group(&mut self, instance: InstanceId, reason: Reason, until: Instant, now: Instant) {
        let members = self.group_members(instance);
        if reason == Reason::Orphaned && !self.is_free(instance)
            || reason != Reason::Orphaned && self.outbids(instance).is_empty()
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
