//! `vrrp_strict`.

use super::*;

fn strict(lines: &str) -> String {
    "global_defs {\nvrrp_strict\n}\n".to_owned() + &with(lines)
}

#[test]
fn an_address_that_takes_no_packet_is_said() {
    let silent =
        "4:15: warning: `vrrp_instance VI_1` takes no packet that is sent to its addresses: `vrrp_strict`";
    for (lines, expected) in [
        ("", &[silent][..]),
        ("version 3", &[silent]),
        ("version 3\naccept", &[]),
        ("version 3\naccept off", &[]),
        ("priority 255\nstate MASTER", &[]),
        ("strict_mode off", &[]),
        ("accept", &[silent, "5:1: warning: `accept` of version 2 is ignored with `vrrp_strict`"]),
    ] {
        let found = findings(&strict(lines));
        assert_eq!(found, expected, "{lines}");
    }
    assert!(!instance(&strict("")).accept);
    assert!(!instance(&strict("accept")).accept);
    assert!(instance(&strict("version 3\naccept")).accept);
    assert!(instance(&strict("priority 255\nstate MASTER")).accept);
    assert!(!instance(&with("strict_mode")).accept);
}

#[test]
fn what_goes_beyond_the_rfcs_is_taken_back() {
    let lines = "authentication {\nauth_type PASS\nauth_pass x\n}\npreempt_delay 3\nstate MASTER\npriority 100\n\
                 garp_lower_prio_repeat 3\ngarp_lower_prio_delay 2\nlower_prio_no_advert off\ndown_timer_adverts 5\n\
                 use_vmac\nvmac_xmit_base";
    let found: Vec<String> = findings(&strict(lines)).into_iter().skip(1).collect();
    let ignored = |at: &str, what: &str| format!("{at}: warning: {what} is ignored with `vrrp_strict`");
    assert_eq!(
        found,
        [
            ignored("5:1", "`authentication`"),
            ignored("9:15", "`preempt_delay`"),
            ignored("10:7", "`state MASTER` without priority 255"),
            ignored("12:24", "`garp_lower_prio_repeat`"),
            ignored("13:23", "`garp_lower_prio_delay`"),
            ignored("14:22", "`lower_prio_no_advert off`"),
            ignored("15:20", "`down_timer_adverts`"),
            ignored("17:1", "`vmac_xmit_base`"),
        ]
    );
    let plain = "state BACKUP\npriority 100\nuse_vmac\naccept off\nlower_prio_no_advert\n\
                 garp_lower_prio_delay 0\ngarp_lower_prio_repeat 0";
    let without_line = |instance: Instance| Instance { line: 0, ..instance };
    assert_eq!(without_line(instance(&strict(lines))), without_line(instance(&with(plain))));
}
