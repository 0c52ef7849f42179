//! Compares the table of a data plane with the desired one, and makes the operations that lead there.
//!
//! keepalived takes EEXIST for success, so a weight that a crashed predecessor left stays. A [`Reconciler`] reads the table at the start
//! and after every failure, EEXIST included.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use vipd_core::time::Instant;

use crate::{
    desired::{DesiredService, DesiredTable, DesiredTarget},
    model::{ForwardMethod, ServiceAddress, ServiceSettings, TargetId},
};

/// A data plane that forwards. Pure: its methods make operations, and the daemon sends them.
pub trait Backend {
    /// Its table, as it was read.
    type Present;
    /// One operation on its table.
    type Operation: Clone;

    /// Why it cannot serve a service as asked, in lower case; `None`: it can.
    fn refusal(&self, service: &DesiredService) -> Option<String>;

    /// Takes note of desired services: it owns them, and removes them when they are no longer desired. What is neither desired nor in the table is
    /// forgotten.
    fn adopt(&mut self, present: &Self::Present, desired: &DesiredTable);

    /// The operations that lead from `present` to `desired`, in order. None if they are equal.
    fn compare(&self, present: &Self::Present, desired: &DesiredTable) -> Vec<Self::Operation>;

    /// Updates the known table after an operation succeeded, and forgets a service that was removed.
    fn applied(&mut self, present: &mut Self::Present, operation: &Self::Operation);

    /// The service that an operation is about. After a failure, later ones about it wait until the table was read again.
    fn about(&self, operation: &Self::Operation) -> ServiceAddress;
}

/// A target in the kernel's table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TableTarget {
    /// 0 to 2^31 - 1.
    pub weight: u32,
    /// How packets get there; `None`: an address of this host. The kernel delivers locally there, and ignores the requested method.
    pub forward: Option<ForwardMethod>,
    /// Connections above which it gets no new one; 0: no limit.
    pub upper_threshold: u32,
    /// Connections below which it gets new ones again.
    pub lower_threshold: u32,
}

impl TableTarget {
    /// Whether it is as desired.
    fn is(&self, desired: &Self) -> bool {
        let forward = self.forward.is_none() || self.forward == desired.forward;
        forward && Self { forward: None, ..*self } == Self { forward: None, ..*desired }
    }
}

impl From<&DesiredTarget> for TableTarget {
    fn from(desired: &DesiredTarget) -> Self {
        let &DesiredTarget { weight, forward, upper_threshold, lower_threshold, sorry: _ } = desired;
        Self { weight, forward: Some(forward), upper_threshold, lower_threshold }
    }
}

/// A service in the kernel's table. A service of a group is one for each of its addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TableService {
    /// Scheduler, flags, persistence.
    pub settings: ServiceSettings,
    /// Its targets.
    pub targets: BTreeMap<TargetId, TableTarget>,
}

/// One operation on the kernel's table, named as IPVS names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TableOperation {
    /// NEW_SERVICE.
    NewService {
        /// Which.
        service: ServiceAddress,
        /// How.
        settings: ServiceSettings,
    },
    /// SET_SERVICE.
    SetService {
        /// Which.
        service: ServiceAddress,
        /// How.
        settings: ServiceSettings,
    },
    /// DEL_SERVICE, which removes its targets too.
    DelService {
        /// Which.
        service: ServiceAddress,
    },
    /// NEW_DEST.
    NewTarget {
        /// Of which service.
        service: ServiceAddress,
        /// Which.
        target: TargetId,
        /// How.
        row: TableTarget,
    },
    /// SET_DEST.
    SetTarget {
        /// Of which service.
        service: ServiceAddress,
        /// Which.
        target: TargetId,
        /// How.
        row: TableTarget,
    },
    /// DEL_DEST.
    DelTarget {
        /// Of which service.
        service: ServiceAddress,
        /// Which.
        target: TargetId,
    },
}

impl TableOperation {
    /// The service it is about.
    pub const fn service(&self) -> ServiceAddress {
        match self {
            Self::NewService { service, .. }
            | Self::SetService { service, .. }
            | Self::DelService { service }
            | Self::NewTarget { service, .. }
            | Self::SetTarget { service, .. }
            | Self::DelTarget { service, .. } => *service,
        }
    }
}

/// The kernel's IPVS, which can serve every service of the model. It leaves services of others alone: also one that somebody makes where vipd's has
/// been removed.
#[derive(Clone, Debug, Default)]
pub struct KernelBackend {
    /// Services that vipd has made or taken over, and has not removed.
    own: BTreeSet<ServiceAddress>,
}

impl KernelBackend {
    /// A backend that owns the services `own` of an earlier vipd. With `lvs_flush` these are all in the table.
    pub fn new(own: impl IntoIterator<Item = ServiceAddress>) -> Self {
        Self { own: own.into_iter().collect() }
    }

    /// The services that it owns, to be kept over a restart.
    pub const fn own(&self) -> &BTreeSet<ServiceAddress> {
        &self.own
    }
}

impl Backend for KernelBackend {
    type Present = BTreeMap<ServiceAddress, TableService>;
    type Operation = TableOperation;

    fn refusal(&self, _: &DesiredService) -> Option<String> {
        None
    }

    fn adopt(&mut self, present: &Self::Present, desired: &DesiredTable) {
        self.own.retain(|address| present.contains_key(address));
        self.own.extend(desired.services().values().flat_map(|service| &service.addresses));
    }

    fn compare(&self, present: &Self::Present, desired: &DesiredTable) -> Vec<TableOperation> {
        let wanted: BTreeMap<ServiceAddress, &DesiredService> = desired
            .services()
            .values()
            .flat_map(|service| service.addresses.iter().map(move |&address| (address, service)))
            .collect();
        let gone =
            present.keys().filter(|address| self.own.contains(address) && !wanted.contains_key(address));
        let mut operations: Vec<_> = gone.map(|&service| TableOperation::DelService { service }).collect();
        for (service, wanted) in wanted {
            compare_service(service, present.get(&service), wanted, &mut operations);
        }
        operations
    }

    fn applied(&mut self, present: &mut Self::Present, operation: &TableOperation) {
        match *operation {
            TableOperation::NewTarget { service, target, row }
            | TableOperation::SetTarget { service, target, row } => {
                present.entry(service).or_default().targets.insert(target, row);
            }
            TableOperation::DelTarget { service, target } => {
                present.entry(service).or_default().targets.remove(&target);
            }
            TableOperation::NewService { service, settings }
            | TableOperation::SetService { service, settings } => {
                present.entry(service).or_default().settings = settings;
            }
            TableOperation::DelService { service } => {
                present.remove(&service);
                self.own.remove(&service);
            }
        }
    }

    fn about(&self, operation: &TableOperation) -> ServiceAddress {
        operation.service()
    }
}

/// One service: greater weights come before smaller ones and removals, so that it is never empty in between.
fn compare_service(
    service: ServiceAddress,
    present: Option<&TableService>,
    wanted: &DesiredService,
    operations: &mut Vec<TableOperation>,
) {
    let settings = wanted.settings;
    match present {
        None => operations.push(TableOperation::NewService { service, settings }),
        Some(there) if there.settings != settings => {
            operations.push(TableOperation::SetService { service, settings });
        }
        Some(_) => {}
    }
    let nobody = BTreeMap::new();
    let there = present.map_or(&nobody, |present| &present.targets);
    for raised in [true, false] {
        for (&target, desired) in &wanted.targets {
            let (row, was) = (TableTarget::from(desired), there.get(&target));
            if (row.weight > was.map_or(0, |was| was.weight)) != raised {
                continue;
            }
            match was {
                None => operations.push(TableOperation::NewTarget { service, target, row }),
                Some(was) if !was.is(&row) => {
                    operations.push(TableOperation::SetTarget { service, target, row });
                }
                Some(_) => {}
            }
        }
    }
    let gone = there.keys().filter(|target| !wanted.targets.contains_key(target));
    operations.extend(gone.map(|&target| TableOperation::DelTarget { service, target }));
}

/// Why an operation failed. None of these is a success: the table is read again after each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OperationFailure {
    /// EEXIST: something is there that was not to be.
    Exists,
    /// ENOENT, ESRCH: something is gone that was to be there.
    Missing,
    /// Anything else, in lower case.
    Refused(String),
}

/// The next act that a [`Reconciler`] asks for. One at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reconcile<O> {
    /// Read the table, then call [`Reconciler::handle_read`].
    Read,
    /// Do this, then call [`Reconciler::handle_applied`].
    Apply(O),
}

/// Brings a backend's table to the desired one, also through failures and changes by others.
///
/// ```text
///            +------------- desired changed ---------------+
///            v                                             |
///  read --> compare --> apply one after the other --> settled
///   ^                        | some failed
///   +---- at once, then ---- +
///         after 1 s to 60 s
/// ```
#[derive(Debug)]
pub struct Reconciler<B: Backend> {
    backend: B,
    /// The table as it is, if that is known.
    present: Option<B::Present>,
    queue: VecDeque<B::Operation>,
    awaited: Option<Reconcile<B::Operation>>,
    /// Services of which an operation has failed since the table was read.
    failed: BTreeSet<ServiceAddress>,
    /// Rounds in a row that failed.
    rounds: u32,
    wait_until: Option<Instant>,
    /// The desired table has not been compared with `present` yet. Always so while there is none.
    stale: bool,
}

impl<B: Backend> Reconciler<B> {
    /// A reconciler that begins by reading the table.
    pub const fn new(backend: B) -> Self {
        Self {
            backend,
            present: None,
            queue: VecDeque::new(),
            awaited: None,
            failed: BTreeSet::new(),
            rounds: 0,
            wait_until: None,
            stale: true,
        }
    }

    /// The backend.
    pub const fn backend(&self) -> &B {
        &self.backend
    }

    /// The desired table has changed. The reconciler acts at once, even after failures.
    pub fn handle_desired(&mut self) {
        (self.stale, self.wait_until) = (true, None);
    }

    /// The table is to be looked at again: somebody else may have changed it.
    pub fn handle_doubt(&mut self) {
        (self.present, self.stale, self.wait_until) = (None, true, None);
        self.queue.clear();
    }

    /// The table was read.
    pub fn handle_read(&mut self, read: Result<B::Present, OperationFailure>, now: Instant) {
        self.awaited = None;
        match read {
            Ok(present) => self.present = Some(present),
            Err(_) => self.fail_round(now, Duration::from_secs(1)),
        }
    }

    /// The operation ended.
    pub fn handle_applied(&mut self, result: Result<(), OperationFailure>) {
        let Some(Reconcile::Apply(operation)) = self.awaited.take() else { return };
        match result {
            Ok(()) => {
                if let Some(present) = &mut self.present {
                    self.backend.applied(present, &operation);
                }
            }
            // Exists and Missing too: the table is not as it was known.
            Err(_) => _ = self.failed.insert(self.backend.about(&operation)),
        }
    }

    /// The next act; `None`: nothing before the next `handle_*` or [`poll_timeout`](Self::poll_timeout).
    pub fn poll(&mut self, desired: &DesiredTable, now: Instant) -> Option<Reconcile<B::Operation>> {
        if self.awaited.is_some() || self.wait_until.is_some_and(|until| now < until) {
            return None;
        }
        self.wait_until = None;
        // Twice: a round that has failed may be followed by another at once.
        for _ in 0..2 {
            let Some(present) = &self.present else {
                self.failed.clear();
                self.awaited = Some(Reconcile::Read);
                return Some(Reconcile::Read);
            };
            if std::mem::take(&mut self.stale) {
                self.backend.adopt(present, desired);
                self.queue = self.backend.compare(present, desired).into();
            }
            while let Some(operation) = self.queue.pop_front() {
                if !self.failed.contains(&self.backend.about(&operation)) {
                    self.awaited = Some(Reconcile::Apply(operation.clone()));
                    return Some(Reconcile::Apply(operation));
                }
            }
            if self.failed.is_empty() {
                self.rounds = 0;
                return None;
            }
            self.fail_round(now, Duration::ZERO);
            if self.wait_until.is_some() {
                return None;
            }
        }
        None
    }

    /// When [`poll`](Self::poll) is to be called though nothing was handled.
    pub const fn poll_timeout(&self) -> Option<Instant> {
        self.wait_until
    }

    /// Whether the table is known to be as desired.
    pub fn is_settled(&self) -> bool {
        let idle = self.awaited.is_none() && self.queue.is_empty() && !self.stale;
        self.present.is_some() && self.failed.is_empty() && idle
    }

    /// The table is to be read again: at once after the first failure, then after ever longer waits.
    fn fail_round(&mut self, now: Instant, least: Duration) {
        (self.present, self.stale) = (None, true);
        let wait_s = match self.rounds {
            0 => 0,
            rounds => 1u64 << (rounds - 1).min(6),
        };
        self.rounds = self.rounds.saturating_add(1);
        let wait = Duration::from_secs(wait_s.min(LONGEST_WAIT_S)).max(least);
        self.wait_until = (!wait.is_zero()).then(|| now + wait);
    }
}

/// Longest wait after failures, in seconds.
const LONGEST_WAIT_S: u64 = 60;
