//! Every interleaving of those who touch a lease word, by loom: the daemon that acquires and renews, the XDP programs of
//! two CPUs that revoke and answer, and the clock. A daemon that is frozen and thawed is an interleaving as any other.
//!
//! XDP's part is not atomic: it loads, judges and stores. What rests on more than this is listed in
//! `docs/internals/invariants.md`.

use loom::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};
use vipd_common::{
    abi::InstanceRecord,
    address::Address,
    lease::{self, LeaseWord},
    rival::RivalAdvert,
};
use zerocopy::FromZeros;

const LEASE: u64 = 40;
const INTERVAL: u64 = 10;

struct Model(AtomicU64);

impl LeaseWord for Model {
    fn load(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }

    fn store(&self, value: u64) {
        // Not a plain store: loom lets a compare-exchange read past one that is not ordered with it, and then be seen after
        // it, which no coherent memory does with one aligned word.
        self.0.swap(value, Ordering::AcqRel);
    }

    fn compare_exchange(&self, old: u64, new: u64) -> Result<(), u64> {
        self.0.compare_exchange(old, new, Ordering::AcqRel, Ordering::Acquire).map(drop)
    }
}

/// Us, of priority 100, as XDP knows us.
fn ours() -> InstanceRecord {
    let mut ours = InstanceRecord::new_zeroed();
    ours.priority = 100;
    ours.lease_ns = LEASE;
    ours.stale_after_ns = INTERVAL + INTERVAL / 2;
    ours
}

fn rival(priority: u8) -> RivalAdvert {
    RivalAdvert { source: Address::from_v4([192, 0, 2, 2]), priority, interval_cs: 1, checksum: 0 }
}

/// What XDP does with an advert at `now`; whether it took the lease.
fn hear(word: &Model, rival: &RivalAdvert, now: u64) -> bool {
    let over = rival.tenure(&ours(), word.load(), now).is_over();
    if over {
        word.store(0);
    }
    over
}

fn answers(word: &Model, now: u64) -> bool {
    now < word.load()
}

/// A better router's advert ends our answers, whatever the daemon is in the middle of, until it acquires anew.
#[test]
fn what_xdp_has_revoked_is_not_renewed() {
    loom::model(|| {
        let word = Arc::new(Model(AtomicU64::new(0)));
        lease::acquire(&*word, LEASE);
        let daemon = thread::spawn({
            let word = word.clone();
            move || {
                // Two adverts, one of them perhaps long after the clock was read.
                let first = lease::renew(&*word, LEASE, LEASE + INTERVAL);
                let second =
                    first.and_then(|()| lease::renew(&*word, LEASE + INTERVAL, LEASE + 2 * INTERVAL));
                second.is_ok()
            }
        });
        let revoked = hear(&word, &rival(200), INTERVAL);
        assert!(revoked, "a live lease, and a better router");
        assert!(!answers(&word, INTERVAL), "from the next frame on");
        daemon.join().unwrap();
        assert!(!answers(&word, INTERVAL), "nor later");
        assert_eq!(word.load(), 0);
    });
}

/// While a vipd of another version takes over, the program before may revoke: the lease does not come back there, and the daemon
/// gets to know.
#[test]
fn what_the_former_program_has_revoked_does_not_follow() {
    loom::model(|| {
        let former = Arc::new(Model(AtomicU64::new(LEASE)));
        let daemon = thread::spawn({
            let former = former.clone();
            move || {
                let first = lease::follow(&*former, LEASE + INTERVAL);
                first && lease::follow(&*former, LEASE + 2 * INTERVAL)
            }
        });
        assert!(hear(&former, &rival(200), INTERVAL), "a live lease, and a better router");
        assert!(!answers(&former, INTERVAL), "from the next frame on");
        daemon.join().unwrap();
        assert!(!answers(&former, INTERVAL), "nor later");
        assert!(!lease::follow(&*former, LEASE + 3 * INTERVAL), "it is told at the next renewal");
    });
}

/// Both CPUs hear an advert of the successor of a frozen daemon, which thaws at any moment.
#[test]
fn a_thawed_daemon_does_not_get_its_lease_back() {
    loom::model(|| {
        let word = Arc::new(Model(AtomicU64::new(LEASE)));
        // More than an interval and a half since the last renewal, at 0.
        let late = 3 * INTERVAL + 1;
        let other_cpu = thread::spawn({
            let word = word.clone();
            move || hear(&word, &rival(1), late)
        });
        let thawed = thread::spawn({
            let word = word.clone();
            move || lease::renew(&*word, LEASE, late + LEASE).is_ok()
        });
        let here = hear(&word, &rival(1), late);
        let (there, renewed) = (other_cpu.join().unwrap(), thawed.join().unwrap());
        if !renewed {
            assert!(here || there);
            assert!(!answers(&word, late));
        } else if here || there {
            // The renewal came between a judgement and its store, and is overwritten; or it came first, and the rival is
            // weaker than a master that is alive.
            let word = word.load();
            assert!(word == 0 || word == late + LEASE, "{word}");
        } else {
            assert!(answers(&word, late), "alive, and better");
        }
    });
}

/// After its end nobody renews a lease that a rival's advert has found.
#[test]
fn a_lapsed_lease_that_a_rival_has_found_is_gone() {
    loom::model(|| {
        let word = Arc::new(Model(AtomicU64::new(LEASE)));
        let heard = hear(&word, &rival(1), LEASE + 1);
        assert!(heard);
        let daemon = thread::spawn({
            let word = word.clone();
            move || lease::renew(&*word, LEASE, LEASE + LEASE)
        });
        assert!(!answers(&word, LEASE + 1));
        assert_eq!(daemon.join().unwrap(), Err(0));
    });
}

/// Acquiring does not lose against a revocation of the mastership before.
#[test]
fn a_new_mastership_is_acquired_over_what_is_left_of_the_old() {
    loom::model(|| {
        let word = Arc::new(Model(AtomicU64::new(LEASE)));
        let xdp = thread::spawn({
            let word = word.clone();
            // It ran out long ago.
            move || hear(&word, &rival(1), 10 * LEASE)
        });
        lease::acquire(&*word, 11 * LEASE);
        let revoked = xdp.join().unwrap();
        // XDP may have judged the old word and stored after us: then the daemon finds out, and steps down.
        let now = word.load();
        assert!(now == 11 * LEASE || revoked && now == 0, "{now}");
    });
}

/// The answer of each frame is that of one moment: no torn or invented deadline is ever seen.
#[test]
fn every_deadline_that_is_seen_was_written() {
    loom::model(|| {
        let word = Arc::new(Model(AtomicU64::new(0)));
        let daemon = thread::spawn({
            let word = word.clone();
            move || {
                lease::acquire(&*word, LEASE);
                let renewed = lease::renew(&*word, LEASE, LEASE + INTERVAL);
                if renewed.is_err() {
                    lease::release(&*word);
                }
            }
        });
        let seen = [word.load(), word.load()];
        assert!(seen.iter().all(|seen| [0, LEASE, LEASE + INTERVAL].contains(seen)), "{seen:?}");
        assert!(seen[0] <= seen[1], "time goes on: {seen:?}");
        daemon.join().unwrap();
        assert_eq!(word.load(), LEASE + INTERVAL);
    });
}
