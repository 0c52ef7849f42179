//! What the XDP program costs ordinary traffic: TCP and UDP from a client to a node, with and without vipd on it.
//!
//! veth loses its shortcuts when its interface has an XDP program, whatever that does. So there is a program that only
//! passes, besides none. The lab's switch ports always have one, and checksums are made in software: frames are of MTU size
//! throughout.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream, UdpSocket},
    os::fd::AsRawFd,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, ensure};
use nix::{
    errno::Errno,
    sys::socket::{MsgFlags, MultiHeaders, SockaddrIn, recvmmsg, setsockopt, sockopt},
};
use vipd_tests::{
    Lab, Netns, Node,
    xdp::{Link, Program},
};

use crate::{
    Options,
    flood::flood,
    report::Report,
    routers::{Kind, Router, Spec, VIP},
};

const PART: &str = "Traffic";
const NODE: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 5);
pub const PORT: u16 = 5001;
/// Of one measurement.
const SPAN: Duration = Duration::from_secs(3);
const STRAGGLERS: Duration = Duration::from_millis(100);
/// Octets of a UDP message that makes the least Ethernet frame.
pub const SMALL: usize = 18;
const BLOCK: usize = 256 * 1024;

/// What stands before the node's kernel.
#[derive(Clone, Copy, Debug)]
enum Front {
    None,
    PassProgram,
    /// A program that passes everything, and a policy rule: with one of its own the kernel validates each packet's source by
    /// a full look-up (`fib_validate_source` of net/ipv4/fib_frontend.c), as it does with a local route that was added.
    PassProgramAndRule,
    /// Native XDP.
    Vipd,
    VipdAtTc,
}

/// Keeps it there.
#[derive(Debug, Default)]
struct Standing {
    /// Held for its drop.
    program: Option<Link>,
    router: Option<Router>,
}

pub fn run(options: &Options, report: &mut Report) -> Result<()> {
    for run in 0..options.runs {
        // In turns, and not always the same first.
        let mut fronts =
            [Front::None, Front::PassProgram, Front::PassProgramAndRule, Front::Vipd, Front::VipdAtTc];
        let first = run % fronts.len();
        fronts.rotate_left(first);
        for front in fronts {
            let lab = Lab::builder().node("lb01", "10.0.0.5/8").node("client", "10.0.0.100/8").build()?;
            let (node, client) = (lab.node("lb01"), lab.node("client"));
            let standing = front.set(node)?;
            for (target, name) in [(NODE, "the node's own address"), (VIP, "a VIP of the node")] {
                let target = SocketAddrV4::new(target, PORT);
                let gbits = tcp(node.ns(), client.ns(), target, SPAN)?;
                report.add(PART, &format!("TCP to {name}"), front.name(), "received", "Gbit/s", gbits);
                let (sent, received) = udp(node.ns(), client.ns(), target, SPAN)?;
                let what = format!("UDP, {SMALL} octets, to {name}");
                report.add(PART, &what, front.name(), "packets sent", "1/s", sent);
                report.add(PART, &what, front.name(), "packets received", "1/s", received);
            }
            if let Some(router) = standing.router {
                ensure!(router.is(node, "MASTER"), "vipd is no longer master: its VIP was not served");
            }
        }
    }
    Ok(())
}

impl Front {
    fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::PassProgram => "pass program",
            Self::PassProgramAndRule => "pass program and a rule",
            Self::Vipd => "vipd",
            Self::VipdAtTc => "vipd at tc",
        }
    }

    /// Puts it before the node, and the VIP on the node.
    fn set(self, node: &Node) -> Result<Standing> {
        if matches!(self, Self::None | Self::PassProgram | Self::PassProgramAndRule) {
            node.exec(&["ip", "address", "add", &format!("{VIP}/8"), "dev", "eth0"])?;
        }
        let mut standing = Standing::default();
        match self {
            Self::None => {}
            Self::PassProgram => standing.program = Some(Program::pass()?.attach(node.ns(), "eth0")?),
            Self::PassProgramAndRule => {
                standing.program = Some(Program::pass()?.attach(node.ns(), "eth0")?);
                // It changes no packet's way.
                node.exec(&["ip", "rule", "add", "preference", "32000", "lookup", "main"])?;
            }
            Self::Vipd | Self::VipdAtTc => {
                let at_tc = matches!(self, Self::VipdAtTc);
                let spec = Spec { xdp_mode: at_tc.then_some("tc"), ..Spec::single(Duration::from_secs(1)) };
                let router = Router::start(node, Kind::Vipd, &spec, 150)?;
                router.wait(node, "MASTER")?;
                standing.router = Some(router);
            }
        }
        Ok(standing)
    }
}

/// Gbit/s of payload that arrived, on one connection.
pub fn tcp(node: &Netns, client: &Netns, target: SocketAddrV4, span: Duration) -> Result<f64> {
    let listener = node.run(|| TcpListener::bind(target))??;
    let receiver = node.spawn("tcp-receiver", move || -> Result<f64> {
        let (mut stream, _) = listener.accept()?;
        let mut block = vec![0; BLOCK];
        let begin = Instant::now();
        let mut octets = 0;
        loop {
            match stream.read(&mut block)? {
                0 => return Ok(octets as f64 * 8e-9 / begin.elapsed().as_secs_f64()),
                n => octets += n,
            }
        }
    })?;
    client.run(|| -> Result<()> {
        let mut stream =
            TcpStream::connect_timeout(&target.into(), Duration::from_secs(5)).context("connect")?;
        let block = vec![0; BLOCK];
        let begin = Instant::now();
        while begin.elapsed() < span {
            stream.write_all(&block)?;
        }
        Ok(())
    })??;
    join(receiver)
}

/// Packets per second that were sent, and that arrived.
pub fn udp(node: &Netns, client: &Netns, target: SocketAddrV4, span: Duration) -> Result<(f64, f64)> {
    let socket = node.run(|| UdpSocket::bind(target))??;
    setsockopt(&socket, sockopt::RcvBufForce, &(16 << 20)).context("SO_RCVBUFFORCE")?;
    socket.set_read_timeout(Some(Duration::from_millis(20)))?;
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    let receiver = node.spawn("udp-receiver", move || receive(&socket, &stopped))?;
    let sent = client.run(|| -> Result<_> {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        socket.connect(target)?;
        flood(&socket, &[vec![0; SMALL]], None, span)
    })??;
    thread::sleep(STRAGGLERS);
    stop.store(true, Ordering::Relaxed);
    let seconds = sent.elapsed.as_secs_f64();
    Ok((sent.count as f64 / seconds, join(receiver)? as f64 / seconds))
}

/// Counts messages until it is to stop.
fn receive(socket: &UdpSocket, stop: &AtomicBool) -> Result<u64> {
    const BATCH: usize = 64;
    let mut buffers = [[0_u8; 64]; BATCH];
    let mut headers = MultiHeaders::<SockaddrIn>::preallocate(BATCH, None);
    let mut count = 0;
    while !stop.load(Ordering::Relaxed) {
        let mut parts: Vec<_> = buffers.iter_mut().map(|b| [std::io::IoSliceMut::new(b)]).collect();
        // Otherwise it would wait for a whole batch, and look at the timeout only between messages.
        let flags = MsgFlags::MSG_WAITFORONE;
        match recvmmsg(socket.as_raw_fd(), &mut headers, &mut parts, flags, None) {
            Ok(messages) => count += messages.count() as u64,
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            Err(error) => return Err(error).context("recvmmsg"),
        }
    }
    Ok(count)
}

fn join<T>(thread: JoinHandle<Result<Result<T>>>) -> Result<T> {
    thread.join().map_err(|_| anyhow!("a receiver panicked"))??
}
