//! Which answers count.

use std::time::Duration;

use vipd_config::{IsolatedAction, Target};

use super::*;

fn arbiter(name: &str, targets: &[&str], quorum: usize) -> Arbiter {
    let target = |address: &&str| Target { address: address.parse().unwrap(), zone: None, port: None };
    Arbiter {
        name: name.to_owned(),
        targets: targets.iter().map(target).collect(),
        quorum,
        interval: Duration::from_secs(1),
        timeout: Duration::from_secs(1),
        rise: 1,
        fall: 1,
        action: IsolatedAction::Fault,
    }
}

fn at(ms: u64) -> Instant {
    Instant::from_nanos(ms * 1_000_000)
}

/// A round that was asked, without a socket.
fn asked(arbiters: &mut EarlyArbiters, now: Instant) -> Echo {
    let question = Echo::random();
    arbiters.rounds.push_back(Round { asked: now, question, answered: BTreeSet::new() });
    question
}

/// The request as a station sends it back over IPv6: without a header, and with another type.
fn answer(question: &Echo) -> Vec<u8> {
    let mut message = question.request(false).to_vec();
    message[0] = 129;
    message
}

#[test]
fn an_arbiter_is_reached_by_a_quorum_of_one_round() {
    let mut arbiters = EarlyArbiters::default();
    assert_eq!(arbiters.answered(), None);
    let gateway = arbiter("gateway", &["2001:db8::1", "2001:db8::2", "2001:db8::3"], 2);
    arbiters.configure([&gateway, &gateway]);
    let from = |last: u16| SocketAddr::from(([0x2001, 0xdb8, 0, 0, 0, 0, 0, last], 0));
    assert_eq!(arbiters.answered(), Some(Instant::default()));
    let (first, second) = (asked(&mut arbiters, at(10)), asked(&mut arbiters, at(20)));
    // One of each round is a quorum of none.
    arbiters.take(&answer(&first), from(1));
    arbiters.take(&answer(&second), from(2));
    assert_eq!(arbiters.answered(), Some(Instant::default()));
    // Nor is one that answers twice, a stranger, or another's answer.
    arbiters.take(&answer(&first), from(1));
    arbiters.take(&answer(&first), from(9));
    arbiters.take(&answer(&Echo::random()), from(2));
    assert_eq!(arbiters.answered(), Some(Instant::default()));
    arbiters.take(&answer(&second), from(3));
    assert_eq!(arbiters.answered(), Some(at(20)));
    // An older round does not take that back.
    arbiters.take(&answer(&first), from(3));
    assert_eq!(arbiters.answered(), Some(at(20)));
}

#[test]
fn the_slowest_arbiter_counts_and_one_that_stays_is_kept() {
    let mut arbiters = EarlyArbiters::default();
    let [one, two] =
        [("one", "2001:db8::1"), ("two", "2001:db8::2")].map(|(name, to)| arbiter(name, &[to], 1));
    arbiters.configure([&one]);
    let question = asked(&mut arbiters, at(10));
    arbiters.take(&answer(&question), "[2001:db8::1]:0".parse().unwrap());
    assert_eq!(arbiters.answered(), Some(at(10)));
    arbiters.configure([&one, &two]);
    assert_eq!(arbiters.answered(), Some(Instant::default()));
    assert_eq!(arbiters.reached().collect::<Vec<_>>(), [("one", at(10)), ("two", Instant::default())]);
    arbiters.configure([]);
    assert_eq!(arbiters.answered(), None);
}

#[test]
fn an_address_of_this_host_says_nothing_of_the_network() {
    assert!(is_own("127.0.0.1:0".parse().unwrap()));
    assert!(!is_own("192.0.2.1:0".parse().unwrap()));
}
