//! A client that watches a takeover: it asks for VIPs by ARP and by ICMP echo, straight from the node that is to take over, and
//! hears the adverts.

use std::{
    net::Ipv4Addr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use anyhow::{Result, anyhow};
use vipd_tests::{
    Mac, Node,
    probe::{
        capture::{Frame, parse},
        packet::PacketSocket,
        question::arp_request,
    },
};

use crate::{
    filter,
    frames::{echo_reply, echo_request},
};

const ARP_REPLY: [u8; 2] = [0, 2];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    Arp,
    Echo,
}

/// What is watched.
#[derive(Clone, Copy, Debug)]
pub struct Watch {
    /// Of the client.
    pub client: Ipv4Addr,
    /// Of the node that is to take over.
    pub station: Mac,
    /// The node's own address: asked for too, so that the node always knows the client's station.
    pub own: Ipv4Addr,
    /// The first VIP and the last.
    pub sample: [Ipv4Addr; 2],
    /// How often each VIP is asked for: what the figures are good to.
    pub round: Duration,
}

#[derive(Debug, Default)]
struct Record {
    answers: Vec<(Instant, Answer, Ipv4Addr)>,
    adverts: Vec<(Instant, Ipv4Addr)>,
}

/// A running watch; dropping it stops it.
#[derive(Debug)]
pub struct Witness {
    watch: Watch,
    record: Arc<Mutex<Record>>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Result<Result<()>>>>,
}

impl Witness {
    pub fn start(client: &Node, watch: Watch) -> Result<Self> {
        let mut witness = Self { watch, record: Arc::default(), stop: Arc::default(), threads: Vec::new() };
        let (asking, hearing) = client.ns().run(|| -> Result<_> {
            let asking = PacketSocket::open("eth0", libc::ETH_P_ALL as u16)?;
            // Announcements by the thousand would keep it from asking.
            asking.attach_filter(&mut filter::only_to(asking.mac()))?;
            let hearing = PacketSocket::open("eth0", libc::ETH_P_ALL as u16)?;
            hearing.attach_filter(&mut filter::adverts_but_of(None))?;
            Ok((asking, hearing))
        })??;
        let (record, stop) = (Arc::clone(&witness.record), Arc::clone(&witness.stop));
        witness.threads.push(client.ns().spawn("witness", move || ask(&asking, watch, &record, &stop))?);
        let (record, stop) = (Arc::clone(&witness.record), Arc::clone(&witness.stop));
        witness.threads.push(client.ns().spawn("adverts", move || hear(&hearing, &record, &stop))?);
        Ok(witness)
    }

    /// The last advert of a node, and the first of another one after it.
    pub fn handover(&self, old: Ipv4Addr, new: Ipv4Addr) -> Option<(Instant, Instant)> {
        let record = self.record.lock().unwrap_or_else(PoisonError::into_inner);
        let last = record.adverts.iter().rfind(|(_, from)| *from == old)?.0;
        let first = record.adverts.iter().find(|(at, from)| *from == new && *at > last)?.0;
        Some((last, first))
    }

    /// When the last of the sample was first answered for so, after `from`; `None` as long as one was not.
    pub fn all_answered(&self, how: Answer, from: Instant) -> Option<Instant> {
        let record = self.record.lock().unwrap_or_else(PoisonError::into_inner);
        all_answered(&record.answers, &self.watch.sample, how, from)
    }

    /// Whether it still asks and hears.
    pub fn check(&self) -> Result<()> {
        match self.threads.iter().any(JoinHandle::is_finished) {
            true => Err(anyhow!("the client stopped asking")),
            false => Ok(()),
        }
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn all_answered(
    answers: &[(Instant, Answer, Ipv4Addr)],
    sample: &[Ipv4Addr],
    how: Answer,
    from: Instant,
) -> Option<Instant> {
    let first = |vip: &Ipv4Addr| {
        let of =
            |(at, kind, address): &&(Instant, Answer, Ipv4Addr)| *kind == how && address == vip && *at > from;
        answers.iter().find(of).map(|(at, ..)| *at)
    };
    sample.iter().map(first).collect::<Option<Vec<_>>>()?.into_iter().max()
}

fn ask(socket: &PacketSocket, watch: Watch, record: &Mutex<Record>, stop: &AtomicBool) -> Result<()> {
    let me = socket.mac();
    let echo = |target| echo_request(me, watch.client, watch.station, target);
    let arp = |target| arp_request(me, watch.client, target);
    let [first, last] = watch.sample;
    let questions = [arp(first), arp(last), echo(first), echo(last), echo(watch.own)];
    while !stop.load(Ordering::Relaxed) {
        let next = Instant::now() + watch.round;
        socket.send_all(&questions)?;
        while let Some(frame) = socket.receive(next.saturating_duration_since(Instant::now()))? {
            if let Some((how, vip)) = answer(&frame.bytes, watch.station) {
                record.lock().unwrap_or_else(PoisonError::into_inner).answers.push((frame.at, how, vip));
            }
        }
    }
    Ok(())
}

/// What the station answers, and for which address.
fn answer(frame: &[u8], station: Mac) -> Option<(Answer, Ipv4Addr)> {
    if let Some(from) = echo_reply(frame, station) {
        return Some((Answer::Echo, from));
    }
    let arp = frame.get(..42)?;
    let is_answer = arp[12..14] == [8, 6] && arp[20..22] == ARP_REPLY && arp[22..28] == station.0;
    is_answer.then(|| (Answer::Arp, Ipv4Addr::new(arp[28], arp[29], arp[30], arp[31])))
}

fn hear(socket: &PacketSocket, record: &Mutex<Record>, stop: &AtomicBool) -> Result<()> {
    while !stop.load(Ordering::Relaxed) {
        let Some(frame) = socket.receive(Duration::from_millis(50))? else { continue };
        if let Some(Frame::Advert(advert)) = parse(&frame.bytes)
            && let std::net::IpAddr::V4(from) = advert.src
        {
            record.lock().unwrap_or_else(PoisonError::into_inner).adverts.push((frame.at, from));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 1);
    const TWO: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 2);

    #[test]
    fn the_last_of_the_sample_counts_and_answers_of_another_kind_do_not() {
        let begin = Instant::now();
        let at = |ms| begin + Duration::from_millis(ms);
        let mut answers =
            vec![(at(1), Answer::Echo, TWO), (at(5), Answer::Echo, ONE), (at(6), Answer::Arp, TWO)];
        // What was answered before is the old master's.
        assert_eq!(all_answered(&answers, &[ONE, TWO], Answer::Echo, at(2)), None);
        answers.push((at(9), Answer::Echo, TWO));
        assert_eq!(all_answered(&answers, &[ONE, TWO], Answer::Echo, at(2)), Some(at(9)));
        assert_eq!(all_answered(&answers, &[ONE, TWO], Answer::Arp, at(2)), None);
        assert_eq!(all_answered(&answers, &[ONE, ONE], Answer::Echo, at(2)), Some(at(5)));
    }

    #[test]
    fn an_answer_is_of_the_station_and_names_the_vip() {
        let station = Mac([2, 0, 0, 0, 0, 6]);
        let mut reply = arp_request(station, ONE, TWO);
        assert_eq!(answer(&reply, station), None, "a question");
        reply[21] = 2;
        assert_eq!(answer(&reply, station), Some((Answer::Arp, ONE)));
        assert_eq!(answer(&reply, Mac([2, 0, 0, 0, 0, 5])), None, "of another station");
        assert_eq!(answer(&reply[..40], station), None);
    }
}
