use super::*;

fn sender() -> Sender {
    Sender {
        signed: false,
        drained: true,
        interval_s: 5,
        sent_unix_us: 1_700_000_000_000_000,
        start: 7,
        host: "lb01.example.net".into(),
        router_id: "lb01".into(),
        version: "0.1.0".into(),
    }
}

pub(in crate::cluster) fn record(vrid: u8) -> Record {
    let link = |interface: &str, heartbeat, state| ReportedLink::new(interface, heartbeat, state).unwrap();
    Record {
        family: Family::V4,
        vrid,
        state: StateName::Fault,
        priority: 90,
        base_priority: 150,
        handed_over: true,
        split_brain: true,
        unvouched: false,
        one_way: true,
        address_conflicts: 3,
        in_state_s: 61,
        master: Some("10.0.0.5".parse().unwrap()),
        faults: "check chk_nginx failed (exit code 1)".into(),
        mismatches: "interval, version".into(),
        links: vec![link("eth0", false, "up"), link("eth1", true, "lost")],
    }
}

#[test]
fn a_report_is_read_as_it_was_written() {
    let v6 = Record { family: Family::V6, master: Some("fe80::5".parse().unwrap()), ..record(2) };
    let without = Record {
        master: None,
        faults: String::new(),
        links: Vec::new(),
        state: StateName::Master,
        unvouched: true,
        one_way: false,
        ..record(3)
    };
    let records = vec![record(1), v6, without];
    let [datagram] = &datagrams(&sender(), &records)[..] else { panic!("one datagram") };
    assert_eq!(NodeReport::parse(datagram), Ok(NodeReport { sender: sender(), records }));
}

#[test]
fn each_datagram_is_complete_and_leaves_room_for_a_signature() {
    let sender = Sender { signed: true, ..sender() };
    let records: Vec<Record> = (1..=200).map(record).collect();
    let mut read = Vec::new();
    for mut datagram in datagrams(&sender, &records) {
        datagram.extend([0; SIGNATURE]);
        assert!(datagram.len() <= MAX_DATAGRAM);
        let report = NodeReport::parse(&datagram).unwrap();
        assert_eq!(report.sender, sender);
        read.extend(report.records);
    }
    assert_eq!(read, records);
    assert_eq!(datagrams(&sender, &[]), Vec::<Vec<u8>>::new());
}

#[test]
fn a_long_text_is_cut_at_a_character_and_a_control_character_is_escaped() {
    let long = Record { faults: "ä".repeat(500), mismatches: "a\u{1b}[2J\r\nb\u{202e}".into(), ..record(1) };
    let [datagram] = &datagrams(&sender(), &[long])[..] else { panic!("one datagram") };
    let read = &NodeReport::parse(datagram).unwrap().records[0];
    assert_eq!(read.faults, "ä".repeat(100));
    assert_eq!(read.mismatches, "a\\u{1b}[2J\\r\\nb\\u{202e}");
}

/// What a later version appends to a record is skipped.
#[test]
fn a_longer_record_is_read() {
    let [mut datagram] = <[_; 1]>::try_from(datagrams(&sender(), &[record(1)])).unwrap();
    let at = datagram.len() - record(1).emit().len();
    let length = u16::from_be_bytes([datagram[at], datagram[at + 1]]) + 3;
    datagram[at..at + 2].copy_from_slice(&length.to_be_bytes());
    datagram.extend([1, 2, 3]);
    assert_eq!(NodeReport::parse(&datagram).unwrap().records, [record(1)]);
}

#[test]
fn what_is_no_report_is_refused() {
    let [good] = <[_; 1]>::try_from(datagrams(&sender(), &[record(1)])).unwrap();
    let changed = |at: usize, octet: u8| {
        let mut octets = good.clone();
        octets[at] = octet;
        octets
    };
    let at = good.len() - record(1).emit().len();
    let with = |octet: u8| [&good[..], &[octet]].concat();
    for (what, octets, expect) in [
        ("nothing", Vec::new(), Malformed::Format),
        ("another protocol", changed(0, b'X'), Malformed::Format),
        ("another version", changed(4, 2), Malformed::Version),
        ("an interval of 0", [&good[..6], &[0, 0], &good[8..]].concat(), Malformed::Format),
        ("no record", changed(HEADER - 1, 0), Malformed::Format),
        ("more records than there are", changed(HEADER - 1, 2), Malformed::Format),
        ("a text beyond its limit", changed(HEADER, 65), Malformed::Format),
        ("a text that is not UTF-8", changed(HEADER + 1, 0xff), Malformed::Format),
        ("a record beyond the end", changed(at, 9), Malformed::Format),
        ("a family that there is not", changed(at + 2, 5), Malformed::Format),
        ("the VRID 0", changed(at + 3, 0), Malformed::Format),
        ("a state that there is not", changed(at + 4, 9), Malformed::Format),
        ("more behind the end", with(0), Malformed::Format),
        ("more than a datagram has", [&good[..], &[0; MAX_DATAGRAM]].concat(), Malformed::Format),
        ("a signature that is not there", changed(5, SIGNED), Malformed::Format),
    ] {
        assert_eq!(NodeReport::parse(&octets), Err(expect), "{what}");
    }
    for end in 0..good.len() {
        assert!(NodeReport::parse(&good[..end]).is_err(), "cut at {end}");
    }
}

/// No octets make it panic, and what it takes is within the limits.
#[test]
fn hostile_octets_do_no_harm() {
    let good = datagrams(&sender(), &[record(1), record(2)]).remove(0);
    let (mut taken, mut random) = (0, fastrand::Rng::with_seed(4));
    for round in 0..200_000 {
        let mut octets = match round % 4 {
            0 => (0..random.usize(..1_300)).map(|_| random.u8(..)).collect(),
            _ => good.clone(),
        };
        for _ in 0..random.usize(1..6) {
            if octets.is_empty() {
                break;
            }
            let at = random.usize(..octets.len());
            match random.u8(..4) {
                0 => octets.truncate(at),
                1 => octets.insert(at, random.u8(..)),
                2 => octets[at] = random.choice([0, 1, 0x7f, 0x80, 0xff]).unwrap(),
                _ => octets[at] ^= 1 << random.u8(..8),
            }
        }
        let Ok(report) = NodeReport::parse(&octets) else { continue };
        taken += 1;
        for record in &report.records {
            assert!(record.links.len() <= MAX_LINKS && record.vrid > 0);
            let texts = [&record.faults, &record.mismatches, &report.sender.host];
            assert!(texts.iter().all(|text| !text.contains(|c: char| c.is_control())), "{report:?}");
        }
        // What was taken can be sent on, and is the same then, but for what a cut leaves of an escaped text.
        for datagram in datagrams(&report.sender, &report.records) {
            assert!(
                datagram.len() <= MAX_DATAGRAM
                    && (report.sender.signed || NodeReport::parse(&datagram).is_ok())
            );
        }
    }
    assert!(taken > 1_000, "only {taken} were taken: nothing was tried");
}
