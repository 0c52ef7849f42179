//! Faults planted in the shipped code, each of which the simulation must find.
//!
//! Each is one edit of a copy of the pure crates, which is built and run. The shipped code has no hook for it.

mod planted;

use planted::{Mutant, each_has_its_place, each_is_found};

const COORDINATOR: &str = "vipd/core/src/coordinator/mod.rs";
const LEASE_MANAGER: &str = "vipd/core/src/lease_manager.rs";
const RIVAL: &str = "vipd-common/src/rival.rs";
const TIMERS: &str = "vipd/core/src/vrrp/timers.rs";
const BACKUP: &str = "vipd/core/src/vrrp/machine/backup.rs";
const MASTER: &str = "vipd/core/src/vrrp/machine/master.rs";
const MACHINE: &str = "vipd/core/src/vrrp/machine.rs";
const WAITING: &str = "vipd/core/src/vrrp/machine/waiting.rs";

const MUTANTS: &[Mutant] = &[
    Mutant {
        name: "an offer is taken back at once",
        file: MASTER,
        from: "self.next_advert = last.min(now + settings.leaving_bound()).max(now);",
        to: "let _ = last;",
    },
    Mutant {
        name: "nobody is asked to fence",
        file: WAITING,
        from: "self.settings.fence && matches!(self.state, State::Backup(backup) if silent(backup))",
        to: "let _ = silent;\n        false",
    },
    Mutant {
        name: "a fence that failed counts as done",
        file: WAITING,
        from: "if done { (FenceState::Done, now) } else { (FenceState::Failed, now + wait) };",
        to: "if done { (FenceState::Done, now) } else { (FenceState::Done, now + wait) };",
    },
    Mutant {
        name: "the answer to an earlier question counts",
        file: COORDINATOR,
        from: "round.is_none_or(|round| round == first)",
        to: "round.is_none_or(|_| true)",
    },
    Mutant {
        name: "lease renewed before the send",
        file: LEASE_MANAGER,
        from: "let sent = node.send(instance, priority, checksum);\n        let lease_until = at + renew_for;",
        to: "let lease_until = at + renew_for;\n        let mut written = written;\n        \
             if held && node.renew(instance, written, lease_until) {\n            \
             self.lease_mut(instance).written = lease_until;\n            written = lease_until;\n        }\n        \
             let sent = node.send(instance, priority, checksum);",
    },
    Mutant {
        name: "lease acquired before the first advert",
        file: LEASE_MANAGER,
        from: "        let sent = node.send(instance, priority, checksum);\n        let lease_until",
        to: "        if !held {\n            node.acquire(instance, at + renew_for);\n        }\n        let sent = node.send(instance, priority, checksum);\n        let lease_until",
    },
    Mutant {
        name: "lease renewed whatever the word says",
        file: LEASE_MANAGER,
        from: "let renewed = node.renew(instance, written, lease_until);",
        to: "node.acquire(instance, lease_until);\n            let renewed = true;",
    },
    Mutant {
        name: "a stamp is not looked at",
        file: LEASE_MANAGER,
        from: "                    self.input(Input::Heard { instance, at: heard.at }, node);\n                } else {",
        to: "                } else {",
    },
    Mutant {
        name: "a stamp of an advert that is still to be read is passed over",
        file: LEASE_MANAGER,
        from: "overtaken |= fired;",
        to: "overtaken |= false;",
    },
    Mutant {
        name: "the stamp that a new advert overwrites is lost",
        file: LEASE_MANAGER,
        from: "self.coordinator.handle(Input::Heard { instance, at: before }, node.now());",
        to: "let _ = before;",
    },
    Mutant {
        name: "timers by a later clock reading than the stamps",
        file: LEASE_MANAGER,
        from: "        if self.coordinator.poll_timeout().is_some_and(|at| at <= now) {",
        to: "        let now = node.now();\n        if self.coordinator.poll_timeout().is_some_and(|at| at <= now) {",
    },
    Mutant {
        name: "announced without a look at the lease",
        file: LEASE_MANAGER,
        from: "if node.lease(instance) == self.lease_written(instance) {\n                    node.announce",
        to: "if true {\n                    node.announce",
    },
    Mutant {
        name: "XDP does not yield to a better router",
        file: RIVAL,
        from: "if beats || is_stale(ours, until, now) {",
        to: "if is_stale(ours, until, now) {",
    },
    Mutant {
        name: "XDP does not see that its daemon is dead",
        file: RIVAL,
        from: "if beats || is_stale(ours, until, now) {",
        to: "if beats {",
    },
    Mutant {
        name: "XDP's tie-break reversed",
        file: RIVAL,
        from: "&& self.source.is_greater(Address::from_octets(ours.primary));",
        to: "&& !self.source.is_greater(Address::from_octets(ours.primary));",
    },
    Mutant {
        name: "XDP leaves a lapsed lease to be renewed",
        file: RIVAL,
        from: "return Tenure::Lapsed;",
        to: "return Tenure::None;",
    },
    Mutant {
        name: "the election's tie-break reversed",
        file: "vipd/core/src/vrrp/event.rs",
        from: "(self.priority, self.source) > (settings.priority, own)",
        to: "(self.priority, own) > (settings.priority, self.source)",
    },
    Mutant {
        name: "no skew time",
        file: TIMERS,
        from: "silence.saturating_add(skew_time(version, priority, interval))",
        to: "{\n        let _ = (version, priority);\n        silence\n    }",
    },
    Mutant {
        name: "an overlapping lease one advert too short",
        file: TIMERS,
        from: "LeasePolicy::Overlap => 1,",
        to: "LeasePolicy::Overlap => 0,",
    },
    Mutant {
        name: "a strict lease one advert too long",
        file: TIMERS,
        from: "LeasePolicy::Strict => 0,",
        to: "LeasePolicy::Strict => 1,",
    },
    Mutant {
        name: "the down timer is not restarted",
        file: BACKUP,
        from: "self.down_at = advert.received_at + settings.master_down_interval(self.interval);",
        to: "let _ = settings.master_down_interval(self.interval);",
    },
    Mutant {
        name: "a goodbye is taken for an advert",
        file: BACKUP,
        from: "if advert.priority.is_leaving() {",
        to: "if advert.priority.is_leaving() && advert.interval.is_zero() {",
    },
    Mutant {
        name: "anybody's goodbye is the master's",
        file: BACKUP,
        from: "self.master.is_some_and(|master| master.address != advert.source)",
        to: "self.master.is_some_and(|master| master.address == self.address)",
    },
    Mutant {
        name: "a machine that slept takes over at once",
        file: BACKUP,
        from: "(late && !self.reprieved)",
        to: "(late && self.reprieved)",
    },
    Mutant {
        name: "nopreempt preempts",
        file: "vipd/core/src/vrrp/settings.rs",
        from: "self.preempt || self.priority.is_owner()",
        to: "true",
    },
    Mutant {
        name: "a leaving master does not wait for its successor",
        file: MACHINE,
        from: "        out.push(|instance| Action::Shorten { instance, until });",
        to: "        out.release();",
    },
    Mutant {
        name: "a leaving master stays for longer than its lease",
        file: MACHINE,
        from: "let until = master.lease_until.min(now + self.settings.leaving_bound());",
        to: "let until = now + self.settings.leaving_bound();",
    },
    Mutant {
        name: "a leaving master stays until its lease ends",
        file: MACHINE,
        from: "let until = master.lease_until.min(now + self.settings.leaving_bound());",
        to: "let until = master.lease_until;",
    },
    Mutant {
        name: "a goodbye renews the lease",
        file: MACHINE,
        from: "(Priority::LEAVING, self.checksum);\n        out.push(|instance| Action::Advertise { instance, priority, checksum, renew_for: None });",
        to: "(Priority::LEAVING, self.checksum);\n        let renew_for = Some(self.settings.lease_length());\n        \
             out.push(|instance| Action::Advertise { instance, priority, checksum, renew_for });",
    },
    Mutant {
        name: "a master in a tracked fault goes on answering",
        file: MACHINE,
        from: "                out.release();\n                if reason.adverts_leave() {",
        to: "                if reason.adverts_leave() {",
    },
    Mutant {
        name: "one that got worse does not follow the master",
        file: BACKUP,
        from: "if was_lower && !is_lower {",
        to: "if was_lower && is_lower {",
    },
    Mutant {
        name: "a strict lease is as long as any",
        file: TIMERS,
        from: "LeasePolicy::Strict => 0,",
        to: "LeasePolicy::Strict => 1,",
    },
    Mutant {
        name: "a lapsed lease is inherited",
        file: MACHINE,
        from: "Event::Ready { address }) if now < lease_until => {",
        to: "Event::Ready { address }) if now.as_nanos() > 0 => {",
    },
    Mutant {
        name: "adverts of rivals answered without limit",
        file: MASTER,
        from: "let allowed = now >= self.advert_after;",
        to: "let allowed = true;",
    },
    Mutant {
        name: "a group's lease acquired after its first member's advert",
        file: LEASE_MANAGER,
        from: "if sent < lease.members {",
        to: "if sent == 0 {",
    },
    Mutant {
        name: "a member stays master when another has stepped down",
        file: MACHINE,
        from: "                    _ => Reason::Group,\n",
        to: "                    _ => return Next::stay(State::Master(master)),\n",
    },
    Mutant {
        name: "a fault of one member is not told to the others",
        file: COORDINATOR,
        from: "_ if in_fault => self.step(*id, Event::Fault { reason: FaultReason::Group }, now),",
        to: "_ if in_fault => false,",
    },
    Mutant {
        name: "the members of a group keep leases of their own length",
        file: "vipd/core/src/vrrp/settings.rs",
        from: "let shared = (members.len() > 1).then(",
        to: "let shared = (members.len() > 9).then(",
    },
    Mutant {
        name: "of a group one stamp is looked at",
        file: COORDINATOR,
        from: "group.clone().into_iter().filter_map(due)",
        to: "group.clone().into_iter().take(1).filter_map(due)",
    },
    Mutant {
        name: "a configuration that is no other restarts the wait",
        file: MACHINE,
        from: "        if settings == before {\n            return;",
        to: "        if settings == before {\n            if let State::Backup(backup) = self.state {\n                \
             self.state = State::Backup(Backup::new(&settings, backup.address, now));\n            }\n            return;",
    },
    Mutant {
        name: "a configuration that is no other is announced",
        file: MACHINE,
        from: "        if settings == before {\n            return;\n        }",
        to: "",
    },
    Mutant {
        name: "another interval leaves the wait as it was",
        file: BACKUP,
        from: "return Self { down_at: now + settings.master_down_interval(interval), ..wait };",
        to: "return Self { down_at: self.down_at, ..wait };",
    },
    Mutant {
        name: "the lease keeps the length of an old configuration",
        file: LEASE_MANAGER,
        from: "(holding.interval, holding.length) = (interval, length);",
        to: "let _ = (holding, interval, length);",
    },
    Mutant {
        name: "a leaving master says no goodbye",
        file: MACHINE,
        from: "        self.say_goodbye(out);\n        Next::stay(state)",
        to: "        Next::stay(state)",
    },
    Mutant {
        name: "a removed instance says no goodbye",
        file: COORDINATOR,
        from: "                self.tell(instance, Event::Shutdown, now);\n                // Unless",
        to: "                self.tell(instance, Event::Fault { reason: FaultReason::LinkDown }, now);\n                \
             self.tell(instance, Event::Shutdown, now);\n                // Unless",
    },
    Mutant {
        name: "one that is removed after another leaves later",
        file: COORDINATOR,
        from: "            member.machine.know_lease(until);",
        to: "            let _ = (until, member);",
    },
    Mutant {
        name: "of a group that owns its addresses now each takes its own",
        file: MACHINE,
        from: "if settings.priority.is_owner() && settings.shared.is_some() => {",
        to: "if settings.priority.is_leaving() => {",
    },
];

/// Faults that take more than one edit; the first has the name.
const COMPOUND: &[&[Mutant]] = &[&[
    Mutant {
        name: "a group takes over when the first of it would",
        file: COORDINATOR,
        from: "latest.max(Some(at))",
        to: "latest.map_or(Some(at), |first: Instant| Some(first.min(at)))",
    },
    Mutant {
        name: "and the others with it",
        file: WAITING,
        from: "backup.down_at = backup.down_at.max(at);",
        to: "backup.down_at = at;",
    },
]];

/// More than enough for each.
const SEEDS: u64 = 20_000;

#[test]
fn each_fault_has_its_place() {
    each_has_its_place(MUTANTS.iter().map(std::slice::from_ref).chain(COMPOUND.iter().copied()));
}

#[test]
#[ignore = "long tier: builds the simulation once for each fault"]
fn each_planted_fault_is_found() {
    let edits: Vec<_> = MUTANTS.iter().map(std::slice::from_ref).chain(COMPOUND.iter().copied()).collect();
    each_is_found("mutants", &[], SEEDS, &edits);
}
