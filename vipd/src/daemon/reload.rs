//! Another configuration, or other interfaces, while the election goes on.
//!
//! First everything that may fail, with nothing changed yet: the configuration is read and checked, interfaces are looked
//! up, XDP is attached where it is not, sockets are opened. Then instances that are gone are handed over. Then all the
//! rest, at once: the table of VIPs is swapped, the election is told, the host's routes follow.

use std::collections::{BTreeSet, HashSet};

use anyhow::{Context, Result, anyhow, bail};
use tokio::sync::oneshot;
use vipd_common::abi::{MAX_INSTANCES, MAX_PEERS, MAX_VIPS};

use super::{
    driver::{Apply, Message},
    main_loop::MainLoop,
    router::Router,
    setup,
    sockets::Sockets,
};
use crate::{
    config::{Config, LinkDelay, ScriptPolicy},
    engine::InstanceId,
    host::multicast::Memberships,
    scripts::Accounts,
};

/// Who asked for a reload is told what has become of it.
pub type Reply = oneshot::Sender<Result<String, String>>;

/// Why everything is looked at again.
#[derive(Debug)]
pub enum Want {
    /// The configuration is to be read again.
    Reload(Option<Reply>),
    /// An interface is another one now, or gone, or back.
    Rebuild,
}

/// A configuration that is to come into force when what it does not have any more is handed over.
#[derive(Debug)]
pub struct Reload {
    config: Config,
    accounts: Accounts,
    /// Those that go on have their slots.
    routers: Vec<Router>,
    kept: Vec<Option<u32>>,
    removed_names: HashSet<String>,
    /// The engine has handed them over.
    pub removed: oneshot::Receiver<()>,
    reply: Option<Reply>,
}

impl Reload {
    /// Whether an instance is one of those that go.
    pub fn removes(&self, name: &str) -> bool {
        self.removed_names.contains(name)
    }
}

impl MainLoop<'_> {
    /// Does what is wanted, or later if something else is under way.
    pub async fn want(&mut self, want: Want) {
        if self.reload.is_some() {
            let again = matches!(want, Want::Rebuild)
                && self.wanted.iter().any(|wanted| matches!(wanted, Want::Rebuild));
            if !again {
                self.wanted.push(want);
            }
            return;
        }
        let is_reload = matches!(want, Want::Reload(_));
        if self.stopping && !is_reload {
            return;
        }
        let reply = if let Want::Reload(reply) = want { reply } else { None };
        let begun = match self.stopping {
            true => Err(anyhow!("the daemon is stopping")),
            false if is_reload => self.read().await,
            false => self.prepare(self.config.clone(), true).await,
        };
        match begun {
            Ok(reload) => {
                let reload = Reload { reply, ..reload };
                if reload.removed_names.is_empty() {
                    self.finish_reload(reload).await;
                } else {
                    self.reload = Some(reload);
                }
            }
            Err(error) => {
                let error = format!("{error:#}");
                let what = if is_reload { "the configuration stays as it is" } else { "an interface is not used" };
                tracing::error!(error, "{what}");
                if let Some(reply) = reply {
                    // Who asked may be gone.
                    let _ = reply.send(Err(error));
                }
            }
        }
    }

    async fn read(&mut self) -> Result<Reload> {
        let path = self.options.source.path.display();
        tracing::info!(config = %path, "reloading");
        let loaded = self.options.source.load()?;
        for warning in &loaded.warnings {
            tracing::warn!("{warning}");
        }
        if loaded.config.instances.is_empty() {
            bail!("{path} has no vrrp_instance; `vipd stop` ends them all");
        }
        self.prepare(loaded.config, false).await
    }

    /// Everything that may fail. On an error nothing has changed.
    async fn prepare(&mut self, config: Config, rebuild: bool) -> Result<Reload> {
        let accounts = Accounts::new(&ScriptPolicy::of(&config)).context("script_user")?;
        let absent: Vec<String> = self
            .routers
            .iter()
            .flat_map(|router| &router.links)
            .filter(|link| !link.exists())
            .map(|link| link.name.clone())
            .collect();
        let dynamic = config.has_dynamic_interfaces();
        let may_be_missing = |name: &str| rebuild || dynamic || absent.iter().any(|absent| absent == name);
        let mut routers = setup::routers(&self.options.source.path, &config, &self.made.host, &may_be_missing).await?;
        let kept = pair(&self.routers, &routers);
        check_capacity(&routers)?;
        for (router, slot) in routers.iter_mut().zip(&kept) {
            if let Some(before) = self.routers.iter().find(|before| Some(before.slot) == *slot) {
                (router.slot, router.group) = (before.slot, before.group);
            }
        }
        if let Err(error) =
            super::attach(&mut self.made.dataplane, &routers, &mut self.made.host, &mut self.modes).await
        {
            self.detach_unused(&self.routers.clone());
            return Err(error);
        }
        let is_removed = |router: &&Router| !kept.contains(&Some(router.slot));
        let gone: Vec<&Router> = self.routers.iter().filter(is_removed).collect();
        let removed_names = gone.iter().map(|router| router.spec.name.clone()).collect();
        let instances: BTreeSet<InstanceId> = gone.iter().map(|router| router.id()).collect();
        let (answer, removed) = oneshot::channel();
        if !instances.is_empty() {
            self.send(Message::Remove { instances, reply: answer }).await;
        }
        Ok(Reload { config, accounts, routers, kept, removed_names, removed, reply: None })
    }

    /// Everything else.
    pub async fn finish_reload(&mut self, mut reload: Reload) {
        let reply = reload.reply.take();
        // What they have said last is said in the terms of the old configuration.
        self.reload = Some(reload);
        while let Ok(notice) = self.notices.try_recv() {
            self.tell(notice);
        }
        let Some(reload) = self.reload.take() else { return };
        let done = self.come_into_force(reload).await;
        match &done {
            Ok(what) => tracing::info!(what, "the configuration is in force"),
            Err(error) => tracing::error!(error = format!("{error:#}"), "the configuration is in force in part"),
        }
        if let Some(reply) = reply {
            // Who asked may be gone.
            let _ = reply.send(done.map_err(|error| format!("{error:#}")));
        }
    }

    async fn come_into_force(&mut self, reload: Reload) -> Result<String> {
        let Reload { config, accounts, mut routers, kept, removed_names, .. } = reload;
        setup::fill_slots(&mut routers, &kept)?;
        setup::assign_groups(&mut routers, &kept);
        let pages = self.made.dataplane.pages().clone();
        for (router, kept) in routers.iter().zip(&kept) {
            if kept.is_none() {
                pages.leases().release(router.group);
                pages.instances().write(router.slot, &router.identity());
            }
        }
        let plan = setup::plan(routers.iter());
        // I4: before the table, or the kernel answers for what the table does not have any more.
        self.made.host.retire(&plan).await.context("remove routes of former VIPs")?;
        self.made.dataplane.replace_tables(&setup::contents(routers.iter()))?;
        let sockets = match Sockets::needs(&routers) == Sockets::needs(&self.routers) {
            true => None,
            false => Some(Sockets::open(&routers)?),
        };
        let groups = setup::groups(&routers);
        if groups != setup::groups(&self.routers) {
            self.memberships = Memberships::join(groups).context("join multicast groups")?;
        }
        self.tracker.reload(&config, &accounts);
        self.delays.reload(LinkDelay::of(&config));
        self.look_at_tracked_links().await;
        let standings = self.tracker.standings().iter().copied();
        let (answer, applied) = oneshot::channel();
        let apply = Apply {
            routers: routers.iter().cloned().zip(standings).collect(),
            sockets,
            modes: self.modes.clone(),
            reply: answer,
        };
        self.send(Message::Apply(Box::new(apply))).await;
        // Closing a packet socket waits for a grace period: here, not in the engine's thread.
        drop(applied.await);
        self.detach_unused(&routers);
        let changed = routers.iter().filter(|router| {
            self.routers.iter().any(|before| before.slot == router.slot && before != *router)
        });
        let what = format!(
            "{} instances: {} changed, {} added, {} removed",
            routers.len(),
            changed.count(),
            kept.iter().filter(|slot| slot.is_none()).count(),
            removed_names.len()
        );
        self.routers = routers;
        self.hosted.replan(plan);
        self.apply_wishes().await;
        self.notifier.reload(&config, &accounts).await;
        (self.config, self.accounts) = (config, accounts);
        Ok(what)
    }

    fn detach_unused(&mut self, routers: &[Router]) {
        let used: Vec<u32> =
            routers.iter().flat_map(Router::present).map(|link| link.wire.ifindex).collect();
        self.modes.retain(|ifindex, _| used.contains(ifindex));
        if let Err(error) = self.made.dataplane.detach_others(&used) {
            tracing::warn!(error = format!("{error:#}"), "XDP is still attached to an interface without VIPs");
        }
    }

    /// Interfaces that were not tracked before are looked at.
    pub async fn look_at_tracked_links(&mut self) {
        for name in self.tracker.interfaces().map(str::to_owned).collect::<BTreeSet<_>>() {
            super::look_at_link(&name, &self.made.host, &mut self.tracker, &mut self.delays).await;
        }
    }
}

/// For each of the new routers the slot of the old one that it is.
fn pair(old: &[Router], new: &[Router]) -> Vec<Option<u32>> {
    let mut taken = BTreeSet::new();
    let mut slots = Vec::new();
    for router in new {
        let is_it = |before: &&Router| {
            before.identified() == router.identified() && before.mates == router.mates
                && !taken.contains(&before.slot)
        };
        let same = old.iter().filter(is_it);
        // Unicast instances may have the same VRID.
        let best = same.clone().find(|before| before.spec.name == router.spec.name).or(same.clone().next());
        let slot = best.map(|before| before.slot);
        taken.extend(slot);
        slots.push(slot);
    }
    slots
}

fn check_capacity(routers: &[Router]) -> Result<()> {
    let vips = routers.iter().flat_map(Router::table).count();
    let peers = routers.iter().flat_map(Router::peers).count();
    for (what, count, most) in [
        ("instances", routers.len(), MAX_INSTANCES),
        ("VIPs", vips, MAX_VIPS),
        ("unicast peers", peers, MAX_PEERS),
    ] {
        if count > most as usize {
            bail!("{count} {what}: there is room for {most}");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::{config, daemon::router::Wire, host::LinkState};

    /// Routers of instances `name vrid`, with slots from 0 on.
    fn routers(instances: &[(&str, u8)], group: &[&str]) -> Vec<Router> {
        let mut text = String::from("global_defs {\nvrrp_version 3\n}\n");
        for (name, vrid) in instances {
            text += &format!(
                "vrrp_instance {name} {{\ninterface eth0\nvirtual_router_id {vrid}\nvirtual_ipaddress {{\n10.0.0.{vrid}\n}}\n}}\n"
            );
        }
        let loaded = config::parse(Path::new("t.conf"), &text, &config::Nothing, config::Unsupported::Refused);
        let loaded = loaded.unwrap_or_else(|failure| panic!("{failure}"));
        let link = || {
            let wire = Wire { interface: "eth0".into(), ifindex: 7, vlan: 0 };
            vec![(LinkState { ifindex: 7, ..LinkState::absent("eth0") }, wire)]
        };
        let router = |(slot, spec)| Router { slot, ..Router::new(spec, link()) };
        let mut routers: Vec<Router> = (0..).zip(loaded.config.instances).map(router).collect();
        let mates: Vec<_> = routers
            .iter()
            .filter(|router| group.contains(&router.spec.name.as_str()))
            .map(Router::identified)
            .collect();
        for router in routers.iter_mut().filter(|router| group.contains(&router.spec.name.as_str())) {
            router.mates.clone_from(&mates);
        }
        routers
    }

    #[test]
    fn routers_are_the_same_by_what_they_are_on_the_wire() {
        let old = routers(&[("A", 1), ("B", 2), ("C", 3)], &[]);
        for (what, new, slots) in [
            ("the same", routers(&[("A", 1), ("B", 2), ("C", 3)], &[]), vec![Some(0), Some(1), Some(2)]),
            ("in another order", routers(&[("C", 3), ("A", 1)], &[]), vec![Some(2), Some(0)]),
            ("with another name", routers(&[("X", 2)], &[]), vec![Some(1)]),
            ("with another VRID", routers(&[("A", 9), ("B", 2)], &[]), vec![None, Some(1)]),
            ("in a group", routers(&[("A", 1), ("B", 2), ("C", 3)], &["A", "B"]), vec![None, None, Some(2)]),
        ] {
            assert_eq!(pair(&old, &new), slots, "{what}");
        }
        let group = routers(&[("A", 1), ("B", 2), ("C", 3)], &["A", "B"]);
        assert_eq!(pair(&group, &group), [Some(0), Some(1), Some(2)]);
        let other = routers(&[("A", 1), ("B", 2), ("C", 3)], &["A", "B", "C"]);
        assert_eq!(pair(&group, &other), [None; 3], "with another member");
    }

    #[test]
    fn what_there_is_no_room_for_is_refused() {
        let many: Vec<Router> = std::iter::repeat_n(routers(&[("A", 1)], &[]).remove(0), 1_025).collect();
        let refused = check_capacity(&many).unwrap_err().to_string();
        assert_eq!(refused, "1025 instances: there is room for 1024");
    }
}
