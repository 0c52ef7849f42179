//! The number of each virtual router, which is its slot in the maps, and the slot of its lease: those that it had before, so
//! that its mastership goes on.

use std::collections::{BTreeSet, HashMap};

use anyhow::{Context, Result};
use vipd_common::abi::{InstanceHead, MAX_INSTANCES};

use super::router::{Router, RouterIdentity};
use crate::{
    dataplane::{InstancePage, LeasePage},
    vrrp::{GroupId, InstanceId},
};

/// For each of the new routers the number of the old one that it is.
pub fn pair(old: &[Router], new: &[Router]) -> Vec<Option<InstanceId>> {
    let mut taken = BTreeSet::new();
    let mut numbers = Vec::new();
    for router in new {
        let is_it = |before: &&Router| {
            let owner =
                |router: &Router| router.group_members().len() > 1 && router.spec().priority.is_owner();
            before.identity() == router.identity()
                && before.group_members() == router.group_members()
                && owner(before) == owner(router)
                && !taken.contains(&before.id())
        };
        let same = old.iter().filter(is_it);
        // Unicast instances may have the same VRID.
        let best = same.clone().find(|before| before.name() == router.name()).or(same.clone().next());
        let number = best.map(Router::id);
        taken.extend(number);
        numbers.push(number);
    }
    numbers
}

/// Numbers the routers: those that are `kept` as the old ones that they are, the others by what is free.
pub fn keep(old: &[Router], new: &mut [Router], kept: &[Option<InstanceId>]) -> Result<()> {
    let leases: HashMap<InstanceId, GroupId> =
        old.iter().map(|before| (before.id(), before.lease())).collect();
    fill(new, kept)?;
    let mut groups = HashMap::new();
    for (router, kept) in new.iter_mut().zip(kept) {
        let known = kept.and_then(|number| leases.get(&number).copied());
        let lease = known.unwrap_or_else(|| lease_of(router, &mut groups));
        router.number(router.id(), lease);
    }
    Ok(())
}

/// Numbers the routers as the pinned maps have it: the same virtual router keeps the slot that a predecessor on this node had for
/// it, so that its lease goes on. Leases of others, and of sync groups that are not what they were, are released.
///
/// Returns which of them the predecessor had.
pub fn adopt(routers: &mut [Router], instances: &InstancePage, leases: &LeasePage) -> Result<Vec<bool>> {
    let heads: Vec<InstanceHead> = (0..MAX_INSTANCES).map(|slot| instances.head(slot)).collect();
    let known = |router: &Router| (0..).zip(&heads).find(|(_, head)| head.key == router.key());
    let kept: Vec<Option<InstanceId>> = routers
        .iter()
        .map(|router| known(router).filter(|_| router.link().exists()).map(|(slot, _)| InstanceId(slot)))
        .collect();
    fill(routers, &kept)?;
    let mut groups = HashMap::new();
    for router in routers.iter_mut() {
        let lease = lease_of(router, &mut groups);
        router.number(router.id(), lease);
    }
    keep_leases_of_groups(routers, &heads);
    // One look for all slots: nobody advertises while this runs.
    let mut sharing: HashMap<u32, usize> = HashMap::new();
    for head in heads.iter().filter(|head| head.key.vrid != 0) {
        *sharing.entry(head.lease_slot).or_default() += 1;
    }
    for (slot, head) in (0..).zip(&heads) {
        if !routers.iter().any(|router| router.id().slot() == slot) {
            instances.clear(slot);
        }
        let members = || routers.iter().filter(|router| router.lease().slot() == slot);
        let then = sharing.get(&slot).copied().unwrap_or_default();
        let is_same = |router: &Router| {
            heads[usize::from(router.id().0)] == InstanceHead { key: router.key(), lease_slot: slot }
        };
        // Nor is one inherited that was being handed over: its successor has begun to wait.
        let leaving = members().any(|router| instances.is_out(router.id().slot()));
        if members().count() != then || !members().all(is_same) || leaving || head.key.vrid == 0 {
            leases.release(slot);
        }
    }
    Ok(kept.iter().map(Option::is_some).collect())
}

/// A sync group that had another of its members' slots for its lease keeps that one.
fn keep_leases_of_groups(routers: &mut [Router], heads: &[InstanceHead]) {
    let before = |router: &Router| heads.get(usize::from(router.id().0)).map(|head| head.lease_slot);
    let groups: BTreeSet<GroupId> = routers.iter().map(Router::lease).collect();
    for group in groups {
        let members = || routers.iter().filter(|router| router.lease() == group);
        let then = members().next().and_then(before);
        let same = members().all(|router| before(router) == then);
        let held = members().find(|router| same && Some(router.id().slot()) == then);
        if let Some(held) = held.map(|router| GroupId(router.id().0)) {
            let members = routers.iter_mut().filter(|router| router.lease() == group);
            members.for_each(|router| router.number(router.id(), held));
        }
    }
}

/// Gives each router the number that is said, or else one that nobody has.
fn fill(routers: &mut [Router], numbers: &[Option<InstanceId>]) -> Result<()> {
    let all = (0..u16::MAX).take(MAX_INSTANCES as usize).map(InstanceId);
    let mut free = all.filter(|number| !numbers.contains(&Some(*number)));
    for (router, number) in routers.iter_mut().zip(numbers) {
        let number = number.or_else(|| free.next());
        let number = number.with_context(|| format!("more than {MAX_INSTANCES} instances"))?;
        router.number(number, router.lease());
    }
    Ok(())
}

/// A sync group has the slot of the first of its members for its lease.
fn lease_of(router: &Router, groups: &mut HashMap<Vec<RouterIdentity>, GroupId>) -> GroupId {
    *groups.entry(router.group_members().to_vec()).or_insert(GroupId(router.id().0))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::{daemon::router::Wire, host::LinkState};

    /// Routers of instances `name vrid`, with numbers from 0 on.
    fn routers(instances: &[(&str, u8)], group: &[&str]) -> Vec<Router> {
        let mut text = String::from("global_defs {\nvrrp_version 3\n}\n");
        for (name, vrid) in instances {
            text += &format!(
                "vrrp_instance {name} {{\ninterface eth0\nvirtual_router_id {vrid}\nvirtual_ipaddress {{\n10.0.0.{vrid}\n}}\n}}\n"
            );
        }
        let loaded = vipd_config::parse(
            Path::new("t.conf"),
            &text,
            &vipd_config::Nothing,
            vipd_config::Unsupported::Refused,
        );
        let loaded = loaded.unwrap_or_else(|failure| panic!("{failure}"));
        let link = || {
            let wire = Wire { interface: "eth0".into(), ifindex: 7, vlan: 0 };
            vec![(LinkState { ifindex: 7, ..LinkState::absent("eth0") }, wire)]
        };
        let numbered = |(number, spec)| {
            let mut router = Router::new(number, spec, link(), Vec::new());
            let number = u16::try_from(number).unwrap();
            router.number(InstanceId(number), GroupId(number));
            router
        };
        let mut routers: Vec<Router> =
            loaded.config.instances.into_iter().enumerate().map(numbered).collect();
        let is_member = |router: &Router| group.contains(&router.name());
        let members: Vec<_> =
            routers.iter().filter(|router| is_member(router)).map(Router::identity).collect();
        for router in routers.iter_mut().filter(|router| is_member(router)) {
            let settings = *router.settings();
            router.join("G", &members, settings);
        }
        routers
    }

    #[test]
    fn routers_are_the_same_by_what_they_are_on_the_wire() {
        let old = routers(&[("A", 1), ("B", 2), ("C", 3)], &[]);
        let number = |n| Some(InstanceId(n));
        for (what, new, numbers) in [
            (
                "the same",
                routers(&[("A", 1), ("B", 2), ("C", 3)], &[]),
                vec![number(0), number(1), number(2)],
            ),
            ("in another order", routers(&[("C", 3), ("A", 1)], &[]), vec![number(2), number(0)]),
            ("with another name", routers(&[("X", 2)], &[]), vec![number(1)]),
            ("with another VRID", routers(&[("A", 9), ("B", 2)], &[]), vec![None, number(1)]),
            (
                "in a group",
                routers(&[("A", 1), ("B", 2), ("C", 3)], &["A", "B"]),
                vec![None, None, number(2)],
            ),
        ] {
            assert_eq!(pair(&old, &new), numbers, "{what}");
        }
        let group = routers(&[("A", 1), ("B", 2), ("C", 3)], &["A", "B"]);
        assert_eq!(pair(&group, &group), [number(0), number(1), number(2)]);
        let other = routers(&[("A", 1), ("B", 2), ("C", 3)], &["A", "B", "C"]);
        assert_eq!(pair(&group, &other), [None; 3], "with another member");
    }

    #[test]
    fn what_goes_on_keeps_its_number_and_what_is_new_takes_a_free_one() {
        let old = routers(&[("A", 1), ("B", 2), ("C", 3)], &[]);
        let mut new = routers(&[("N", 9), ("C", 3), ("M", 8)], &["N", "M"]);
        let kept = pair(&old, &new);
        keep(&old, &mut new, &kept).unwrap();
        let numbers: Vec<_> = new.iter().map(|router| (router.id().0, router.lease().0)).collect();
        assert_eq!(numbers, [(0, 0), (2, 2), (1, 0)], "a sync group has one lease");
    }
}
