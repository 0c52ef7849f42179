//! Load balancing: a pair by NAT that is well, and one thing wrong at a time.

use super::*;
use crate::{
    control::model::{BalancingStatus, RealServerStatus, ServiceStatus},
    daemon::services::modules::IpvsPresence,
};

const SERVICE: &str =
    "virtual_server 10.0.0.3 80 {\nprotocol TCP\nlb_algo rr\nlb_kind NAT\nreal_server 10.1.0.11 80 {\n}\n}\n";
const PAIR: &str = "vrrp_sync_group G {\ngroup {\nVI_1\nVI_2\n}\n}\nvrrp_instance VI_2 {\ninterface eth1\nvirtual_router_id 52\n\
                    virtual_ipaddress {\n10.1.0.1\n}\n}\n";

fn balancing() -> Facts {
    let mut facts = running();
    facts.configuration = parse(&[CONFIG, PAIR, SERVICE].concat());
    facts.survey.as_mut().unwrap().links.push(link(3, "eth1", "10.1.0.5"));
    let server = RealServerStatus { state: "up".into(), ..RealServerStatus::default() };
    let service = ServiceStatus { name: "web".into(), servers: vec![server], ..ServiceStatus::default() };
    let balancing = BalancingStatus { services: vec![service], ..BalancingStatus::default() };
    facts.running.as_mut().unwrap().balancing = Some(balancing);
    facts
}

/// The findings that are no good, of the checks of this file.
fn wrong(facts: &Facts) -> Vec<(Level, &'static str)> {
    let checks =
        ["ipvs", "forwarding", "servers-gateway", "servers-network", "director-is-server", "services"];
    let found = judge(facts).into_iter().filter(|found| checks.contains(&found.check));
    found.filter(|found| found.level > Level::Ok).map(|found| (found.level, found.check)).collect()
}

#[test]
fn what_is_wrong_with_load_balancing_is_found() {
    assert_eq!(wrong(&balancing()), []);
    let services = |facts: &mut Facts, change: &dyn Fn(&mut BalancingStatus)| {
        change(facts.running.as_mut().unwrap().balancing.as_mut().unwrap())
    };
    type Case<'c> = (Level, &'static str, &'c dyn Fn(&mut Facts));
    let cases: [Case<'_>; 10] = [
        (Level::Problem, "ipvs", &|f| f.ipvs = IpvsPresence::Missing),
        (Level::Skipped, "ipvs", &|f| f.ipvs = IpvsPresence::Unknown),
        (Level::Problem, "forwarding", &|f| f.forwarding = [Some(false), Some(true)]),
        (Level::Skipped, "forwarding", &|f| f.forwarding = [None, None]),
        (Level::Warning, "servers-gateway", &|f| f.configuration = parse(&[CONFIG, SERVICE].concat())),
        (Level::Warning, "servers-network", &|f| {
            let server = SERVICE.replace("10.1.0.11", "10.0.0.11");
            f.configuration = parse(&[CONFIG, PAIR, &server].concat());
        }),
        (Level::Problem, "director-is-server", &|f| {
            let server = SERVICE.replace("NAT", "DR").replace("10.1.0.11", "10.1.0.5");
            f.configuration = parse(&[CONFIG, PAIR, &server].concat());
        }),
        (Level::Problem, "services", &|f| services(f, &|it| it.services[0].servers[0].state = "down".into())),
        (Level::Warning, "services", &|f| {
            services(f, &|it| it.services[0].servers.push(RealServerStatus::default()));
        }),
        (Level::Problem, "services", &|f| {
            services(f, &|it| it.services[0].refused = Some("no such scheduler".into()))
        }),
    ];
    for (level, check, change) in cases {
        let mut facts = balancing();
        change(&mut facts);
        assert_eq!(wrong(&facts), [(level, check)]);
    }
    // Without services nothing is said of them.
    let mut facts = running();
    (facts.ipvs, facts.forwarding) = (IpvsPresence::Missing, [Some(false); 2]);
    assert_eq!(wrong(&facts), []);
}

#[test]
fn an_address_is_within_its_network_only() {
    for (address, network, length, expect) in [
        ("10.0.0.3", "10.0.0.5", 24, true),
        ("10.0.1.3", "10.0.0.5", 24, false),
        ("10.0.1.3", "10.0.0.5", 0, true),
        ("10.0.0.5", "10.0.0.5", 32, true),
        ("10.0.0.4", "10.0.0.5", 32, false),
        ("2001:db8::3", "2001:db8::5", 64, true),
        ("2001:db8:1::3", "2001:db8::5", 48, false),
        ("::1", "10.0.0.5", 0, false),
    ] {
        assert_eq!(
            crate::doctor::balancing::is_within(ip(address), ip(network), length),
            expect,
            "{address} {network}/{length}"
        );
    }
}
