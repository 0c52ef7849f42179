//! Another configuration, or other interfaces, while the election goes on.
//!
//! 1. What may be refused comes first, with nothing changed yet: the configuration is read and checked, interfaces are looked
//!    up, and the program is attached where it is not ([`Reload::begin`]).
//! 2. Instances that are gone are handed over; signals, links and the host are served meanwhile.
//! 3. All the rest, at once ([`Reload::finish`]): [`reconcile`](super::super::reconcile) brings the program and the host to the
//!    new configuration, checks and delays follow, the election is told, and then those who asked.
//!
//! What the kernel refuses by then is tried again.

use std::{
    collections::{BTreeSet, HashMap},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use tokio::{
    sync::{oneshot, watch},
    time::Instant,
};

use super::{
    super::{
        desired::Desired,
        findings,
        interfaces::LookUp,
        messages::{Apply, DesiredHostStates, EngineMessage},
        outcome::{OnRefusal, Outcome},
        reconcile::{Installed, Masters},
        router::Router,
        services::Services,
        status_socket::{self, StatusSocket},
    },
    attachments::DetachedEventLog,
    differences,
    engine_handle::EngineHandle,
    links::LinkEventLog,
    restart::AtStart,
    tracking::TrackingResults,
};
use crate::{
    control::{Differences, Unapplied},
    host::Repairs,
    machine::Source,
    notify::Notifier,
    scripts::Accounts,
};
use vipd_config::{Comparison, Config, Failure, Loaded, Origins, XdpMode, XdpModes, compare};

/// Wait before what the kernel has refused is tried again.
const RETRY: Duration = Duration::from_secs(5);

/// Who asked for a reload is told what has become of it.
pub type Reply = oneshot::Sender<Result<Differences, Unapplied>>;

/// The configuration in force, and what is to be done about it when nothing else is under way: one of each is enough.
#[derive(Debug)]
pub struct Reload {
    source: Source,
    /// How the program is attached where the configuration does not say it.
    xdp_mode: XdpMode,
    /// In force, or what the reload that is under way began with.
    config: Config,
    /// Of the configuration of the start, whatever is in force now.
    at_start: AtStart,
    /// Of `config`: what to compare the next one with.
    origins: Origins,
    accounts: Accounts,
    status_socket: StatusSocket,
    /// The configuration is to be read again, and these are to be told.
    reload: Option<Vec<Reply>>,
    /// An interface is another one now, or gone, or back.
    rebuild: bool,
    /// When to look again at what the kernel has refused.
    again_at: Option<Instant>,
    under_way: Option<UnderWay>,
}

/// A configuration that is to come into force when what it does not have any more is handed over.
#[derive(Debug)]
struct UnderWay {
    config: Config,
    origins: Origins,
    /// What it changes.
    comparison: Comparison,
    /// Of the file.
    warnings: Vec<String>,
    accounts: Accounts,
    desired: Desired,
    /// Of those that go, by name.
    removals: HashMap<String, RemovalReason>,
    /// The engine has handed them over.
    handed_over: oneshot::Receiver<()>,
    /// `None`: nobody has asked, an interface has changed.
    replies: Option<Vec<Reply>>,
}

/// Why an instance goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RemovalReason {
    /// The configuration does not have it any more.
    Removed,
    /// It begins anew at once: nothing is told.
    Renewed,
}

/// What [`Reload::begin`] has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begun {
    /// Nobody is to be waited for: [`Reload::finish`] is next.
    Ready,
    /// Instances are being handed over; [`Reload::handed_over`] says when.
    Waits,
    /// All is as it was, and who asked knows.
    Refused,
}

/// What a reload acts on.
#[derive(Debug)]
pub struct ReloadParts<'a> {
    pub installed: &'a mut Installed,
    pub tracking: &'a mut TrackingResults,
    pub notifier: &'a mut Notifier,
    pub engine: &'a EngineHandle,
    pub host_states: &'a watch::Receiver<DesiredHostStates>,
    pub links: &'a mut LinkEventLog,
    pub detached: &'a mut DetachedEventLog,
    pub services: &'a mut Services,
}

impl Reload {
    /// The configuration that the daemon has started with. `unattached`: an interface did not take the program.
    pub fn new(
        (source, xdp_mode, at_start): (Source, XdpMode, AtStart),
        (config, origins): (Config, Origins),
        accounts: Accounts,
        status_socket: StatusSocket,
        unattached: bool,
    ) -> Self {
        let again_at = unattached.then(|| Instant::now() + RETRY);
        Self {
            source,
            xdp_mode,
            config,
            at_start,
            origins,
            accounts,
            status_socket,
            reload: None,
            rebuild: false,
            again_at,
            under_way: None,
        }
    }

    /// How the program is attached, by the configuration in force.
    pub fn modes_in_force(&self) -> XdpModes {
        self.xdp_modes(&self.config)
    }

    /// Where the configuration is read from.
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// The configuration in force.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Keywords of the configuration in force that count at the next start, in words.
    pub fn restart_needed(&self) -> Vec<String> {
        self.at_start.pending(&self.config).iter().map(ToString::to_string).collect()
    }

    /// Who runs scripts, by the configuration in force.
    pub fn accounts(&self) -> &Accounts {
        &self.accounts
    }

    /// The configuration is to be read again.
    pub fn want_reload(&mut self, reply: Option<Reply>) {
        self.reload.get_or_insert_default().extend(reply);
    }

    /// Interfaces are to be looked at again.
    pub fn want_rebuild(&mut self) {
        self.rebuild = true;
    }

    /// The kernel has refused something: interfaces are to be looked at again in a while.
    pub fn want_rebuild_later(&mut self) {
        self.want_rebuild_in(RETRY);
    }

    /// Interfaces are to be looked at again by then.
    pub fn want_rebuild_in(&mut self, wait: Duration) {
        let at = Instant::now() + wait;
        self.again_at = Some(self.again_at.map_or(at, |known| known.min(at)));
    }

    /// When [`Self::want_rebuild`] is wanted; not while a reload is under way.
    pub fn again_at(&self) -> Option<Instant> {
        self.again_at.filter(|_| !self.is_under_way())
    }

    /// Whether one waits for instances to be handed over.
    pub fn is_under_way(&self) -> bool {
        self.under_way.is_some()
    }

    /// Why an instance goes with the reload that is under way.
    pub fn removal_reason(&self, name: &str) -> Option<RemovalReason> {
        self.under_way.as_ref()?.removals.get(name).copied()
    }

    /// Waits until the engine has handed over what goes; never if nothing is under way. `false`: the engine has ended. May be
    /// dropped while it waits.
    pub async fn handed_over(&mut self) -> bool {
        match &mut self.under_way {
            Some(under_way) => (&mut under_way.handed_over).await.is_ok(),
            None => std::future::pending().await,
        }
    }

    /// Gives up what is under way, since the daemon ends.
    pub fn abandon(&mut self) {
        self.under_way = None;
    }

    /// What is to be done next: a reload with those who asked for it, or `Some(None)`, a look at the interfaces. Nothing while
    /// something is under way.
    pub fn take_wanted(&mut self) -> Option<Option<Vec<Reply>>> {
        if self.is_under_way() {
            return None;
        }
        let replies = self.reload.take();
        if replies.is_none() && !std::mem::take(&mut self.rebuild) {
            return None;
        }
        // A reload looks at the interfaces too.
        (self.rebuild, self.again_at) = (false, None);
        Some(replies)
    }

    /// Does everything that may be refused, and has the engine hand over what goes.
    pub async fn begin(&mut self, replies: Option<Vec<Reply>>, parts: &mut ReloadParts<'_>) -> Begun {
        let begun = match &replies {
            Some(_) => self.read(parts).await,
            None => self.prepare((self.config.clone(), self.origins.clone()), true, parts).await,
        };
        match begun {
            Ok(begun) => {
                let waits = !begun.removals.is_empty();
                self.under_way = Some(UnderWay { replies, ..begun });
                if waits { Begun::Waits } else { Begun::Ready }
            }
            Err(error) => {
                self.refuse(&error, replies);
                Begun::Refused
            }
        }
    }

    fn refuse(&mut self, failed: &anyhow::Error, replies: Option<Vec<Reply>>) {
        let error = format!("{failed:#}");
        let failure = failed.downcast_ref::<Failure>();
        let count = findings::count(failed);
        match replies {
            Some(_) => {
                // Each has lines of its own.
                for diagnostic in failure.iter().flat_map(|failure| &failure.diagnostics) {
                    tracing::error!("{diagnostic}");
                }
                // So has each interface.
                if failure.is_none() && error.contains('\n') {
                    error.lines().for_each(|line| tracing::error!("{line}"));
                }
                tracing::error!(
                    target: "vipd::event",
                    event = "reload_refused",
                    error = failure.map_or_else(|| error.replace('\n', "; "), Failure::summary),
                    "reload rejected: {count}; the running configuration is unchanged"
                );
            }
            None => {
                tracing::error!(error, "interface changes could not be applied; vipd tries again");
                self.want_rebuild_later();
            }
        }
        for reply in replies.into_iter().flatten() {
            // Who asked may be gone.
            let _ = reply.send(Err(refused(failed)));
        }
    }

    async fn read(&self, parts: &mut ReloadParts<'_>) -> Result<UnderWay> {
        let path = self.source.path.display();
        tracing::info!(config = %path, "reloading");
        let loaded = self.load()?;
        findings::log(&loaded.warnings);
        for pending in self.at_start.pending(&loaded.config) {
            tracing::warn!("{pending}");
        }
        let mut warnings = findings::warnings(&loaded.warnings);
        let mut begun = self.prepare((loaded.config, loaded.origins), false, parts).await?;
        warnings.extend(self.at_start.complete(&mut begun.comparison, &begun.config));
        Ok(UnderWay { warnings, ..begun })
    }

    fn load(&self) -> Result<Loaded> {
        let loaded = self.source.load()?;
        // As keepalived a vipd may have nothing to do, but it does not come to that by an empty file.
        if loaded.config.instances.is_empty() && !self.config.instances.is_empty() {
            bail!("{} has no vrrp_instance; `vipd stop` ends them all", self.source.path.display());
        }
        Ok(loaded)
    }

    /// What a reload would change, or why it would be refused; changes nothing. Only what the kernel says to the program on an
    /// interface that is new is not asked.
    pub async fn compare(&self, parts: &ReloadParts<'_>) -> Result<Differences, Unapplied> {
        let compared = async {
            let loaded = self.load()?;
            Accounts::new(&loaded.config.script_policy).context("script_user")?;
            status_socket::group(&loaded.config)?;
            self.desire(&loaded.config, false, parts).await?;
            let mut warnings = findings::warnings(&loaded.warnings);
            let mut comparison = self.changes(&loaded.config, &loaded.origins);
            warnings.extend(self.at_start.complete(&mut comparison, &loaded.config));
            Ok(differences::differences(&comparison, warnings))
        };
        compared.await.map_err(|error| refused(&error))
    }

    /// How a configuration differs from the one in force.
    fn changes(&self, config: &Config, origins: &Origins) -> Comparison {
        compare((&self.config, &self.origins), (config, origins))
    }

    /// What a configuration comes to on the interfaces as they are.
    async fn desire(&self, config: &Config, rebuild: bool, parts: &ReloadParts<'_>) -> Result<Desired> {
        let links = parts.installed.routers().iter().flat_map(Router::links);
        let absent: BTreeSet<&str> = links.filter(|link| !link.exists()).map(|link| link.name()).collect();
        let dynamic = config.dynamic_interfaces;
        let may_be_missing = |name: &str| rebuild || dynamic || absent.contains(name);
        self.look_up(config, &may_be_missing, parts).await
    }

    /// Everything that may be refused. On an error nothing has changed.
    async fn prepare(
        &self,
        (config, origins): (Config, Origins),
        rebuild: bool,
        parts: &mut ReloadParts<'_>,
    ) -> Result<UnderWay> {
        let accounts = Accounts::new(&config.script_policy).context("script_user")?;
        status_socket::group(&config)?;
        let desired = self.desire(&config, rebuild, parts).await?;
        let comparison = if rebuild { Comparison::default() } else { self.changes(&config, &origins) };
        if !rebuild {
            parts.services.prepare(&config).await?;
            parts.installed.prepare(&desired, &self.xdp_modes(&config)).await?;
        }
        let gone = parts.installed.leaving(&desired);
        let removal = |router: &&Router| {
            let stays = config.instances.iter().any(|instance| instance.name == router.name());
            let reason = if stays { RemovalReason::Renewed } else { RemovalReason::Removed };
            (router.name().to_owned(), reason)
        };
        let removals: HashMap<_, _> = gone.iter().map(removal).collect();
        let instances: BTreeSet<_> = gone.iter().map(|router| router.id()).collect();
        let (reply, handed_over) = oneshot::channel();
        if !instances.is_empty() {
            parts.engine.send(EngineMessage::Remove { instances, reply }).await;
        }
        Ok(UnderWay {
            config,
            origins,
            comparison,
            warnings: Vec::new(),
            accounts,
            desired,
            removals,
            handed_over,
            replies: None,
        })
    }

    fn xdp_modes(&self, config: &Config) -> XdpModes {
        config.xdp_modes.or(self.xdp_mode)
    }

    async fn look_up(
        &self,
        config: &Config,
        may_be_missing: &dyn Fn(&str) -> bool,
        parts: &ReloadParts<'_>,
    ) -> Result<Desired> {
        let modes = &self.xdp_modes(config);
        let (host, delays) = (parts.installed.host(), parts.tracking.delays());
        let look_up = LookUp { path: &self.source.path, modes, host, delays };
        Desired::new(config, look_up.all(config, may_be_missing).await?)
    }

    /// Everything else; returns whether it is one that somebody has asked for.
    pub async fn finish(&mut self, parts: &mut ReloadParts<'_>) -> bool {
        let Some(mut under_way) = self.under_way.take() else { return false };
        if !under_way.removals.is_empty() {
            // Links may have changed while it waited, which was told to the former routers.
            match self.look_up(&under_way.config, &|_| true, parts).await {
                Ok(desired) => under_way.desired = desired,
                Err(error) => {
                    tracing::error!(
                        error = format!("{error:#}"),
                        "interface changes could not be applied; vipd tries again"
                    );
                    self.want_rebuild_later();
                }
            }
        }
        let replies = under_way.replies.take();
        let warnings = std::mem::take(&mut under_way.warnings);
        let comparison = replies.is_some().then(|| std::mem::take(&mut under_way.comparison));
        let outcome = self.come_into_force(under_way, replies.is_some(), parts).await;
        if outcome.is_unattached {
            self.want_rebuild_later();
        }
        self.report(&outcome, comparison.as_ref());
        let is_reload = replies.is_some();
        for reply in replies.into_iter().flatten() {
            let of = |comparison| differences::differences(comparison, warnings.clone());
            let differences = comparison.as_ref().map(of).unwrap_or_default();
            let problems = &outcome.problems;
            let answer = if problems.is_empty() {
                Ok(differences)
            } else {
                Err(Unapplied::InPart(format!("{differences}; but {}", problems.join("; "))))
            };
            // Who asked may be gone.
            let _ = reply.send(answer);
        }
        is_reload
    }

    async fn come_into_force(
        &mut self,
        under_way: UnderWay,
        is_reload: bool,
        parts: &mut ReloadParts<'_>,
    ) -> Outcome {
        let UnderWay { config, origins, accounts, desired, .. } = under_way;
        let modes = self.xdp_modes(&config);
        let states = parts.host_states.borrow().clone();
        let mut outcome = reconcile(desired, &modes, &states, parts.installed, parts.detached).await;
        let routers = parts.installed.routers();
        let used = routers.iter().flat_map(Router::present_ports).map(|port| (port.ifindex, port.up));
        parts.tracking.reload(&config, &accounts, used, parts.installed.host()).await;
        tell_engine(&mut outcome, parts).await;
        parts.notifier.reload(&config, &accounts, is_reload).await;
        if is_reload {
            parts.services.configure(&config, &accounts).await;
        }
        if let Err(error) = self.status_socket.give(&config) {
            outcome.problems.push(format!("{error:#}"));
        }
        (self.config, self.origins, self.accounts) = (config, origins, accounts);
        outcome
    }

    /// `comparison`: of a reload; without one interfaces have changed.
    fn report(&mut self, outcome: &Outcome, comparison: Option<&Comparison>) {
        let what = comparison.map_or_else(|| outcome.changes.to_string(), ToString::to_string);
        if !outcome.problems.is_empty() {
            tracing::error!(
                target: "vipd::event",
                event = "reloaded_in_part",
                what,
                problems = outcome.problems.join("; "),
                "the new configuration is in force in part; vipd tries again"
            );
            self.want_rebuild_later();
        } else if let Some(comparison) = comparison {
            tracing::info!(
                target: "vipd::event",
                event = "reloaded",
                what,
                changes = differences::first(comparison),
                "the new configuration is in force"
            );
        } else if outcome.changes.any() {
            tracing::info!(target: "vipd::event", event = "interfaces_changed", what, "interfaces changed");
        }
    }

    /// Puts back what somebody else has removed of what is in force; returns what that was.
    ///
    /// Nothing while a reload is under way: that does the same.
    pub async fn repair(&mut self, parts: &mut ReloadParts<'_>) -> Repairs {
        let desired = parts.installed.desired().filter(|_| !self.is_under_way()).cloned();
        let Some(desired) = desired else { return Repairs::default() };
        let (modes, states) = (self.xdp_modes(&self.config), parts.host_states.borrow().clone());
        let mut outcome = reconcile(desired, &modes, &states, parts.installed, parts.detached).await;
        if outcome.changes.any() || outcome.sockets.is_some() {
            tell_engine(&mut outcome, parts).await;
        }
        if outcome.is_unattached {
            self.want_rebuild_later();
        }
        self.report(&outcome, None);
        outcome.repairs
    }
}

/// Why nothing has changed, for who asked.
fn refused(error: &anyhow::Error) -> Unapplied {
    Unapplied::Refused { message: format!("{error:#}"), errors: findings::count(error) }
}

/// Tells the election of what is in force now, and the log of its interfaces.
async fn tell_engine(outcome: &mut Outcome, parts: &mut ReloadParts<'_>) {
    let routers = parts.installed.routers();
    let (reply, applied) = oneshot::channel();
    let apply = Apply {
        routers: routers.iter().cloned().zip(parts.tracking.results()).collect(),
        sockets: outcome.sockets.take(),
        attachments: parts.installed.attachment_modes().clone(),
        reply,
    };
    parts.engine.send(EngineMessage::Apply(Box::new(apply))).await;
    // Closing a packet socket waits for a grace period: here, not in the engine's thread.
    drop(applied.await);
    parts.links.follow(routers);
}

/// Brings what is there to what is desired, and goes on whatever is refused.
async fn reconcile(
    desired: Desired,
    modes: &XdpModes,
    states: &DesiredHostStates,
    installed: &mut Installed,
    detached: &mut DetachedEventLog,
) -> Outcome {
    let masters = Masters::Elected(states);
    let reconciled = installed.reconcile(desired, modes, masters, OnRefusal::GoOn).await;
    let outcome = reconciled
        .unwrap_or_else(|error| Outcome { problems: vec![format!("{error:#}")], ..Outcome::default() });
    detached.lost(&outcome.lost);
    outcome
}
