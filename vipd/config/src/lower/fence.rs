//! `fence_script` and what belongs to it.

use std::time::Duration;

use super::{context::LowerContext, notify::command_of};
use crate::{
    model::fence::Fence,
    schema::statement::{Statement, find, seconds},
    syntax::diagnostic::Code,
};

pub fn fence(statements: &[Statement]) -> Option<Fence> {
    Some(Fence {
        command: command_of(statements, "fence_script")?,
        timeout: find(statements, "fence_timeout").and_then(|s| seconds(s, 0)).unwrap_or(TIMEOUT),
        takes_over_unfenced: find(statements, "fence_failed").is_some_and(|s| s.has("take_over")),
    })
}

/// What means nothing without the script.
pub fn check(cx: &mut LowerContext<'_>) {
    for keyword in ["fence_timeout", "fence_failed"] {
        let alone = cx.seen_at("fence_script").is_none();
        if let Some(at) = cx.seen_at(keyword).filter(|_| alone) {
            let message = format!("`{keyword}` is ignored without `fence_script`");
            cx.report.warning(Code::Ignored, at, message, "name the script, or remove it");
        }
    }
}

const TIMEOUT: Duration = Duration::from_secs(10);
