use super::{View, age};
use crate::control::model::{Status, samples};

fn shown(view: &View, status: Status) -> String {
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
    let text = shown(&View::default(), samples::status());
    let expected = "\
vipd 0.1.0, pid 4711, up 1d 2h

VI_1: MASTER for 1m 1s (no advert from a master)
  router     vrid 51 on eth0, VRRPv2, XDP native
  sync group G
  priority   150, adverts every 1000 ms
  master     10.0.0.5 priority 150
  lease      3.2s of 4.0s left (overlap), recent minimum 2.9s
  link       eth0 (own): up
  link       eth1 (heartbeat): down
  vips       10.0.0.3 69000x
  excluded   10.0.0.4 1000x
  answered   70000 ARP and ND requests
  adverts    600 sent, 0 received
  revoked    1

VI_6: BACKUP for 1h 0m (interface ready)
  router     vrid 6 on eth0, VRRPv3, XDP native
  priority   100, adverts every 1000 ms
  master     fe80::6 priority 200
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
  priority   100, adverts every 1000 ms
  master     none heard
  vips       10.0.0.7
  answered   0 ARP and ND requests
  adverts    0 sent, 0 received
  mismatch   other routers differ in interval
  not sent   2

tracked
  chk_nginx  ok (vrrp_script)
  haproxy    failed (vrrp_track_process)
  load       -7 (track_file)
  new        no result yet (vrrp_script)

arbiter gw: reached, 1 of 2 answer, quorum 1, isolated_action fault
  ping       10.0.0.1: 1.234 ms
  ping       10.0.0.2: no answer; it has never answered
";
    assert_eq!(text, expected);
}

#[test]
fn many_instances_are_a_table() {
    let text = shown(&View::default(), many());
    let expected = "
INSTANCE       STATE   FOR    PRIO  MASTER    UNTIL          VIPS  ADVERTS
VI_1           MASTER  1m 1s  150   10.0.0.5  lease 3.2s     2     600 out, 0 in   1 revoked
VI_6           BACKUP  1h 0m  100   fe80::6   takeover 2.6s  1     0 out, 3600 in  12 discarded
VI_F           FAULT   5s     100   -         -              1     0 out, 0 in     2 not sent
a_longer_name  MASTER  1m 1s  150   10.0.0.5  lease 3.2s     2     600 out, 0 in   1 revoked
VI_9           BACKUP  1h 0m  100   fe80::6   takeover 2.6s  1     0 out, 3600 in  12 discarded
";
    assert!(text.contains(expected), "{text}");
}

#[test]
fn details_are_shown_of_those_asked_for_and_on_demand_of_all() {
    let view = View { instances: vec!["VI_9".into(), "VI_1".into()], long: false };
    let text = shown(&view, many());
    let heads: Vec<_> = text.lines().filter(|line| line.contains(" for ")).collect();
    assert_eq!(
        heads,
        ["VI_1: MASTER for 1m 1s (no advert from a master)", "VI_9: BACKUP for 1h 0m (interface ready)"]
    );
    assert!(!text.contains("tracked"), "{text}");

    let text = shown(&View { instances: Vec::new(), long: true }, many());
    assert_eq!(text.lines().filter(|line| line.contains(" for ")).count(), 5, "{text}");
    assert!(
        text.ends_with(
            "\ncounters of all instances\n  arp_gated      12\n  arp_replies    70000\n  vip_conflicts  3\n"
        ),
        "{text}"
    );
}

#[test]
fn an_instance_that_is_not_there_is_an_error_that_names_those_that_are() {
    let view = View { instances: vec!["VI_1".into(), "VI_2".into()], long: false };
    let error = view.select(samples::status()).unwrap_err();
    assert_eq!(error.to_string(), "there is no instance VI_2 (instances: VI_1, VI_6, VI_F)");
}

#[test]
fn of_many_vips_some_are_listed() {
    let mut status = samples::status();
    status.instances.truncate(1);
    status.instances[0].vips = (1..=20).map(|n| std::net::Ipv4Addr::new(10, 0, 0, n).into()).collect();
    let text = shown(&View::default(), status);
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
