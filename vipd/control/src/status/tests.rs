use super::{StatusView, age};
use crate::model::{Status, samples};

fn shown(view: &StatusView, status: Status) -> String {
    let mut out = Vec::new();
    view.render(&mut out, &view.select(status).unwrap()).unwrap();
    let text = String::from_utf8(out).unwrap();
    anstream::adapter::strip_str(&text).to_string()
}

fn many() -> Status {
    let mut status = samples::status();
    status.instances.extend([samples::master("a_longer_name", 8), samples::backup("VI_9", 9)]);
    status
}

#[test]
fn a_few_instances_are_shown_in_full() {
    let text = shown(&StatusView::default(), samples::status());
    let expected = "\
vipd 0.1.0 on lb01.example.net, pid 4711, up 1d 2h
router_id lb01, configuration /etc/vipd/vipd.conf
warning: eth0: before vipd's program comes the XDP program filter with id 7; see `bpftool net show dev eth0`

VI_1: MASTER for 1m 1s (no advert from a master)
  router     vrid 51 on eth0, VRRPv2, XDP native
  sync group G
  priority   150, adverts every 1000 ms
  master     10.0.0.5 priority 150
  lease      3.2s of 4.0s left (overlap), recent minimum 2.9s
  link       eth0 (own): up
  link       eth1 (heartbeat): down
  vips       10.0.0.3 (69000 answers)
  excluded   10.0.0.4 (1000 answers)
  answered   70000 ARP and ND requests
  adverts    600 sent, 0 received
  revoked    1 time the eBPF program ended the lease

VI_6: BACKUP for 1h 0m (interface ready)
  router     vrid 6 on eth0, VRRPv3, XDP native
  priority   100, adverts every 1000 ms
  master     fe80::6 priority 200, for 59m 59s
  takeover   in 2.6s without an advert
  mac        00:00:5e:00:02:06
  peers      fe80::6
  vips       2001:db8::100
  answered   0 ARP and ND requests
  adverts    0 sent, 3600 received
  discarded  auth_failures 9, ip_ttl_errors 3

VI_F: FAULT for 5s (link down)
  router     vrid 7 on eth0, VRRPv2, tc ingress
  not native xdp_mode tc
  fault      interface eth0 is down
  priority   100, adverts every 1000 ms
  master     none heard
  vips       10.0.0.7
  answered   0 ARP and ND requests
  adverts    0 sent, 0 received
  mismatch   other routers differ in interval
  not sent   2 adverts

services
  10.0.0.3:80 TCP          1 of 3 servers up
  fwmark 7                 0 of 1 servers up, no quorum (0 of 1), sorry server 127.0.0.1:80 serves

tracked
  chk_nginx  ok (vrrp_script)
  haproxy    failed (vrrp_track_process)
  load       -7 (track_file)
  new        no result yet (vrrp_script)

arbiter gw: reached, 1 of 2 answer, quorum 1, isolated_action fault
  ping       10.0.0.1: 1.234 ms
  ping       10.0.0.2: no answer; it has never answered

bfd sessions
  uplink  Up for 1m 1s with 10.0.0.6, sends every 3.333 ms, detects in 10 ms
  peer    Down for 1m 1s (diagnostic 1: detection time expired) with 10.0.0.6, hears nothing

probes of 10.0.0.6 on eth0: up, 3 x 10.000 ms for 1h 0m
  round trip 0.041 ms, least 0.022 ms, median 0.040 ms, p99 0.096 ms, greatest 2.822 ms
  lost 2 of 360000, longest silence 10.012 ms, 10m 0s ago, late here 0
  false alarms that `act takeover` would have had: 0
";
    assert_eq!(text, expected);
}

#[test]
fn many_instances_are_a_table() {
    let text = shown(&StatusView::default(), many());
    let expected = "
INSTANCE       STATE   FOR    PRIO  INTERFACE  VRID  MASTER    UNTIL          VIPS               ADVERTS
VI_1           MASTER  1m 1s  150   eth0       51    10.0.0.5  lease 3.2s     10.0.0.3 10.0.0.4  600 out, 0 in   1 lease revoked
VI_6           BACKUP  1h 0m  100   eth0       6     fe80::6   takeover 2.6s  2001:db8::100      0 out, 3600 in  12 adverts discarded
VI_F           FAULT   5s     100   eth0       7     -         -              10.0.0.7           0 out, 0 in     2 adverts not sent
a_longer_name  MASTER  1m 1s  150   eth0       8     10.0.0.5  lease 3.2s     10.0.0.3 10.0.0.4  600 out, 0 in   1 lease revoked
VI_9           BACKUP  1h 0m  100   eth0       9     fe80::6   takeover 2.6s  2001:db8::100      0 out, 3600 in  12 adverts discarded
";
    assert!(text.contains(expected), "{text}");
}

/// The rows of a table that is shown on a terminal of this width.
fn rows(width: usize, status: Status) -> Vec<String> {
    let text = shown(&StatusView { width: Some(width), ..StatusView::default() }, status);
    let rows = text.lines().skip_while(|line| !line.starts_with("INSTANCE") && !line.starts_with("IN"));
    rows.take_while(|line| !line.is_empty()).map(str::to_owned).collect()
}

#[test]
fn a_table_is_cut_to_the_terminal() {
    for (width, first, second) in [
        (
            120,
            "INSTANCE       STATE   FOR    PRIO  INTERFACE  VRID  MASTER    UNTIL          VIPS",
            "VI_1           MASTER  1m 1s  150   eth0       51    10.0.0.5  lease 3.2s     10.0.0.3 10.0.0.4  1 lease revoked",
        ),
        (
            80,
            "INSTANCE       STATE   FOR    PRIO  INTERFACE  VRID  MASTER    VIPS",
            "VI_1           MASTER  1m 1s  150   eth0       51    10.0.0.5  10.0.0.3 10.0.0.4",
        ),
        (
            60,
            "INSTANCE      STATE   PRIO  INTERFACE  VRID  VIPS",
            "VI_1          MASTER  150   eth0       51    10.0.0.3 10.0.…",
        ),
    ] {
        let rows = rows(width, many());
        assert_eq!(rows[..2], [first, second], "{width}\n{}", rows.join("\n"));
    }
}

#[test]
fn no_row_is_wider_than_the_terminal_and_a_pipe_has_all() {
    let mut status = many();
    status.instances[1].vips = (1..=40).map(|n| std::net::Ipv4Addr::new(10, 0, 0, n).into()).collect();
    status.instances[3].name = "a_name_that_is_longer_than_most_terminals_have_room_for_in_one_column".into();
    for width in 1..200 {
        for row in rows(width, status.clone()) {
            assert!(row.chars().count() <= width, "{width}: {row:?}");
        }
    }
    for width in [60, 80, 132] {
        let rows = rows(width, status.clone());
        assert!(rows[0].contains("INTERFACE  VRID") && rows[0].contains("VIPS"), "{width}: {}", rows[0]);
        assert!(rows[2].contains("10.0.0.1 10") && rows[2].contains('…'), "{width}: {}", rows[2]);
    }
    let piped = shown(&StatusView::default(), status);
    assert!(piped.contains("10.0.0.39 10.0.0.40") && !piped.contains('…'), "{piped}");
}

#[test]
fn details_are_shown_of_those_asked_for_and_on_demand_of_all() {
    let view = StatusView { instances: vec!["VI_9".into(), "10.0.0.7".into()], ..StatusView::default() };
    let text = shown(&view, many());
    let is_head = |line: &&str| line.starts_with("VI_") && line.contains(" for ");
    let heads: Vec<_> = text.lines().filter(is_head).collect();
    assert_eq!(heads, ["VI_F: FAULT for 5s (link down)", "VI_9: BACKUP for 1h 0m (interface ready)"]);
    assert!(!text.contains("tracked"), "{text}");

    let text = shown(&StatusView { long: true, ..StatusView::default() }, many());
    assert_eq!(text.lines().filter(is_head).count(), 4, "{text}");
    assert!(
        text.ends_with(
            "\ncounters of all instances\n  arp_gated      12\n  arp_replies    70000\n  vip_conflicts  3\n"
        ),
        "{text}"
    );
}

#[test]
fn a_priority_says_where_it_comes_from() {
    let mut status = samples::status();
    status.instances.truncate(1);
    let i = &mut status.instances[0];
    let mut check = samples::track("vrrp_script", "chk_nginx", -60, false);
    check.state = "check chk_nginx failed (exit code 1): connection refused".into();
    i.tracks = vec![check, samples::track("interface", "eth1", -5, true)];
    (i.priority, i.preempt, i.split_brains) = (90, false, 2);
    i.preempt_delay_left_ms = Some(4_200);
    let text = shown(&StatusView::default(), status);
    let rows = "\
  priority   90 (configured 150), adverts every 1000 ms
             -60 check chk_nginx failed (exit code 1): connection refused
  nopreempt  a running master of lower priority is left alone
  preempt    preempt_delay ends in 4.2s
  master     10.0.0.5 priority 150
";
    assert!(text.contains(rows), "{text}");
    assert!(
        text.contains("  conflict   split brain 2 times since the start, over now: vipd events VI_1\n"),
        "{text}"
    );
}

#[test]
fn what_scripts_have_printed_is_shown_on_demand() {
    let mut status = samples::status();
    status.tracked[0].run = Some(samples::run("exit code 1", Some(1), &["line one", "connection refused"]));
    let text = shown(&StatusView { long: true, ..StatusView::default() }, status.clone());
    let rows = "
last runs
  check      chk_nginx: ok; last run 0.2s ago: exit code 1, next run in 0.8s
             | line one
             | connection refused
  notify     /etc/vipd/notify.sh of VI_1: exit code 0, 200ms ago
             | moved
";
    assert!(text.contains(rows), "{text}");
    assert!(!shown(&StatusView::default(), status).contains("last runs"));
}

#[test]
fn of_many_vips_some_are_listed() {
    let mut status = samples::status();
    status.instances.truncate(1);
    status.instances[0].vips = (1..=20).map(|n| std::net::Ipv4Addr::new(10, 0, 0, n).into()).collect();
    let text = shown(&StatusView::default(), status);
    let row = "             10.0.0.10  10.0.0.11  10.0.0.12\n             and 8 more\n";
    assert!(text.contains(row) && !text.contains("10.0.0.13"), "{text}");
}

#[test]
fn ages() {
    for (ms, expect) in [
        (0, "0ms"),
        (999, "999ms"),
        (1000, "1s"),
        (59_999, "59s"),
        (60_000, "1m 0s"),
        (3_599_000, "59m 59s"),
        (3_600_000, "1h 0m"),
        (86_399_000, "23h 59m"),
        (90_000_000, "1d 1h"),
    ] {
        assert_eq!(age(ms), expect, "{ms}");
    }
}
