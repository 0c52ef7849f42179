//! What was missing in the host and has been put back.

use std::fmt;

/// What a step found missing and made, in the order in which it was made.
///
/// The first time all of it is new; asked again for the same, it is what somebody else has removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Repairs(Vec<Repair>);

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
        self.0.push(Repair { kind, name });
    }

    /// As [`Self::note`], for several.
    pub fn note_all(&mut self, kind: &'static str, names: impl IntoIterator<Item = String>) {
        self.0.extend(names.into_iter().map(|name| Repair { kind, name }));
    }

    /// Adds those of another step.
    pub fn append(&mut self, mut later: Self) {
        self.0.append(&mut later.0);
    }

    /// Whether nothing was missing.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What was missing.
    pub fn iter(&self) -> impl Iterator<Item = &Repair> {
        self.0.iter()
    }
}
