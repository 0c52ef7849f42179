//! What becomes of statements that vipd has no engine for yet.

use std::collections::BTreeSet;

use crate::schema::{
    keyword::{BALANCES, Engine, Keyword, Support},
    table::{ALL, closest, rows},
};

/// What becomes of a statement that vipd has no engine for yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unsupported {
    /// An error.
    Refused,
    /// A warning.
    Ignored,
    /// A warning for these keywords, an error for the others.
    Only(BTreeSet<String>),
}

impl Unsupported {
    /// The keywords that may be named.
    pub fn keywords() -> BTreeSet<&'static str> {
        let missing = |keyword: &&Keyword| {
            let Support::Grammar { engine, .. } = keyword.status else { return false };
            matches!(engine.in_force(BALANCES), Engine::Missing(_))
        };
        let missing = ALL.iter().flat_map(|block| rows(*block)).filter(missing).map(|keyword| keyword.means);
        missing.chain(OF_THE_KERNEL).collect()
    }

    /// That one of these keywords may be ignored; of none: that every keyword may.
    ///
    /// # Errors
    ///
    /// A word that is no such keyword, and what to write instead.
    pub fn named<'n>(names: impl IntoIterator<Item = &'n str>) -> Result<Self, String> {
        let (known, mut only) = (Self::keywords(), BTreeSet::new());
        for name in names {
            if !known.contains(name) {
                let hint = match closest(known.iter().copied(), name, |known| known) {
                    Some(meant) => format!("did you mean `{meant}`?"),
                    None => format!("it is one of {}", known.iter().copied().collect::<Vec<_>>().join(", ")),
                };
                return Err(format!("`{name}` is no unsupported keyword; {hint}"));
            }
            only.insert(name.to_owned());
        }
        Ok(if only.is_empty() { Self::Ignored } else { Self::Only(only) })
    }

    /// Whether a keyword without an engine is ignored.
    pub fn allows(&self, keyword: &Keyword) -> bool {
        self.allows_word(keyword.means)
    }

    /// The same of a word: one that this kernel has no engine for.
    pub fn allows_word(&self, keyword: &str) -> bool {
        match self {
            Self::Refused => false,
            Self::Ignored => true,
            Self::Only(names) => names.contains(keyword),
        }
    }
}

/// Served if the kernel has what it takes: IPVS.
const OF_THE_KERNEL: [&str; 1] = ["virtual_server"];
