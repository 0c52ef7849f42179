//! MISC_CHECK's commands, run as every command of the configuration is: with their user, in a process group, bounded.
//!
//! The prober polls the runs on its own thread. Users and files are looked up beside it, because a name service may take its time.

use std::{
    os::unix::process::ExitStatusExt,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::task::spawn_blocking;
use vipd_config::{Account, Command};
use vipd_probe::{ProbeScript, RunScript, ScriptEnd, ScriptFuture};

use crate::{
    resources,
    scripts::{Accounts, Executable, ScriptOutcome, UnusableCommand},
};

/// The runner of MISC_CHECK's commands; a reload gives it other users.
#[derive(Debug)]
pub struct ProbeScripts(Mutex<Arc<Accounts>>);

impl ProbeScripts {
    /// A runner with these users.
    pub fn new(accounts: Arc<Accounts>) -> Self {
        Self(Mutex::new(accounts))
    }

    /// Uses others from now on.
    pub fn set_accounts(&self, accounts: Arc<Accounts>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = accounts;
    }

    async fn resolve(&self, words: &[String], account: Option<&(String, Option<String>)>) -> Resolved {
        let accounts = Arc::clone(&self.0.lock().unwrap_or_else(PoisonError::into_inner));
        let account = account.map(|(user, group)| Account { user: user.clone(), group: group.clone() });
        let command = Command { words: words.to_vec(), account };
        let resolved = spawn_blocking(move || accounts.resolve(&command)).await;
        match resolved {
            Ok(Ok(executable)) => Ok(executable),
            Ok(Err(UnusableCommand::Unreadable { error, path })) if resources::is_shortage(&error) => {
                Err(ScriptEnd::Shortage(format!("{} cannot be examined: {error}", path.display())))
            }
            Ok(Err(error)) => Err(ScriptEnd::NotRun(error.to_string())),
            Err(error) => Err(ScriptEnd::Shortage(error.to_string())),
        }
    }

    async fn run_to_end(&self, script: ProbeScript<'_>) -> ScriptEnd {
        let executable = match self.resolve(script.words, script.account).await {
            Ok(executable) => executable,
            Err(end) => return end,
        };
        let outcome = executable.run(script.timeout).await.outcome;
        if let Some(error) = outcome.shortage() {
            return ScriptEnd::Shortage(error.to_string());
        }
        match outcome {
            ScriptOutcome::Exited(status) => match (status.code(), status.signal()) {
                // An exit code has eight bits.
                (Some(code), _) => ScriptEnd::Exited(u8::try_from(code & 0xff).unwrap_or(u8::MAX)),
                (None, Some(signal)) => ScriptEnd::Signalled(signal),
                (None, None) => ScriptEnd::NotRun(status.to_string()),
            },
            ScriptOutcome::TimedOut(_) => ScriptEnd::TimedOut,
            ScriptOutcome::NotRun(error) => ScriptEnd::NotRun(error.to_string()),
        }
    }
}

type Resolved = Result<Executable, ScriptEnd>;

impl RunScript for ProbeScripts {
    fn run<'a>(&'a self, script: ProbeScript<'a>) -> ScriptFuture<'a> {
        Box::pin(self.run_to_end(script))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use vipd_config::ScriptPolicy;

    use super::*;

    #[test]
    fn a_command_ends_as_it_ended() {
        let scripts = ProbeScripts::new(Arc::new(Accounts::new(&ScriptPolicy::default()).unwrap()));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let run = |words: &[&str], timeout: Duration| {
            let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
            runtime.block_on(scripts.run(ProbeScript { words: &words, account: None, timeout }))
        };
        let long = Duration::from_secs(60);
        assert_eq!(run(&["/bin/sh", "-c", "exit 0"], long), ScriptEnd::Exited(0));
        assert_eq!(run(&["/bin/sh", "-c", "exit 255"], long), ScriptEnd::Exited(255));
        assert_eq!(run(&["/bin/sh", "-c", "kill -9 $$"], long), ScriptEnd::Signalled(9));
        assert_eq!(run(&["/bin/sh", "-c", "exec sleep 60"], Duration::from_millis(100)), ScriptEnd::TimedOut);
        let ScriptEnd::NotRun(why) = run(&["/nowhere/check"], long) else { panic!("it was run") };
        assert!(why.contains("/nowhere/check"), "{why}");
        let account = Some(&("no-such-user".to_owned(), None)).cloned();
        let words = ["/bin/true".to_owned()];
        let end = runtime.block_on(scripts.run(ProbeScript {
            words: &words,
            account: account.as_ref(),
            timeout: long,
        }));
        assert_eq!(end, ScriptEnd::NotRun("there is no user `no-such-user`".to_owned()));
    }
}
