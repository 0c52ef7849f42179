//! Sessions of BFD as tracked objects: the thread of BFD has their states, of which the latest counts.

use std::{collections::HashMap, fmt};

use tokio::sync::watch;
use vipd_common::wire::bfd::{Diagnostic, SessionState};

use super::{Health, NewsContent};

/// Tells how a session is whenever that changes. A session that the thread has not told of yet is unknown; one that has never been Up is down.
pub async fn watch(name: String, mut states: BfdStatesRx, tell: impl Fn(NewsContent)) {
    let mut told = None;
    loop {
        let view = states.borrow_and_update().get(&name).cloned();
        if let Some(view) = view {
            let now = (view.is_reached, (!view.is_up()).then(|| view.why()));
            if told.as_ref() != Some(&now) {
                // First: the words of the health.
                tell(NewsContent::Problem(now.1.clone()));
                tell(NewsContent::Health(if now.0 { Health::Well } else { Health::Unwell }));
                told = Some(now);
            }
        }
        // The daemon ends.
        if states.changed().await.is_err() {
            return;
        }
    }
}

/// A session as those see it who depend on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BfdView {
    pub state: SessionState,
    /// Why it is in that state.
    pub diagnostic: Diagnostic,
    /// It has been Up since it began.
    pub was_up: bool,
    /// Whether the neighbor is taken for reached: it is while the session is Up, and stays what it was when the neighbor says AdminDown.
    pub is_reached: bool,
    /// Why the session does not run.
    pub lack: Option<String>,
}

/// Every session by name, as it is now; one that is not there is not known yet. The latest value counts.
pub type BfdStates = HashMap<String, BfdView>;

/// For those who depend on sessions.
pub type BfdStatesRx = watch::Receiver<BfdStates>;

impl BfdView {
    /// Of a session that does not run.
    pub fn lacking(lack: &str) -> Self {
        Self {
            state: SessionState::Down,
            diagnostic: Diagnostic::NONE,
            was_up: false,
            is_reached: false,
            lack: Some(lack.to_owned()),
        }
    }

    pub fn is_up(&self) -> bool {
        self.state == SessionState::Up
    }

    /// Why it is not Up, for people: `diagnostic 1: detection time expired`.
    pub fn why(&self) -> String {
        if let Some(lack) = &self.lack {
            return format!("it does not run: {lack}");
        }
        match self.diagnostic {
            Diagnostic::NONE if !self.was_up => "it has not been up yet".to_owned(),
            Diagnostic::NONE => format!("state {}", self.state),
            diagnostic => format!("diagnostic {}: {diagnostic}", diagnostic.number()),
        }
    }
}

impl fmt::Display for BfdView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.is_up(), self.is_reached) {
            (true, _) => f.write_str("session is up"),
            (false, true) => f.write_str("session was up when the neighbor took it out of service"),
            (false, false) => write!(f, "session is down ({})", self.why()),
        }
    }
}
