//! Load balancing in the daemon: a thread of its own for the services, and the main thread's end of it.
//!
//! ```text
//!  configuration, VIPs that are owned, drains ---> thread `vipd-services`: Judge, Forwarder ---> IPVS of the kernel
//!  commands, FIFOs, mail <------ notices ---------+            ^
//!                                                 thread `vipd-probe`
//! ```
//!
//! The thread runs while there are services, or something of an earlier vipd's is to be removed. It delays no advert: the engine thread never
//! waits for it, and the main thread only for an answer that it has a limit for. Ended without a word it leaves the kernel's table as it is.
//!
//! VIPs stay with the lease. The table is the same on every node; a node that does not own a VIP forwards nothing to it, because the program
//! drops the packets before IPVS sees them.

mod forwarder;
mod messages;
pub mod modules;
mod probes;
mod scope;
mod scripts;
mod service_loop;
mod state;
mod status;
mod sync;
mod sysctls;
mod table;
#[cfg(test)]
mod tests;
mod told;

use std::{
    path::{Path, PathBuf},
    thread::JoinHandle,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use tokio::{
    runtime::Builder,
    sync::{
        mpsc::{self, error::TrySendError},
        oneshot, watch,
    },
    time::timeout,
};
use vipd_balance::BalanceNotice;
use vipd_config::{Config, Unsupported};
use vipd_ipvs::{IpvsClient, IpvsError};

use self::{
    forwarder::KernelIpvs,
    messages::{Beat, ServicesConfig, ServicesMessage},
    service_loop::{LoopEnds, ServiceLoop},
    state::{KeptDrains, KeptServices},
};
use super::clock;
use crate::{
    control::{ServerDrain, model::BalancingStatus},
    scripts::Accounts,
    tracking::BfdStatesRx,
};

pub use self::{messages::Roles, state::STATE_FILE};

/// Where services keep what they remember, and how they are looked after.
#[derive(Clone, Debug)]
pub struct ServicePlaces {
    pub runtime_dir: PathBuf,
    pub state_dir: PathBuf,
    /// Between two looks at what was made on the host.
    pub look_period: Duration,
}

/// The main thread's end.
#[derive(Debug)]
pub struct Services {
    places: ServicePlaces,
    /// Whether the rest is served without IPVS.
    may_lack_ipvs: bool,
    /// Opened before it is needed: a kernel without IPVS is refused with nothing changed.
    opened: Option<IpvsClient>,
    running: Option<RunningServices>,
    roles: watch::Sender<Roles>,
    sessions: BfdStatesRx,
    notices: (mpsc::Sender<BalanceNotice>, mpsc::Receiver<BalanceNotice>),
    /// Why services are not served.
    lack: Option<String>,
    is_stuck: bool,
}

#[derive(Debug)]
struct RunningServices {
    messages_tx: mpsc::Sender<ServicesMessage>,
    thread: JoinHandle<()>,
    beat: Beat,
}

impl Services {
    /// Nothing is served yet. `unsupported`: whether the rest is served where the kernel has no IPVS.
    /// `sessions`: how those of BFD are, for BFD_CHECK.
    pub fn new(places: ServicePlaces, unsupported: &Unsupported, sessions: BfdStatesRx) -> Self {
        Self {
            places,
            may_lack_ipvs: unsupported.allows_word(KEYWORD),
            opened: None,
            running: None,
            roles: watch::Sender::new(Roles::default()),
            sessions,
            notices: mpsc::channel(NOTICES),
            lack: None,
            is_stuck: false,
        }
    }

    /// Opens IPVS for a configuration that needs it, and has its modules loaded.
    ///
    /// # Errors
    ///
    /// The kernel has no IPVS, and nobody has said that the rest is to be served without it.
    pub async fn prepare(&mut self, config: &Config) -> Result<()> {
        if config.balance.servers().is_empty() || self.running.is_some() || self.opened.is_some() {
            return Ok(());
        }
        match modules::open().await {
            Ok(client) => {
                (self.opened, self.lack) = (Some(client), None);
                Ok(())
            }
            Err(error) if self.may_lack_ipvs => {
                let error = forwarder::chain(&error);
                tracing::warn!(
                    target: "vipd::event",
                    event = "services_not_served",
                    error,
                    "virtual servers are not served, and everything else is"
                );
                self.lack = Some(error);
                Ok(())
            }
            Err(error) => Err(refused(error)),
        }
    }

    /// Serves another configuration, the first or a later one, which was [prepared](Self::prepare).
    pub async fn configure(&mut self, config: &Config, accounts: &Accounts) {
        let wanted = ServicesConfig::of(config, accounts);
        if let Some(running) = &self.running {
            // A thread that has ended is noticed by `check`.
            let _ = running.messages_tx.send(ServicesMessage::Configure(Box::new(wanted))).await;
            return;
        }
        let kept = KeptServices::read(&self.places.runtime_dir);
        let has_services = !wanted.balance.servers().is_empty();
        if !has_services && !kept.has_any() || has_services && self.opened.is_none() {
            self.lack = self.lack.take().filter(|_| has_services);
            return;
        }
        if let Err(error) = self.start(wanted, kept) {
            tracing::error!(error = format!("{error:#}"), "services are not served");
            self.lack = Some(format!("{error:#}"));
        }
    }

    fn start(&mut self, wanted: ServicesConfig, kept: KeptServices) -> Result<()> {
        let (messages_tx, messages_rx) = mpsc::channel(super::messages::MESSAGES);
        let beat = Beat::default();
        beat.turn(clock::now());
        let ends = LoopEnds {
            runtime_dir: self.places.runtime_dir.clone(),
            drains: KeptDrains::new(&self.places.state_dir),
            notices_tx: self.notices.0.clone(),
            beat: beat.clone(),
            sessions: self.sessions.clone(),
            look: self.places.look_period.saturating_mul(LOOK_EVERY),
        };
        let (kernel, roles_rx) = (KernelIpvs::new(self.opened.take()), self.roles.subscribe());
        let runtime =
            Builder::new_current_thread().enable_all().build().context("start the runtime of services")?;
        let thread = std::thread::Builder::new().name("vipd-services".to_owned()).spawn(move || {
            let roles = roles_rx.borrow().clone();
            let services = ServiceLoop::new(wanted, kept, kernel, roles, ends);
            runtime.block_on(services.run(messages_rx, roles_rx));
        });
        let thread = thread.context("start the thread of services")?;
        (self.running, self.lack) = (Some(RunningServices { messages_tx, thread, beat }), None);
        Ok(())
    }

    /// This node owns other VIPs, or has other roles.
    pub fn set_roles(&self, roles: Roles) {
        self.roles.send_if_modified(|known| {
            let is_news = *known != roles;
            *known = roles;
            is_news
        });
    }

    /// The next notice, for commands, FIFOs and mail; never without services. May be dropped while it waits.
    pub async fn notice(&mut self) -> BalanceNotice {
        match self.notices.1.recv().await {
            Some(notice) => notice,
            None => std::future::pending().await,
        }
    }

    /// A notice that waits.
    pub fn try_notice(&mut self) -> Option<BalanceNotice> {
        self.notices.1.try_recv().ok()
    }

    /// What is served; `None` without services. A thread that does not answer is said to be stuck.
    pub async fn status(&self) -> Option<BalancingStatus> {
        let lacking =
            |problem: String| BalancingStatus { problem: Some(problem), ..BalancingStatus::default() };
        let Some(running) = &self.running else { return self.lack.clone().map(lacking) };
        let (reply, status) = oneshot::channel();
        if running.messages_tx.try_send(ServicesMessage::Status(reply)).is_err() {
            return Some(lacking("the thread of services does not take requests".to_owned()));
        }
        match timeout(ANSWER, status).await {
            Ok(Ok(status)) => Some(status),
            Ok(Err(_)) => Some(lacking("the thread of services has ended".to_owned())),
            Err(_) => Some(lacking(format!(
                "the thread of services has not answered within {} s",
                ANSWER.as_secs()
            ))),
        }
    }

    /// Drains a server, or brings it back; who asked is answered by the thread.
    pub fn drain(&self, drain: ServerDrain) {
        let Some(running) = &self.running else {
            let why = self.lack.clone().unwrap_or_else(|| "there is no virtual server".to_owned());
            return drop(drain.reply.send(Err(why)));
        };
        let sent = running.messages_tx.try_send(ServicesMessage::Drain(drain));
        if let Err(TrySendError::Full(message) | TrySendError::Closed(message)) = sent
            && let ServicesMessage::Drain(ServerDrain { reply, .. }) = message
        {
            // Who asked may be gone.
            let _ = reply.send(Err("the thread of services does not take requests".to_owned()));
        }
    }

    /// Starts the thread again if it has ended, and tells if it hangs; to be called every second.
    pub async fn check(&mut self, config: &Config, accounts: &Accounts) {
        let Some(running) = &self.running else { return };
        if running.thread.is_finished() {
            tracing::error!(target: "vipd::event", event = "services_restarted", "the thread of services has ended: it is started again");
            self.running = None;
            return match self.prepare(config).await {
                Ok(()) => self.configure(config, accounts).await,
                Err(error) => self.lack = Some(format!("{error:#}")),
            };
        }
        let is_stuck = running.beat.since(clock::now()) > STUCK;
        if is_stuck && !self.is_stuck {
            tracing::error!(
                target: "vipd::event",
                event = "services_stuck",
                seconds = STUCK.as_secs(),
                "the thread of services hangs: no server is taken out or brought back"
            );
        }
        self.is_stuck = is_stuck;
    }

    /// Removes all that vipd has made for services.
    pub async fn stop(&mut self) {
        let Some(running) = self.running.take() else { return };
        let (reply, stopped) = oneshot::channel();
        let sent = running.messages_tx.send(ServicesMessage::Stop(reply)).await;
        if sent.is_ok() && timeout(STOP, stopped).await.is_err() {
            tracing::error!("services have not been removed within {} s", STOP.as_secs());
            return;
        }
        join(running.thread);
    }

    /// Stands still for a vipd that is to take over, with all that is known of the servers kept for it.
    pub async fn hold(&self) {
        let Some(running) = &self.running else { return };
        let (reply, held) = oneshot::channel();
        // The queue may be full of what comes before.
        let hold = async {
            // A thread that has ended stands still.
            if running.messages_tx.send(ServicesMessage::Hold(reply)).await.is_ok() {
                let _ = held.await;
            }
        };
        if timeout(ANSWER, hold).await.is_err() {
            tracing::warn!(
                "the thread of services does not answer: the next vipd may not know the latest verdicts"
            );
        }
    }

    /// The takeover has come to nothing.
    pub async fn go_on(&self) {
        if let Some(running) = &self.running {
            // A thread that has ended is noticed by `check`, and one that hangs too.
            let _ = timeout(ANSWER, running.messages_tx.send(ServicesMessage::GoOn)).await;
        }
    }

    /// Leaves the kernel's table, with all that is known of the servers, to the next vipd.
    pub async fn leave(&mut self) {
        let Some(running) = self.running.take() else { return };
        let sent = timeout(ANSWER, running.messages_tx.send(ServicesMessage::Leave)).await;
        if matches!(sent, Ok(Ok(()))) && running.beat.since(clock::now()) < STUCK {
            join(running.thread);
        }
    }
}

fn join(thread: JoinHandle<()>) {
    if thread.join().is_err() {
        tracing::error!("the thread of services has panicked");
    }
}

/// Why a configuration with services is not served, and what to do.
fn refused(error: IpvsError) -> anyhow::Error {
    anyhow::Error::new(error).context(
        "virtual servers need IPVS; to serve everything else without them: vipd run --allow-unsupported=virtual_server",
    )
}

/// Removes the services and sync daemons that a vipd that does not run any more has left; returns what was refused.
///
/// # Errors
///
/// IPVS cannot be read.
pub fn remove_left(runtime_dir: &Path) -> Result<Vec<String>> {
    let kept = KeptServices::read(runtime_dir);
    if !kept.has_any() {
        return Ok(Vec::new());
    }
    let mut problems = Vec::new();
    if let Some(before) = &kept.sloppy_tcp
        && let Err(error) = sysctls::restore(before)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        problems.push(format!("write {before} to {}: {error}", sysctls::SLOPPY_TCP));
    }
    let steps: Vec<_> = left_steps(&kept)?.into_iter().map(|(step, _)| step).collect();
    if !steps.is_empty() {
        for (step, result) in steps.iter().zip(IpvsClient::open()?.apply(&steps)?) {
            problems.extend(result.err().map(|refusal| format!("cannot {step}: {refusal}")));
        }
    }
    Ok(problems)
}

/// What a vipd that does not run any more has left in IPVS, by name, with the command that removes it.
///
/// # Errors
///
/// IPVS cannot be read.
pub fn left(runtime_dir: &Path) -> Result<Vec<(String, String)>> {
    let kept = KeptServices::read(runtime_dir);
    let steps = left_steps(&kept)?;
    let words = |(step, fix): (vipd_ipvs::IpvsStep, String)| {
        let what = step.to_string();
        let what =
            what.strip_prefix("delete ").or(what.strip_prefix("stop the ")).unwrap_or(&what).to_owned();
        (format!("IPVS {what}"), fix)
    };
    Ok(steps.into_iter().map(words).collect())
}

fn left_steps(kept: &KeptServices) -> Result<Vec<(vipd_ipvs::IpvsStep, String)>> {
    use vipd_ipvs::IpvsStep;
    // Nothing is asked of a kernel that has no IPVS, or would load the module for it.
    if !kept.has_any() || !modules::is_loaded() {
        return Ok(Vec::new());
    }
    let table = match IpvsClient::open().and_then(|mut client| client.read_table()) {
        Ok(table) => table,
        Err(IpvsError::NoIpvs) => return Ok(Vec::new()),
        Err(error) => bail!(error),
    };
    let mut steps = Vec::new();
    for address in kept.addresses() {
        if let Some(key) = table::key_of(address).filter(|key| table.service(key).is_some()) {
            steps
                .push((IpvsStep::DeleteService(key), format!("ipvsadm -D {}", modules::ipvsadm_words(&key))));
        }
    }
    for daemon in table.daemons.iter().filter(|_| kept.syncs) {
        steps.push((IpvsStep::StopDaemon(daemon.role), format!("ipvsadm --stop-daemon {}", daemon.role)));
    }
    Ok(steps)
}

/// The keyword that `--allow-unsupported` names.
const KEYWORD: &str = "virtual_server";
/// Notices that wait for the main thread: more than a node has servers.
const NOTICES: usize = 16_384;
/// Looks at the host between two looks at the kernel's table.
const LOOK_EVERY: u32 = 5;
/// For an answer of the thread.
const ANSWER: Duration = Duration::from_secs(2);
/// A call to the kernel has 10 s.
const STUCK: Duration = Duration::from_secs(30);
/// For removing everything.
const STOP: Duration = Duration::from_secs(10);
