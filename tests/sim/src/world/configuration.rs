//! What a process has its election know of routers: those that there are, those that are new, other settings, the end.

use vipd_core::{
    engine::{Input, InstanceId},
    keeper::Keeper,
    vrrp::{GroupId, Settings},
};

use super::World;
use crate::{
    hands::Hands,
    node::{Message, Presence},
};

/// A new process: every router of the configuration, one after the other.
pub(super) fn begin(keeper: &mut Keeper, hands: &mut Hands<'_>) {
    for router in routers(hands, Presence::Here) {
        let settings = hands.world.nodes[hands.node].settings[router];
        configure(router, settings, keeper, hands);
    }
}

/// The configuration is read once more. What is the same as before has no effect.
pub(super) fn reload(keeper: &mut Keeper, hands: &mut Hands<'_>) {
    let node = hands.node;
    let routers = routers(hands, Presence::Here);
    let is = |world: &World, router: usize| world.nodes[node].settings[router];
    let wanted = |world: &World, router: usize| world.nodes[node].wanted(router);
    if hands.world.nodes[node].stopping {
        return;
    }
    if routers.iter().any(|r| is(hands.world, *r).version != wanted(hands.world, *r).version) {
        // That would be other routers.
        return;
    }
    hands.world.nodes[node].unread = false;
    let mut changes = Vec::new();
    for router in routers {
        let (old, new) = (is(hands.world, router), wanted(hands.world, router));
        changes.push((router, old, new));
        hands.world.reconfigures(node, router, new);
    }
    for (router, old, new) in &changes {
        let (router, new) = (*router, *new);
        hands.world.nodes[node].kernel.reconfigure(router, &new);
        let instance = InstanceId(router as u16);
        let before = (keeper.snapshot(instance), hands.world.adverts(node, router));
        configure(router, new, keeper, hands);
        if !hands.is_alive() {
            return;
        }
        let after = (keeper.snapshot(instance), hands.world.adverts(node, router));
        if *old == new {
            hands.world.idles(node, router, &before, &after);
        } else {
            hands.world.has_reconfigured(node, router);
        }
    }
    for (router, _, Settings { priority, .. }) in changes {
        let instance = InstanceId(router as u16);
        if hands.is_alive() {
            keeper.input(Input::Priority { instance, priority }, hands);
        }
        stand(router, keeper, hands);
    }
}

/// Routers that are no longer in the configuration.
pub(super) fn remove(group: usize, keeper: &mut Keeper, hands: &mut Hands<'_>) {
    let node = hands.node;
    let n = &hands.world.nodes[node];
    if n.stopping || n.is_wanted(group) || n.presence[group] != Presence::Here {
        return;
    }
    let members = hands.world.plan.members(group);
    for router in members {
        hands.world.nodes[node].presence[router] = Presence::Going;
        hands.world.asked_to_go(node, router);
    }
    for router in members {
        keeper.input(Input::Remove { instance: InstanceId(router as u16) }, hands);
    }
}

/// Routers that are in the configuration again: once they are gone.
pub(super) fn add(group: usize, keeper: &mut Keeper, hands: &mut Hands<'_>) {
    let node = hands.node;
    let n = &mut hands.world.nodes[node];
    if n.stopping || !n.is_wanted(group) || n.presence[group] != Presence::Absent {
        return;
    }
    let members = hands.world.plan.members(group);
    for router in members {
        hands.world.added(node, router);
        let n = &mut hands.world.nodes[node];
        n.presence[router] = Presence::Here;
        n.settings[router] = n.wanted(router);
        n.kernel.identify(router, &n.settings[router], n.plan.address);
    }
    for router in members {
        let settings = hands.world.nodes[node].settings[router];
        configure(router, settings, keeper, hands);
    }
    for router in members {
        stand(router, keeper, hands);
    }
}

/// Tells the election of what it was told of a router before.
fn stand(router: usize, keeper: &mut Keeper, hands: &mut Hands<'_>) {
    if hands.is_alive() {
        let input = hands.world.nodes[hands.node].as_told(InstanceId(router as u16));
        keeper.input(input, hands);
    }
}

fn configure(router: usize, settings: Settings, keeper: &mut Keeper, hands: &mut Hands<'_>) {
    if hands.is_alive() {
        let group = GroupId(hands.world.plan.groups[router] as u16);
        keeper.input(Input::Configure { instance: InstanceId(router as u16), group, settings }, hands);
    }
}

fn routers(hands: &Hands<'_>, presence: Presence) -> Vec<usize> {
    let all = &hands.world.nodes[hands.node].presence;
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
