//! The capture: only while it is asked for, only what it is for, and no more of a frame than it has room for. That it agrees with the
//! verdicts is asserted for every row of the other files (`bench.rs`).

use std::{net::Ipv4Addr, time::Duration};

use vipd_common::abi::{CAPTURE_OCTETS, CapturedReason, verdict};

use crate::{
    bench::{Bench, VIP, XDP_TX, identity, now},
    frames::{Ipv4, arp, v3},
};

const ASKER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 50);
const LEASE: Duration = Duration::from_secs(3_600);

fn bench() -> Option<Bench> {
    let mut bench = Bench::new()?;
    bench.configure(&identity(), &[(0, VIP)]);
    bench.own(LEASE, Duration::ZERO);
    Some(bench)
}

fn question() -> Vec<u8> {
    arp(1, [2, 0, 0, 0, 0, 0xaa], ASKER, VIP)
}

/// Names of the reasons in what is captured of a frame.
fn captured(bench: &mut Bench, frame: &[u8]) -> Vec<(u8, Option<&'static str>)> {
    bench.run(frame);
    let frames = std::iter::from_fn(|| bench.frames().pop());
    frames.map(|frame| (frame.verdict, CapturedReason::from_number(frame.reason).name())).collect()
}

#[test]
fn frames_are_captured_while_the_lease_on_the_capture_stands() {
    let Some(mut bench) = bench() else { return };
    let answered = [(verdict::TX, Some("arp_replies")); 2];
    assert_eq!(captured(&mut bench, &question()), answered);
    bench.frames().end();
    assert_eq!(captured(&mut bench, &question()), []);
    bench.frames().renew(now() + LEASE);
    assert_eq!(captured(&mut bench, &question()), answered);
    // The daemon is gone.
    bench.frames().renew(now());
    assert_eq!(captured(&mut bench, &question()), []);
}

#[test]
fn only_what_it_is_for_is_captured_and_not_all_of_a_long_frame() {
    let Some(mut bench) = bench() else { return };
    let packet = |protocol, payload: Vec<u8>| {
        Ipv4 { destination: VIP, ttl: 64, protocol, ..Ipv4::advert(ASKER, payload) }.frame()
    };
    let lldp = [&[1; 12][..], &[0x88, 0xcc], &[0; 46]].concat();
    for frame in [packet(6, vec![0xa5; 20]), packet(17, vec![0xa5; 20]), lldp] {
        assert_eq!(captured(&mut bench, &frame), [], "{frame:?}");
    }
    let mut long = v3(51, 90, 100, &[VIP]);
    long.resize(1_200, 0);
    let frame = Ipv4::advert(ASKER, long).frame();
    bench.run(&frame);
    let found = bench.frames().pop().expect("captured");
    assert_eq!((found.length as usize, found.captured as usize), (frame.len(), CAPTURE_OCTETS));
    assert_eq!(found.octets[..], frame[..CAPTURE_OCTETS]);
    assert_eq!(CapturedReason::from_number(found.reason).name(), Some("packet_length_errors"));
}

/// A ring that nobody reads costs no answer, and the loss is counted.
#[test]
fn a_full_ring_loses_frames_and_no_verdict() {
    let Some(mut bench) = bench() else { return };
    let before = bench.frames().lost();
    const FRAMES: u64 = 3_000;
    for _ in 0..FRAMES {
        assert_eq!(bench.run(&question()).verdict, XDP_TX);
    }
    let lost = bench.frames().lost() - before;
    let kept = std::iter::from_fn(|| bench.frames().pop()).count() as u64;
    assert!(lost > 0 && kept > 1_000, "{lost} lost, {kept} kept");
    assert_eq!(kept / 2 + lost, FRAMES);
    assert_eq!(captured(&mut bench, &question()).len(), 2, "and on it goes");
}
