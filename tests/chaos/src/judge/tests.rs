//! Planted violations, each of which the judge must find, and the same where a fault excuses it.

use super::*;
use crate::{
    clock::SECOND,
    fault::Fault,
    plan::{Kind as Software, Plan},
    watch::{Question, Request, Stall},
};

const STEP: Time = 5 * MILLI;
const N1: u8 = 1;
const N2: u8 = 2;
const BOTH: u8 = N1 | N2;

/// Three vipds, adverts every 100 ms, one owner for ten seconds.
fn quiet() -> Case {
    let mut setup = Plan::of(0).setup;
    setup.interval = std::time::Duration::from_millis(100);
    setup.families = vec![Family::V4];
    (setup.strict, setup.grouped) = (false, false);
    setup.nodes.iter_mut().for_each(|node| node.kind = Software::Vipd);
    let question = |n: Time| Question { sent: n * STEP, answered: n * STEP, owners: N1 };
    let request = |n: Time| Request { sent: n * 2 * STEP, served: true };
    let seen = Seen {
        questions: vec![(0..2000).map(question).collect()],
        requests: vec![(0..1000).map(request).collect()],
        ..Seen::default()
    };
    Case { setup, faults: Vec::new(), seen, changes: Vec::new() }
}

impl Case {
    /// These answered, between two times in milliseconds.
    fn owned(mut self, from: Time, to: Time, owners: u8) -> Self {
        let span = from * MILLI..to * MILLI;
        self.seen.questions[0].iter_mut().filter(|q| span.contains(&q.sent)).for_each(|q| q.owners = owners);
        self
    }

    fn unserved(mut self, from: Time, to: Time) -> Self {
        let span = from * MILLI..to * MILLI;
        self.seen.requests[0].iter_mut().filter(|r| span.contains(&r.sent)).for_each(|r| r.served = false);
        self
    }

    fn fault(mut self, fault: Fault, start: Time, end: Time) -> Self {
        self.faults.push(Happened { fault, start: start * MILLI, end: end * MILLI });
        self
    }

    fn stall(mut self, from: Time, to: Time) -> Self {
        self.seen.stalls.push(Stall { from: from * MILLI, to: to * MILLI });
        self
    }

    fn change(mut self, at: Time) -> Self {
        let (instance, from, to) = ("VI_4".to_owned(), "BACKUP".to_owned(), "MASTER".to_owned());
        self.changes.push(Change { at: at * MILLI, node: 1, instance, from, to });
        self
    }

    fn violations(&self) -> Vec<Kind> {
        judge(self).iter().filter(|finding| finding.is_violation()).map(|finding| finding.kind).collect()
    }
}

#[test]
fn nothing_is_found_where_nothing_is() {
    assert_eq!(judge(&quiet()), []);
}

#[test]
fn two_owners_are_found() {
    assert_eq!(quiet().owned(5000, 5060, BOTH).violations(), [Kind::TwoOwners]);
    // What happens to a process excuses nothing.
    let killed = quiet().fault(Fault::Kill(0), 4700, 6000);
    assert_eq!(killed.owned(5000, 5060, BOTH).violations(), [Kind::TwoOwners]);
    // The instant of a takeover is allowed.
    let brief = judge(&quiet().owned(5000, 5010, BOTH));
    assert_eq!(brief.iter().map(|f| &f.verdict).collect::<Vec<_>>(), [&Verdict::Brief]);
}

#[test]
fn a_cut_excuses_two_owners_until_the_lease_has_run_out() {
    let cut = || quiet().fault(Fault::CutOutput(0), 4000, 5000);
    assert_eq!(cut().owned(4400, 5390, BOTH).violations(), []);
    assert_eq!(cut().owned(4400, 5940, BOTH).violations(), [Kind::TwoOwners]);
    // Not before, and not of others.
    assert_eq!(cut().owned(3900, 4100, BOTH).violations(), [Kind::TwoOwners]);
    let of_another = quiet().fault(Fault::CutOutput(2), 4000, 5000);
    assert_eq!(of_another.owned(4400, 4500, BOTH).violations(), [Kind::TwoOwners]);
}

#[test]
fn a_gap_is_found() {
    assert_eq!(quiet().owned(5000, 5060, 0).violations(), [Kind::NoOwner]);
    for fault in [Fault::Kill(0), Fault::Freeze(0), Fault::Stop(0), Fault::Handover(0)] {
        let case = quiet().fault(fault, 4900, 6000);
        assert_eq!(case.owned(5000, 5060, 0).violations(), [Kind::NoOwner], "{fault}");
    }
    // Whoever gives up because of its check leaves a gap of the successor's skew time, and no more.
    let check = |begins| quiet().fault(Fault::Check(0), begins, 9000);
    assert_eq!(check(4900).owned(5000, 5060, 0).violations(), []);
    assert_eq!(check(4900).owned(5000, 5200, 0).violations(), [Kind::NoOwner]);
    assert_eq!(check(3000).owned(5000, 5060, 0).violations(), [Kind::NoOwner], "long after its last run");
    assert_eq!(quiet().owned(5000, 5010, 0).violations(), []);
}

/// The end of a check's failure is written down when its next run has told of it.
#[test]
fn a_check_that_succeeds_again_is_a_cause() {
    let case = |at| quiet().fault(Fault::Check(1), 2000, 8000).change(at).violations();
    assert_eq!((case(6600), case(5000)), (vec![], vec![Kind::NoCause]));
}

#[test]
fn a_gap_after_a_cut_ends_with_a_backups_wait() {
    let cut = || quiet().fault(Fault::Port(0), 5000, 9000);
    assert_eq!(cut().owned(5000, 5390, 0).violations(), []);
    assert_eq!(cut().owned(5000, 5600, 0).violations(), [Kind::NoOwner]);
    // Nobody is there to take over.
    let alone = cut().fault(Fault::Kill(1), 4000, 9000).fault(Fault::Freeze(2), 4000, 9000);
    assert_eq!(alone.owned(5000, 9000, 0).violations(), []);
    // One comes back.
    let back = cut().fault(Fault::Kill(1), 4000, 9000).fault(Fault::Freeze(2), 4000, 6000);
    assert_eq!(back.owned(5000, 6900, 0).violations(), [Kind::NoOwner]);
}

#[test]
fn what_the_machine_did_is_not_vipds() {
    assert_eq!(quiet().owned(5000, 5060, 0).stall(4990, 5050).violations(), []);
    assert_eq!(quiet().owned(5000, 5060, BOTH).stall(4990, 5050).violations(), []);
    assert_eq!(quiet().owned(5000, 5400, BOTH).stall(4990, 5050).violations(), [Kind::TwoOwners]);
}

#[test]
fn a_client_that_stays_with_the_loser_is_found() {
    let cut = || quiet().fault(Fault::CutOutput(0), 2000, 4000).owned(2400, 4100, BOTH);
    assert_eq!(cut().unserved(4000, 5200).violations(), []);
    assert_eq!(cut().unserved(4000, 8000).violations(), [Kind::Astray]);
    // The loser was frozen while it was cut off: nobody can tell the client.
    let frozen = cut().fault(Fault::Freeze(0), 3000, 9000);
    assert_eq!(frozen.unserved(4000, 8000).violations(), []);
    // It is served again within a moment of a takeover.
    let killed = || quiet().fault(Fault::Kill(0), 5000, 6000).owned(5300, 6000, N2);
    assert_eq!(killed().unserved(5290, 5400).violations(), []);
    assert_eq!(killed().unserved(5290, 5900).violations(), [Kind::Astray]);
}

#[test]
fn a_change_without_a_cause_is_found() {
    assert_eq!(quiet().change(5000).violations(), [Kind::NoCause]);
    assert_eq!(quiet().fault(Fault::Kill(0), 4000, 4500).change(5000).violations(), []);
    // An address that has been gone for long is no cause any more.
    assert_eq!(quiet().fault(Fault::Address(0), 1000, 9500).change(5000).violations(), [Kind::NoCause]);
}

#[test]
fn a_keepalived_is_slower_and_its_process_is_its_address() {
    let mut case = quiet().fault(Fault::Kill(0), 4700, 6000).owned(5000, 6100, BOTH);
    assert_eq!(case.violations(), [Kind::TwoOwners]);
    case.setup.nodes[0].kind = Software::Keepalived;
    assert_eq!(case.violations(), []);
    assert_eq!(case.owned(5000, 8000, BOTH).violations(), [Kind::TwoOwners]);
}

#[test]
fn spans_are_told_from_each_other() {
    let spans = [(10, 20), (15, 30), (50, 60)];
    assert_eq!(causes::uncovered(&spans, 0, 100), (60, 100));
    assert_eq!(causes::uncovered(&spans, 12, 55), (30, 50));
    assert_eq!(causes::uncovered(&spans, 12, 28).1 - causes::uncovered(&spans, 12, 28).0, 0);
    assert_eq!(causes::uncovered(&[], 3, 9), (3, 9));
    assert!(seconds(SECOND) > 0.99);
}
