//! Many routes in few system calls.

use std::{collections::BTreeMap, net::Ipv4Addr};

use super::*;

fn vip(number: u32) -> IpAddr {
    Ipv4Addr::from(0x0a01_0000 + number).into()
}

/// Whatever the kernel refuses among many requests, all of a datagram or one, is said of the right ones, and the rest is done.
#[test]
fn each_refusal_is_said_of_its_route() {
    in_namespace("each_refusal_is_said_of_its_route", |dir| async move {
        let (mut host, _events) = Host::open(&dir).unwrap();
        let v0 = host.link("v0").await.unwrap().ifindex;
        ip("link add gone type veth peer name gone1");
        let gone = host.link("gone").await.unwrap().ifindex;
        ip("link del gone");
        let foreign: IpAddr = addr("192.0.2.1");
        // 200 to 399: no such interface. Each hundredth: a source that this host does not have.
        let target = |number: u32| match number {
            200..400 => routes::RouteTarget::Local { oif: gone, src: None },
            _ if number.is_multiple_of(100) => routes::RouteTarget::Local { oif: v0, src: Some(foreign) },
            _ => routes::RouteTarget::Local { oif: v0, src: None },
        };
        let wanted: BTreeMap<_, _> =
            (0..1000).map(|number| (routes::Key::local(vip(number), v0), target(number))).collect();
        for round in 0..2 {
            let made = routes::put(&mut host.batch, &wanted).await;
            assert_eq!((made.added.len(), made.skipped), (792, 200), "round {round}");
            let refused: Vec<IpAddr> = made.refused.iter().map(|(key, _)| key.address).collect();
            assert_eq!(refused, [0, 100, 400, 500, 600, 700, 800, 900].map(vip), "round {round}");
            for (key, error) in &made.refused {
                let said = format!("{error:#}");
                assert!(said.contains(&key.address.to_string()) && said.contains("source address"), "{said}");
            }
            assert_eq!(routes::list(&host.handle).await.unwrap().len(), 792, "round {round}");
        }
        // Most of them twice: what is gone is no error.
        for left in [500, 0] {
            let gone = wanted.clone().into_iter().filter(|(key, _)| key.address >= vip(left));
            routes::remove(&mut host.batch, gone).await.unwrap();
            let there = routes::list(&host.handle).await.unwrap();
            assert!(there.keys().all(|key| key.address < vip(left)), "{there:?}");
            assert_eq!(there.is_empty(), left == 0);
        }
    });
}
