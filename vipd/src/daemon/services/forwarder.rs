//! Brings the kernel's IPVS to what is desired: services, timeouts of connections, sync daemons.
//!
//! It never trusts EEXIST: what is there already makes it read the table again, and compare. The kernel tells nobody of changes, so the table is
//! looked at now and then; what somebody else has changed of vipd's services is put back.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use vipd_balance::{
    DesiredTable, KernelBackend, OperationFailure, Reconcile, Reconciler, ServiceAddress, TableOperation,
};
use vipd_ipvs::{IpvsClient, IpvsError, IpvsStep, IpvsTable, StepRefusal, StepResult};

use super::{
    sync::{self, WantedIpvs},
    table,
};
use crate::time::Instant;

/// The kernel's IPVS, or a test's.
pub trait Ipvs {
    /// Reads everything.
    fn read(&mut self) -> Result<IpvsTable, IpvsError>;

    /// Does one thing.
    fn apply(&mut self, step: &IpvsStep) -> Result<Result<StepResult, StepRefusal>, IpvsError>;
}

/// The kernel's, of the network namespace of this thread.
#[derive(Debug)]
pub struct KernelIpvs(Option<IpvsClient>);

impl KernelIpvs {
    /// With a client that is open, or one that is opened when it is needed.
    pub fn new(client: Option<IpvsClient>) -> Self {
        Self(client)
    }

    /// After an error a late answer may wait in the socket: the next call has another.
    fn with<T>(&mut self, act: impl FnOnce(&mut IpvsClient) -> Result<T, IpvsError>) -> Result<T, IpvsError> {
        let mut client = match self.0.take() {
            Some(client) => client,
            None => IpvsClient::open()?,
        };
        let done = act(&mut client)?;
        self.0 = Some(client);
        Ok(done)
    }
}

impl Ipvs for KernelIpvs {
    fn read(&mut self) -> Result<IpvsTable, IpvsError> {
        self.with(IpvsClient::read_table)
    }

    fn apply(&mut self, step: &IpvsStep) -> Result<Result<StepResult, StepRefusal>, IpvsError> {
        let mut results = self.with(|client| client.apply(std::slice::from_ref(step)))?;
        Ok(results.pop().unwrap_or(Err(StepRefusal::Vanished)))
    }
}

/// The kernel's table and what is desired of it.
#[derive(Debug)]
pub struct Forwarder<K> {
    kernel: K,
    reconciler: Reconciler<KernelBackend>,
    wanted: WantedIpvs,
    /// As it was read last.
    table: IpvsTable,
    read_at: Option<Instant>,
    /// Timeouts and daemons are to be compared with the table that is read next.
    compares_rest: bool,
    /// The round was begun by a look, and not by a wish.
    looks: bool,
    /// A comparison may have made services vipd's that are not kept yet.
    has_gained: bool,
    /// Services that are kept may have been removed. There is no hurry: the next vipd finds that they are gone.
    has_lost: bool,
    repaired: Vec<String>,
    refused: BTreeMap<ServiceAddress, String>,
    /// Why the table cannot be read.
    problem: Option<String>,
    /// Why timeouts or sync daemons are not as they are to be.
    rest_problem: Option<String>,
}

impl<K: Ipvs> Forwarder<K> {
    /// Begins by reading the table. `own`: the services that an earlier vipd has made.
    pub fn new(kernel: K, own: impl IntoIterator<Item = ServiceAddress>) -> Self {
        Self {
            kernel,
            reconciler: Reconciler::new(KernelBackend::new(own)),
            wanted: WantedIpvs::default(),
            table: IpvsTable::default(),
            read_at: None,
            compares_rest: true,
            looks: false,
            has_gained: true,
            has_lost: false,
            repaired: Vec::new(),
            refused: BTreeMap::new(),
            problem: None,
            rest_problem: None,
        }
    }

    /// Services are to be otherwise.
    pub fn handle_desired(&mut self) {
        (self.looks, self.has_gained) = (false, true);
        self.reconciler.handle_desired();
    }

    /// Timeouts or sync daemons are to be otherwise.
    pub fn handle_wanted(&mut self, wanted: WantedIpvs) {
        if self.wanted != wanted {
            self.wanted = wanted;
            self.doubt();
            self.looks = false;
        }
    }

    /// Somebody else may have changed the table.
    pub fn look(&mut self) {
        if self.reconciler.is_settled() {
            self.looks = true;
        }
        self.doubt();
    }

    fn doubt(&mut self) {
        (self.compares_rest, self.has_gained) = (true, true);
        self.reconciler.handle_doubt();
    }

    /// Does what is to be done now, at most `most` things; returns whether there is more. `keep` is called with the services that vipd owns if they
    /// may have changed: before anything is made of them, and when all is done.
    pub fn work(
        &mut self,
        desired: &DesiredTable,
        most: usize,
        clock: impl Fn() -> Instant,
        keep: &mut dyn FnMut(&BTreeSet<ServiceAddress>),
    ) -> bool {
        for _ in 0..most {
            let now = clock();
            match self.reconciler.poll(desired, now) {
                None => {
                    if self.reconciler.is_settled() {
                        self.settled();
                        if self.has_gained || self.has_lost {
                            (self.has_gained, self.has_lost) = (false, false);
                            keep(self.reconciler.backend().own());
                        }
                    }
                    return false;
                }
                Some(Reconcile::Read) => self.read(now),
                Some(Reconcile::Apply(operation)) => {
                    if std::mem::take(&mut self.has_gained) {
                        keep(self.reconciler.backend().own());
                    }
                    self.has_lost |= matches!(operation, TableOperation::DelService { .. });
                    self.apply(&operation);
                }
            }
        }
        true
    }

    /// When [`work`](Self::work) is wanted though nothing has been handled.
    pub fn due(&self) -> Option<Instant> {
        self.reconciler.poll_timeout()
    }

    /// Whether the table is known to be as desired.
    pub fn is_settled(&self) -> bool {
        self.reconciler.is_settled() && !self.compares_rest
    }

    /// Whether no sync daemon is wanted, and none of vipd's is left.
    pub fn has_no_daemons(&self) -> bool {
        self.is_settled() && self.wanted.daemons.is_empty() && self.rest_problem.is_none()
    }

    /// The table as it was read last, and when.
    pub fn table(&self) -> (&IpvsTable, Option<Instant>) {
        (&self.table, self.read_at)
    }

    /// Reads the table for who wants to see it, if what was read is older than `age`.
    pub fn refresh(&mut self, age: Duration, now: Instant) {
        if self.read_at.is_none_or(|at| now.saturating_since(at) >= age)
            && let Ok(table) = self.kernel.read()
        {
            (self.table, self.read_at) = (table, Some(now));
        }
    }

    /// What somebody else had changed and vipd has put back, since this was asked last.
    pub fn take_repaired(&mut self) -> Vec<String> {
        std::mem::take(&mut self.repaired)
    }

    /// What the kernel refuses of a service.
    pub fn refusal(&self, service: &ServiceAddress) -> Option<&str> {
        self.refused.get(service).map(String::as_str)
    }

    /// Why the table cannot be read or changed at all, or why timeouts or sync daemons are not as they are to be.
    pub fn problem(&self) -> Option<&str> {
        self.problem.as_deref().or(self.rest_problem.as_deref())
    }

    /// Removes every service of the network namespace, whoever made it.
    pub fn flush(&mut self) -> anyhow::Result<()> {
        self.kernel.apply(&IpvsStep::Flush)??;
        self.doubt();
        Ok(())
    }

    fn read(&mut self, now: Instant) {
        // After a failure it is compared anew.
        self.has_gained = true;
        match self.kernel.read() {
            Ok(table) => {
                self.reconciler.handle_read(Ok(table::present(&table)), now);
                (self.table, self.read_at) = (table, Some(now));
                self.problem = None;
                if std::mem::take(&mut self.compares_rest) {
                    let problem = self.keep_rest();
                    say(&self.rest_problem, problem.as_ref());
                    self.rest_problem = problem;
                }
            }
            Err(error) => {
                let error = chain(&error);
                self.reconciler.handle_read(Err(OperationFailure::Refused(error.clone())), now);
                say(&self.problem, Some(&error));
                self.problem = Some(error);
            }
        }
    }

    fn apply(&mut self, operation: &TableOperation) {
        let service = operation.service();
        let result = match table::step(operation) {
            None => Err((OperationFailure::Refused("IPVS has no such service".into()), None)),
            Some(step) => match self.kernel.apply(&step) {
                // With a service that was there already may come destinations that are not known.
                Ok(Ok(StepResult::AlreadyThere)) => Err((OperationFailure::Exists, None)),
                Ok(Ok(StepResult::Done)) => Ok(step.to_string()),
                Ok(Err(refusal)) => Err((failure(&refusal), Some(format!("cannot {step}: {refusal}")))),
                Err(error) => {
                    let why = format!("cannot {step}: {}", chain(&error));
                    Err((OperationFailure::Refused(why.clone()), Some(why)))
                }
            },
        };
        match result {
            Ok(done) => {
                if self.looks {
                    self.repaired.push(done);
                }
                self.reconciler.handle_applied(Ok(()));
            }
            Err((failure, why)) => {
                if let (OperationFailure::Refused(_), Some(why)) = (&failure, why) {
                    self.refuse(service, why);
                }
                self.reconciler.handle_applied(Err(failure));
            }
        }
    }

    /// Told when it is new: the operation is tried again for ever.
    fn refuse(&mut self, service: ServiceAddress, why: String) {
        if self.refused.get(&service) != Some(&why) {
            tracing::error!(
                target: "vipd::event",
                event = "service_refused",
                service = %service,
                error = why,
                "the kernel refuses a part of a service; vipd tries again"
            );
            self.refused.insert(service, why);
        }
    }

    fn settled(&mut self) {
        self.refused.clear();
        self.looks = false;
    }

    /// Brings timeouts and sync daemons to what is wanted, from the table that was just read; returns why something is refused. The next look tries
    /// again.
    fn keep_rest(&mut self) -> Option<String> {
        let mut problem = None;
        let mut steps = Vec::new();
        if !self.table.timeouts.meets(&self.wanted.timeouts) {
            steps.push(IpvsStep::SetTimeouts(self.wanted.timeouts));
        }
        steps.extend(sync::steps(&self.table.daemons, &self.wanted));
        for step in steps {
            let why = match self.kernel.apply(&step) {
                Ok(Ok(StepResult::Done | StepResult::AlreadyThere)) => {
                    if matches!(step, IpvsStep::StartDaemon(_) | IpvsStep::StopDaemon(_)) {
                        tracing::info!(target: "vipd::event", event = "connection_sync", what = %step, "a sync daemon of IPVS");
                    }
                    continue;
                }
                Ok(Err(refusal)) => format!("cannot {step}: {refusal}"),
                Err(error) => format!("cannot {step}: {}", chain(&error)),
            };
            problem = Some(why);
        }
        problem
    }
}

/// Told when it is new.
fn say(known: &Option<String>, problem: Option<&String>) {
    if let Some(error) = problem.filter(|problem| known.as_ref() != Some(*problem)) {
        tracing::error!(
            target: "vipd::event",
            event = "services_not_kept",
            error,
            "the kernel's table of services cannot be kept; vipd tries again"
        );
    }
}

/// None of these is a success.
fn failure(refusal: &StepRefusal) -> OperationFailure {
    match refusal {
        StepRefusal::Exists(_) | StepRefusal::Vanished => OperationFailure::Exists,
        StepRefusal::NoService | StepRefusal::NoDestination | StepRefusal::NotRunning => {
            OperationFailure::Missing
        }
        refusal => OperationFailure::Refused(chain(refusal)),
    }
}

/// An error with its causes.
pub fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    let mut text = error.to_string();
    for cause in causes {
        text.push_str(": ");
        text.push_str(&cause.to_string());
    }
    text
}
