//! Who serves a VIP, as a client sees it: a UDP service on each node that says the node's name, and a client that asks it all the time.

#![allow(clippy::disallowed_methods, reason = "tests measure")]

use std::{
    net::{IpAddr, SocketAddr, UdpSocket},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{JoinHandle, sleep},
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use vipd_tests::{Node, wait_for};

use super::SOON;

const PORT: u16 = 7000;
/// Between two questions.
const PERIOD: Duration = Duration::from_millis(10);

/// Services and clients; all of it ends when it is dropped.
#[derive(Debug, Default)]
pub struct Echo {
    ends: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Result<Result<()>>>>,
}

/// Answers of a VIP: when, and by whom.
#[derive(Debug, Clone, Default)]
pub struct Answers(Arc<Mutex<Vec<(Instant, String)>>>);

impl Drop for Echo {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            match thread.join() {
                Ok(Ok(Ok(()))) => {}
                ended => eprintln!("{ended:?}"),
            }
        }
    }
}

impl Echo {
    /// Has a node say its name at a VIP, whether it has that or not: `ip_nonlocal_bind` is set for it.
    pub fn serve(&mut self, node: &Node, vip: IpAddr) -> Result<()> {
        let (name, ends) = (node.name().to_owned(), self.ends.clone());
        let thread = node.ns().spawn("echo", move || -> Result<()> {
            let socket = UdpSocket::bind((vip, PORT))?;
            socket.set_read_timeout(Some(Duration::from_millis(100)))?;
            while !ends.load(Ordering::Relaxed) {
                if let Ok((_, from)) = socket.recv_from(&mut [0; 8]) {
                    // Without a route back there is nobody to tell.
                    let _ = socket.send_to(name.as_bytes(), from);
                }
            }
            Ok(())
        })?;
        self.threads.push(thread);
        Ok(())
    }

    /// Asks a VIP from a node all the time, from this address of it if one is given.
    pub fn ask(&mut self, node: &Node, vip: IpAddr, from: Option<IpAddr>) -> Result<Answers> {
        let (answers, ends) = (Answers::default(), self.ends.clone());
        let log = answers.clone();
        let any: IpAddr = if vip.is_ipv4() { [0; 4].into() } else { [0; 16].into() };
        let thread = node.ns().spawn("ask", move || -> Result<()> {
            let socket = UdpSocket::bind((from.unwrap_or(any), 0))?;
            socket.set_nonblocking(true)?;
            while !ends.load(Ordering::Relaxed) {
                let _ = socket.send_to(b"?", SocketAddr::from((vip, PORT)));
                sleep(PERIOD);
                let mut name = [0; 16];
                while let Ok((length, _)) = socket.recv_from(&mut name) {
                    let name = String::from_utf8_lossy(&name[..length]).into_owned();
                    log.0.lock().unwrap_or_else(PoisonError::into_inner).push((Instant::now(), name));
                }
            }
            Ok(())
        })?;
        self.threads.push(thread);
        Ok(answers)
    }
}

impl Answers {
    fn all(&self) -> Vec<(Instant, String)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits for an answer of a node from now on.
    pub fn wait(&self, node: &str) -> Result<()> {
        let began = Instant::now();
        let answered = || self.all().iter().any(|(at, name)| *at > began && name == node);
        wait_for(format_args!("an answer of {node}"), SOON, answered).map(drop)
    }

    /// The longest time without an answer since then.
    pub fn longest_gap(&self, since: Instant) -> Duration {
        let later = self.all().into_iter().map(|(at, _)| at).filter(|at| *at > since);
        let times: Vec<_> = std::iter::once(since).chain(later).chain([Instant::now()]).collect();
        times.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default()
    }

    /// That nobody but this node has answered since then.
    pub fn are_of(&self, node: &str, since: Instant) -> Result<()> {
        let others: Vec<_> =
            self.all().into_iter().filter(|(at, name)| *at > since && name != node).collect();
        ensure!(others.is_empty(), "{others:?} beside {node}");
        Ok(())
    }
}
