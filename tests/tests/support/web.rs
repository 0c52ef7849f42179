//! Web servers of a lab that say their names, a client that asks, and the kernel's table of services as it prints it.

use std::{
    collections::BTreeSet,
    io::{ErrorKind, Read, Write},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    path::Path,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{JoinHandle, sleep},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use vipd_tests::{Node, skip};

/// A server of HTTP/1.0; it ends when it is dropped, and refuses connections from then on.
#[derive(Debug)]
pub struct WebServer {
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<Result<()>>>>,
}

impl WebServer {
    /// Serves `name` at an address of a node.
    pub fn start(node: &Node, at: SocketAddr, name: &str) -> Result<Self> {
        let (ends, name) = (Arc::new(AtomicBool::new(false)), name.to_owned());
        let is_over = ends.clone();
        let listener = node.ns().run(|| TcpListener::bind(at))?.with_context(|| format!("listen on {at}"))?;
        listener.set_nonblocking(true)?;
        let thread = node.ns().spawn("web", move || -> Result<()> {
            while !is_over.load(Ordering::Relaxed) {
                match listener.accept() {
                    // A client, or a check that is gone already.
                    Ok((stream, _)) => _ = answer(stream, &name),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {
                        sleep(Duration::from_millis(5));
                    }
                    Err(error) => return Err(error.into()),
                }
            }
            Ok(())
        })?;
        Ok(Self { ends, thread: Some(thread) })
    }
}

impl Drop for WebServer {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        match self.thread.take().map(JoinHandle::join) {
            None | Some(Ok(Ok(Ok(())))) => {}
            ended => eprintln!("a web server: {ended:?}"),
        }
    }
}

fn answer(mut stream: TcpStream, name: &str) -> Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    let mut request = [0; 512];
    let read = stream.read(&mut request)?;
    if read > 0 {
        write!(stream, "HTTP/1.0 200 OK\r\nContent-Length: {}\r\n\r\n{name}", name.len())?;
    }
    Ok(())
}

/// What a server says to a node; `None`: nobody does within `limit`.
pub fn ask(node: &Node, to: SocketAddr, limit: Duration) -> Result<Option<String>> {
    node.ns().run(move || -> Option<String> {
        let mut stream = TcpStream::connect_timeout(&to, limit).ok()?;
        stream.set_read_timeout(Some(limit)).ok()?;
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n").ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).ok()?;
        Some(text.split("\r\n\r\n").nth(1)?.to_owned())
    })
}

/// A server of UDP that answers each datagram with its name; it ends when it is dropped.
#[derive(Debug)]
pub struct DatagramServer {
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<Result<()>>>>,
}

impl DatagramServer {
    /// Serves `name` at an address of a node.
    pub fn start(node: &Node, at: SocketAddr, name: &str) -> Result<Self> {
        let (ends, name) = (Arc::new(AtomicBool::new(false)), name.to_owned());
        let is_over = ends.clone();
        let socket = node.ns().run(|| UdpSocket::bind(at))?.with_context(|| format!("listen on {at}"))?;
        socket.set_read_timeout(Some(Duration::from_millis(100)))?;
        let thread = node.ns().spawn("datagrams", move || -> Result<()> {
            while !is_over.load(Ordering::Relaxed) {
                if let Ok((_, from)) = socket.recv_from(&mut [0; 8]) {
                    // Without a route back there is nobody to tell.
                    let _ = socket.send_to(name.as_bytes(), from);
                }
            }
            Ok(())
        })?;
        Ok(Self { ends, thread: Some(thread) })
    }
}

impl Drop for DatagramServer {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        match self.thread.take().map(JoinHandle::join) {
            None | Some(Ok(Ok(Ok(())))) => {}
            ended => eprintln!("a server of datagrams: {ended:?}"),
        }
    }
}

/// Who answers `times` datagrams from one port; `nobody` if one is not answered within `limit`.
pub fn ask_datagrams(node: &Node, to: SocketAddr, times: usize, limit: Duration) -> Result<BTreeSet<String>> {
    node.ns().run(move || -> Result<BTreeSet<String>> {
        let any: IpAddr = if to.is_ipv4() { [0; 4].into() } else { [0; 16].into() };
        let socket = UdpSocket::bind((any, 0))?;
        // An answer from another address is none.
        socket.connect(to)?;
        socket.set_read_timeout(Some(limit))?;
        let mut reached = BTreeSet::new();
        for _ in 0..times {
            let mut name = [0; 16];
            let answered = socket.send(b"?").and_then(|_| socket.recv(&mut name));
            reached.insert(answered.map_or_else(
                |_| "nobody".to_owned(),
                |length| String::from_utf8_lossy(&name[..length]).into_owned(),
            ));
        }
        Ok(reached)
    })?
}

/// Whether the kernel has IPVS; its module is loaded for it.
pub fn is_loadable() -> bool {
    let there = || Path::new("/proc/net/ip_vs").exists();
    if !there() {
        // What it says to a kernel without the module is of no interest.
        let _ = Command::new("modprobe").arg("ip_vs").output();
    }
    there()
}

/// The same; without it the test is skipped.
pub fn has_ipvs() -> bool {
    let has = is_loadable();
    if !has {
        skip("this kernel has no IPVS; Debian's has: cargo xtask guest --kernel debian-12 balancing");
    }
    has
}

/// The services of a node's kernel: a line for each, and one for each server with its weight, in an order that does not depend on
/// anything. Connections are left out.
pub fn table(node: &Node) -> Result<Vec<String>> {
    read_table(&node.exec(&["cat", "/proc/net/ip_vs"])?)
}

/// The same of what the kernel has printed.
pub fn read_table(text: &str) -> Result<Vec<String>> {
    let mut services: Vec<(String, Vec<String>)> = Vec::new();
    for line in text.lines().skip(3) {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["->", server, method, weight, ..] => {
                let (_, servers) = services.last_mut().with_context(|| text.to_owned())?;
                servers.push(format!("  {} {method} {weight}", socket(server)?));
            }
            ["FWM", mark, rest @ ..] => {
                let mark = u32::from_str_radix(mark, 16)?;
                services.push((format!("FWM {mark} {}", rest.join(" ")), Vec::new()));
            }
            [protocol, service, rest @ ..] => {
                services.push((format!("{protocol} {} {}", socket(service)?, rest.join(" ")), Vec::new()));
            }
            _ => {}
        }
    }
    services.sort();
    Ok(services
        .into_iter()
        .flat_map(|(service, mut servers)| {
            servers.sort();
            [vec![service], servers].concat()
        })
        .collect())
}

/// `0A000003:0050`.
fn socket(text: &str) -> Result<SocketAddr> {
    let (address, port) = text.split_once(':').with_context(|| text.to_owned())?;
    ensure!(address.len() == 8, "{text}: no IPv4 address");
    let address = u32::from_str_radix(address, 16)?;
    Ok(SocketAddr::new(IpAddr::from(address.to_be_bytes()), u16::from_str_radix(port, 16)?))
}
