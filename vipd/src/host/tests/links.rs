//! Links, their addresses, and changes of both.

use std::net::Ipv4Addr;

use super::*;

#[test]
fn links_are_read_and_changes_heard() {
    in_namespace("links", async |dir| {
        let (host, mut events) = Host::open(&dir).unwrap();
        let link = host.link("v0").await.unwrap();
        let address = |s, secondary| LinkAddress { address: addr(s), prefix_len: 24, secondary };
        assert_eq!(link.addresses, [address("10.0.0.1", false), address("10.0.0.2", true)]);
        assert_eq!(link.primary_v4(), Some(Ipv4Addr::new(10, 0, 0, 1)));
        assert!(link.up && link.mtu == 1500);
        assert!(ip("link show v0").contains(&link.mac.to_string()));
        assert_eq!(host.link_by_index(link.ifindex).await.unwrap(), link);
        assert!(matches!(host.link("none").await, Err(LinkError::NotFound(name)) if name == "none"));

        let mut until = async |wanted: &dyn Fn(&LinkChange) -> bool| loop {
            let change = events.recv().await.expect("events go on");
            if wanted(&change) {
                break;
            }
        };
        let ifindex = link.ifindex;
        let state = |change: &LinkChange| match change {
            LinkChange::State(state) if state.ifindex == ifindex => Some(state.clone()),
            _ => None,
        };
        ip("addr add 10.0.1.1/24 dev v0");
        until(&|c| state(c).is_some_and(|s| s.addresses.len() == 3)).await;
        // The peer going down takes the carrier.
        ip("link set v1 down");
        until(&|c| state(c).is_some_and(|s| !s.up)).await;
        ip("link set v1 up");
        until(&|c| state(c).is_some_and(|s| s.up)).await;
        ip("link del v0");
        until(&|c| *c == LinkChange::Gone { ifindex }).await;
    });
}
