//! `vip_visible`: VIPs as addresses, for show.

use super::*;

const SHOWN: [&str; 2] = ["10.0.0.100/32", "2001:db8::100/128"];

/// Of the interface, but for its own ones.
fn shown() -> Vec<String> {
    let is_shown = |line: &String| line.contains("deprecated");
    let address = |line: String| line.split_whitespace().nth(3).unwrap_or_default().to_owned();
    lines(&ip("-o addr show dev v0")).into_iter().filter(is_shown).map(address).collect()
}

fn bindable(vip: &str) {
    std::net::TcpListener::bind((addr(vip), 0)).unwrap_or_else(|error| panic!("bind {vip}: {error}"));
}

#[test]
fn a_masters_vips_are_shown_and_a_backups_are_not() {
    in_namespace("visible", async |dir| {
        // The kernel ends duplicate address detection some time later.
        while ip("addr").contains("tentative") {
            thread::sleep(Duration::from_millis(20));
        }
        let before = (ip("addr"), ip("route show table all"), ip("-6 route show table all"));
        let (mut host, _events) = Host::open(&dir).unwrap();
        let vips = ["10.0.0.100", "2001:db8::100"];
        let plan = plan(&host, &vips, true).await;
        host.install(&plan).await.unwrap();
        host.sync_virtual().await.unwrap();
        assert!(shown().is_empty(), "of a backup: {:?}", shown());
        host.set(3, Ownership::Master).await.unwrap();
        host.sync_virtual().await.unwrap();
        host.sync_virtual().await.unwrap();
        assert_eq!(shown(), SHOWN);
        // Or another instance on the link would take one for its own address.
        let link = host.link("v0").await.unwrap();
        let is_vip = |a: &InterfaceAddress| vips.iter().any(|vip| a.address == addr(vip));
        assert!(!link.addresses.iter().any(is_vip), "{:?}", link.addresses);
        assert!(ip("-4 addr show dev v0").contains("deprecated"), "{}", ip("-4 addr show dev v0"));
        assert!(ip("route get 10.0.0.9").contains("src 10.0.0.1"), "it is picked as a source");
        // Another run while they are there: the address on `lo` has to be kept all the same.
        host.install(&plan).await.unwrap();
        vips.into_iter().for_each(bindable);
        host.set(3, Ownership::None).await.unwrap();
        host.sync_virtual().await.unwrap();
        assert!(shown().is_empty(), "{:?}", shown());
        vips.into_iter().for_each(bindable);
        host.set(3, Ownership::Master).await.unwrap();
        host.sync_virtual().await.unwrap();
        host.remove_all().await.unwrap();
        assert_eq!((ip("addr"), ip("route show table all"), ip("-6 route show table all")), before);
    });
}

/// I4: what a table of VIPs will not have any more is gone before.
#[test]
fn what_is_retired_is_not_shown() {
    in_namespace("visible-retired", async |dir| {
        let (mut host, _events) = Host::open(&dir).unwrap();
        let both = plan(&host, &["10.0.0.100", "10.0.0.101"], true).await;
        host.install(&both).await.unwrap();
        host.set(3, Ownership::Master).await.unwrap();
        host.sync_virtual().await.unwrap();
        assert_eq!(shown(), ["10.0.0.100/32", "10.0.0.101/32"]);
        host.remove_stale(&plan(&host, &["10.0.0.100"], true).await).await.unwrap();
        assert_eq!(shown(), ["10.0.0.100/32"]);
        host.remove_stale(&plan(&host, &["10.0.0.100"], false).await).await.unwrap();
        assert!(shown().is_empty(), "{:?}", shown());
    });
}

/// A vipd that was killed leaves them, and the next one removes what is not shown any more.
#[test]
fn leftovers_are_recognised() {
    in_namespace("visible-leftovers", async |dir| {
        let (mut host, _events) = Host::open(&dir).unwrap();
        host.install(&plan(&host, &["10.0.0.100"], true).await).await.unwrap();
        host.set(3, Ownership::Master).await.unwrap();
        host.sync_virtual().await.unwrap();
        drop(host);
        assert_eq!(shown(), ["10.0.0.100/32"]);
        let (mut host, _events) = Host::open(&dir).unwrap();
        host.install(&plan(&host, &["10.0.0.100"], true).await).await.unwrap();
        host.sync_virtual().await.unwrap();
        assert!(shown().is_empty(), "{:?}", shown());
    });
}
