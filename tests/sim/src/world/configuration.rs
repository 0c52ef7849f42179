//! What a process has its election know of routers: those that there are, those that are new, other settings, the end.

use vipd_core::{
    coordinator::{Input, InstanceId},
    lease_manager::LeaseManager,
    vrrp::{GroupId, Settings},
};

use super::World;
use crate::{
    node::{Message, Presence},
    node_io::NodeIo,
};

/// A new process: every router of the configuration, one after the other.
pub(super) fn begin(lease_manager: &mut LeaseManager, io: &mut NodeIo<'_>) {
    for router in routers(io, Presence::Here) {
        let settings = io.world.nodes[io.node].settings[router];
        configure(router, settings, lease_manager, io);
    }
}

/// The configuration is read once more. What is the same as before has no effect.
pub(super) fn reload(lease_manager: &mut LeaseManager, io: &mut NodeIo<'_>) {
    let node = io.node;
    let routers = routers(io, Presence::Here);
    let is = |world: &World, router: usize| world.nodes[node].settings[router];
    let wanted = |world: &World, router: usize| world.nodes[node].wanted(router);
    if io.world.nodes[node].stopping {
        return;
    }
    if routers.iter().any(|r| is(io.world, *r).version != wanted(io.world, *r).version) {
        // That would be other routers.
        return;
    }
    io.world.nodes[node].unread = false;
    let mut changes = Vec::new();
    for router in routers {
        let (old, new) = (is(io.world, router), wanted(io.world, router));
        changes.push((router, old, new));
        io.world.reconfigures(node, router, new);
    }
    for (router, old, new) in &changes {
        let (router, new) = (*router, *new);
        io.world.nodes[node].kernel.reconfigure(router, &new);
        let instance = InstanceId(router as u16);
        let before = (lease_manager.snapshot(instance), io.world.adverts(node, router));
        configure(router, new, lease_manager, io);
        if !io.is_alive() {
            return;
        }
        let after = (lease_manager.snapshot(instance), io.world.adverts(node, router));
        if *old == new {
            io.world.idles(node, router, &before, &after);
        } else {
            io.world.has_reconfigured(node, router);
        }
    }
    for (router, _, Settings { priority, .. }) in changes {
        let instance = InstanceId(router as u16);
        if io.is_alive() {
            lease_manager.input(Input::Priority { instance, priority }, io);
        }
        report_condition(router, lease_manager, io);
    }
}

/// Routers that are no longer in the configuration.
pub(super) fn remove(group: usize, lease_manager: &mut LeaseManager, io: &mut NodeIo<'_>) {
    let node = io.node;
    let n = &io.world.nodes[node];
    if n.stopping || n.is_wanted(group) || n.presence[group] != Presence::Here {
        return;
    }
    let members = io.world.plan.members(group);
    for router in members {
        io.world.nodes[node].presence[router] = Presence::Going;
        io.world.asked_to_go(node, router);
    }
    for router in members {
        lease_manager.input(Input::Remove { instance: InstanceId(router as u16) }, io);
    }
}

/// Routers that are in the configuration again: once they are gone.
pub(super) fn add(group: usize, lease_manager: &mut LeaseManager, io: &mut NodeIo<'_>) {
    let node = io.node;
    let n = &mut io.world.nodes[node];
    if n.stopping || !n.is_wanted(group) || n.presence[group] != Presence::Absent {
        return;
    }
    let members = io.world.plan.members(group);
    for router in members {
        io.world.added(node, router);
        let n = &mut io.world.nodes[node];
        n.presence[router] = Presence::Here;
        n.settings[router] = n.wanted(router);
        n.kernel.identify(router, &n.settings[router], n.plan.address);
    }
    for router in members {
        let settings = io.world.nodes[node].settings[router];
        configure(router, settings, lease_manager, io);
    }
    for router in members {
        report_condition(router, lease_manager, io);
    }
}

/// Tells the election of what it was told of a router before.
fn report_condition(router: usize, lease_manager: &mut LeaseManager, io: &mut NodeIo<'_>) {
    if io.is_alive() {
        let input = io.world.nodes[io.node].as_told(InstanceId(router as u16));
        lease_manager.input(input, io);
    }
}

fn configure(router: usize, settings: Settings, lease_manager: &mut LeaseManager, io: &mut NodeIo<'_>) {
    if io.is_alive() {
        let group = GroupId(io.world.plan.groups[router] as u16);
        lease_manager.input(Input::Configure { instance: InstanceId(router as u16), group, settings }, io);
    }
}

fn routers(io: &NodeIo<'_>, presence: Presence) -> Vec<usize> {
    let all = &io.world.nodes[io.node].presence;
    (0..all.len()).filter(|router| all[*router] == presence).collect()
}

impl World {
    /// A router of a node is handed over and gone.
    pub fn removed(&mut self, node: usize, router: usize) {
        self.note(|_| format!("node {node}, router {router}: removed"));
        self.is_gone(node, router);
        self.nodes[node].kernel.forget(router);
        self.nodes[node].presence[router] = Presence::Absent;
        let group = self.plan.groups[router];
        let all_gone = self.plan.members(group).all(|r| self.nodes[node].presence[r] == Presence::Absent);
        if all_gone && self.nodes[node].is_wanted(group) {
            self.nodes[node].mailbox.push_back(Message::Add { group });
        }
    }
}
