//! What instances track, and the delays with which the main thread believes in changes of links.

use std::{collections::BTreeSet, time::Duration};

use tokio::time::Instant;

use crate::{
    host::{Host, LinkChange},
    scripts::Accounts,
    tracking::{Arbitration, BfdStatesRx, Effect, HealthDetail, LinkDelays, News, Tracker, TrackingResult},
};
use vipd_config::Config;

/// The tracker and the delays.
#[derive(Debug)]
pub struct TrackingResults {
    tracker: Tracker,
    delays: LinkDelays,
    /// `vrrp_startup_delay`: until then no instance begins, but one that has inherited its lease.
    begins_at: Option<Instant>,
}

/// The results that have changed, by the place of the instance in the configuration.
pub type ChangedResults = Vec<(usize, TrackingResult)>;

/// Something for [`TrackingResults::take`].
#[derive(Debug)]
pub enum DueChange {
    /// Something that is tracked is another way.
    News(News),
    /// A change of a link has been held back for long enough.
    Link,
    /// The instances may begin.
    Begin,
}

impl TrackingResults {
    /// Starts to watch; to be called on a `LocalSet`. `used`: the interfaces of instances, whose links are looked at with those
    /// that are tracked.
    pub async fn start(
        config: &Config,
        (accounts, sessions): (&Accounts, BfdStatesRx),
        delays: LinkDelays,
        used: Vec<&str>,
        host: &Host,
        begins_after: Duration,
    ) -> Self {
        let begins_at = (!begins_after.is_zero()).then(|| Instant::now() + begins_after);
        let mut tracking = Self { tracker: Tracker::start(config, accounts, sessions), delays, begins_at };
        let tracked = tracking.interfaces();
        let tracked = tracked.iter().map(String::as_str);
        for name in tracked.chain(used) {
            tracking.look_at(name, host).await;
        }
        tracking
    }

    /// Follows another configuration, whose instances use these interfaces: their indexes, and whether they are up.
    pub async fn reload(
        &mut self,
        config: &Config,
        accounts: &Accounts,
        used: impl Iterator<Item = (u32, bool)>,
        host: &Host,
    ) {
        self.tracker.reload(config, accounts);
        self.delays.reload(config.link_delays.clone());
        for (ifindex, up) in used {
            self.delays.known(ifindex, up);
        }
        // Interfaces that were not tracked before are looked at.
        for name in self.interfaces() {
            self.look_at(&name, host).await;
        }
    }

    fn interfaces(&self) -> BTreeSet<String> {
        self.tracker.interfaces().map(str::to_owned).collect()
    }

    /// Has the tracker know how a link is now.
    async fn look_at(&mut self, name: &str, host: &Host) {
        match host.link(name).await {
            Ok(link) => {
                let change = self.delays.pass(LinkChange::State(link), Instant::now());
                drop(self.tracker.link(&change));
            }
            Err(error) => tracing::warn!(interface = name, %error, "a tracked interface counts as down"),
        }
    }

    /// How long links take to count as up or down.
    pub fn delays(&self) -> &LinkDelays {
        &self.delays
    }

    /// The result of each instance, in the order of the configuration.
    pub fn results(&self) -> Vec<TrackingResult> {
        self.tracker.results().iter().map(|result| self.held(result.clone())).collect()
    }

    /// A result as the election is to know it: before the startup delay is over none is known.
    fn held(&self, result: TrackingResult) -> TrackingResult {
        TrackingResult { known: result.known && self.begins_at.is_none(), ..result }
    }

    fn all_held(&self, changed: ChangedResults) -> ChangedResults {
        changed.into_iter().map(|(position, result)| (position, self.held(result))).collect()
    }

    /// The startup delay is over; returns the results that the election did not know.
    pub fn begin(&mut self) -> ChangedResults {
        self.begins_at = None;
        self.results().into_iter().enumerate().collect()
    }

    /// What is next. May be dropped while it waits.
    pub async fn next(&mut self) -> DueChange {
        let held = self.delays.next();
        let held = async {
            match held {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        let begins_at = self.begins_at;
        let begins = async {
            match begins_at {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            Some(news) = self.tracker.next() => DueChange::News(news),
            () = held => DueChange::Link,
            () = begins => DueChange::Begin,
        }
    }

    /// Takes note of what is tracked.
    pub fn take(&mut self, news: News) -> ChangedResults {
        let changed = self.tracker.take(news);
        self.all_held(changed)
    }

    /// A change of a link as the others are to know it by now.
    pub fn pass(&mut self, change: LinkChange) -> LinkChange {
        self.delays.pass(change, Instant::now())
    }

    /// A change whose delay is over.
    pub fn take_held(&mut self) -> Option<LinkChange> {
        self.delays.take_due(Instant::now())
    }

    /// A link has changed, for all who know of delays.
    pub fn link(&mut self, change: &LinkChange) -> ChangedResults {
        let changed = self.tracker.link(change);
        self.all_held(changed)
    }

    /// Each tracked object with a block.
    pub fn all(&self) -> impl Iterator<Item = HealthDetail<'_>> {
        self.tracker.all()
    }

    /// The arbiters that are asked.
    pub fn arbiters(&self) -> impl Iterator<Item = Arbitration<'_>> {
        self.tracker.arbiters()
    }

    /// What everything that an instance tracks does to it, by its place in the configuration.
    pub fn effects(&self, position: usize) -> Vec<Effect> {
        self.tracker.effects(position)
    }
}
