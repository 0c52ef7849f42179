//! Fences: run on the main thread, one for each instance that asks, and answered whatever becomes of them.

use std::collections::HashMap;

use tokio::task::{JoinHandle, spawn_local};

use super::{
    super::messages::{EngineMessage, FenceRequest},
    engine_handle::EngineHandle,
};
use crate::{
    coordinator::InstanceId,
    scripts::{Accounts, ScriptRun, with_output},
};

/// The fences that are under way. Dropping it ends them.
#[derive(Debug, Default)]
pub struct Fences(HashMap<InstanceId, JoinHandle<()>>);

impl Drop for Fences {
    fn drop(&mut self) {
        self.0.values().for_each(JoinHandle::abort);
    }
}

impl Fences {
    /// Starts a fence, in place of one that the same instance has asked for before. `None`: it has none any more.
    pub fn start(
        &mut self,
        FenceRequest { instance, round }: FenceRequest,
        fence: Option<(&vipd_config::Instance, vipd_config::Fence)>,
        accounts: &Accounts,
        engine: EngineHandle,
    ) {
        let run = fence.map(|(spec, fence)| (spec.name.clone(), accounts.resolve(&fence.command), fence));
        let task = spawn_local(async move {
            let done = match run {
                Some((name, Ok(executable), fence)) => {
                    tracing::warn!(
                        target: "vipd::event",
                        event = "fence_started",
                        instance = name,
                        "no advert from the master: fencing it"
                    );
                    let ScriptRun { outcome, output } = executable.run(fence.timeout).await;
                    let result =
                        if outcome.is_success() { Ok(()) } else { Err(with_output(&outcome, &output)) };
                    is_done(&name, &fence, result)
                }
                Some((name, Err(error), fence)) => is_done(&name, &fence, Err(error.to_string())),
                // A reload has taken it away.
                None => true,
            };
            engine.send(EngineMessage::Fenced { instance, round, done }).await;
        });
        if let Some(before) = self.0.insert(instance, task) {
            before.abort();
        }
    }
}

/// What to answer, said in the log.
fn is_done(instance: &str, fence: &vipd_config::Fence, result: Result<(), String>) -> bool {
    let Err(why) = result else {
        tracing::info!(target: "vipd::event", event = "fence_succeeded", instance, "the former master is fenced");
        return true;
    };
    let then = if fence.takes_over_unfenced { "taking over anyway" } else { "not taking over" };
    tracing::error!(
        target: "vipd::event",
        event = "fence_failed",
        instance,
        why,
        then,
        "fencing the former master failed"
    );
    fence.takes_over_unfenced
}
