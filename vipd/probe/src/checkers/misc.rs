//! MISC_CHECK: a command, run by the daemon's runner.

use std::time::Duration;

use vipd_balance::ProbeOutcome;

use super::Words;
use crate::{
    context::ProbeContext,
    fault::{ProbeFault, seconds},
    script::{ProbeScript, ScriptEnd},
};

pub(super) async fn run(
    words: &[String],
    account: Option<&(String, Option<String>)>,
    timeout: Duration,
    context: &ProbeContext,
) -> (ProbeOutcome, Words) {
    let _room = match context.limits.script() {
        Ok(room) => room,
        Err(fault) => return of_fault(fault),
    };
    match context.scripts.run(ProbeScript { words, account, timeout }).await {
        ScriptEnd::Exited(code) => (ProbeOutcome::Exited(code), format!("exit code {code}").into()),
        ScriptEnd::Signalled(signal) => of_fault(ProbeFault::failed(format!("ended by signal {signal}"))),
        ScriptEnd::TimedOut => of_fault(ProbeFault::failed(format!("timed out after {}", seconds(timeout)))),
        ScriptEnd::NotRun(why) => of_fault(ProbeFault::failed(format!("cannot be run: {why}"))),
        ScriptEnd::Shortage(why) => of_fault(ProbeFault::not_sent(why)),
    }
}

fn of_fault(fault: ProbeFault) -> (ProbeOutcome, Words) {
    let (ProbeFault::Failed(words) | ProbeFault::NotSent(words)) = fault.clone();
    (fault.into(), words.into())
}
