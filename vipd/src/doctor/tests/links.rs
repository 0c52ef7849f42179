//! Interfaces and routing.

use super::*;

#[test]
fn interfaces() {
    let vlan = |f: &mut Facts| {
        f.configuration = parse(&CONFIG.replace("eth0", "eth0.7"));
        let below = VlanState { parent: 2, id: 7, stag: false };
        let mut tagged = link(3, "eth0.7", "10.0.0.5");
        tagged.state.vlan = Some(below);
        f.survey.as_mut().unwrap().links.push(tagged);
        f.groups = vec![("eth0.7".to_owned(), ip("224.0.0.18"))];
    };
    let rows: &[Row] = &[
        ("none", |f| f.survey.as_mut().unwrap().links.clear(), &["eth0: problem: no such interface"]),
        (
            "none yet",
            |f| {
                f.survey.as_mut().unwrap().links.clear();
                f.configuration = parse(&format!("global_defs {{\ndynamic_interfaces\n}}\n{CONFIG}"));
            },
            &["eth0: warning: no such interface"],
        ),
        (
            "off",
            |f| (eth0(f).state.up, eth0(f).state.enabled) = (false, false),
            &["eth0: problem: it is administratively down"],
        ),
        ("no cable", |f| eth0(f).state.up = false, &["eth0: problem: it has no carrier"]),
        (
            "no address",
            |f| eth0(f).state.addresses.clear(),
            &["eth0: problem: no IPv4 address besides VIPs: VI_1 has no source for its adverts"],
        ),
        (
            "another address than the configured source",
            |f| {
                let peers = "unicast_src_ip 192.0.2.9\nunicast_peer {\n10.0.0.6\n}\nvirtual_ipaddress";
                f.configuration = parse(&CONFIG.replace("virtual_ipaddress", peers));
                // Nobody is a member of a group for unicast.
                f.groups.clear();
            },
            &["eth0: problem: it lacks 192.0.2.9, the source of VI_1's adverts"],
        ),
        (
            "keepalived's leftover",
            |f| eth0(f).state.addresses[0].address = ip("10.0.0.3"),
            &[
                "eth0: problem: no IPv4 address besides VIPs: VI_1 has no source for its adverts",
                "VI_1: problem: the VIP 10.0.0.3 is configured on eth0: a leftover of keepalived or of a manual change",
            ],
        ),
        (
            "another program, which tc leaves alone",
            |f| eth0(f).state.xdp = Some(XdpState { generic: true, program_id: 9 }),
            &[],
        ),
        (
            "another program in the way of native XDP",
            |f| {
                f.configuration = parse(&format!("global_defs {{\nxdp_mode native\n}}\n{CONFIG}"));
                eth0(f).state.xdp = Some(XdpState { generic: true, program_id: 9 });
            },
            &["eth0: problem: another XDP program is on eth0 (id 9)"],
        ),
        (
            "a vipd's program",
            |f| {
                (eth0(f).state.xdp, f.machine.pinned) =
                    (Some(XdpState { generic: true, program_id: 9 }), true)
            },
            &[],
        ),
        (
            "jumbo frames",
            |f| eth0(f).state.mtu = 9000,
            &["eth0: warning: MTU 9000: most drivers take no more than 3498 with XDP"],
        ),
        (
            "fewer queues than processors",
            |f| eth0(f).shared_queues = Some(SharedQueues { used: 1, given: 1, processors: 2 }),
            &[
                "eth0: warning: virtio_net has 1 pairs of queues, 1 in use, for 2 processors: frames from XDP wait for a lock on a \
                 shared queue",
            ],
        ),
        (
            "the same at tc ingress",
            |f| {
                f.configuration = parse(&format!("global_defs {{\nxdp_mode tc\n}}\n{CONFIG}"));
                eth0(f).shared_queues = Some(SharedQueues { used: 1, given: 1, processors: 2 });
            },
            &[],
        ),
        (
            "no multicast",
            |f| eth0(f).multicast = false,
            &["eth0: problem: multicast is off, but adverts are multicast"],
        ),
        (
            "a bridge that snoops",
            |f| eth0(f).bridge = Some(BridgeState { snooping: true, querier: false }),
            &[
                "eth0: warning: the bridge eth0 snoops multicast but has no querier: without another querier adverts stop after some minutes",
            ],
        ),
        (
            "a port of one",
            |f| {
                eth0(f).state.controller =
                    Some(Controller { ifindex: 9, name: "br0".into(), kind: Some("bridge".into()) });
            },
            &["eth0: problem: it is a port of the bridge br0, which gets what comes in: vipd refuses it"],
        ),
        (
            "without Ethernet",
            |f| eth0(f).state.arphrd = 65_534,
            &[
                "eth0: problem: it carries no Ethernet (link type 65534), and so no ARP or Neighbor Discovery: vipd refuses it",
            ],
        ),
        ("a querier", |f| eth0(f).bridge = Some(BridgeState { snooping: true, querier: true }), &[]),
    ];
    check(idle, rows);
    check(
        running,
        &[
            (
                "detached",
                |f| eth0(f).state.xdp = None,
                &["eth0: problem: vipd runs, but eth0 has no XDP program: nothing answers for the VIPs"],
            ),
            (
                "native XDP on a veth",
                |f| eth0(f).state.veth = true,
                &[
                    "eth0: warning: native XDP on a veth sees no VLAN tag, and its answers are lost unless the other end has an XDP program too",
                ],
            ),
            (
                "no member",
                |f| f.groups.clear(),
                &["eth0: problem: this host has not joined 224.0.0.18: switches may withhold adverts"],
            ),
        ],
    );
    let mut facts = running();
    vlan(&mut facts);
    vi_1(&mut facts).interface = "eth0.7".to_owned();
    eth0(&mut facts).rx_vlan = Some(true);
    let strips = "eth0.7: problem: eth0 strips VLAN tags: XDP takes frames of its VLANs for untagged ones";
    assert_eq!(said(&facts, |level| level >= Level::Warning), [strips]);
    eth0(&mut facts).rx_vlan = Some(false);
    assert_eq!(said(&facts, |level| level >= Level::Warning), [""; 0]);
    let mut facts = idle();
    vlan(&mut facts);
    // vipd turns it off.
    assert_eq!(said(&facts, |level| level >= Level::Warning), [""; 0]);
}

fn rule(preference: u32, looks_up_local: bool) -> SurveyedRule {
    SurveyedRule { family: Family::V4, preference, looks_up_local, looks_up_main: !looks_up_local }
}

#[test]
fn routing() {
    let rows: &[Row] = &[
        (
            "a rule of somebody else",
            |f| {
                f.survey.as_mut().unwrap().rules = vec![rule(50, false), rule(100, true), rule(32_766, false)]
            },
            &[
                "rules: warning: IPv4 has a policy rule of preference 50 before `lookup local` (100): packets to a VIP may take another way",
            ],
        ),
        (
            "the kernel's rules",
            |f| f.survey.as_mut().unwrap().rules = vec![rule(0, true), rule(90, false), rule(32_766, false)],
            &[],
        ),
        (
            "blackholes",
            |f| {
                // Of a part of the subnet, of all of it, and of something else.
                f.survey.as_mut().unwrap().no_ways =
                    vec![(ip("10.0.0.64"), 26), (ip("10.0.0.0"), 8), (ip("192.0.2.0"), 24)]
            },
            &[
                "eth0: warning: the route to 10.0.0.64/26 leads nowhere: clients of its VIPs there get no answer",
            ],
        ),
        (
            "no rule for what is not local",
            |f| f.survey.as_mut().unwrap().rules = vec![rule(0, true), rule(7, true)],
            &[
                "rules: warning: IPv4 has no policy rule `lookup main`: this host uses none of the routes that `ip -4 route` shows",
            ],
        ),
        (
            "no rule for local addresses",
            |f| f.survey.as_mut().unwrap().rules = vec![rule(32_766, false)],
            &[
                "rules: problem: IPv4 has no policy rule `lookup local`: this host takes no packets, nor those to the VIPs",
            ],
        ),
        (
            "a strict filter, and a VIP of another network",
            |f| {
                f.settings.get_mut("all").unwrap().rp_filter = 1;
                f.configuration = parse(&CONFIG.replace("10.0.0.3", "10.0.7.3"));
                if let Some(status) = &mut f.running {
                    status.instances[0].vips = vec![ip("10.0.7.3")];
                }
            },
            &[
                "eth0: warning: rp_filter is 1 (strict), and 10.0.7.3 is in no network of eth0: packets of clients in its network are dropped",
            ],
        ),
        ("a strict filter", |f| f.settings.get_mut("all").unwrap().rp_filter = 1, &[]),
    ];
    check(idle, rows);
    check(running, rows);
    let reset: fn(&mut Facts) = |f| f.settings.get_mut("all").unwrap().arp_ignore = 0;
    const AGAIN: &str =
        "sysctls: problem: arp_ignore is 0 and arp_announce 2 for all interfaces: another program reset them";
    check(running, &[("set back", reset, &[AGAIN])]);
    check(idle, &[("not raised yet", reset, &[])]);
    let mut v6 = running();
    reset(&mut v6);
    v6.configuration = parse(&CONFIG.replace("10.0.0.3", "fe80::3"));
    assert!(judge(&v6).iter().all(|finding| finding.check != "arp"), "nothing is raised for IPv6");
}
