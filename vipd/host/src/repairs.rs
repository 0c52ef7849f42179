//! What was missing in the host and has been put back.

use std::{collections::BTreeSet, fmt, mem};

/// What a step found missing and made, in the order in which it was made.
///
/// The first time all of it is new; asked again for the same, it is what somebody else has removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Repairs {
    made: Vec<Repair>,
    /// What the kernel has refused: it has not been there, and is no repair when it is made.
    refused: BTreeSet<String>,
}

/// One thing that was missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repair {
    kind: &'static str,
    name: String,
}

impl Repair {
    /// One of [`Repairs::KINDS`].
    pub fn kind(&self) -> &'static str {
        self.kind
    }
}

impl fmt::Display for Repair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl Repairs {
    /// Every kind.
    pub const KINDS: [&str; 10] =
        ["address", "file", "filter", "membership", "offload", "pin", "program", "route", "rule", "sysctl"];

    /// Takes note of something that was missing and is there now.
    pub fn note(&mut self, kind: &'static str, name: String) {
        if !self.refused.remove(&name) {
            self.made.push(Repair { kind, name });
        }
    }

    /// As [`Self::note`], for several.
    pub fn note_all(&mut self, kind: &'static str, names: impl IntoIterator<Item = String>) {
        names.into_iter().for_each(|name| self.note(kind, name));
    }

    /// Takes note of something that was missing, and that the kernel refuses.
    pub fn note_refused(&mut self, name: String) {
        self.refused.insert(name);
    }

    /// What was noted, which is forgotten; what was refused is remembered.
    pub fn take(&mut self) -> Self {
        Self { made: mem::take(&mut self.made), refused: BTreeSet::new() }
    }

    /// Adds those of another step.
    pub fn append(&mut self, mut later: Self) {
        self.made.append(&mut later.made);
    }

    /// Whether nothing was missing.
    pub fn is_empty(&self) -> bool {
        self.made.is_empty()
    }

    /// What was missing.
    pub fn iter(&self) -> impl Iterator<Item = &Repair> {
        self.made.iter()
    }
}
