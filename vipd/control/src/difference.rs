//! What a reload changes, as it goes over the control socket.

use std::fmt;

use serde::{Deserialize, Serialize};

/// All that a reload changes, or would change.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Differences {
    /// In a line: how many instances change, come and go.
    pub what: String,
    #[serde(default)]
    pub changes: Vec<Difference>,
    /// What is strange in the configuration, a line each: `check` tells the same.
    #[serde(default)]
    pub warnings: Vec<String>,
}

/// One change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// `added`, `removed` or `changed`.
    pub kind: String,
    /// The instance that it is about; `null`: none, or several.
    pub instance: Option<String>,
    /// The name of an instance, or the head of another block.
    pub place: String,
    /// Empty: the whole block.
    pub keyword: String,
    pub before: Option<String>,
    pub after: Option<String>,
    /// What follows from it, where that is more than the new value.
    pub effect: Option<String>,
    /// All of it as a line for people.
    pub text: String,
}

/// A line for each warning, one for each change, then the sum.
impl fmt::Display for Differences {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.warnings.iter().try_for_each(|warning| writeln!(f, "warning: {warning}"))?;
        self.changes.iter().try_for_each(|change| writeln!(f, "{}", change.text))?;
        f.write_str(&self.what)
    }
}
