//! The wanted probes, their users and their verdicts.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use crate::model::{ProbeId, ProbeOutcome, ProbeSpec};

/// The verdict of a probe. A failure that all users forgive is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownVerdict {
    /// Which probe.
    pub probe: ProbeSpec,
    /// The outcome that made the verdict.
    pub outcome: ProbeOutcome,
}

/// A probe that is to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProbeNeed<'a> {
    /// Which, over reloads too.
    pub id: ProbeId,
    /// Its content.
    pub spec: &'a ProbeSpec,
    /// The smallest `delay_loop` of its users.
    pub period: Duration,
    /// The smallest `warmup` of its users.
    pub warmup: Duration,
}

/// The pause after a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProbePause {
    /// `delay_loop`.
    Loop(Duration),
    /// `delay_before_retry`: a failure was forgiven.
    Retry(Duration),
}

impl ProbePause {
    /// Its length.
    pub const fn length(self) -> Duration {
        match self {
            Self::Loop(length) | Self::Retry(length) => length,
        }
    }
}

/// A check that uses a probe, by position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ProbeUser {
    pub(super) service: usize,
    pub(super) target: usize,
    pub(super) check: usize,
}

#[derive(Debug)]
pub(super) struct LiveProbe {
    pub(super) spec: Arc<ProbeSpec>,
    pub(super) known: Option<KnownVerdict>,
    pub(super) users: Vec<ProbeUser>,
}

/// All probes. An id is never given twice.
#[derive(Debug, Default)]
pub(super) struct ProbeSet {
    ids: HashMap<Arc<ProbeSpec>, ProbeId>,
    live: BTreeMap<ProbeId, LiveProbe>,
    next: u64,
    /// Of an earlier vipd, until the first configuration.
    inherited: HashMap<ProbeSpec, KnownVerdict>,
}

impl ProbeSet {
    pub(super) fn new(known: impl IntoIterator<Item = KnownVerdict>) -> Self {
        let inherited = known.into_iter().map(|known| (known.probe.clone(), known)).collect();
        Self { inherited, ..Self::default() }
    }

    pub(super) fn get(&self, id: ProbeId) -> Option<&LiveProbe> {
        self.live.get(&id)
    }

    pub(super) fn get_mut(&mut self, id: ProbeId) -> Option<&mut LiveProbe> {
        self.live.get_mut(&id)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (ProbeId, &LiveProbe)> {
        self.live.iter().map(|(&id, probe)| (id, probe))
    }

    /// The probe of `spec`, a new one if there is none.
    pub(super) fn intern(&mut self, spec: &ProbeSpec) -> ProbeId {
        if let Some(&id) = self.ids.get(spec) {
            return id;
        }
        let (id, spec) = (ProbeId(self.next), Arc::new(spec.clone()));
        self.next += 1;
        let known = self.inherited.remove(&*spec);
        self.ids.insert(spec.clone(), id);
        self.live.insert(id, LiveProbe { spec, known, users: Vec::new() });
        id
    }

    /// Forgets all users, for those of a new configuration.
    pub(super) fn clear_users(&mut self) {
        self.live.values_mut().for_each(|probe| probe.users.clear());
    }

    /// Forgets the probes without users, and their verdicts.
    pub(super) fn drop_unused(&mut self) {
        self.inherited.clear();
        let ids = &mut self.ids;
        self.live.retain(|_, probe| {
            let used = !probe.users.is_empty();
            if !used {
                ids.remove(&probe.spec);
            }
            used
        });
    }
}
