//! A client with a kernel of its own, that is with a neighbour cache which learns and forgets as clients do: it sends a
//! datagram to each VIP every few milliseconds, and the node that has it answers.

use std::{
    io,
    net::{IpAddr, SocketAddr, UdpSocket},
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use nix::sys::socket::{SockaddrStorage, bind};
use vipd_tests::Netns;

use super::Request;
use crate::{
    clock::{Clock, MILLI, Time},
    cluster::Cluster,
    plan::NODES,
};

#[derive(Debug)]
pub struct Client {
    stop: Arc<AtomicBool>,
    clients: Vec<JoinHandle<Result<Result<Vec<Request>>>>>,
    servers: Vec<JoinHandle<Result<Result<()>>>>,
}

impl Client {
    pub fn start(cluster: &Cluster) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let mut servers = Vec::new();
        let mut clients = Vec::new();
        for family in &cluster.setup.families {
            let vip = family.vip();
            for node in 0..NODES {
                let ns = cluster.node(node).ns();
                let socket = ns.run(|| free_bind(SocketAddr::new(vip, PORT)))??;
                let stop = stop.clone();
                servers.push(ns.spawn("echo", move || serve(&socket, &stop))?);
            }
            let ns: &Netns = cluster.lab.node("client").ns();
            let (stop, clock) = (stop.clone(), cluster.clock);
            clients.push(ns.spawn("client", move || request(vip, clock, &stop))?);
        }
        Ok(Self { stop, clients, servers })
    }

    pub fn stop(self) -> Result<Vec<Vec<Request>>> {
        self.stop.store(true, Ordering::Relaxed);
        let panicked = |_| anyhow::anyhow!("a thread panicked");
        for server in self.servers {
            server.join().map_err(panicked)???;
        }
        self.clients.into_iter().map(|client| client.join().map_err(panicked)??).collect()
    }
}

/// A socket on an address that the node does not have.
fn free_bind(address: SocketAddr) -> Result<UdpSocket> {
    let (family, level, option) = match address {
        SocketAddr::V4(_) => (libc::AF_INET, libc::IPPROTO_IP, libc::IP_FREEBIND),
        SocketAddr::V6(_) => (libc::AF_INET6, libc::IPPROTO_IPV6, libc::IPV6_FREEBIND),
    };
    // SAFETY: a plain system call with integers; the result is checked before it is owned.
    let fd = unsafe { libc::socket(family, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
    ensure!(fd >= 0, "a socket: {}", io::Error::last_os_error());
    // SAFETY: `fd` is a new descriptor that nobody else owns.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    let on: libc::c_int = 1;
    // SAFETY: the pointer and the size are those of `on`, which outlives the call.
    let set = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            level,
            option,
            (&raw const on).cast(),
            size_of_val(&on) as libc::socklen_t,
        )
    };
    ensure!(set == 0, "IP_FREEBIND: {}", io::Error::last_os_error());
    bind(fd.as_raw_fd(), &SockaddrStorage::from(address)).with_context(|| format!("bind to {address}"))?;
    Ok(fd.into())
}

/// Sends everything back, from the address that it was sent to.
fn serve(socket: &UdpSocket, stop: &AtomicBool) -> Result<()> {
    socket.set_read_timeout(Some(Duration::from_millis(50)))?;
    let mut buffer = [0; 64];
    while !stop.load(Ordering::Relaxed) {
        if let Ok((length, from)) = socket.recv_from(&mut buffer) {
            // The node may have no way to the client at the moment.
            let _ = socket.send_to(&buffer[..length], from);
        }
    }
    Ok(())
}

fn request(vip: IpAddr, clock: Clock, stop: &AtomicBool) -> Result<Vec<Request>> {
    let any: IpAddr = if vip.is_ipv4() { [0, 0, 0, 0].into() } else { [0_u16; 8].into() };
    let socket = UdpSocket::bind(SocketAddr::new(any, 0)).context("the client's socket")?;
    let mut requests: Vec<Request> = Vec::new();
    let mut buffer = [0; 64];
    let mut next = clock.now();
    while !stop.load(Ordering::Relaxed) && requests.len() < MAX {
        let number = requests.len() as u64;
        requests.push(Request { sent: clock.now(), served: false });
        // Refused while the kernel knows no way: a request that was not served.
        let _ = socket.send_to(&number.to_be_bytes(), SocketAddr::new(vip, PORT));
        next = (next + PERIOD).max(clock.now());
        loop {
            let wait = next.saturating_sub(clock.now());
            if wait == 0 {
                break;
            }
            socket.set_read_timeout(Some(Duration::from_nanos(wait).max(Duration::from_micros(100))))?;
            let Ok((8, _)) = socket.recv_from(&mut buffer) else { continue };
            let number = buffer[..8].try_into().map(u64::from_be_bytes)?;
            if let Some(request) = requests.get_mut(usize::try_from(number)?) {
                request.served = true;
            }
        }
    }
    Ok(requests)
}

const PORT: u16 = 7000;
const PERIOD: Time = 10 * MILLI;
const MAX: usize = 1_000_000;
