//! The signals that the daemon knows, and what each asks for.

use anyhow::{Context, Result};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::dump;

/// The signals, caught from the moment this is made.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    quit: Signal,
    hangup: Signal,
    data: Signal,
    stats: Signal,
    json: Signal,
}

/// What a signal asks for.
#[derive(Clone, Copy, Debug)]
pub enum SignalRequest {
    /// Hand everything over and end; by this signal.
    Stop(&'static str),
    /// End, and leave the VIPs to the next vipd; by this signal.
    Leave(&'static str),
    Reload,
    /// Write the state where tools for keepalived look for it.
    Dump(dump::DumpKind),
}

impl Signals {
    /// Catches them from now on.
    pub fn new() -> Result<Self> {
        let catch = |kind| signal(kind).context("catch signals");
        Ok(Self {
            terminate: catch(SignalKind::terminate())?,
            interrupt: catch(SignalKind::interrupt())?,
            quit: catch(SignalKind::quit())?,
            hangup: catch(SignalKind::hangup())?,
            data: catch(SignalKind::user_defined1())?,
            stats: catch(SignalKind::user_defined2())?,
            // keepalived's number.
            json: catch(SignalKind::from_raw(libc::SIGRTMIN() + 2))?,
        })
    }

    /// The next one. May be dropped while it waits.
    pub async fn next(&mut self) -> SignalRequest {
        tokio::select! {
            _ = self.terminate.recv() => SignalRequest::Stop("SIGTERM"),
            _ = self.interrupt.recv() => SignalRequest::Stop("SIGINT"),
            _ = self.quit.recv() => SignalRequest::Leave("SIGQUIT"),
            _ = self.hangup.recv() => SignalRequest::Reload,
            _ = self.data.recv() => SignalRequest::Dump(dump::DumpKind::Data),
            _ = self.stats.recv() => SignalRequest::Dump(dump::DumpKind::Stats),
            _ = self.json.recv() => SignalRequest::Dump(dump::DumpKind::Json),
        }
    }
}
