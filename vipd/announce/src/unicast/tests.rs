//! Against the real kernel: a pair of network namespaces that end with the test's thread.

use std::{fs::File, process::Command, thread, time::Duration};

use nix::{
    errno::Errno,
    net::if_::if_nametoindex,
    sched::{CloneFlags, setns},
    sys::{socket::recv, time::TimeVal},
};
use vipd_common::{
    Priority, Version, Vrid,
    types::ChecksumForm,
    wire::{
        eth::{self, MacAddr},
        ipv4::{self, PROTOCOL_VRRP},
    },
};

use super::*;
use crate::{AdvertSpec, PacketSocket, advert_packet};

/// Protocol of the sockets under test.
const IPPROTO_RAW: u8 = 255;

/// What listens and speaks at the other end of the link.
struct Far {
    /// Receives every frame, with a time limit.
    capture: OwnedFd,
    speaker: PacketSocket,
    mac: MacAddr,
}

/// Runs a test in a namespace with `v0` (10.0.0.1, 2001:db8::1, fe80::1), whose other end `v1` (the same with 2) is in
/// another one.
fn with_peer(name: &str, test: impl FnOnce(u32, Far) + Send) {
    if !nix::unistd::geteuid().is_root() {
        return vipd_tests::skip(format_args!("{name}: making a network namespace needs root"));
    }
    let outcome = thread::scope(|scope| {
        scope
            .spawn(|| {
                let far = enter_new_namespace();
                let near = enter_new_namespace();
                // `ip` opens it while this process has it open.
                let path = format!("/proc/{}/fd/{}", std::process::id(), far.as_raw_fd());
                ip("link add v0 address 02:00:00:00:00:01 type veth peer name v1 address 02:00:00:00:00:02");
                ip(&format!("link set v1 netns {path}"));
                up("v0", 1);
                setns(&far, CloneFlags::CLONE_NEWNET).unwrap();
                up("v1", 2);
                let far = Far {
                    capture: capture(),
                    speaker: PacketSocket::open(if_nametoindex("v1").unwrap()).unwrap(),
                    mac: MacAddr([2, 0, 0, 0, 0, 2]),
                };
                setns(&near, CloneFlags::CLONE_NEWNET).unwrap();
                // The kernel tells of the carrier from a work queue, on a busy machine a while later; until then it drops what is sent.
                while run("ip", "link").contains("NO-CARRIER") {
                    thread::sleep(Duration::from_millis(5));
                }
                test(if_nametoindex("v0").unwrap(), far);
            })
            .join()
    });
    if let Err(panic) = outcome {
        std::panic::resume_unwind(panic);
    }
}

fn enter_new_namespace() -> File {
    // Only this thread, made for the test; its children inherit it.
    nix::sched::unshare(CloneFlags::CLONE_NEWNET).unwrap();
    File::open("/proc/thread-self/ns/net").unwrap()
}

fn up(link: &str, host: u8) {
    ip("link set lo up");
    ip(&format!("link set {link} addrgenmode none"));
    ip(&format!("addr add 10.0.0.{host}/24 dev {link}"));
    ip(&format!("addr add 2001:db8::{host}/64 dev {link} nodad"));
    ip(&format!("addr add fe80::{host}/64 dev {link} nodad"));
    ip(&format!("link set {link} up"));
}

fn ip(args: &str) {
    run("ip", args);
}

fn run(command: &str, args: &str) -> String {
    let output = Command::new(command).args(args.split_whitespace()).output().unwrap();
    assert!(output.status.success(), "{command} {args}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn capture() -> OwnedFd {
    let fd =
        socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::EthAll).unwrap();
    setsockopt(&fd, sockopt::ReceiveTimeout, &TimeVal::new(5, 0)).unwrap();
    fd
}

impl Far {
    /// The next frame that carries VRRP.
    fn advert(&self) -> Vec<u8> {
        let mut frame = vec![0; 2000];
        loop {
            let length =
                recv(self.capture.as_raw_fd(), &mut frame, MsgFlags::empty()).expect("no advert came");
            let protocol = match frame[12..14] {
                [0x08, 0x00] => frame[23],
                [0x86, 0xdd] => frame[20],
                _ => continue,
            };
            if protocol == PROTOCOL_VRRP {
                frame.truncate(length);
                return frame;
            }
        }
    }

    /// Sends an IPv4 packet of the protocol to 10.0.0.1.
    fn say(&self, protocol: u8, payload: &[u8]) {
        let mut frame = vec![0; eth::HEADER + ipv4::HEADER + payload.len()];
        let (ethernet, packet) = frame.split_first_chunk_mut().unwrap();
        let header = eth::Repr {
            destination: MacAddr([2, 0, 0, 0, 0, 1]),
            source: self.mac,
            ethertype: eth::ETHERTYPE_IPV4,
        };
        header.emit(ethernet);
        let header = ipv4::Repr {
            id: 1,
            ttl: 64,
            protocol,
            source: [10, 0, 0, 2].into(),
            destination: [10, 0, 0, 1].into(),
            payload_length: u16::try_from(payload.len()).unwrap(),
        };
        header.emit(packet.first_chunk_mut().unwrap());
        packet[ipv4::HEADER..].copy_from_slice(payload);
        self.speaker.send(&frame).unwrap();
    }
}

fn addr(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn advert(source: &str, destination: &str, vip: &str) -> Vec<u8> {
    let spec = AdvertSpec {
        version: Version::V3,
        vrid: Vrid::new(51).unwrap(),
        priority: Priority::DEFAULT,
        interval: Duration::from_secs(1),
        source: addr(source),
        destination: addr(destination),
        ttl: 254,
        vips: &[addr(vip)],
        auth: None,
        checksum: ChecksumForm::PseudoHeader,
        ip_id: 0x1234,
    };
    let mut packet = Vec::new();
    advert_packet(&spec, &mut packet).unwrap();
    packet
}

fn advert_v4(last: u8) -> Vec<u8> {
    advert("10.0.0.1", &format!("10.0.0.{last}"), "10.0.0.100")
}

#[test]
fn adverts_arrive_as_written() {
    with_peer("adverts_arrive_as_written", |v0, far| {
        for (source, destination, vip, ethertype) in [
            ("10.0.0.1", "10.0.0.2", "10.0.0.100", [0x08, 0x00]),
            // The source is what the header says, on no interface here.
            ("192.0.2.1", "10.0.0.2", "10.0.0.100", [0x08, 0x00]),
            ("2001:db8::1", "2001:db8::2", "2001:db8::100", [0x86, 0xdd]),
            ("fe80::1", "fe80::2", "fe80::100", [0x86, 0xdd]),
        ] {
            let mut socket = UnicastSocket::open(addr(destination), v0).unwrap();
            let packet = advert(source, destination, vip);
            socket.send(&packet).unwrap();
            let frame = far.advert();
            assert_eq!(frame[..6], far.mac.0, "{source}: the neighbour that the kernel found");
            assert_eq!(frame[6..12], [2, 0, 0, 0, 0, 1], "{source}");
            assert_eq!(frame[12..14], ethertype, "{source}");
            assert_eq!(frame[14..], packet, "{source}");
        }
    });
}

/// More than a send buffer of the usual size waits for peers that are not there.
#[test]
fn dead_peers_do_not_hold_up_the_living() {
    with_peer("dead_peers_do_not_hold_up_the_living", |v0, far| {
        for (packets, to) in [
            ([advert_v4(7), advert_v4(8), advert_v4(2)], ["10.0.0.7", "10.0.0.8", "10.0.0.2"]),
            (
                ["7", "8", "2"].map(|host| advert("fe80::1", &format!("fe80::{host}"), "fe80::100")),
                ["fe80::7", "fe80::8", "fe80::2"],
            ),
        ] {
            let mut sockets = to.map(|peer| UnicastSocket::open(addr(peer), v0).unwrap());
            for _ in 0..1000 {
                assert_eq!(sockets[0].send(&packets[0]).unwrap(), Departure::Waits);
                assert_eq!(sockets[1].send(&packets[1]).unwrap(), Departure::Waits);
            }
            sockets[2].send(&packets[2]).unwrap();
            assert_eq!(far.advert()[14..], packets[2]);
        }
    });
}

/// A packet that the kernel keeps until the neighbour answers has not left, nor has one that a dead peer will never get.
#[test]
fn what_waits_for_its_neighbour_has_not_left() {
    with_peer("what_waits_for_its_neighbour_has_not_left", |v0, far| {
        for (source, peer, dead, vip) in [
            ("10.0.0.1", "10.0.0.2", "10.0.0.7", "10.0.0.100"),
            ("fe80::1", "fe80::2", "fe80::7", "fe80::100"),
            ("2001:db8::1", "2001:db8::2", "2001:db8::7", "2001:db8::100"),
        ] {
            let mut socket = UnicastSocket::open(addr(peer), v0).unwrap();
            let packet = advert(source, peer, vip);
            let neighbour = format!("neigh replace {peer} lladdr 02:00:00:00:00:02 dev v0 nud");
            // A veth may bring the answer before the call returns: then it has left.
            ip(&format!("{neighbour} failed"));
            socket.send(&packet).unwrap();
            assert_eq!(far.advert()[14..], packet, "{peer}: the kernel sent it when it had an answer");
            for state in ["stale", "delay", "reachable", "permanent"] {
                ip(&format!("{neighbour} {state}"));
                assert_eq!(socket.send(&packet).unwrap(), Departure::Left, "{peer}, {state}");
                assert_eq!(far.advert()[14..], packet, "{peer}, {state}");
            }
            let mut absent = UnicastSocket::open(addr(dead), v0).unwrap();
            for _ in 0..3 {
                assert_eq!(absent.send(&advert(source, dead, vip)).unwrap(), Departure::Waits, "{dead}");
            }
            assert_eq!(socket.send(&packet).unwrap(), Departure::Left, "{peer}, beside a dead one");
            assert_eq!(far.advert()[14..], packet);
        }
    });
}

/// Stations that fill the neighbour table have the kernel forget a peer, and a peer that does not answer at once is forgotten too: the
/// advert leaves all the same, to where the last one has left.
#[test]
fn what_the_kernel_has_no_mac_for_leaves_as_the_last_one_did() {
    with_peer("what_the_kernel_has_no_mac_for_leaves_as_the_last_one_did", |v0, far| {
        let frames = PacketSocket::open(v0).unwrap();
        let (near, moved) = (MacAddr([2, 0, 0, 0, 0, 1]), MacAddr([2, 0, 0, 0, 0, 9]));
        for (source, peer, vip) in [
            ("10.0.0.1", "10.0.0.7", "10.0.0.100"),
            ("fe80::1", "fe80::7", "fe80::100"),
            ("2001:db8::1", "2001:db8::7", "2001:db8::100"),
        ] {
            let mut socket = UnicastSocket::open(addr(peer), v0).unwrap();
            let packet = advert(source, peer, vip);
            let mut send = |own| socket.send_or_by_last_mac(&packet, &frames, own).unwrap();
            assert_eq!(send((v0, near)), Departure::Waits, "{peer}: never known");
            ip(&format!("neigh replace {peer} lladdr 02:00:00:00:00:02 dev v0 nud permanent"));
            far.advert();
            assert_eq!(send((v0, near)), Departure::Left, "{peer}");
            let as_the_kernel_has_it = far.advert();
            ip(&format!("neigh del {peer} dev v0"));
            for (own, expect) in [
                ((v0, near), near),
                // It has another MAC by now.
                ((v0, moved), moved),
                // The kernel's route leads out of another interface than the instance's.
                ((v0 + 1, moved), near),
            ] {
                assert_eq!(send(own), Departure::LeftByLastMac, "{peer}");
                let frame = far.advert();
                assert_eq!(frame[..6], as_the_kernel_has_it[..6], "{peer}");
                assert_eq!(frame[6..12], expect.0, "{peer}");
                assert_eq!(frame[12..], as_the_kernel_has_it[12..], "{peer}");
            }
        }
    });
}

/// ICMP errors come the same way as the kernel's notes, and are none.
#[test]
fn an_icmp_error_is_no_departure() {
    with_peer("an_icmp_error_is_no_departure", |v0, far| {
        let mut socket = UnicastSocket::open(addr("10.0.0.7"), v0).unwrap();
        let packet = advert_v4(7);
        // Destination unreachable, about a packet of protocol 255 from 10.0.0.1 to 10.0.0.7.
        let mut quoted = packet[..28].to_vec();
        quoted[9] = IPPROTO_RAW;
        let mut icmp = [&[3, 1, 0, 0, 0, 0, 0, 0][..], &quoted].concat();
        let sum = vipd_common::wire::checksum::Checksum::default().over(&icmp).finish();
        icmp[2..4].copy_from_slice(&sum);
        for _ in 0..20 {
            far.say(1, &icmp);
            assert_eq!(socket.send(&packet).unwrap(), Departure::Waits);
        }
    });
}

#[test]
fn what_has_not_left_is_an_error() {
    with_peer("what_has_not_left_is_an_error", |v0, far| {
        let open = |peer: &str| UnicastSocket::open(addr(peer), v0).unwrap();
        let (mut v4, mut v6) = (open("10.0.0.2"), open("fe80::2"));
        let advert_v6 = advert("fe80::1", "fe80::2", "fe80::100");
        let errors = |v4: &mut UnicastSocket, v6: &mut UnicastSocket| {
            [v4.send(&advert_v4(2)), v6.send(&advert_v6)]
                .map(|result| result.unwrap_err().raw_os_error().map(Errno::from_raw))
        };
        let no_route = errors(&mut open("203.0.113.1"), &mut open("2001:db8:1::1"));
        assert_eq!(no_route, [Some(Errno::ENETUNREACH); 2]);

        v4.send(&[&advert_v4(2)[..], &[0; 1500]].concat()).expect_err("longer than the MTU");
        // Resolves the neighbours while it can.
        v4.send(&advert_v4(2)).unwrap();
        far.advert();
        v6.send(&advert_v6).unwrap();
        far.advert();

        run("tc", "qdisc add dev v0 root bfifo limit 1");
        assert_eq!(errors(&mut v4, &mut v6), [Some(Errno::ENOBUFS); 2]);
        run("tc", "qdisc del dev v0 root");
        v4.send(&advert_v4(2)).unwrap();
        v6.send(&advert_v6).unwrap();

        ip("link set v0 down");
        assert_eq!(errors(&mut v4, &mut v6), [Some(Errno::ENETUNREACH); 2]);
    });
}

#[test]
fn nothing_is_received() {
    with_peer("nothing_is_received", |v0, far| {
        // A socket that does receive what the tested one could.
        let witness =
            socket(AddressFamily::Inet, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::Raw).unwrap();
        setsockopt(&witness, sockopt::ReceiveTimeout, &TimeVal::new(5, 0)).unwrap();
        let tested = UnicastSocket::open(addr("10.0.0.2"), v0).unwrap();
        for _ in 0..2 {
            far.say(IPPROTO_RAW, b"hello");
            recv(witness.as_raw_fd(), &mut [0; 100], MsgFlags::empty()).expect("nothing came");
        }
        let received = recv(tested.fd.as_raw_fd(), &mut [0; 100], MsgFlags::empty());
        assert_eq!(received, Err(Errno::EAGAIN));
    });
}
