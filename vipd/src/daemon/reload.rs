//! Another configuration, or other interfaces, while the election goes on.
//!
//! First what may be refused, with nothing changed yet: the configuration is read and checked, interfaces are looked up, and
//! XDP is attached where it is not. Then instances that are gone are handed over. Then all the rest, at once: the table of
//! VIPs is swapped, the election is told, the host's routes follow. What the kernel refuses by then is tried again.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use tokio::{sync::oneshot, time::Instant};
use vipd_common::abi::{MAX_INSTANCES, MAX_PEERS, MAX_VIPS};
use vipd_config::{Config, XdpModes};

use super::{
    attach::attach,
    driver::{Apply, Message},
    main_loop::{MainLoop, links, tell_of_links},
    router::Router,
    setup,
    sockets::Sockets,
};
use crate::{control::Unapplied, engine::InstanceId, host::multicast::Memberships, scripts::Accounts};

/// Wait before what the kernel has refused is tried again.
const RETRY: Duration = Duration::from_secs(5);

/// Who asked for a reload is told what has become of it.
pub type Reply = oneshot::Sender<Result<String, Unapplied>>;

/// What is to be done when nothing else is under way: one of each is enough.
#[derive(Debug, Default)]
pub struct Wanted {
    /// The configuration is to be read again, and these are to be told.
    reload: Option<Vec<Reply>>,
    /// An interface is another one now, or gone, or back.
    rebuild: bool,
    /// When to look again at what the kernel has refused.
    pub again_at: Option<Instant>,
}

impl Wanted {
    /// The kernel has refused something.
    pub fn again_soon(&mut self) {
        self.again_at = Some(Instant::now() + RETRY);
    }
}

/// A configuration that is to come into force when what it does not have any more is handed over.
#[derive(Debug)]
pub struct Reload {
    config: Config,
    accounts: Accounts,
    /// Those that go on have their slots.
    routers: Vec<Router>,
    kept: Vec<Option<u32>>,
    /// Of those that go, by name.
    farewells: HashMap<String, Farewell>,
    /// The engine has handed them over.
    pub handed_over: oneshot::Receiver<()>,
    /// `None`: nobody has asked, an interface has changed.
    replies: Option<Vec<Reply>>,
}

/// What becomes of the last words of an instance that goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Farewell {
    Removed,
    /// It begins anew at once: nothing is told.
    Renewed,
}

impl Reload {
    pub fn farewell(&self, name: &str) -> Option<Farewell> {
        self.farewells.get(name).copied()
    }
}

impl MainLoop<'_> {
    pub async fn want_reload(&mut self, reply: Option<Reply>) {
        self.wanted.reload.get_or_insert_default().extend(reply);
        self.do_wanted().await;
    }

    pub async fn want_rebuild(&mut self) {
        self.wanted.rebuild = true;
        self.do_wanted().await;
    }

    /// Does what is wanted, unless something is under way; to be called again when that is over.
    pub async fn do_wanted(&mut self) {
        while self.reload.is_none() && !self.stopping {
            let replies = self.wanted.reload.take();
            if replies.is_none() && !std::mem::take(&mut self.wanted.rebuild) {
                break;
            }
            // A reload looks at the interfaces too.
            (self.wanted.rebuild, self.wanted.again_at) = (false, None);
            self.begin(replies).await;
        }
    }

    async fn begin(&mut self, replies: Option<Vec<Reply>>) {
        if replies.is_some() {
            self.manager.reloading();
        }
        let begun = match &replies {
            Some(_) => self.read().await,
            None => self.prepare(self.config.clone(), true).await,
        };
        match begun {
            Ok(reload) => {
                let waits = !reload.farewells.is_empty();
                self.reload = Some(Reload { replies, ..reload });
                if !waits {
                    self.finish_reload().await;
                }
            }
            Err(error) => {
                let error = format!("{error:#}");
                match replies {
                    Some(_) => {
                        tracing::error!(
                            target: "vipd::event",
                            event = "reload_refused",
                            error,
                            "the configuration stays as it is"
                        );
                        self.manager.reloaded();
                    }
                    None => {
                        tracing::error!(error, "interfaces are not followed for now");
                        self.wanted.again_soon();
                    }
                }
                for reply in replies.into_iter().flatten() {
                    // Who asked may be gone.
                    let _ = reply.send(Err(Unapplied::Refused(error.clone())));
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
        if loaded.config.real_time_priority != self.config.real_time_priority {
            tracing::warn!("another vrrp_rt_priority takes a restart");
        }
        self.prepare(loaded.config, false).await
    }

    /// Everything that may be refused. On an error nothing has changed.
    async fn prepare(&mut self, config: Config, rebuild: bool) -> Result<Reload> {
        let accounts = Accounts::new(&config.script_policy).context("script_user")?;
        let links = || self.routers.iter().flat_map(|router| &router.links);
        let absent: HashSet<&str> =
            links().filter(|link| !link.exists()).map(|link| link.name.as_str()).collect();
        let dynamic = config.dynamic_interfaces;
        let may_be_missing = |name: &str| rebuild || dynamic || absent.contains(name);
        let path = &self.options.source.path;
        let modes = self.options.xdp_modes(&config);
        let routers =
            setup::routers(path, &config, &modes, &self.made.host, &self.delays, &may_be_missing).await?;
        let kept = pair(&self.routers, &routers);
        check_capacity(&routers)?;
        let routers = self.attach(routers, &modes, rebuild).await?;
        let gone: Vec<&Router> =
            self.routers.iter().filter(|router| !kept.contains(&Some(router.slot))).collect();
        let farewell = |router: &&Router| {
            let name = router.spec.name.clone();
            let stays = config.instances.iter().any(|instance| instance.name == name);
            (name, if stays { Farewell::Renewed } else { Farewell::Removed })
        };
        let farewells = gone.iter().map(farewell).collect();
        let instances: BTreeSet<InstanceId> = gone.iter().map(|router| router.id()).collect();
        let (answer, handed_over) = oneshot::channel();
        if !instances.is_empty() {
            self.send(Message::Remove { instances, reply: answer }).await;
        }
        Ok(Reload { config, accounts, routers, kept, farewells, handed_over, replies: None })
    }

    /// Attaches XDP where it is not. A heartbeat line where it cannot be counts as missing; with `go_on` an interface with VIPs too.
    async fn attach(
        &mut self,
        mut routers: Vec<Router>,
        modes: &XdpModes,
        go_on: bool,
    ) -> Result<Vec<Router>> {
        let failed =
            attach(&mut self.made.dataplane, &routers, modes, &mut self.made.host, &mut self.attachments)
                .await;
        for (ifindex, error) in failed {
            let serves = routers.iter().flat_map(Router::present).any(|link| link.wire.ifindex == ifindex);
            if serves && !go_on {
                self.detach_unused();
                return Err(error);
            }
            let error = self.why_unattached(ifindex, &format!("{error:#}"));
            tracing::error!(error, "an interface is not used");
            self.wanted.again_soon();
            routers.iter_mut().for_each(|router| router.refuse(ifindex, &error));
        }
        Ok(routers)
    }

    /// Everything else.
    pub async fn finish_reload(&mut self) {
        // What they have said last is said in the terms of the old configuration.
        while let Ok(notice) = self.notices.try_recv() {
            self.tell(notice);
        }
        let Some(mut reload) = self.reload.take() else { return };
        let replies = reload.replies.take();
        let is_reload = replies.is_some();
        if !reload.farewells.is_empty() {
            // Links may have changed while it waited, which was told to the former routers.
            match self.look_again(&reload.config).await {
                Ok(routers) => reload.routers = routers,
                Err(error) => {
                    tracing::error!(error = format!("{error:#}"), "interfaces are not followed for now");
                    self.wanted.again_soon();
                }
            }
        }
        let (what, changes, problems) = self.come_into_force(reload, is_reload).await;
        if problems.is_empty() && !is_reload {
            if changes {
                tracing::info!(target: "vipd::event", event = "interfaces_changed", what, "interfaces have changed");
            }
        } else if problems.is_empty() {
            tracing::info!(target: "vipd::event", event = "reloaded", what, "the configuration is in force");
        } else {
            tracing::error!(
                target: "vipd::event",
                event = "reloaded_in_part",
                what,
                problems = problems.join("; "),
                "the configuration is in force in part, trying again"
            );
            self.wanted.again_soon();
        }
        if is_reload {
            self.manager.reloaded();
        }
        for reply in replies.into_iter().flatten() {
            let answer = if problems.is_empty() {
                Ok(what.clone())
            } else {
                Err(Unapplied::InPart(format!("{what}; but {}", problems.join("; "))))
            };
            // Who asked may be gone.
            let _ = reply.send(answer);
        }
    }

    /// The routers of a configuration that was accepted, on the interfaces as they are by now.
    async fn look_again(&mut self, config: &Config) -> Result<Vec<Router>> {
        let path = &self.options.source.path;
        let modes = self.options.xdp_modes(config);
        let routers = setup::routers(path, config, &modes, &self.made.host, &self.delays, &|_| true).await?;
        self.attach(routers, &modes, true).await
    }

    /// Returns what has changed, whether anything has, and what the kernel has refused.
    async fn come_into_force(&mut self, reload: Reload, is_reload: bool) -> (String, bool, Vec<String>) {
        let Reload { config, accounts, mut routers, kept, farewells, .. } = reload;
        let mut problems = Refusals::default();
        for (router, slot) in routers.iter_mut().zip(&kept) {
            if let Some(before) = self.routers.iter().find(|before| Some(before.slot) == *slot) {
                (router.slot, router.group) = (before.slot, before.group);
            }
        }
        problems.note(setup::fill_slots(&mut routers, &kept));
        setup::assign_groups(&mut routers, &kept);
        let pages = self.made.dataplane.pages().clone();
        for (router, kept) in routers.iter().zip(&kept) {
            if kept.is_none() {
                pages.leases().release(router.group);
                problems.note(pages.forget_counters(router.slot));
                pages.instances().write(router.slot, &router.identity());
            }
        }
        let plan = setup::plan(routers.iter());
        let mut contents = setup::contents(routers.iter());
        // I4: before the table, or the kernel answers for what the table does not have any more.
        if let Err(error) = self.made.host.retire(&plan).await {
            problems.note::<()>(Err(error.context("remove routes of former VIPs")));
            contents.keep(setup::contents(self.routers.iter()).vips);
        }
        problems.note(self.made.dataplane.replace_tables(&contents));
        // Nothing leads there any more.
        let used: HashSet<u32> = routers.iter().map(|router| router.slot).collect();
        for router in self.routers.iter().filter(|router| !used.contains(&router.slot)) {
            pages.instances().clear(router.slot);
        }
        let mut sockets = None;
        if Sockets::needs(&routers) != Sockets::needs(&self.routers) {
            sockets = problems.note(Sockets::open(&routers));
        }
        let groups = setup::groups(&routers);
        if groups != setup::groups(&self.routers) {
            let joined = Memberships::join(groups).context("join multicast groups");
            if let Some(memberships) = problems.note(joined) {
                self.memberships = memberships;
            }
        }
        self.tracker.reload(&config, &accounts);
        self.delays.reload(config.link_delays.clone());
        for port in routers.iter().flat_map(Router::present_ports) {
            self.delays.known(port.ifindex, port.up);
        }
        self.look_at_tracked_links().await;
        let standings = self.tracker.standings().iter().copied();
        let (answer, applied) = oneshot::channel();
        let apply = Apply {
            routers: routers.iter().cloned().zip(standings).collect(),
            sockets,
            attachments: self.attachments.clone(),
            reply: answer,
        };
        self.send(Message::Apply(Box::new(apply))).await;
        // Closing a packet socket waits for a grace period: here, not in the engine's thread.
        drop(applied.await);
        let is_changed = |router: &&Router| {
            let before = self.routers.iter().find(|before| before.slot == router.slot);
            before.is_some_and(|before| Router { position: router.position, ..before.clone() } != **router)
        };
        let going_on = routers.iter().zip(&kept).filter(|(_, slot)| slot.is_some()).map(|(router, _)| router);
        let (changed, added) =
            (going_on.filter(is_changed).count(), kept.iter().filter(|slot| slot.is_none()).count());
        let (count, removed) = (routers.len(), farewells.len());
        let what = format!("{count} instances: {changed} changed, {added} added, {removed} removed");
        let changes = changed + added + removed > 0;
        tell_of_links(&links(&self.routers), &links(&routers));
        self.routers = routers;
        self.detach_unused();
        self.hosted.replan(plan);
        self.apply_wishes().await;
        self.notifier.reload(&config, &accounts, is_reload).await;
        (self.config, self.accounts) = (config, accounts);
        (what, changes, problems.0)
    }

    fn detach_unused(&mut self) {
        let ports = self.routers.iter().flat_map(Router::present_ports);
        let used: Vec<u32> = ports.map(|port| port.wire.ifindex).collect();
        self.attachments.retain(|ifindex, _| used.contains(ifindex));
        if let Err(error) = self.made.dataplane.detach_others(&used) {
            tracing::warn!(
                error = format!("{error:#}"),
                "XDP is still attached to an interface without VIPs"
            );
        }
    }

    /// Interfaces that were not tracked before are looked at.
    async fn look_at_tracked_links(&mut self) {
        for name in self.tracker.interfaces().map(str::to_owned).collect::<BTreeSet<_>>() {
            super::look_at_link(&name, &self.made.host, &mut self.tracker, &mut self.delays).await;
        }
    }
}

/// What the kernel has refused.
#[derive(Debug, Default)]
struct Refusals(Vec<String>);

impl Refusals {
    fn note<T>(&mut self, result: Result<T>) -> Option<T> {
        result.map_err(|error| self.0.push(format!("{error:#}"))).ok()
    }
}

/// For each of the new routers the slot of the old one that it is.
fn pair(old: &[Router], new: &[Router]) -> Vec<Option<u32>> {
    let mut taken = BTreeSet::new();
    let mut slots = Vec::new();
    for router in new {
        let is_it = |before: &&Router| {
            let owner = |router: &Router| router.mates.len() > 1 && router.spec.priority.is_owner();
            before.identified() == router.identified()
                && before.mates == router.mates
                && owner(before) == owner(router)
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
    use crate::{daemon::router::Wire, host::LinkState};

    /// Routers of instances `name vrid`, with slots from 0 on.
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
