//! Programs of others that a frame meets before vipd's: whether they leave it anything.
//!
//! At tc ingress vipd attaches itself before them again, [`MOVES`] times; who comes back each time wants the first place more than vipd
//! does. An XDP program comes before tc in any case. What such a program does is not known: it may count frames, or take some away, so it
//! is named in the status and by doctor. If the interface receives, and no frame reaches vipd, nobody can count on the VIPs there: their
//! instances are in FAULT.

use std::{collections::BTreeMap, time::Duration};

use tokio::time::Instant;

use super::messages::AttachmentModes;
use crate::{
    dataplane::{Dataplane, Mode, OtherProgram},
    host::{Arrivals, Host},
    interface_names::name_of,
};

/// How often vipd takes the first place again from others on one interface, before they have it for [`FORGOTTEN`].
const MOVES: u32 = 3;
const FORGOTTEN: Duration = Duration::from_secs(600);
/// So long, and while so many frames were received, no frame has to have come for an interface to be a blind one.
const BLIND: Duration = Duration::from_secs(3);
const RECEIVED: u64 = 20;

/// The interfaces where others come first.
#[derive(Debug, Default)]
pub struct OthersBefore(BTreeMap<u32, Preceded>);

/// An interface where others come first, or came.
#[derive(Debug, Default)]
struct Preceded {
    interface: String,
    others: Vec<OtherProgram>,
    moves: u32,
    moved_at: Option<Instant>,
    flow: Flow,
}

/// Whether frames that an interface receives reach vipd.
#[derive(Debug, Default)]
struct Flow {
    /// When a frame had come last, the frames received by then, and those that had come.
    since: Option<(Instant, u64, u64)>,
    is_blind: bool,
}

/// What a look has come to.
#[derive(Debug, Default)]
pub struct Precedence {
    /// Interfaces where vipd has taken the first place again, and from whom.
    pub moved: Vec<(String, String)>,
    /// Interfaces where others come first, and who.
    pub preceded: BTreeMap<String, String>,
    /// Interfaces that receive frames of which none reaches vipd, by their index, and why.
    pub blind: BTreeMap<u32, String>,
}

impl OthersBefore {
    /// Looks at every interface where vipd is at tc ingress.
    pub async fn look(
        &mut self,
        modes: &AttachmentModes,
        dataplane: &mut Dataplane,
        host: &Host,
        now: Instant,
    ) -> Precedence {
        let mut found = Precedence::default();
        self.0.retain(|ifindex, _| modes.get(ifindex).is_some_and(|attachment| attachment.mode == Mode::Tc));
        for (&ifindex, _) in modes.iter().filter(|(_, attachment)| attachment.mode == Mode::Tc) {
            // With an interface all this is gone.
            let Ok(arrivals) = host.arrivals(ifindex).await else { continue };
            let below = below(&arrivals, dataplane, host).await;
            let preceded = self.0.entry(ifindex).or_default();
            if let Err(error) = preceded.look(ifindex, below, &arrivals, dataplane, &mut found, now) {
                let error = format!("{error:#}");
                tracing::debug!(ifindex, error, "what comes before the program cannot be looked at");
            }
        }
        found
    }
}

/// Programs that come before any at tc ingress of the interface.
async fn below(arrivals: &Arrivals, dataplane: &Dataplane, host: &Host) -> Vec<OtherProgram> {
    let mut others = Vec::new();
    if let Some(parent) = arrivals.parent {
        // A parent may be an interface of vipd's too.
        if let Ok(Arrivals { xdp: Some(xdp), .. }) = host.arrivals(parent).await {
            others.extend(dataplane.other_xdp(xdp.program_id));
        }
        others.extend(dataplane.others_at(parent).unwrap_or_default());
    }
    others.extend(arrivals.xdp.and_then(|xdp| dataplane.other_xdp(xdp.program_id)));
    others
}

impl Preceded {
    fn look(
        &mut self,
        ifindex: u32,
        below: Vec<OtherProgram>,
        arrivals: &Arrivals,
        dataplane: &mut Dataplane,
        found: &mut Precedence,
        now: Instant,
    ) -> anyhow::Result<()> {
        let mut beside = dataplane.others_before(ifindex)?;
        if beside.is_empty() && below.is_empty() {
            self.others.clear();
            self.flow = Flow::default();
            dataplane.stop_counting(ifindex);
            return Ok(());
        }
        self.interface = name_of(ifindex)?.unwrap_or_default();
        if !beside.is_empty() && self.may_move(now) {
            let from = named(&beside);
            (self.moves, self.moved_at) = (self.moves + 1, Some(now));
            dataplane.move_to_front(&self.interface, ifindex)?;
            beside = dataplane.others_before(ifindex)?;
            if beside.is_empty() {
                found.moved.push((self.interface.clone(), from));
            }
        }
        self.others = below.into_iter().chain(beside).collect();
        if self.others.is_empty() {
            return Ok(());
        }
        let others = named(&self.others);
        if let Some(come) = dataplane.count_arrivals(ifindex)? {
            self.flow.follow(arrivals.received, come, now);
        }
        if self.flow.is_blind {
            let interface = &self.interface;
            let why = format!(
                "{interface} receives frames, and none reaches vipd's program: before it comes {others}; detach that \
                 (`bpftool net show dev {interface}`)"
            );
            found.blind.insert(ifindex, why);
        }
        found.preceded.insert(self.interface.clone(), others);
        Ok(())
    }

    fn may_move(&mut self, now: Instant) -> bool {
        if self.moved_at.is_none_or(|at| now.saturating_duration_since(at) >= FORGOTTEN) {
            self.moves = 0;
        }
        self.moves < MOVES
    }
}

impl Flow {
    /// `received`: by the interface; `come`: to vipd. A count that begins anew is less than the one before.
    fn follow(&mut self, received: u64, come: u64, now: Instant) {
        match self.since {
            Some((at, before, had_come)) if come == had_come => {
                let waited = now.saturating_duration_since(at);
                self.is_blind = waited >= BLIND && received.saturating_sub(before) >= RECEIVED;
            }
            _ => (self.since, self.is_blind) = (Some((now, received, come)), false),
        }
    }
}

fn named(others: &[OtherProgram]) -> String {
    others.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_interface_is_blind_that_receives_what_does_not_come() {
        let (mut flow, began) = (Flow::default(), Instant::now());
        let mut at = |s, received, come| {
            flow.follow(received, come, began + Duration::from_secs(s));
            flow.is_blind
        };
        assert!(!at(0, 1_000, 0));
        assert!(!at(1, 1_100, 0), "too soon");
        assert!(at(3, 1_100, 0));
        assert!(!at(4, 1_200, 1), "one has come");
        assert!(!at(20, 1_219, 1), "a quiet wire");
        assert!(at(21, 1_220, 1));
        assert!(!at(22, 1_300, 0), "it counts anew");
    }

    #[tokio::test]
    async fn who_comes_back_each_time_has_the_first_place() {
        let (mut preceded, began) = (Preceded::default(), Instant::now());
        let mut moves = |s| {
            let now = began + Duration::from_secs(s);
            let may = preceded.may_move(now);
            if may {
                (preceded.moves, preceded.moved_at) = (preceded.moves + 1, Some(now));
            }
            may
        };
        let seen: Vec<bool> = [0, 1, 2, 3, 500, 602, 603].into_iter().map(&mut moves).collect();
        assert_eq!(seen, [true, true, true, false, false, true, true]);
    }
}
