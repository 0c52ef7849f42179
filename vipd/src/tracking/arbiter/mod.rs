//! One `arbiter`: asks all of its targets at once, at its interval; enough of them must answer.

mod ask;
mod echo;

use futures_util::{StreamExt, future::join_all, stream::FuturesUnordered};
use tokio::time::{Duration, Instant, sleep_until};

use super::{NewsContent, counter::Counter, result::Health};
use crate::resources::PATIENCE;

use ask::ask;
use vipd_config::{Arbiter, Target};

pub use ask::{NoAnswer, socket_address};
pub use echo::{Echo, raw_socket};

/// State of one target.
#[derive(Clone, Debug)]
pub struct TargetState {
    pub target: Target,
    /// Round-trip time of the last answer, or why there was none; `None` before the first request.
    pub last: Option<Result<Duration, NoAnswer>>,
    pub answered_at: Option<Instant>,
    pub asked: u64,
    pub answered: u64,
}

impl TargetState {
    fn new(target: Target) -> Self {
        Self { target, last: None, answered_at: None, asked: 0, answered: 0 }
    }

    /// Whether it counts as answering. A target that could not be asked keeps its result for a while.
    fn counts(&self, answer: &Result<Duration, NoAnswer>) -> bool {
        match answer {
            Ok(_) => true,
            Err(NoAnswer::NotAsked(_)) => self.answered_at.is_some_and(|at| at.elapsed() < PATIENCE),
            Err(_) => false,
        }
    }

    fn take(&mut self, arbiter: &str, answer: Result<Duration, NoAnswer>) {
        self.asked += 1;
        if answer.is_ok() {
            self.answered += 1;
            self.answered_at = Some(Instant::now());
        }
        let before = self.last.as_ref().map(Result::is_ok);
        if before != Some(answer.is_ok()) {
            match &answer {
                Ok(_) => tracing::info!(arbiter, asked = %self.target, "answers"),
                Err(silence) => tracing::info!(arbiter, asked = %self.target, %silence, "does not answer"),
            }
        }
        self.last = Some(answer);
    }
}

/// The answers of one round. The result is known as soon as the rest cannot change it.
#[derive(Clone, Copy, Debug)]
struct Round {
    quorum: usize,
    outstanding: usize,
    answered: usize,
    decided: bool,
}

impl Round {
    fn new(arbiter: &Arbiter) -> Self {
        Self { quorum: arbiter.quorum, outstanding: arbiter.targets.len(), answered: 0, decided: false }
    }

    /// Records one answer; returns the result of the round, once.
    fn take(&mut self, answered: bool) -> Option<bool> {
        self.outstanding -= 1;
        self.answered += usize::from(answered);
        let reached = self.answered >= self.quorum;
        let lost = self.answered + self.outstanding < self.quorum;
        if self.decided || !(reached || lost) {
            return None;
        }
        self.decided = true;
        Some(reached)
    }
}

/// Asks for ever, and starts in `health`.
pub async fn watch(arbiter: Arbiter, health: Health, tell: impl Fn(NewsContent)) {
    let mut counter = Counter::of_arbiter(&arbiter, health);
    let mut states: Vec<TargetState> = arbiter.targets.iter().cloned().map(TargetState::new).collect();
    let mut next = Instant::now();
    loop {
        sleep_until(next).await;
        let questions = arbiter.targets.iter().enumerate();
        let mut questions: FuturesUnordered<_> =
            questions.map(|(i, target)| async move { (i, ask(target, arbiter.timeout).await) }).collect();
        let mut round = Round::new(&arbiter);
        while let Some((i, answer)) = questions.next().await {
            let result = round.take(states[i].counts(&answer));
            states[i].take(&arbiter.name, answer);
            if let Some(health) = result.and_then(|reached| counter.take(reached)) {
                report(&arbiter, &round, health);
                tell(NewsContent::Health(health));
            }
        }
        tell(NewsContent::Targets(states.clone()));
        // After a standstill one round is enough.
        next = (next + arbiter.interval).max(Instant::now());
    }
}

/// Asks all targets once; returns whether enough have answered, and the state of each.
pub async fn once(arbiter: &Arbiter) -> (Health, Vec<TargetState>) {
    let questions = arbiter.targets.iter().map(|target| async move {
        let mut state = TargetState::new(target.clone());
        state.take(&arbiter.name, ask(target, arbiter.timeout).await);
        state
    });
    let states = join_all(questions).await;
    let answered = states.iter().filter(|state| state.answered > 0).count();
    (if answered >= arbiter.quorum { Health::Well } else { Health::Unwell }, states)
}

fn report(arbiter: &Arbiter, round: &Round, health: Health) {
    let Arbiter { name, targets, quorum, .. } = arbiter;
    let (targets, answered) = (targets.len(), round.answered);
    let silent = targets - round.outstanding - answered;
    if health == Health::Well {
        tracing::info!(
            target: "vipd::event",
            event = "arbiter_reached",
            arbiter = name,
            answered,
            silent,
            targets,
            quorum,
            "the arbiter is reached"
        );
    } else {
        tracing::warn!(
            target: "vipd::event",
            event = "arbiter_isolated",
            arbiter = name,
            answered,
            silent,
            targets,
            quorum,
            "the arbiter is not reached: this node is isolated"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A host without descriptors knows nothing of its targets, for a while.
    #[test]
    fn a_target_that_cannot_be_asked_counts_as_it_was() {
        let target = Target { address: [10, 0, 0, 1].into(), zone: None, port: None };
        let short = || std::io::Error::from_raw_os_error(24);
        let mut state = TargetState::new(target);
        assert!(!state.counts(&Err(short().into())), "it was never reached");
        state.take("test", Ok(Duration::from_millis(1)));
        assert!(state.counts(&Err(short().into())));
        assert!(!state.counts(&Err(NoAnswer::Late)));
        state.answered_at = Instant::now().checked_sub(PATIENCE);
        assert!(!state.counts(&Err(short().into())), "for so long it was not reached");
    }

    /// `+` and `-` are answers as they come; `R` and `L` where the round is known to be reached or lost.
    #[test]
    fn a_round_is_decided_as_soon_as_it_can_be() {
        for (quorum, answers, decided) in [
            (1, "+", "R"),
            (1, "-", "L"),
            (2, "++", ".R"),
            (2, "-+", "L."),
            (2, "+-", ".L"),
            (2, "+-+", "..R"),
            (2, "++-", ".R."),
            (2, "--+", ".L."),
            (1, "--+", "..R"),
            (1, "---", "..L"),
            (3, "+-+", ".L."),
            (3, "++-+-", "...R."),
        ] {
            let mut round = Round { quorum, outstanding: answers.len(), answered: 0, decided: false };
            let take = |c| match round.take(c == '+') {
                Some(true) => 'R',
                Some(false) => 'L',
                None => '.',
            };
            assert_eq!(answers.chars().map(take).collect::<String>(), decided, "{quorum} of {answers}");
        }
    }
}
