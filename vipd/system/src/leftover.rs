//! What a vipd has made in the kernel and has not undone, by name, and how each is undone by hand.

use serde::Serialize;

/// What a thing is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum LeftoverKind {
    VisibleAddress,
    VirtualRule,
    VirtualRoute,
    Route,
    Rule,
    Address,
    MacFilter,
    Promiscuous,
    RxVlan,
    Sysctl,
    /// A virtual service, or a sync daemon, of IPVS.
    Service,
    /// A program at an interface.
    Program,
    /// Pinned maps and programs.
    Pins,
    File,
}

/// One thing that a vipd has left.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Leftover {
    pub kind: LeftoverKind,
    /// As an operator would name it.
    pub what: String,
    /// The command that undoes it.
    pub fix: String,
    /// Whether the kernel may answer for a VIP while it stands (I4): the program has to stay in front of it.
    #[serde(skip)]
    pub answers: bool,
}

impl Leftover {
    pub fn new(kind: LeftoverKind, what: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { kind, what: what.into(), fix: fix.into(), answers: false }
    }

    /// The same, with what the kernel may answer for.
    pub fn answering(self) -> Self {
        Self { answers: true, ..self }
    }
}
