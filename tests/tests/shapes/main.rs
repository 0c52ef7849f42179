//! Frames of every shape: whatever the kernel would take for a VIP, vipd's program sees first.
//!
//! The same frames go to two nodes. `plain` has the VIPs as ordinary addresses and no vipd: what its kernel answers shows which
//! shapes a kernel takes. `guarded` has the same addresses, and a vipd that is BACKUP: there nothing may be answered, and nothing
//! may reach a socket.

#![allow(clippy::disallowed_methods, reason = "tests measure")]

mod frames;
#[path = "../support/mod.rs"]
mod support;

use std::{
    cell::RefCell,
    collections::BTreeMap,
    fmt::Write as _,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use frames::{Shape, VIP, VIP6};
use support::{
    SOON,
    frames::{Ipv6, v3},
    lab, times,
};
use vipd_tests::{
    Lab, Mac, Netns, Node, probe::packet::PacketSocket, probe::ring::RingSender, vipd_bin, wait_for,
    xdp::Program,
};

/// Frames of one kind that are sent at once: fewer than a veth's ring holds.
const BATCH: usize = 64;
/// How long the answers to a batch are waited for. Later ones are counted for the next kind.
const PATIENCE: Duration = Duration::from_millis(15);
/// For what a busy machine holds back.
const LAST_PATIENCE: Duration = Duration::from_secs(1);
const SEED: usize = 16;

const PLAIN: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 5));
const GUARDED: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 6));

#[test]
fn nothing_gets_past_native_xdp() -> Result<()> {
    compare("native", Way::Plain, 100)
}

#[test]
fn nothing_gets_past_tc() -> Result<()> {
    compare("tc", Way::Plain, 100)
}

#[test]
#[ignore = "long tier: a quarter of a million frames"]
fn nothing_gets_past_native_xdp_for_long() -> Result<()> {
    compare("native", Way::Plain, 4_000)
}

#[test]
#[ignore = "long tier: a quarter of a million frames"]
fn nothing_gets_past_tc_for_long() -> Result<()> {
    compare("tc", Way::Plain, 4_000)
}

#[test]
fn nothing_gets_past_native_xdp_in_pages_of_their_own() -> Result<()> {
    compare("native", Way::Pages, 60)
}

#[test]
fn nothing_gets_past_tc_in_pages_of_their_own() -> Result<()> {
    compare("tc", Way::Pages, 60)
}

#[test]
fn nothing_gets_past_native_xdp_in_several_buffers() -> Result<()> {
    compare("native", Way::Jumbo, 60)
}

#[test]
fn nothing_gets_past_tc_in_several_buffers() -> Result<()> {
    compare("tc", Way::Jumbo, 60)
}

/// How a frame lies in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Plain,
    /// All but its Ethernet header in pages apart from the buffer.
    Pages,
    /// Longer than a page, which takes several buffers: what follows the packet is padding to the kernel.
    Jumbo,
}

const JUMBO: usize = 9000;

/// One node on a cable of its own, whose other end is the test's.
struct Station {
    cable: PacketSocket,
    way: Way,
    ring: RefCell<RingSender>,
    sockets: [UdpSocket; 2],
    /// The node's MAC.
    mac: Mac,
}

/// What a node has done with frames.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Taken {
    /// Frames in which it speaks as a VIP.
    answered: usize,
    /// Datagrams that have reached a socket.
    delivered: usize,
}

impl Station {
    fn new(lab: &Lab, node: &Node, way: Way) -> Result<Self> {
        let port = lab.take_port(node.name())?;
        // Or a frame that the program sends back would be lost, and be no answer.
        let pass = Program::pass()?;
        // The kernel detaches the switch's own program a little after its pin is gone.
        let mut attached = None;
        wait_for("the port to be free", SOON, || {
            attached = pass.attach(lab.switch(), port).ok();
            attached.is_some()
        })?;
        attached.context("attached, then lost")?.pin(&pin(lab, port))?;
        let cable = lab.switch().run(|| PacketSocket::open(port, libc::ETH_P_ALL as u16))??;
        let bind = |address: IpAddr| -> Result<UdpSocket> {
            let socket =
                UdpSocket::bind((address, frames::PORT)).with_context(|| format!("bind {address}"))?;
            socket.set_nonblocking(true)?;
            Ok(socket)
        };
        let sockets = node.ns().run(|| -> Result<_> { Ok([bind(VIP.into())?, bind(VIP6.into())?]) })??;
        let ring = RefCell::new(lab.switch().run(|| RingSender::open(port))??);
        Ok(Self { cable, way, ring, sockets, mac: node.mac() })
    }

    fn send(&self, shapes: &[Shape]) -> Result<()> {
        let mut left: Vec<Vec<u8>> = shapes.iter().map(|shape| shape.frame_to(self.mac)).collect();
        match self.way {
            Way::Plain => {}
            Way::Pages => return self.ring.borrow_mut().send_all(&left),
            // Of all lengths: two buffers, three, and one that ends where a buffer does.
            Way::Jumbo => left
                .iter_mut()
                .zip([4096, 5000, 8192, JUMBO + 14].into_iter().cycle())
                .for_each(|(frame, length)| frame.resize(frame.len().max(length), 0)),
        }
        while !left.is_empty() {
            let sent = self.cable.send_all(&left)?;
            left.drain(..sent);
        }
        Ok(())
    }

    /// What has been taken until nothing comes from the node any more.
    fn taken(&self, patience: Duration) -> Result<Taken> {
        let mut taken = Taken::default();
        let mut until = Instant::now() + patience;
        while let Some(left) = until.checked_duration_since(Instant::now()) {
            let Some(frame) = self.cable.receive(left)? else { continue };
            if !frame.outgoing {
                until = Instant::now() + patience;
                taken.answered += usize::from(frames::speaks_as_vip(&frame.bytes));
            }
        }
        let mut datagram = [0; 2048];
        for socket in &self.sockets {
            while socket.recv_from(&mut datagram).is_ok() {
                taken.delivered += 1;
            }
        }
        Ok(taken)
    }
}

fn pin(lab: &Lab, port: &str) -> std::path::PathBuf {
    std::path::Path::new(vipd_tests::BPFFS).join(format!("{}-switch", lab.prefix())).join(port)
}

fn compare(mode: &str, way: Way, batches: usize) -> Result<()> {
    let nodes = |lab: vipd_tests::Builder| {
        let lab = lab.node("plain", &format!("{PLAIN}/24")).address("2001:db8::5/64");
        lab.node("guarded", &format!("{GUARDED}/24")).address("2001:db8::6/64")
    };
    let Some((lab, _permit)) = lab(nodes)? else { return Ok(()) };
    let [plain, guarded] = ["plain", "guarded"].map(|name| lab.node(name));
    if way == Way::Jumbo {
        let mtu = JUMBO.to_string();
        for node in [plain, guarded] {
            lab.switch()
                .command("ip")
                .args(["link", "set", "dev", &node.links()[0].port, "mtu", &mtu])
                .status()?;
            node.exec(&["ip", "link", "set", "dev", "eth0", "mtu", &mtu])?;
        }
    }
    let vipd = vipd_bin()?;
    guarded.write_vipd_conf(&configuration(mode))?;
    let _daemon = guarded.start_vipd(&vipd)?;
    for instance in ["VI_4", "VI_6"] {
        wait_for(format_args!("{instance} to answer"), SOON, || guarded.state(&vipd, instance).is_ok())?;
    }
    // The node is as one whose daemon is frozen: the kernel has the addresses, and the program alone stands before it.
    for node in [plain, guarded] {
        node.exec(&["ip", "address", "add", &format!("{VIP}/32"), "dev", "eth0"])?;
        let vip6 = format!("{VIP6}/128");
        node.exec(&["ip", "address", "add", &vip6, "dev", "eth0", "nodad", "preferred_lft", "0"])?;
        for asker in [frames::ASKER.to_string(), frames::ASKER6.to_string()] {
            let mac = frames::ASKER_MAC.to_string();
            let neighbour =
                ["neighbour", "replace", &asker, "lladdr", &mac, "dev", "eth0", "nud", "permanent"];
            node.exec(&[&["ip"][..], &neighbour].concat())?;
        }
        node.ns().sysctl("net/ipv4/icmp_echo_ignore_broadcasts", "0")?;
    }
    let stations = [Station::new(&lab, plain, way)?, Station::new(&lab, guarded, way)?];
    let _master = Master::start(lab.switch().clone(), guarded.port())?;
    for instance in ["VI_4", "VI_6"] {
        guarded.wait_state(&vipd, instance, "BACKUP", SOON)?;
    }
    for station in &stations {
        station.taken(LAST_PATIENCE)?;
    }

    let seed = times("SHAPES_SEED", SEED);
    let mut random = frames::Random::new(seed as u64);
    let mut kinds: BTreeMap<String, (usize, Taken)> = BTreeMap::new();
    let mut last: Vec<Shape> = Vec::new();
    for n in 0..times("SHAPES_BATCHES", batches) {
        let batch = frames::batch(&mut random, BATCH);
        for station in &stations {
            station.send(&batch)?;
        }
        let [by_plain, by_guarded] = [stations[0].taken(PATIENCE)?, stations[1].taken(PATIENCE)?];
        let (sent, taken) = kinds.entry(batch[0].kind.clone()).or_default();
        *sent += batch.len();
        taken.answered += by_plain.answered;
        taken.delivered += by_plain.delivered;
        if by_guarded != Taken::default() {
            last.extend(batch);
            return Err(anyhow::anyhow!("{}", leaked(&stations[1], &last)?))
                .with_context(|| format!("SHAPES_SEED={seed}, {mode}, {way:?}, batch {n}"));
        }
        last = batch;
    }
    let straggler = stations[1].taken(LAST_PATIENCE)?;
    ensure!(straggler == Taken::default(), "the backup has answered late: {}", leaked(&stations[1], &last)?);

    let mut table = String::new();
    let mut total = (0, Taken::default());
    for (kind, (sent, taken)) in &kinds {
        let Taken { answered, delivered } = *taken;
        let _ = writeln!(table, "{kind:<44} {sent:>7} {answered:>9} {delivered:>9}");
        (total.0, total.1.answered, total.1.delivered) =
            (total.0 + sent, total.1.answered + answered, total.1.delivered + delivered);
    }
    let Taken { answered, delivered } = total.1;
    println!(
        "{mode}, {way:?}, seed {seed}\n{:<44} {:>7} {:>9} {:>9}\n{table}{:<44} {:>7} {answered:>9} {delivered:>9}\n\
         on the backup with vipd: 0 answered, 0 delivered",
        "kind of frame, to a node without vipd", "sent", "answered", "delivered", "all", total.0
    );
    // A comparison with a kernel that takes nothing shows nothing.
    for kind in ["ARP", "ICMP", "TCP", "UDP", "ICMPv6", "UDP over IPv6", "NS", "NS behind extension headers"]
    {
        let of_kind = kinds.iter().filter(|(name, _)| name.split(", ").next() == Some(kind));
        let taken: usize = of_kind.map(|(_, (_, taken))| taken.answered + taken.delivered).sum();
        ensure!(taken > 0, "the kernel without vipd takes no {kind}: the test tests nothing\n{table}");
    }
    for instance in ["VI_4", "VI_6"] {
        let state = guarded.state(&vipd, instance)?;
        ensure!(state == "BACKUP", "{instance} is {state}");
    }
    Ok(())
}

/// Which of these frames the backup lets through, each sent again alone.
fn leaked(station: &Station, shapes: &[Shape]) -> Result<String> {
    let mut text = "the backup with vipd lets through:".to_owned();
    for shape in shapes {
        station.send(std::slice::from_ref(shape))?;
        let Taken { answered, delivered } = station.taken(PATIENCE * 2)?;
        if answered + delivered > 0 {
            let hex: String =
                shape.frame_to(station.mac).iter().map(|octet| format!("{octet:02x}")).collect();
            let _ = write!(text, "\n{}: {answered} answered, {delivered} delivered: {hex}", shape.kind);
        }
    }
    Ok(text)
}

fn configuration(mode: &str) -> String {
    let instance = |name: &str, vip: IpAddr| {
        format!(
            "vrrp_instance {name} {{\n    interface eth0\n    virtual_router_id 51\n    priority 100\n    advert_int 1\n    \
             virtual_ipaddress {{\n        {vip}\n    }}\n}}\n"
        )
    };
    format!("global_defs {{\n    vrrp_version 3\n    xdp_mode {mode}\n}}\n")
        + &instance("VI_4", VIP.into())
        + &instance("VI_6", VIP6.into())
}

/// The adverts of a better router, for as long as it lives.
struct Master {
    stop: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<Result<()>>>,
}

impl Master {
    fn start(switch: Netns, port: String) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let cable = switch.run(|| PacketSocket::open(&port, 0))??;
        let four =
            support::frames::Ipv4::advert(Ipv4Addr::new(10, 0, 0, 9), v3(51, 250, 100, &[VIP])).frame();
        let six = Ipv6::advert(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 9), 51, 250, &[VIP6]).frame();
        let thread = thread::spawn({
            let stop = Arc::clone(&stop);
            move || {
                while !stop.load(Ordering::Relaxed) {
                    cable.send(&four)?;
                    cable.send(&six)?;
                    thread::sleep(Duration::from_millis(100));
                }
                Ok(())
            }
        });
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for Master {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
