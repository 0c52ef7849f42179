//! What the main thread and the services' thread tell each other: values and channel ends.

use std::{
    collections::BTreeSet,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::sync::oneshot;
use vipd_balance::BalanceConfig;
use vipd_config::{Config, LvsSettings};

use crate::{
    control::{ServerDrain, model::BalancingStatus},
    scripts::Accounts,
    time::Instant,
};

/// What the main thread asks of the services' thread.
#[derive(Debug)]
pub enum ServicesMessage {
    /// Another configuration.
    Configure(Box<ServicesConfig>),
    /// `vipd drain-server`, `undrain-server`.
    Drain(ServerDrain),
    Status(oneshot::Sender<BalancingStatus>),
    /// Remove everything; answered when it is done.
    Stop(oneshot::Sender<()>),
    /// Do nothing, for a vipd that is to take over, until [`GoOn`](Self::GoOn) or the end; answered when all that is known is kept.
    Hold(oneshot::Sender<()>),
    /// It did not take over.
    GoOn,
    /// End, and leave everything to the next vipd.
    Leave,
}

/// What the services' thread has of a configuration.
#[derive(Debug)]
pub struct ServicesConfig {
    pub balance: BalanceConfig,
    pub lvs: LvsSettings,
    pub accounts: Arc<Accounts>,
}

impl ServicesConfig {
    /// What a configuration says of services.
    pub fn of(config: &Config, accounts: &Accounts) -> Self {
        let (balance, lvs) = (config.balance.clone(), config.lvs.clone());
        Self { balance, lvs, accounts: Arc::new(accounts.clone()) }
    }
}

/// The VIPs of this node, and its roles.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Roles {
    /// The VIPs of all instances.
    pub vips: BTreeSet<IpAddr>,
    /// Those that this node owns.
    pub owned: BTreeSet<IpAddr>,
    /// Names of the instances that are master.
    pub masters: BTreeSet<String>,
}

/// When the thread last went through its loop; it does so once a second.
#[derive(Clone, Debug, Default)]
pub struct Beat(Arc<AtomicU64>);

impl Beat {
    /// The thread is there.
    pub fn turn(&self, now: Instant) {
        self.0.store(now.as_nanos(), Relaxed);
    }

    /// How long ago that was.
    pub fn since(&self, now: Instant) -> Duration {
        now.saturating_since(Instant::from_nanos(self.0.load(Relaxed)))
    }
}
