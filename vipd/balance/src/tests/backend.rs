//! From what is in a table to what is desired, through failures and through what others do.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use vipd_core::time::Instant;

use super::{Play, at, heavy, id, service, sorry, vip, web};
use crate::{
    Backend, DesiredTable, ForwardMethod, KernelBackend, OperationFailure, Reconcile, Reconciler, Scheduler,
    ServiceAddress, ServiceId, TableOperation, TableService, TableTarget, TargetId, VirtualServer,
};

/// A table that does what IPVS does.
#[derive(Clone, Debug, Default)]
pub(super) struct FakeKernel {
    pub(super) table: BTreeMap<ServiceAddress, TableService>,
    /// Addresses of the host itself.
    pub(super) local: BTreeSet<TargetId>,
}

impl FakeKernel {
    pub(super) fn apply(&mut self, operation: &TableOperation) -> Result<(), OperationFailure> {
        let service = operation.service();
        match *operation {
            TableOperation::NewService { settings, .. } => {
                if self.table.contains_key(&service) {
                    return Err(OperationFailure::Exists);
                }
                self.table.insert(service, TableService { settings, targets: BTreeMap::new() });
            }
            TableOperation::DelService { .. } => {
                self.table.remove(&service).ok_or(OperationFailure::Missing)?;
            }
            TableOperation::SetService { settings, .. } => self.service(service)?.settings = settings,
            TableOperation::NewTarget { target, row, .. } => {
                let row = self.row(target, row);
                let targets = &mut self.service(service)?.targets;
                if targets.contains_key(&target) {
                    // Nothing changes, the weight included.
                    return Err(OperationFailure::Exists);
                }
                targets.insert(target, row);
            }
            TableOperation::SetTarget { target, row, .. } => {
                let row = self.row(target, row);
                *self.service(service)?.targets.get_mut(&target).ok_or(OperationFailure::Missing)? = row;
            }
            TableOperation::DelTarget { target, .. } => {
                self.service(service)?.targets.remove(&target).ok_or(OperationFailure::Missing)?;
            }
        }
        Ok(())
    }

    fn service(&mut self, service: ServiceAddress) -> Result<&mut TableService, OperationFailure> {
        self.table.get_mut(&service).ok_or(OperationFailure::Missing)
    }

    fn row(&self, target: TargetId, row: TableTarget) -> TableTarget {
        if self.local.contains(&target) { TableTarget { forward: None, ..row } } else { row }
    }

    /// The weights of a service: `11=1 12=0`.
    pub(super) fn weights(&self, service: ServiceAddress) -> String {
        let Some(service) = self.table.get(&service) else { return "none".to_owned() };
        let of = |(id, target): (&TargetId, &TableTarget)| format!("{}={}", id.address, target.weight);
        let text = service.targets.iter().map(of).collect::<Vec<_>>().join(" ");
        text.replace("10.0.0.", "")
    }
}

/// What a reconciler does until it has nothing to do, with the failures that `fail` makes.
fn settle(
    reconciler: &mut Reconciler<KernelBackend>,
    kernel: &mut FakeKernel,
    desired: &DesiredTable,
    now: Instant,
    mut fail: impl FnMut(&TableOperation) -> Option<OperationFailure>,
) -> Vec<String> {
    let mut done = Vec::new();
    while let Some(action) = reconciler.poll(desired, now) {
        assert!(done.len() < 1_000, "it never ends: {done:?}");
        match action {
            Reconcile::Read => {
                done.push("read".to_owned());
                reconciler.handle_read(Ok(kernel.table.clone()), now);
            }
            Reconcile::Apply(operation) => {
                let result = match fail(&operation) {
                    Some(failure) => Err(failure),
                    None => kernel.apply(&operation),
                };
                done.push(format!("{}{}", name(&operation), if result.is_err() { "!" } else { "" }));
                reconciler.handle_applied(result);
            }
        }
    }
    done
}

fn name(operation: &TableOperation) -> String {
    match operation {
        TableOperation::NewService { .. } => "new service".to_owned(),
        TableOperation::SetService { .. } => "set service".to_owned(),
        TableOperation::DelService { .. } => "del service".to_owned(),
        TableOperation::NewTarget { target, row, .. } => format!("new {}={}", target.address, row.weight),
        TableOperation::SetTarget { target, row, .. } => format!("set {}={}", target.address, row.weight),
        TableOperation::DelTarget { target, .. } => format!("del {}", target.address),
    }
    .replace("10.0.0.", "")
}

fn never(_: &TableOperation) -> Option<OperationFailure> {
    None
}

const NOW: Instant = Instant::from_nanos(0);

fn row(weight: u32) -> TableTarget {
    TableTarget { weight, forward: Some(ForwardMethod::Direct), upper_threshold: 0, lower_threshold: 0 }
}

fn desired(server: VirtualServer) -> DesiredTable {
    Play::new(vec![server]).table
}

#[test]
fn each_difference_is_one_operation() {
    let wanted = desired(service([web(11), heavy(12, 5)]));
    let full = || TableService {
        settings: wanted.services()[&id(1)].settings,
        targets: [(at(11), row(1)), (at(12), row(5))].into(),
    };
    let rows: Vec<(&str, Option<TableService>, &[&str])> = vec![
        ("nothing is there", None, &["new service", "new 11=1", "new 12=5"]),
        ("all is there", Some(full()), &[]),
        (
            "an old weight",
            Some(TableService { targets: [(at(11), row(0)), (at(12), row(9))].into(), ..full() }),
            &["set 11=1", "set 12=5"],
        ),
        (
            "a stranger",
            Some(TableService {
                targets: [(at(11), row(1)), (at(12), row(5)), (at(13), row(1))].into(),
                ..full()
            }),
            &["del 13"],
        ),
        (
            "another scheduler",
            Some(TableService {
                settings: crate::ServiceSettings { scheduler: Scheduler::RoundRobin, ..full().settings },
                ..full()
            }),
            &["set service"],
        ),
        (
            "another way",
            Some(TableService {
                targets: [
                    (at(11), TableTarget { forward: Some(ForwardMethod::Nat), ..row(1) }),
                    (at(12), TableTarget { upper_threshold: 3, ..row(5) }),
                ]
                .into(),
                ..full()
            }),
            &["set 11=1", "set 12=5"],
        ),
        (
            // The kernel serves addresses of its own by itself.
            "a local target",
            Some(TableService {
                targets: [(at(11), TableTarget { forward: None, ..row(1) }), (at(12), row(5))].into(),
                ..full()
            }),
            &[],
        ),
    ];
    for (what, there, expect) in rows {
        let present = there.map(|there| (vip(1), there)).into_iter().collect();
        let operations = KernelBackend::default().compare(&present, &wanted);
        assert_eq!(operations.iter().map(name).collect::<Vec<_>>(), expect, "{what}");
    }
}

#[test]
fn what_serves_comes_before_what_goes() {
    let present = [(
        vip(1),
        TableService { targets: [(at(11), row(1)), (at(12), row(1))].into(), ..TableService::default() },
    )];
    let mut play =
        Play::new(vec![VirtualServer { quorum: 2, sorry: sorry(99), ..service([web(11), web(12)]) }]);
    play.step("fail 11");
    let operations = KernelBackend::default().compare(&present.into(), &play.table);
    assert_eq!(operations.iter().map(name).collect::<Vec<_>>(), ["new 99=1", "del 11", "del 12"]);
}

#[test]
fn a_group_is_a_service_for_each_of_its_addresses() {
    let mut server = service([web(11)]);
    server.id = ServiceId::Group { name: "web".to_owned(), ordinal: 0 };
    server.addresses = vec![vip(1), vip(2), vip(3)];
    let present = [(vip(2), TableService { targets: [(at(11), row(1))].into(), ..TableService::default() })];
    let operations = KernelBackend::default().compare(&present.into(), &desired(server));
    let found: Vec<_> = operations.iter().map(|operation| (operation.service(), name(operation))).collect();
    let expect =
        [(vip(1), "new service"), (vip(1), "new 11=1"), (vip(3), "new service"), (vip(3), "new 11=1")];
    assert_eq!(found, expect.map(|(service, name)| (service, name.to_owned())));
}

#[test]
fn services_of_others_are_left_alone() {
    let mut kernel = FakeKernel::default();
    kernel.table.insert(vip(8), TableService::default());
    kernel.table.insert(vip(9), TableService::default());
    // vip(9) was made by an earlier vipd.
    let mut reconciler = Reconciler::new(KernelBackend::new([vip(9)]));
    let mut play = Play::new(vec![service([web(11)])]);
    let done = settle(&mut reconciler, &mut kernel, &play.table, NOW, never);
    assert_eq!(done, ["read", "del service", "new service", "new 11=1"]);
    // What vipd has taken over it may remove, though it was there before.
    let mut other = service([web(11)]);
    (other.id, other.addresses) = (id(8), vec![vip(8)]);
    for servers in [vec![other], vec![service([web(11)])]] {
        play.reload(servers);
        reconciler.handle_desired();
        settle(&mut reconciler, &mut kernel, &play.table, NOW, never);
    }
    assert_eq!(kernel.table.keys().copied().collect::<Vec<_>>(), [vip(1)]);
    assert!(reconciler.is_settled() && reconciler.backend().own().contains(&vip(1)));
}

/// Whoever makes a service where vipd has removed its own, or somebody else has, keeps it.
#[test]
fn a_service_that_is_removed_is_forgotten() {
    let mut second = service([web(11)]);
    (second.id, second.addresses) = (id(2), vec![vip(2)]);
    for removed_by_others in [false, true] {
        let mut kernel = FakeKernel::default();
        let mut reconciler = Reconciler::new(KernelBackend::new([vip(9)]));
        let mut play = Play::new(vec![service([web(11)]), second.clone()]);
        settle(&mut reconciler, &mut kernel, &play.table, NOW, never);
        assert_eq!(*reconciler.backend().own(), [vip(1), vip(2)].into(), "vip(9) is not in the table");
        if removed_by_others {
            kernel.table.remove(&vip(2));
        }
        play.reload(vec![service([web(11)])]);
        reconciler.handle_desired();
        settle(&mut reconciler, &mut kernel, &play.table, NOW, never);
        assert_eq!(*reconciler.backend().own(), [vip(1)].into());
        for at in [2, 9] {
            kernel.table.insert(vip(at), TableService::default());
        }
        reconciler.handle_doubt();
        assert_eq!(settle(&mut reconciler, &mut kernel, &play.table, NOW, never), ["read"]);
        assert_eq!(kernel.table.len(), 3, "services of others are gone");
    }
}

/// keepalived's trap: after a crash NEW_DEST gets EEXIST, and the weight of before stays.
#[test]
fn what_exists_is_no_success() {
    let mut kernel = FakeKernel::default();
    let mut reconciler = Reconciler::new(KernelBackend::default());
    let wanted = desired(service([heavy(11, 5)]));
    // Somebody enters the service between the reading and the first operation.
    assert_eq!(reconciler.poll(&wanted, NOW), Some(Reconcile::Read));
    reconciler.handle_read(Ok(kernel.table.clone()), NOW);
    kernel
        .table
        .insert(vip(1), TableService { targets: [(at(11), row(0))].into(), ..TableService::default() });
    let done = settle(&mut reconciler, &mut kernel, &wanted, NOW, never);
    assert_eq!(done, ["new service!", "read", "set 11=5"]);
    assert_eq!(kernel.weights(vip(1)), "11=5");
}

#[test]
fn what_is_missing_is_made_again() {
    let mut kernel = FakeKernel::default();
    let mut reconciler = Reconciler::new(KernelBackend::default());
    let mut play = Play::new(vec![service([web(11), web(12)])]);
    settle(&mut reconciler, &mut kernel, &play.table, NOW, never);
    // `ipvsadm -D` by hand: keepalived's reload restores nothing.
    kernel.table.clear();
    play.step("fail 11");
    reconciler.handle_desired();
    let done = settle(&mut reconciler, &mut kernel, &play.table, NOW, never);
    assert_eq!(done, ["del 11!", "read", "new service", "new 12=1"]);
    // Without a change it takes a look.
    kernel.table.clear();
    assert_eq!(settle(&mut reconciler, &mut kernel, &play.table, NOW, never), Vec::<String>::new());
    reconciler.handle_doubt();
    assert!(!reconciler.is_settled());
    assert_eq!(
        settle(&mut reconciler, &mut kernel, &play.table, NOW, never),
        ["read", "new service", "new 12=1"]
    );
}

#[test]
fn a_change_needs_no_reading_while_nothing_fails() {
    let mut kernel = FakeKernel::default();
    kernel.local.insert(at(12));
    let mut reconciler = Reconciler::new(KernelBackend::default());
    let mut play = Play::new(vec![service([web(11), web(12)])]);
    settle(&mut reconciler, &mut kernel, &play.table, NOW, never);
    for (step, expect) in [("fail 11", "del 11"), ("pass 11", "new 11=1"), ("drain 12", "set 12=0")] {
        play.step(step);
        reconciler.handle_desired();
        assert_eq!(settle(&mut reconciler, &mut kernel, &play.table, NOW, never), [expect], "{step}");
    }
}

#[test]
fn a_service_that_is_refused_delays_no_other_and_is_tried_again_ever_later() {
    let mut second = service([web(12)]);
    (second.id, second.addresses) = (id(2), vec![vip(2)]);
    let mut play = Play::new(vec![service([web(11)]), second]);
    let mut kernel = FakeKernel::default();
    let mut reconciler = Reconciler::new(KernelBackend::default());
    let refuse = |operation: &TableOperation| {
        (operation.service() == vip(1)).then(|| OperationFailure::Refused("no such scheduler".to_owned()))
    };
    let mut now = NOW;
    let done = settle(&mut reconciler, &mut kernel, &play.table, now, refuse);
    assert_eq!(done, ["read", "new service!", "new service", "new 12=1", "read", "new service!"]);
    let mut waits = Vec::new();
    for _ in 0..9 {
        let due = reconciler.poll_timeout().unwrap();
        assert_eq!(reconciler.poll(&play.table, now), None);
        waits.push(due.saturating_since(now).as_secs());
        now = due;
        assert_eq!(settle(&mut reconciler, &mut kernel, &play.table, now, refuse), ["read", "new service!"]);
    }
    assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
    // News are not held up.
    reconciler.handle_desired();
    let done = settle(&mut reconciler, &mut kernel, &play.table, now, never);
    assert_eq!(done, ["read", "new service", "new 11=1"]);
    assert!(reconciler.is_settled() && reconciler.poll_timeout().is_none());
    // After a round without a failure the next one is again the first.
    let mut once = true;
    play.step("fail 11");
    reconciler.handle_desired();
    let done = settle(&mut reconciler, &mut kernel, &play.table, now, |_| {
        std::mem::take(&mut once).then_some(OperationFailure::Missing)
    });
    assert_eq!(done, ["del 11!", "read", "del 11"]);
}

#[test]
fn a_table_that_cannot_be_read_is_read_later() {
    let mut reconciler = Reconciler::new(KernelBackend::default());
    let wanted = desired(service([web(11)]));
    let mut now = NOW;
    for wait in [1, 1, 2, 4] {
        assert_eq!(reconciler.poll(&wanted, now), Some(Reconcile::Read));
        assert_eq!(reconciler.poll(&wanted, now), None, "one at a time");
        reconciler.handle_read(Err(OperationFailure::Refused("no such family".to_owned())), now);
        assert_eq!(reconciler.poll(&wanted, now), None);
        let due = reconciler.poll_timeout().unwrap();
        assert_eq!(due, now + Duration::from_secs(wait));
        now = due;
    }
}
