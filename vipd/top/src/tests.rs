//! Pictures of a made-up status, and what keys do to them.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::{
    Terminal,
    backend::TestBackend,
    buffer::Buffer,
    style::{Color, Modifier},
};

use super::{
    draw, interval,
    state::{KeyEffect, Top},
};
use vipd_control::model::{Status, samples};

/// Two answers, two seconds apart.
fn later(status: &Status) -> Status {
    let mut later = status.clone();
    later.uptime_ms += 2_000;
    later.instances[0].adverts_sent += 2;
    later.instances[0].lease_remaining_ms = Some(1_000);
    *later.instances[0].vip_answers.values_mut().next().unwrap() += 5_000;
    later.instances[1].adverts_received += 4;
    later.instances[1].discards.insert("auth_failures".into(), 15);
    *later.counters.get_mut("arp_replies").unwrap() += 5_000;
    later
}

fn top() -> Top {
    let mut top = Top::default();
    top.take(samples::status());
    top.take(later(&samples::status()));
    top
}

fn picture(top: &Top, width: u16, height: u16) -> Buffer {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw::draw(frame, top)).unwrap();
    terminal.backend().buffer().clone()
}

fn lines(buffer: &Buffer) -> Vec<String> {
    let row = |y| (0..buffer.area.width).map(|x| buffer[(x, y)].symbol()).collect::<String>();
    (0..buffer.area.height).map(|y| row(y).trim_end().to_owned()).collect()
}

fn press(top: &mut Top, codes: &[KeyCode]) -> KeyEffect {
    codes.iter().map(|code| top.press(KeyEvent::new(*code, KeyModifiers::NONE))).last().unwrap()
}

/// The names in the table, in order.
fn order(top: &Top) -> Vec<&str> {
    top.instances().into_iter().map(|i| i.name.as_str()).collect()
}

fn selected(top: &Top) -> &str {
    &top.selected().unwrap().1.name
}

#[test]
fn everything_is_in_the_picture() {
    let picture = picture(&top(), 120, 28);
    let lines = lines(&picture);
    let expected = [
        "vipd 0.1.0 on lb01.example.net  up 1d 2h  real-time  adverts at most 120 µs late  pid 4711",
        "1 BACKUP  1 FAULT  1 MASTER  1 of 4 servers up  1 without quorum  2 of 3 neighbors up",
        "INSTANCE STATE  FOR      PRIO MASTER   LEASE              VIP             OUT/s   IN/s    ARP+ND/s REVOKED DISC/s",
        "VI_1     MASTER 1m 1s    150  10.0.0.5 ██▌······· 1.0s    10.0.0.3 +1     1.0     0       2500     1       0",
        "VI_6     BACKUP 1h 0m    100  fe80::6  ███████▏·· 2.6s    2001:db8::100   0       2.0     0        0       3.0",
        "VI_F     FAULT  5s       100  -        -                  10.0.0.7        0       0       0        0       0",
    ];
    assert_eq!(&lines[..6], expected, "{}", lines.join("\n"));
    assert_eq!(
        lines[27],
        "q quit  ? help  / search  f state: all  s sort: configuration  v services  enter details  ↑↓ select  r reverse"
    );
    let has = |text: &str| {
        assert!(lines.iter().any(|line| line.contains(text)), "{text} is not in\n{}", lines.join("\n"))
    };
    has("┌ VI_1 ─");
    has("│  vips       10.0.0.3 (74000 answers)");
    has("││arp_replies            75000        2500    │");
    has("││arp_gated              12           0       │");
    has("│haproxy: failed");

    let colour = |x, y| picture[(x, y)].fg;
    assert_eq!([colour(9, 3), colour(9, 4), colour(9, 5)], [Color::Green, Color::Cyan, Color::Red]);
    // A quarter of the lease is left.
    assert_eq!(colour(39, 3), Color::Yellow);
    assert!(picture[(0, 3)].modifier.contains(Modifier::REVERSED), "the first is selected");
}

#[test]
fn probed_hosts_are_below_what_is_tracked() {
    let mut top = Top::default();
    let shown = |top: &Top| lines(&picture(top, 120, 28)).join("\n");
    top.take(samples::status());
    assert!(shown(&top).contains("│10.0.0.6: up 41 µs   "), "{}", shown(&top));
    let mut status = samples::takes_over();
    status.probes[0].false_alarms = 2;
    top.take(status.clone());
    assert!(shown(&top).contains("│10.0.0.6: up 41 µs armed 2 false alarms"), "{}", shown(&top));
    (status.probes[0].state, status.probes[0].armed) = ("down".into(), false);
    top.take(status);
    assert!(shown(&top).contains("│10.0.0.6: down 41 µs not armed"), "{}", shown(&top));
    top.take(samples::unvouched());
    assert!(shown(&top).contains("10.0.0.5 unvouched "), "{}", shown(&top));
}

#[test]
fn the_first_answer_has_no_rates() {
    let mut top = Top::default();
    top.take(samples::status());
    assert!(lines(&picture(&top, 120, 28))[3].ends_with("-       -       -        1       -"));
    // Nor has that of another daemon.
    let mut other = later(&samples::status());
    other.pid += 1;
    top.take(other);
    assert!(lines(&picture(&top, 120, 28))[3].ends_with("-       -       -        1       -"));
}

#[test]
fn a_terminal_of_any_size_is_drawn_to() {
    let mut top = top();
    for enlarged in [false, true] {
        top.enlarged = enlarged;
        for (width, height) in [(1, 1), (20, 3), (40, 10), (80, 24), (89, 50), (300, 100)] {
            picture(&top, width, height);
        }
    }
    for empty in [Top::default(), {
        let mut top = Top::default();
        top.take(Status::default());
        top
    }] {
        picture(&empty, 80, 24);
    }
    // Without room for panels the table has it.
    top.enlarged = false;
    let lines = lines(&picture(&top, 100, 8));
    assert!(lines[5].starts_with("VI_F") && !lines.join("").contains('┌'), "{lines:?}");
}

#[test]
fn a_narrow_terminal_has_fewer_columns() {
    let top = top();
    for (width, expect) in [
        (90, "INSTANCE STATE  FOR      PRIO MASTER   LEASE              VIP             OUT/s   IN/s"),
        (80, "INSTANCE STATE  FOR      PRIO MASTER   LEASE              VIP"),
        (60, "INSTANCE STATE  PRIO LEASE              VIP"),
        (40, "INSTANCE STATE  LEASE"),
        (10, "INSTANCE"),
    ] {
        assert_eq!(lines(&picture(&top, width, 10))[2], expect, "{width}");
    }
}

/// 60 instances with names and VIPs of every length.
fn many() -> Top {
    let mut status = samples::status();
    for n in 0..57 {
        let mut i = samples::master(&format!("site_{n}_with_a_name_that_is_rather_long"), n + 100);
        i.vips = (1..=n + 1).map(|m| std::net::Ipv4Addr::new(192, 168, n, m).into()).collect();
        status.instances.push(i);
    }
    status.instances[7].master.as_mut().unwrap().address =
        "2001:db8:1234:5678:9abc:def0:1234:5678".parse().unwrap();
    status.instances[8].vips = vec!["2001:db8:1234:5678:9abc:def0:1234:5678".parse().unwrap()];
    let mut top = Top::default();
    top.take(status);
    top
}

#[test]
fn a_small_terminal_has_what_matters() {
    let mut top = many();
    for (width, height, rows) in [(80, 24, 8), (60, 15, 11)] {
        let lines = lines(&picture(&top, width, height));
        let shown = lines.join("\n");
        assert!(lines[0].starts_with("vipd 0.1.0 on lb01.example.net  up 1d 2h  real-time"), "{shown}");
        assert!(lines[1].starts_with("1 BACKUP  1 FAULT  58 MASTER"), "{shown}");
        for head in ["INSTANCE", "STATE", "PRIO", "LEASE", "VIP"] {
            assert!(lines[2].contains(head), "{head} {shown}");
        }
        assert!(lines[3].contains("VI_1") && lines[3].contains("10.0.0.3 +1"), "{shown}");
        assert!(lines[6].starts_with("site_0_with_") && lines[6].contains('…'), "{shown}");
        assert_eq!(
            lines[3..3 + rows].iter().filter(|line| line.contains("MASTER")).count(),
            rows - 2,
            "{shown}"
        );
        assert!(
            lines[usize::from(height) - 1].starts_with("q quit  ? help  / search  f state: all"),
            "{shown}"
        );
    }
    press(&mut top, &[KeyCode::Enter]);
    for (width, height, hidden) in [(80, 24, None), (60, 15, Some(" more lines "))] {
        let shown = lines(&picture(&top, width, height)).join("\n");
        for text in ["┌ VI_1 ─", "router     vrid 51 on eth0", "priority   150"].into_iter().chain(hidden)
        {
            assert!(shown.contains(text), "{text} {shown}");
        }
    }
}

#[test]
fn a_search_and_a_state_leave_few() {
    let mut top = many();
    let typed = "/192.168.3.".chars().map(KeyCode::Char).collect::<Vec<_>>();
    press(&mut top, &typed);
    let text = lines(&picture(&top, 80, 24));
    assert_eq!(text[23], "/192.168.3.▏ enter: keep, esc: clear");
    assert!(text[1].starts_with("1 of 60 shown (/192.168.3.)"), "{}", text[1]);
    assert!(text[3].contains("site_3_with_a") && text[3].contains("192.168.3.1 +4"), "{}", text[3]);
    // A letter that is a key elsewhere.
    press(&mut top, &[KeyCode::Char('q'), KeyCode::Backspace, KeyCode::Enter]);
    assert_eq!(selected(&top), "site_3_with_a_name_that_is_rather_long");
    assert!(lines(&picture(&top, 80, 24)).join("").contains("┌ site_3_with_a"));
    assert_eq!(press(&mut top, &[KeyCode::Esc]), KeyEffect::Go, "the search ends first");
    assert_eq!((order(&top).len(), selected(&top)), (60, "VI_1"));

    press(&mut top, &[KeyCode::Char('f'), KeyCode::Char('f'), KeyCode::Char('f')]);
    assert_eq!(order(&top), ["VI_F"]);
    assert!(lines(&picture(&top, 80, 24))[1].starts_with("1 of 60 shown (FAULT)"));
    press(&mut top, &[KeyCode::Char('f')]);
    let text = lines(&picture(&top, 80, 24));
    assert!(order(&top).is_empty() && text[1].starts_with("0 of 60 shown (others)"), "{}", text[1]);
    assert!(text.join("").contains(" no instance "));
    press(&mut top, &[KeyCode::Down, KeyCode::End]);
    press(&mut top, &[KeyCode::Char('f'), KeyCode::Char('/'), KeyCode::Char('v'), KeyCode::Down]);
    assert_eq!(selected(&top), "VI_6", "arrows work while a search is typed");
    assert_eq!(top.press(KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL)), KeyEffect::End);
}

#[test]
fn services_have_a_view_of_their_own() {
    let mut top = top();
    press(&mut top, &[KeyCode::Char('v')]);
    let picture_of = picture(&top, 130, 28);
    let text = lines(&picture_of);
    let expected = [
        "1 BACKUP  1 FAULT  1 MASTER  1 of 4 servers up  1 without quorum  2 of 3 neighbors up",
        "SERVICE         SERVER       METHOD WEIGHT STATE     FOR    ACTIVE OTHER  CONNS/s IN/s     OUT/s    WHY",
        "10.0.0.3:80 TCP 10.1.0.11:80 NAT    3      up        2h 0m  42     7      12      0 B      0 B      HTTP_GET: HTTP 200, 512 octets",
        "10.0.0.3:80 TCP 10.1.0.12:80 NAT    -      down      5s     0      0      0       0 B      0 B      HTTP_GET: connection refused",
        "10.0.0.3:80 TCP 10.1.0.13:80 NAT    0 of 1 draining  1m 0s  3      0      0       0 B      0 B      is drained",
        "fwmark 7        10.1.0.11:0  DR     -      unchecked 1s     0      0      0       0 B      0 B      not checked yet",
    ];
    assert_eq!(&text[1..7], expected, "{}", text.join("\n"));
    let colour = |y| picture_of[(43, y)].fg;
    assert_eq!([colour(3), colour(4), colour(5)], [Color::Green, Color::Red, Color::Yellow]);
    for part in [
        "┌ 10.0.0.3:80 TCP ─",
        "traffic    1200 connections, 12/s, in 1.5 kB/s, out 64.0 kB/s",
        "check      HTTP_GET 10.1.0.11:80/ passed in 1500 µs, 700ms ago: HTTP 200, 512 octets",
        "v neighbors",
    ] {
        assert!(text.join("\n").contains(part), "{part} is not in\n{}", text.join("\n"));
    }
    // A narrow terminal has what says why.
    let narrow = lines(&picture(&top, 60, 15)).join("\n");
    for head in ["SERVER", "STATE", "WHY"] {
        assert!(narrow.contains(head), "{head} is not in\n{narrow}");
    }
    press(&mut top, &[KeyCode::End]);
    let text = lines(&picture(&top, 130, 28)).join("\n");
    for part in ["┌ fwmark 7 ─", "problem    sorry server 127.0.0.1:80 serves", "persistent 300 s"] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
    for (width, height) in [(1, 1), (20, 3), (40, 10), (80, 24), (300, 100)] {
        picture(&top, width, height);
    }
}

/// The servers in the table, in order.
fn servers(top: &Top) -> Vec<&str> {
    top.servers().into_iter().filter_map(|row| Some(row.server?.server.as_str())).collect()
}

#[test]
fn keys_find_sort_and_select_servers() {
    let mut top = top();
    press(&mut top, &[KeyCode::Tab]);
    let (one, two, three, marked) = ("10.1.0.11:80", "10.1.0.12:80", "10.1.0.13:80", "10.1.0.11:0");
    assert_eq!(servers(&top), [one, two, three, marked]);
    let selected = |top: &Top| top.selected_server().unwrap().1.server.unwrap().server.clone();
    press(&mut top, &[KeyCode::Down]);
    assert_eq!(selected(&top), two);
    for expect in [[marked, one, two, three], [two, marked, three, one], [one, three, two, marked]] {
        press(&mut top, &[KeyCode::Char('s')]);
        assert_eq!((servers(&top), selected(&top)), (expect.to_vec(), two.to_owned()), "{}", top.sort_name());
    }
    press(&mut top, &[KeyCode::Char('s'), KeyCode::Char('f')]);
    assert_eq!(servers(&top), [two, three, marked], "those that are not up");
    assert!(lines(&picture(&top, 130, 28))[1].starts_with("3 of 4 shown (not up)"));
    press(&mut top, &[KeyCode::Char('f')]);
    assert_eq!((servers(&top), selected(&top)), (vec![one], one.to_owned()));
    press(&mut top, &[KeyCode::Char('f')]);
    let typed = "/FWMARK".chars().map(KeyCode::Char).collect::<Vec<_>>();
    press(&mut top, &typed);
    assert_eq!(servers(&top), [marked]);
    press(&mut top, &[KeyCode::Enter]);
    // What is chosen here is not chosen there.
    press(&mut top, &[KeyCode::Char('v')]);
    assert_eq!(top.shown(), (3, 3));
    press(&mut top, &[KeyCode::Char('v')]);
    assert_eq!(order(&top), ["VI_1", "VI_6", "VI_F"]);
    assert_eq!(top.shown(), (3, 3));
}

#[test]
fn neighbors_have_a_view_of_their_own() {
    let mut status = samples::status();
    status.balancing = None;
    let mut top = Top::default();
    top.take(status);
    press(&mut top, &[KeyCode::Char('v')]);
    let picture_of = picture(&top, 130, 28);
    let text = lines(&picture_of);
    let expected = [
        "1 BACKUP  1 FAULT  1 MASTER  2 of 3 neighbors up",
        "NEIGHBOR  KIND  ADDRESS  STATE     EVERY    DETECTS  HEARD  WHY",
        "uplink    bfd   10.0.0.6 Up        3.333 ms 10 ms    2ms    -",
        "peer      bfd   10.0.0.6 Down      1000 ms  -        1m 1s  diagnostic 1: detection time expired",
        "eth0 ipv4 probe 10.0.0.6 up        10 ms    30 ms    2ms    -",
    ];
    assert_eq!(&text[1..6], expected, "{}", text.join("\n"));
    let colour = |y| picture_of[(25, y)].fg;
    assert_eq!([colour(3), colour(4), colour(5)], [Color::Green, Color::Red, Color::Green]);
    for part in ["┌ uplink ─", "counts as  up", "packets    6100 sent, 6099 received, 0 refused", "v routers"]
    {
        assert!(text.join("\n").contains(part), "{part} is not in\n{}", text.join("\n"));
    }
    press(&mut top, &[KeyCode::End]);
    let text = lines(&picture(&top, 130, 28)).join("\n");
    for part in
        ["┌ eth0 ipv4 ─", "round trip 41 µs, median 40 µs, 99 % within 96 µs", "VRID 51, priority 100"]
    {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
    let names = |top: &Top| top.neighbors().iter().map(|row| row.name()).collect::<Vec<_>>();
    press(&mut top, &[KeyCode::Char('s')]);
    assert_eq!(names(&top), ["eth0 ipv4", "peer", "uplink"]);
    press(&mut top, &[KeyCode::Char('s')]);
    assert_eq!(names(&top), ["peer", "uplink", "eth0 ipv4"], "those with problems come first");
    press(&mut top, &[KeyCode::Char('s'), KeyCode::Char('f')]);
    assert_eq!(names(&top), ["peer"]);
    press(&mut top, &[KeyCode::Char('f'), KeyCode::Char('f')]);
    press(&mut top, &"/UPL".chars().map(KeyCode::Char).collect::<Vec<_>>());
    assert_eq!((names(&top), top.shown()), (vec!["uplink".to_owned()], (1, 3)));
    press(&mut top, &[KeyCode::Enter, KeyCode::Char('v')]);
    assert_eq!((order(&top), top.shown()), (vec!["VI_1", "VI_6", "VI_F"], (3, 3)));
    for (width, height) in [(1, 1), (20, 3), (40, 10), (80, 24), (300, 100)] {
        press(&mut top, &[KeyCode::Char('v')]);
        picture(&top, width, height);
    }
}

#[test]
fn without_services_there_is_no_view_of_them() {
    let mut status = samples::status();
    status.balancing = None;
    (status.bfd_sessions, status.probes) = (Vec::new(), Vec::new());
    let mut top = Top::default();
    top.take(status.clone());
    press(&mut top, &[KeyCode::Char('v')]);
    let text = lines(&picture(&top, 120, 28));
    assert_eq!(text[1], "1 BACKUP  1 FAULT  1 MASTER");
    assert!(text[2].starts_with("INSTANCE") && !text[27].contains("services"), "{text:?}");
    // They are gone while they are looked at; and the kernel lacks IPVS.
    status.balancing = Some(samples::balancing());
    top.take(status.clone());
    press(&mut top, &[KeyCode::Char('v')]);
    status.balancing = Some(vipd_control::model::BalancingStatus {
        problem: Some("the kernel has no IPVS".into()),
        ..Default::default()
    });
    top.take(status);
    let text = lines(&picture(&top, 120, 28)).join("\n");
    for part in ["services not served as configured", " no service ", "the kernel has no IPVS"] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
    press(&mut top, &[KeyCode::Down, KeyCode::Enter, KeyCode::Char('v')]);
    assert_eq!(order(&top), ["VI_1", "VI_6", "VI_F"]);
}

#[test]
fn help_covers_the_rest_and_goes() {
    let mut top = many();
    press(&mut top, &[KeyCode::Char('?')]);
    for (width, height) in [(120, 28), (80, 24), (60, 15)] {
        let shown = lines(&picture(&top, width, height)).join("\n");
        for text in [
            "vipd top: ? closes",
            "q Ctrl-C  quit",
            "virtual routers, real servers, or neighbors",
            "search names, interfaces, groups, addresses",
            "one step back: help, filter, details, quit",
            "adverts discarded; ARP+ND/s: replies  ",
        ] {
            assert!(shown.contains(text), "{text} {shown}");
        }
    }
    picture(&top, 5, 2);
    assert_eq!(press(&mut top, &[KeyCode::Esc]), KeyEffect::Go);
    assert!(!lines(&picture(&top, 80, 24)).join("").contains("closes"));
}

#[test]
fn keys_select_and_the_selected_one_is_shown() {
    let mut top = top();
    assert_eq!(selected(&top), "VI_1");
    for (keys, expect) in [
        (&[KeyCode::Down][..], "VI_6"),
        (&[KeyCode::Char('j')], "VI_F"),
        (&[KeyCode::Down, KeyCode::PageDown], "VI_F"),
        (&[KeyCode::Up], "VI_6"),
        (&[KeyCode::Home], "VI_1"),
        (&[KeyCode::Up, KeyCode::PageUp, KeyCode::Char('k')], "VI_1"),
        (&[KeyCode::End], "VI_F"),
    ] {
        press(&mut top, keys);
        assert_eq!(selected(&top), expect, "{keys:?}");
        let title = format!("┌ {expect} ─");
        assert!(lines(&picture(&top, 120, 28)).iter().any(|line| line.contains(&title)), "{title}");
    }
    // It stays selected in another order, and is gone when it is gone.
    press(&mut top, &[KeyCode::Char('r')]);
    assert_eq!((selected(&top), order(&top)), ("VI_F", vec!["VI_F", "VI_6", "VI_1"]));
    let mut status = later(&later(&samples::status()));
    status.instances.truncate(2);
    top.take(status);
    assert_eq!(selected(&top), "VI_1");
}

#[test]
fn keys_sort() {
    let mut top = top();
    top.take({
        let mut status = later(&later(&samples::status()));
        status.instances[2].name = "A".into();
        status
    });
    let s = KeyCode::Char('s');
    assert_eq!(order(&top), ["VI_1", "VI_6", "A"]);
    for expect in [
        ["A", "VI_1", "VI_6"],
        ["A", "VI_1", "VI_6"],
        ["VI_6", "VI_1", "A"],
        ["VI_6", "VI_1", "A"],
        ["VI_1", "VI_6", "A"],
    ] {
        press(&mut top, &[s]);
        assert_eq!(order(&top), expect, "by {}", top.sort.name());
    }
}

#[test]
fn keys_enlarge_and_end() {
    let mut top = top();
    assert_eq!(press(&mut top, &[KeyCode::Enter]), KeyEffect::Go);
    let (large, lines) = (top.enlarged, lines(&picture(&top, 120, 28)));
    assert!(large && lines[7].starts_with("┌ VI_1"), "{lines:?}");
    assert_eq!(press(&mut top, &[KeyCode::Esc]), KeyEffect::Go, "back to the small one");
    assert_eq!(press(&mut top, &[KeyCode::Esc]), KeyEffect::End);
    assert_eq!(press(&mut top, &[KeyCode::Char('q')]), KeyEffect::End);
    assert_eq!(top.press(KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL)), KeyEffect::End);
    assert_eq!(press(&mut top, &[KeyCode::Char('c')]), KeyEffect::Go);
}

#[test]
fn a_daemon_that_is_gone_is_said_to_be_and_its_return_seen() {
    let mut top = Top::default();
    top.is_in_trouble("no vipd is running".into());
    assert_eq!(lines(&picture(&top, 120, 28))[1], " no vipd is running; trying again");
    top.take(samples::status());
    assert!(lines(&picture(&top, 120, 28))[1].starts_with("1 BACKUP  1 FAULT  1 MASTER"));
    top.is_kept_waiting();
    let text = lines(&picture(&top, 120, 28));
    assert_eq!(text[1], " vipd has not answered yet; what is shown is old; trying again");
    assert!(text[3].starts_with("VI_1"), "what was known is still there");
    top.is_in_trouble("no vipd is running".into());
    top.is_kept_waiting();
    assert_eq!(lines(&picture(&top, 120, 28))[1], " no vipd is running; what is shown is old; trying again");
}

#[test]
fn intervals_are_of_a_tenth_of_a_second_to_an_hour() {
    for (text, expect) in [("1", Some(1_000)), ("0.5", Some(500)), ("3600", Some(3_600_000))] {
        assert_eq!(interval(text).ok().map(|interval| interval.as_millis()), expect, "{text}");
    }
    for text in ["", "0", "0.05", "-1", "3601", "nan", "inf", "1s"] {
        assert!(interval(text).is_err(), "{text}");
    }
}
