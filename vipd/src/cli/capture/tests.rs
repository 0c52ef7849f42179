use super::*;

fn shown(frame: &ShownFrame) -> String {
    line(frame, &decode(&frame.octets).unwrap())
}

#[test]
fn lines() {
    let sent = ShownFrame {
        direction: Direction::Out,
        octets: {
            let mut octets = samples::arp_request();
            octets[21] = 2;
            octets.splice(12..12, [0x81, 0, 0, 10]);
            octets
        },
        ..samples::frame()
    };
    let advert = ShownFrame {
        verdict: CapturedVerdict::Dropped,
        reason: Some("ip_ttl_errors".into()),
        octets: samples::advert(),
        ..samples::frame()
    };
    let solicitation = ShownFrame {
        verdict: CapturedVerdict::Passed,
        reason: None,
        octets: samples::solicitation(),
        ..samples::frame()
    };
    let other = ShownFrame { reason: Some("excess_tags".into()), octets: vec![7; 14], ..advert.clone() };
    // `date -u -d @1709251199`.
    for (frame, text) in [
        (
            samples::frame(),
            "eth0 in  ARP, Request who-has 10.9.0.50 tell 10.9.0.9 (02:00:00:00:00:09): answered (arp_replies)",
        ),
        (
            sent,
            "eth0 vlan 10 out ARP, Reply 10.9.0.9 is-at 02:00:00:00:00:09 to 10.9.0.50: the program's answer",
        ),
        (
            advert,
            "eth0 in  VRRPv3, 10.9.0.2 > 224.0.0.18, ttl 64, vrid 51, prio 150, interval 100cs, addrs 10.9.0.50: dropped \
             (ip_ttl_errors)",
        ),
        (
            solicitation,
            "eth0 in  ND, Solicitation who-has 2001:db8::50 tell fe80::9 (02:00:00:00:00:09): passed",
        ),
        (
            other,
            "eth0 in  a frame from 07:07:07:07:07:07 to 07:07:07:07:07:07, 0707070707070707070707070707: dropped (excess_tags)",
        ),
    ] {
        assert_eq!(shown(&frame), format!("2024-02-29T23:59:59.001002Z {text}"));
    }
}

/// What a station sends may end anywhere, and lie about what follows.
#[test]
fn frames_that_are_cut_off_are_shown_as_far_as_they_go() {
    for octets in [samples::arp_request(), samples::advert(), samples::solicitation()] {
        for length in 0..octets.len() {
            let Some(decoded) = decode(&octets[..length]) else {
                assert!(length < 14);
                continue;
            };
            let _ = decoded.to_string();
        }
    }
    let mut many = samples::advert();
    let count = 14 + 20 + 3;
    many[count] = 255;
    many.extend([10, 9, 0, 51, 10, 9, 0, 52, 10, 9, 0, 53, 10, 9, 0, 54, 10]);
    let text = decode(&many).unwrap().to_string();
    assert!(text.ends_with("addrs 10.9.0.50,10.9.0.51,10.9.0.52,10.9.0.53 and 1 more"), "{text}");
}

#[test]
fn json() {
    let frame = ShownFrame {
        verdict: CapturedVerdict::Dropped,
        reason: Some("arp_gated".into()),
        ..samples::frame()
    };
    let decoded = decode(&frame.octets).unwrap();
    let json = serde_json::to_value(Shown::of(&frame, &decoded)).unwrap();
    for (name, value) in [
        ("verdict", "dropped"),
        ("reason", "arp_gated"),
        ("meaning", "ARP requests for VIPs that are not owned here, dropped."),
        ("direction", "in"),
        ("packet", "arp_request"),
        ("target", "10.9.0.50"),
        ("sender_mac", "02:00:00:00:00:09"),
        ("octets", hex::encode(&samples::arp_request()).as_str()),
    ] {
        assert_eq!(json[name], value, "{json}");
    }
}

#[test]
fn a_capture_ends_after_its_count_or_its_time() {
    let batch =
        |time_unix_ns, frames| Batch { time_unix_ns, lost: 0, frames: vec![samples::frame(); frames] };
    let capture = |options: &CaptureOptions| Capture::new(options, CaptureFilter::All).unwrap();
    let mut counted = capture(&CaptureOptions { count: Some(3), ..CaptureOptions::default() });
    counted.take(&batch(0, 2)).unwrap();
    assert_eq!(counted.take(&batch(0, 2)).unwrap_err().kind(), io::ErrorKind::Interrupted);
    assert!(counted.is_done);
    assert_eq!(counted.summary(), ": 3 frames, 0 lost");
    let mut timed =
        capture(&CaptureOptions { duration: Some(Duration::from_secs(2)), ..CaptureOptions::default() });
    timed.take(&batch(1_000_000_000, 1)).unwrap();
    timed.take(&batch(2_900_000_000, 0)).unwrap();
    assert!(!timed.is_done);
    timed.take(&batch(3_000_000_000, 0)).unwrap_err();
    assert!(timed.is_done);
    for text in ["0", "-1", "x", "inf", "1e300"] {
        assert!(seconds(text).is_err(), "{text}");
    }
    assert_eq!(seconds("0.5"), Ok(Duration::from_millis(500)));
}
