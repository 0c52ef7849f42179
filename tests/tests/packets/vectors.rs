//! The public vectors: each frame, its verdict, the one counter that moves.

use std::net::IpAddr;

use serde::Deserialize;
use vipd_common::abi::{auth_type, instance_flag};

use crate::{
    bench::{Bench, VIP, XDP_DROP, XDP_PASS, digest, identity, identity6, octets},
    frames::{Ipv4, padded, unhex},
};

#[derive(Deserialize)]
struct Vector {
    name: String,
    src: IpAddr,
    dst: IpAddr,
    ttl: u8,
    expect: String,
    ip_proto: u8,
    frame_hex: String,
    hex_rfc5798: Option<String>,
    ctx: Context,
}

/// The receiver that the vector is meant for.
#[derive(Deserialize)]
struct Context {
    version: u8,
    vrids: Vec<u8>,
    priority: u8,
    adver_cs: u32,
    auth: String,
    auth_key: String,
    vips: Option<Vec<IpAddr>>,
    check_addr_list: bool,
    exact_length: bool,
    multicast: bool,
}

/// Vectors for receivers that vipd cannot be, and why.
fn not_ours(vector: &Vector) -> Option<&'static str> {
    if vector.ip_proto != 112 || vector.ctx.auth == "ah" {
        return Some("AH is refused by the configuration");
    }
    if vector.ctx.check_addr_list && vector.expect != "accept" {
        return Some("another address list is counted and logged, never a reason to discard (a MAY)");
    }
    if !vector.ctx.exact_length {
        return Some("lengths are exact");
    }
    None
}

/// The instance's counter for a verdict name of the vectors, and the one for a virtual router that is not ours.
fn counter(expect: &str, ours: bool) -> &'static str {
    match (expect, ours) {
        ("accept", true) => "adverts_received",
        ("dst-not-group", true) => "dst_not_group",
        ("ip-ttl-error", true) => "ip_ttl_errors",
        ("packet-length-error", true) => "packet_length_errors",
        ("packet-length-error", false) => "foreign_packet_length_errors",
        ("version-error", true) => "version_errors",
        ("invalid-type", true) => "invalid_type",
        ("addr-count-zero", true) => "addr_count_zero",
        ("checksum-error", true) => "checksum_errors",
        ("checksum-error", false) => "foreign_checksum_errors",
        ("vrid-error", false) => "vrid_errors",
        // RFC 9568 erratum 8300 has it discarded; keepalived and FRR send it, so it is noted.
        ("first-addr-not-link-local", true) => "adverts_received",
        ("interval-zero", true) => "interval_zero",
        ("invalid-auth-type", true) => "invalid_auth_type",
        ("auth-type-mismatch", true) => "auth_type_mismatch",
        ("auth-failure", true) => "auth_failures",
        ("interval-mismatch", true) => "interval_mismatch",
        other => panic!("no counter for {other:?}"),
    }
}

/// Counters that accompany acceptance.
const NOTES: [&str; 6] = [
    "priority_zero_received",
    "checksum_pseudo_header",
    "checksum_message_only",
    "interval_differs",
    "address_list_differs",
    "first_addr_not_link_local",
];

fn check(bench: &mut Bench, vector: &Vector, frame: &[u8], what: &str) {
    let ctx = &vector.ctx;
    let mut identity = if vector.src.is_ipv4() { identity() } else { identity6() };
    assert_eq!(ctx.vrids, [51], "{what}");
    identity.version = ctx.version;
    identity.priority = ctx.priority;
    identity.interval_cs = ctx.adver_cs;
    identity.address_list_digest = digest(ctx.vips.as_deref().unwrap_or_default());
    if ctx.auth == "pass" {
        identity.auth_type = auth_type::SIMPLE_TEXT;
        let key = ctx.auth_key.as_bytes();
        let length = key.len().min(8);
        identity.auth_data[..length].copy_from_slice(&key[..length]);
    }
    if !ctx.multicast {
        identity.flags = instance_flag::UNICAST;
        identity.primary = octets(vector.dst);
    }
    bench.configure(&identity, &[(0, VIP)]);

    let (header, length) = if vector.src.is_ipv4() {
        let header = usize::from(frame[14] & 0xf) * 4;
        (14 + header, usize::from(u16::from_be_bytes([frame[16], frame[17]])) - header)
    } else {
        (14 + 40, usize::from(u16::from_be_bytes([frame[18], frame[19]])))
    };
    let ours = length > 1 && frame[header + 1] == 51;
    let accepted = matches!(&*vector.expect, "accept" | "first-addr-not-link-local");
    let heard = bench.dataplane().pages().instances().heard(crate::bench::SLOT);
    let (outcome, moved) = bench.moved(frame);
    let verdict = if accepted || !ours { XDP_PASS } else { XDP_DROP };
    assert_eq!(outcome.verdict, verdict, "{what}: {moved:?}");
    assert_eq!(outcome.frame, frame, "{what}: an advert is never changed");
    // O-01: exactly one counter, the one of the reason.
    let reasons: Vec<_> = moved.iter().filter(|(name, _)| !NOTES.contains(name)).copied().collect();
    assert_eq!(reasons, [(counter(&vector.expect, ours), 1)], "{what}");
    let first_is_global = vector.expect == "first-addr-not-link-local";
    assert_eq!(moved.contains(&("first_addr_not_link_local", 1)), first_is_global, "{what}");
    if accepted {
        assert!(bench.event().is_some(), "{what}: a new identity wants an event");
    } else {
        // a discarded advert changes nothing.
        assert_eq!(bench.dataplane().pages().instances().heard(crate::bench::SLOT), heard, "{what}");
        assert!(bench.event().is_none(), "{what}");
    }
}

#[test]
fn public_vectors() {
    let Some(mut bench) = Bench::new() else { return };
    let vectors: Vec<Vector> =
        serde_json::from_str(include_str!("../../data/vrrp_vectors.json")).expect("the vectors are valid");
    let (mut run, mut left_out) = (0, 0);
    for vector in &vectors {
        if let Some(reason) = not_ours(vector) {
            println!("not for vipd: {}: {reason}", vector.name);
            left_out += 1;
            continue;
        }
        let frame = unhex(&vector.frame_hex);
        check(&mut bench, vector, &frame, &vector.name);
        // Ethernet padding is no part of the packet.
        check(&mut bench, vector, &padded(frame), &format!("{}, padded", vector.name));
        run += 1;
        // The same with the pseudo-header in the checksum: accepted or refused for the same reason, whichever the form.
        if let Some(twin) = vector.hex_rfc5798.as_deref().filter(|_| !vector.name.contains("ip-options")) {
            let (IpAddr::V4(source), IpAddr::V4(destination)) = (vector.src, vector.dst) else {
                panic!("{}: over IPv6 there is one form", vector.name)
            };
            let packet = Ipv4 { destination, ttl: vector.ttl, ..Ipv4::advert(source, unhex(twin)) };
            let frame = packet.frame();
            check(&mut bench, vector, &frame, &format!("{}, RFC 5798 checksum", vector.name));
            run += 1;
        }
    }
    println!("{run} frames, {left_out} vectors for other receivers");
    assert_eq!((run, left_out), (82, 5), "the file is not the one this was written for");
}
