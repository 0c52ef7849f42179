//! What the probes may use at once. Nothing waits here: a probe that finds no room says so, and is no failure.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::fault::ProbeFault;

/// Octets that are reserved at a time for an answer that a regular expression is matched against.
pub(crate) const ANSWER_UNIT: usize = 16 * 1024;

/// Counts of what is in use.
#[derive(Debug)]
pub(crate) struct ProbeLimits {
    sockets: Arc<Semaphore>,
    scripts: Arc<Semaphore>,
    answers: Arc<Semaphore>,
    most_sockets: usize,
    most_scripts: usize,
}

impl ProbeLimits {
    pub(crate) fn new(sockets: usize, scripts: usize, answer_octets: usize) -> Self {
        let [most_sockets, most_scripts] = [sockets, scripts].map(|most| most.min(Semaphore::MAX_PERMITS));
        Self {
            sockets: Arc::new(Semaphore::new(most_sockets)),
            scripts: Arc::new(Semaphore::new(most_scripts)),
            answers: Arc::new(Semaphore::new(answer_octets / ANSWER_UNIT)),
            most_sockets,
            most_scripts,
        }
    }

    /// Room for one socket; a run has one at a time.
    pub(crate) fn socket(&self) -> Result<OwnedSemaphorePermit, ProbeFault> {
        self.sockets.clone().try_acquire_owned().map_err(|_| {
            ProbeFault::not_sent(format!("all {} sockets for probes are in use", self.most_sockets))
        })
    }

    /// Room for one command.
    pub(crate) fn script(&self) -> Result<OwnedSemaphorePermit, ProbeFault> {
        self.scripts.clone().try_acquire_owned().map_err(|_| {
            ProbeFault::not_sent(format!("{} commands of MISC_CHECK run already", self.most_scripts))
        })
    }

    /// Sockets in use.
    pub(crate) fn sockets_in_use(&self) -> usize {
        self.most_sockets - self.sockets.available_permits()
    }
}

/// An answer that is kept to be matched, at most `most` octets of it.
#[derive(Debug)]
pub(crate) struct KeptAnswer<'a> {
    limits: &'a ProbeLimits,
    octets: Vec<u8>,
    most: usize,
    room: Vec<OwnedSemaphorePermit>,
}

impl<'a> KeptAnswer<'a> {
    pub(crate) const fn new(limits: &'a ProbeLimits, most: usize) -> Self {
        Self { limits, octets: Vec::new(), most, room: Vec::new() }
    }

    /// Adds what has come. An answer that gets too long is the target's fault, a lack of room is this host's.
    pub(crate) fn push(&mut self, octets: &[u8]) -> Result<(), ProbeFault> {
        let length = self.octets.len() + octets.len();
        if length > self.most {
            let most = self.most;
            return Err(ProbeFault::failed(format!(
                "the answer is longer than the {most} octets that a regular expression is matched against"
            )));
        }
        while self.room.len() * ANSWER_UNIT < length {
            let room = self.limits.answers.clone().try_acquire_owned();
            self.room
                .push(room.map_err(|_| ProbeFault::not_sent("no room for an answer: too many at once"))?);
        }
        self.octets.reserve_exact(self.room.len() * ANSWER_UNIT - self.octets.len());
        self.octets.extend_from_slice(octets);
        Ok(())
    }

    pub(crate) fn octets(&self) -> &[u8] {
        &self.octets
    }
}
