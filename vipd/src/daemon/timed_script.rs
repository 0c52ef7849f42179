//! `startup_script` and `shutdown_script`: commands that the start and the stop wait for.

use std::time::Duration;

use vipd_config::TimedCommand;

use crate::scripts::{Accounts, Executable, OUTPUT_SEPARATOR, ScriptRun};

/// A command that can be run, and how long it may take.
#[derive(Debug)]
pub struct TimedScript {
    keyword: &'static str,
    executable: Executable,
    timeout: Duration,
}

impl TimedScript {
    /// `None`: there is none, or it cannot be run, which is logged.
    pub fn resolve(
        keyword: &'static str,
        wanted: Option<&TimedCommand>,
        accounts: &Accounts,
    ) -> Option<Self> {
        let TimedCommand { command, timeout } = wanted?;
        match accounts.resolve(command) {
            Ok(executable) => Some(Self { keyword, executable, timeout: *timeout }),
            Err(error) => {
                tracing::error!(keyword, %error, "the script cannot be run: it is ignored");
                None
            }
        }
    }

    /// Waits for its end, or ends it when its time is over. As in keepalived nothing depends on how it has ended.
    pub async fn run(self) {
        let Self { keyword, executable, timeout } = self;
        tracing::info!(keyword, path = %executable.path.display(), "the script runs");
        let ScriptRun { outcome, output } = executable.run(timeout).await;
        if outcome.is_success() {
            tracing::info!(keyword, "the script has ended");
        } else {
            tracing::warn!(keyword, %outcome, output = output.join(OUTPUT_SEPARATOR), "the script has failed");
        }
    }
}
