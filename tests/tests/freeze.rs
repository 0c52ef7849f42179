//! A master that is frozen and thawed (SIGSTOP, SIGCONT): a paused machine, a hung process, a debugger. Its XDP program
//! runs on meanwhile, which is the point.

#![allow(clippy::disallowed_methods, reason = "tests measure")]

mod support;

use std::{thread::sleep, time::Instant};

use anyhow::{Context, Result, ensure};
use support::*;
use vipd_tests::{
    Block,
    probe::{Sniffer, neighbour::Probe},
};

/// What was seen of a freeze and a thaw of lb01.
struct Thaw {
    pair: Pair,
    listener: Sniffer,
    /// Everything that reached lb01, and left it.
    cable: Sniffer,
    probes: Vec<Probe>,
    stopped: Instant,
    /// The last advert before the freeze.
    last: Instant,
    /// lb02's first advert.
    takeover: Instant,
    thawed: Instant,
    /// lb01's first advert after the thaw.
    back: Instant,
    end: Instant,
}

/// Freezes lb01 until lb02 has taken over and lb01's lease is over in any case; thaws it and waits until it is MASTER.
fn freeze_and_thaw(extra: &str, blocked: bool) -> Result<Option<Thaw>> {
    let Some(mut pair) = usual_pair(extra)? else { return Ok(None) };
    let (listener, prober) = (pair.bed.listener()?, pair.bed.prober()?);
    let cable = pair.bed.lab.sniff_port("lb01")?;
    if blocked {
        pair.bed.lab.block("lb02", "lb01", Block::Adverts)?;
    }
    // Just after an advert and its lease, which is in the middle of nothing.
    wait_renewal(&listener, LB01, Instant::now())?;
    let stopped = Instant::now();
    pair.lb01.sigstop()?;
    let takeover = wait_advert(&listener, LB02, stopped)?;
    let last = last_advert(&listener, LB01, takeover).context("lb01 never advertised")?;
    pair.bed.wait("lb02", "MASTER")?;
    sleep((last + LEASE + INTERVAL * 2).saturating_duration_since(Instant::now()));
    let thawed = Instant::now();
    pair.lb01.sigcont()?;
    let back = wait_advert(&listener, LB01, thawed)?;
    pair.bed.wait("lb01", "MASTER")?;
    pair.bed.wait("lb02", "BACKUP")?;
    sleep(INTERVAL * 4);
    let end = Instant::now();
    println!("takeover {:?} after the last advert; back {:?} after the thaw", takeover - last, back - thawed);
    let probes = prober.stop()?;
    Ok(Some(Thaw { pair, listener, cable, probes, stopped, last, takeover, thawed, back, end }))
}

impl Thaw {
    /// I1: the thawed node goes through BACKUP, silent, for as long as any backup does.
    fn check_steps_down(&self) -> Result<()> {
        // Exact: its timer cannot have started before the thaw.
        let silent = self.back - self.thawed;
        ensure!(
            silent >= master_down(HIGH),
            "it advertised {silent:?} after the thaw, as if it were still MASTER"
        );
        let announced = self.cable.arps().into_iter().find(|(seen, arp)| {
            !seen.outgoing
                && arp.is_gratuitous()
                && seen.at > self.stopped
                && seen.at + MESSAGE_DELAY < self.back
        });
        ensure!(announced.is_none(), "it announced itself while it was no MASTER: {announced:?}");
        let mac = self.pair.bed.lb01().mac();
        let spoke = answered_by(&self.probes, mac, self.thawed, self.back - MESSAGE_DELAY);
        ensure!(spoke == 0, "it answered {spoke} questions after the thaw, before its own takeover");
        let log = self.pair.lb01.log();
        let (_, after) = log.split_once("to=MASTER").context("no transition to MASTER in lb01's log")?;
        ensure!(after.contains("to=BACKUP"), "lb01's log has no step down:\n{log}");
        Ok(())
    }

    /// I2, in the span after lb02's takeover.
    fn check_served(&self) -> Result<()> {
        check_answered("taken over", &self.probes, self.takeover + MESSAGE_DELAY, self.back - MESSAGE_DELAY)?;
        check_answered("back", &self.probes, self.back + MESSAGE_DELAY, self.end)
    }

    /// I2: the frozen node's XDP answers on.
    fn check_no_gap(&self) -> Result<()> {
        let renewed = last_renewal(&self.listener, LB01, self.stopped).context("no lease was renewed")?;
        let lease = renewed + LEASE - MESSAGE_DELAY;
        check_answered("frozen", &self.probes, self.stopped, self.takeover.min(lease))
    }
}

/// I1: XDP takes the lease back with the successor's first advert, while the daemon is frozen.
#[test]
fn a_frozen_master_is_silenced_by_the_successors_first_advert() -> Result<()> {
    let Some(thaw) = freeze_and_thaw("", false)? else { return Ok(()) };
    let heard = first_advert(&thaw.cable, LB02, thaw.stopped).context("the advert has not reached lb01")?;
    let late = answered_by(&thaw.probes, thaw.pair.bed.lb01().mac(), heard + MESSAGE_DELAY, thaw.thawed);
    ensure!(late == 0, "frozen lb01 answered {late} questions after the successor's advert had reached it");
    check_single_owner(&thaw.probes, &thaw.listener)?;
    thaw.check_no_gap()?;
    thaw.check_steps_down()?;
    thaw.check_served()?;
    // On a busy machine the successor may come when the lease has ended by itself.
    let renewed = last_renewal(&thaw.listener, LB01, thaw.stopped).context("no lease was renewed")?;
    if heard > renewed + LEASE - MESSAGE_DELAY {
        return Ok(());
    }
    let status = thaw.pair.bed.status("lb01")?;
    ensure!(
        status["leases_revoked"].as_u64().is_some_and(|n| n >= 1),
        "nothing was revoked by XDP: {status}"
    );
    Ok(())
}

/// I1: a frozen master that no advert reaches stops by itself, less than one interval after the takeover.
#[test]
fn a_frozen_master_that_hears_nothing_overlaps_for_less_than_an_interval() -> Result<()> {
    let Some(thaw) = freeze_and_thaw("", true)? else { return Ok(()) };
    let overlap = overlap(&thaw.probes, thaw.stopped, thaw.thawed);
    println!("two owners for {overlap:?}, skew time leaves {:?}", LEASE - master_down(LOW));
    // lb02 waits longer than three intervals and the lease is four; a busy machine makes this shorter, not longer.
    ensure!(overlap < INTERVAL, "two owners for {overlap:?}");
    let late =
        answered_by(&thaw.probes, thaw.pair.bed.lb01().mac(), thaw.last + LEASE + MESSAGE_DELAY, thaw.thawed);
    ensure!(late == 0, "lb01 answered {late} questions after its lease");
    thaw.check_no_gap()?;
    thaw.check_steps_down()?;
    thaw.check_served()?;
    // Nothing kept lb01's adverts from lb02: then there is one owner.
    let after: Vec<_> = thaw.probes.iter().filter(|p| p.sent > thaw.thawed).cloned().collect();
    check_single_owner(&after, &thaw.listener)
}

/// I1 with `lease strict`: silence comes before any takeover, whoever hears whom.
#[test]
fn a_strict_lease_never_overlaps() -> Result<()> {
    let Some(thaw) = freeze_and_thaw("lease strict", true)? else { return Ok(()) };
    let both = answered_twice(&thaw.probes, thaw.probes[0].sent, thaw.back - MESSAGE_DELAY).len();
    ensure!(both == 0, "{both} questions had two answers");
    let lb01 = thaw.pair.bed.lb01().mac();
    let answering = answered_by(&thaw.probes, lb01, thaw.stopped, thaw.last + INTERVAL * 3);
    ensure!(answering > 0, "lb01 fell silent with its daemon: the lease was not tested");
    let late = answered_by(&thaw.probes, lb01, thaw.last + INTERVAL * 3 + MESSAGE_DELAY, thaw.thawed);
    ensure!(late == 0, "lb01 answered {late} questions after its lease");
    let status = thaw.pair.bed.status("lb01")?;
    ensure!(status["lease"] == "strict", "{status}");
    thaw.check_steps_down()?;
    thaw.check_served()
}

/// I1, I3: a freeze shorter than the lease and the backup's patience changes nothing.
#[test]
fn a_short_freeze_changes_nothing() -> Result<()> {
    let Some(mut pair) = usual_pair("")? else { return Ok(()) };
    let (listener, prober) = (pair.bed.listener()?, pair.bed.prober()?);
    let begin = wait_advert(&listener, LB01, Instant::now())?;
    let terms = pair.bed.status("lb01")?["became_master"].clone();
    pair.lb01.sigstop()?;
    sleep(INTERVAL);
    pair.lb01.sigcont()?;
    let thawed = Instant::now();
    wait_advert(&listener, LB01, thawed)?;
    sleep(INTERVAL * 4);
    let end = Instant::now();
    let probes = prober.stop()?;
    if thawed - begin > INTERVAL * 2 {
        println!("the machine made the freeze last {:?}: nothing to be learned", thawed - begin);
        return check_single_owner(&probes, &listener);
    }
    ensure!(pair.bed.status("lb01")?["became_master"] == terms, "mastership changed");
    ensure!(first_advert(&listener, LB02, begin).is_none(), "lb02 took over");
    check_answered("all the time", &probes, begin, end - MESSAGE_DELAY)?;
    check_single_owner(&probes, &listener)
}
