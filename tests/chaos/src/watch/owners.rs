//! Who answers for the VIPs: questions from the oracle's cable, and answers as they leave each node's port.
//!
//! A node is known by its port of the switch, not by its MAC: MACs change, and virtual ones are shared. A question comes
//! from an address of its own, which its answers repeat. None is a probe of duplicate address detection, whose answer goes
//! to everyone and would put the client right.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use anyhow::{Context, Result};
use vipd_tests::probe::{
    Sniffer,
    decode::Frame,
    packet::PacketSocket,
    question::{Form, Question as Asked, answered},
};

use super::{Advert, Question, Stall};
use crate::{
    clock::{Clock, MILLI, Time},
    cluster::Cluster,
    plan::NODES,
};

#[derive(Debug)]
pub struct Oracle {
    clock: Clock,
    targets: Vec<IpAddr>,
    ports: Vec<Sniffer>,
    stop: Arc<AtomicBool>,
    asking: JoinHandle<Result<Vec<Sent>>>,
}

/// Questions with their answers, for each target; adverts; what was late on its way.
type Heard = (Vec<Vec<Question>>, Vec<Advert>, Vec<Stall>);

/// A question as it was sent.
#[derive(Debug, Clone, Copy)]
struct Sent {
    target: usize,
    asker: IpAddr,
    at: Time,
}

impl Oracle {
    pub fn start(cluster: &Cluster) -> Result<Self> {
        let targets: Vec<_> = cluster.setup.families.iter().map(|family| family.vip()).collect();
        let ports = (0..NODES).map(|node| {
            let port = cluster.node(node).port();
            let wanted = |frame: &Frame| matches!(frame, Frame::Advert(_)) || answered(frame).is_some();
            Sniffer::start(cluster.lab.switch(), &port, move |seen| !seen.outgoing && wanted(&seen.frame))
        });
        let ports = ports.collect::<Result<_>>()?;
        let stop = Arc::new(AtomicBool::new(false));
        let ns = cluster.lab.node("oracle").ns();
        let socket = ns.run(|| PacketSocket::open("eth0", 0))??;
        let asking = std::thread::Builder::new().name("oracle".to_owned()).spawn({
            let (targets, stop, clock) = (targets.clone(), stop.clone(), cluster.clock);
            move || ask(&socket, &targets, clock, &stop)
        });
        let asking = asking.context("cannot start the oracle")?;
        Ok(Self { clock: cluster.clock, targets, ports, stop, asking })
    }

    /// Ends the questions.
    pub fn stop(self) -> Result<Heard> {
        self.stop.store(true, Ordering::Relaxed);
        let sent = self.asking.join().map_err(|_| anyhow::anyhow!("the oracle panicked"))??;
        // A last moment for answers.
        std::thread::sleep(Duration::from_millis(100));
        let mut questions = vec![Vec::new(); self.targets.len()];
        let mut by_asker: HashMap<_, Vec<_>> = HashMap::new();
        for Sent { target, asker, at } in sent {
            by_asker.entry((target, asker)).or_default().push(questions[target].len());
            questions[target].push(Question { sent: at, answered: at, owners: 0 });
        }
        let mut adverts = Vec::new();
        let mut late = Vec::new();
        for (node, port) in self.ports.iter().enumerate() {
            for seen in port.seen() {
                let at = self.clock.at(seen.at);
                if let Frame::Advert(advert) = &seen.frame {
                    let family = self.targets.iter().position(|t| t.is_ipv4() == advert.src.is_ipv4());
                    let family = family.unwrap_or_default();
                    adverts.push(Advert { at, node, family, priority: advert.priority });
                    continue;
                }
                let Some((target, asker)) = answered(&seen.frame) else { continue };
                let Some(target) = self.targets.iter().position(|&ours| ours == target) else { continue };
                let Some(asked) = by_asker.get(&(target, asker)) else { continue };
                // The stamps are of two clocks, which may differ by microseconds.
                let after = asked.partition_point(|&index| questions[target][index].sent <= at + MILLI);
                let Some(&index) = after.checked_sub(1).and_then(|last| asked.get(last)) else { continue };
                let question = &mut questions[target][index];
                question.owners |= 1 << node;
                question.answered = question.answered.max(at);
                if at.saturating_sub(question.sent) > LATE {
                    late.push(Stall { from: question.sent, to: at });
                }
            }
        }
        adverts.sort_by_key(|advert| advert.at);
        Ok((questions, adverts, late))
    }
}

fn ask(socket: &PacketSocket, targets: &[IpAddr], clock: Clock, stop: &AtomicBool) -> Result<Vec<Sent>> {
    let avoid = targets.iter().copied().collect();
    let mut sent = Vec::new();
    let mut next = clock.now();
    for id in 0.. {
        if stop.load(Ordering::Relaxed) || sent.len() >= MAX {
            break;
        }
        for (target, &address) in targets.iter().enumerate() {
            let question = Asked::new(Form::Resolve, socket.mac(), address, &avoid, id);
            let at = clock.now();
            // Full queues lose a question, which then has no answers.
            if socket.send(&question.frame).is_ok() {
                sent.push(Sent { target, asker: question.asker, at });
            }
        }
        // Starved for a while: on from here rather than in a burst.
        next = (next + PERIOD).max(clock.now());
        clock.sleep_until(next);
    }
    Ok(sent)
}

pub const PERIOD: Time = 5 * MILLI;
/// An answer takes microseconds; one that takes longer was kept waiting by the machine.
const LATE: Time = 4 * MILLI;
const MAX: usize = 1_000_000;
