//! Changing adverts that come too fast to tell the daemon of each: it gets some, and the newest in any case.

use std::{net::Ipv4Addr, thread::sleep, time::Duration};

use vipd_common::abi::{EVENT_BURST, EVENT_PERIOD_NS, event_kind, mapped};

use crate::{
    bench::{Bench, LEASE_SLOT, SLOT, VIP, XDP_PASS, identity, now},
    frames::{Ipv4, v3},
};

const PERIOD: Duration = Duration::from_nanos(EVENT_PERIOD_NS);

fn advert(last: u8, priority: u8) -> Vec<u8> {
    Ipv4::advert(Ipv4Addr::new(192, 0, 2, last), v3(51, priority, 100, &[VIP])).frame()
}

/// The generation of the last event that was sent, and how many were.
fn events(bench: &mut Bench) -> (u64, u64, bool) {
    let (mut generation, mut count, mut deferring) = (0, 0, false);
    while let Some(event) = bench.event() {
        (generation, count, deferring) = (event.generation, count + 1, event.deferring != 0);
    }
    (generation, count, deferring)
}

#[test]
fn a_storm_makes_few_events_and_its_last_advert_is_kept() {
    let Some(mut bench) = Bench::new() else { return };
    bench.configure(&identity(), &[(0, VIP)]);
    const STORM: u64 = 1_000;
    let began = now();
    for n in 0..STORM {
        // No two that follow each other are the same.
        assert_eq!(bench.run(&advert(20 + (n % 100) as u8, 1 + (n % 90) as u8)).verdict, XDP_PASS);
    }
    // Once more than there can be tokens, without a look at the clock.
    let last = loop {
        let deferred = bench.instance_counters().events_deferred;
        bench.run(&advert(99, 7));
        if bench.instance_counters().events_deferred > deferred {
            break advert(99, 7);
        }
        bench.run(&advert(98, 7));
    };
    let most = EVENT_BURST + now().saturating_since(began).as_nanos() as u64 / EVENT_PERIOD_NS + 1;
    let (generation, sent, deferring) = events(&mut bench);
    println!("{STORM} changing adverts and more: {sent} events");
    assert!((EVENT_BURST..=most).contains(&sent), "{sent} of at most {most}");
    assert!(deferring, "the last event says that the next one is deferred");
    let deferred = bench.dataplane().pages().instances().deferred(SLOT).expect("the newest");
    assert!(deferred.generation > generation, "{deferred:?}");
    assert_eq!((deferred.source, deferred.priority), (mapped([192, 0, 2, 99]), 7));
    // Stamped at once, as any other.
    let heard = bench.dataplane().pages().instances().heard(SLOT);
    assert_eq!((heard.generation, heard.at.as_nanos()), (deferred.generation, deferred.at_ns));
    // It is no news any more; another one is, when there is a token.
    sleep(PERIOD * 3);
    bench.run(&last);
    assert!(bench.event().is_none());
    bench.run(&advert(99, 8));
    let event = bench.event().expect("an event");
    assert_eq!((event.generation, event.priority), (deferred.generation + 1, 8));
    assert!(bench.dataplane().pages().instances().deferred(SLOT).is_err(), "there is a newer one");
}

/// In a storm the lease is taken back as ever, and the daemon is told at once.
#[test]
fn a_takeover_is_not_held_back() {
    let Some(mut bench) = Bench::new() else { return };
    bench.configure(&identity(), &[(0, VIP)]);
    bench.own(Duration::from_secs(3600), Duration::ZERO);
    while bench.instance_counters().events_deferred == 0 {
        // Weak ones; the record of the lease's age is what the test has made of it.
        for n in 0..100 {
            bench.run(&advert(20 + n, 1 + n % 90));
        }
        bench.own(Duration::from_secs(3600), Duration::ZERO);
    }
    events(&mut bench);
    bench.change_record(|record| record.lease_ns = 3_600_000_000_000);
    bench.run(&advert(9, 200));
    assert_eq!(bench.dataplane().pages().leases().read(LEASE_SLOT), vipd_core::time::Instant::default());
    let mut revoked = false;
    while let Some(event) = bench.event() {
        revoked |= event.kind == event_kind::REVOKED && event.priority == 200;
    }
    assert!(revoked, "no event");
}
