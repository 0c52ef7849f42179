//! Memberships.

use std::{collections::HashSet, net::Ipv6Addr};

use tokio::time::Instant;
use vipd_common::wire::ndp::solicited_node;

use super::{super::multicast::Memberships, *};

#[test]
fn membership_is_held_and_nothing_is_received() {
    in_namespace("multicast", async |dir| {
        let (host, _events) = Host::open(&dir).unwrap();
        let link = host.link("v0").await.unwrap();
        let joined = || ip("maddr show dev v0").contains("224.0.0.18");
        assert!(!joined());
        let groups = [(link.ifindex, addr("224.0.0.18"))];
        let member = Memberships::join(groups).unwrap();
        assert!(joined());
        assert!(ip("maddr show dev v0").contains("01:00:5e:00:00:12"));

        // An advert from the other end of the pair: the kernel delivers it to the raw socket, whose filter drops it.
        let peer = host.link("v1").await.unwrap();
        let socket = vipd_announce::PacketSocket::open(peer.ifindex).unwrap();
        let mut frame = Vec::new();
        let vips = [addr("10.0.0.100")];
        let spec = vipd_announce::AdvertSpec {
            version: vipd_common::Version::V3,
            vrid: vipd_common::Vrid::new(51).unwrap(),
            priority: vipd_common::Priority::DEFAULT,
            interval: Duration::from_secs(1),
            source: addr("10.0.0.9"),
            destination: addr("224.0.0.18"),
            ttl: 255,
            vips: &vips,
            auth: None,
            checksum: vipd_common::types::ChecksumForm::PseudoHeader,
            ip_id: 1,
        };
        vipd_announce::advert_frame(&spec, peer.mac, &mut frame).unwrap();
        let received = || rx_packets("v0");
        let before = received();
        socket.send(&frame).unwrap();
        let frames = vec![frame.clone(); 150];
        let (sent, error) = socket.send_batch(&frames);
        assert!(error.is_none() && sent == 150, "{sent} {error:?}");
        for _ in 0..200 {
            if received() >= before + 151 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert!(received() >= before + 151, "the frames did not arrive");
        let mut byte = 0u8;
        // SAFETY: the buffer is one live octet.
        let got = unsafe {
            libc::recv(
                std::os::fd::AsRawFd::as_raw_fd(member.sockets().next().unwrap()),
                std::ptr::from_mut(&mut byte).cast(),
                1,
                0,
            )
        };
        assert_eq!(got, -1);
        drop(member);
        assert!(!joined());

        ip("link set v1 down");
        assert!(socket.send(&frame).is_err(), "a frame that cannot leave is an error");
        let (sent, error) = socket.send_batch(&frames);
        assert!(sent == 0 && error.is_some());
    });
}

fn rx_packets(interface: &str) -> u64 {
    let text = ip(&format!("-s -o link show dev {interface}"));
    let after = text.split("RX:").nth(1).unwrap();
    let numbers = after.split('\\').nth(1).unwrap();
    numbers.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn more_groups_than_a_socket_takes() {
    in_namespace("groups", async |dir| {
        let (host, _events) = Host::open(&dir).unwrap();
        let ifindex = host.link("v0").await.unwrap().ifindex;
        let v4 = (1..=50).map(|n| (ifindex, addr(&format!("239.1.1.{n}"))));
        let vips = (0..10_000).map(|n| Ipv6Addr::from_bits((0x2001_0db8 << 96) + 0x1000 + n));
        let v6 = vips.map(|vip| (ifindex, solicited_node(vip).into()));
        // One group twice, as two instances on an interface have it.
        let twice = [(ifindex, addr("224.0.0.18")); 2];
        let start = Instant::now();
        let member = Memberships::join(v4.chain(v6).chain(twice)).unwrap();
        let joined = start.elapsed();
        let sockets = member.sockets().count();
        let groups = ip("maddr show dev v0");
        assert_eq!(groups.matches(" 239.1.1.").count(), 50);
        // The kernel joins one more for the interface's own link-local address. Its last octets are
        // random: they can be 00:xx:xx, so each VIP's own group is looked for.
        let joined_groups: HashSet<&str> = groups.split_whitespace().collect();
        let missing = |n: &u32| !joined_groups.contains(&*format!("ff02::1:ff00:{n:x}"));
        assert_eq!((0x1000..0x1000 + 10_000).find(missing), None);
        let start = Instant::now();
        drop(member);
        eprintln!(
            "10,051 groups: joined in {joined:?} with {sockets} sockets, left in {:?}",
            start.elapsed()
        );
        assert!(!ip("maddr show dev v0").contains("239.1.1."));
    });
}

#[test]
fn without_a_group_there_is_still_a_socket_of_each_family() {
    in_namespace("no-groups", async |_dir| {
        let member = Memberships::join([]).unwrap();
        assert_eq!(member.sockets().count(), 2);
        let error = Memberships::join([(4711, addr("224.0.0.18"))]).unwrap_err();
        assert!(
            error.to_string().starts_with("join 224.0.0.18 on interface 4711: No such device"),
            "{error}"
        );
    });
}

#[test]
fn solicited_node_groups() {
    // RFC 4291 2.7.1 has this example.
    let address = "4037::01:800:200e:8c6c".parse().unwrap();
    assert_eq!(solicited_node(address), "ff02::1:ff0e:8c6c".parse::<Ipv6Addr>().unwrap());
}
