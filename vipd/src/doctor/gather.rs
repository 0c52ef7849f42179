//! Reads the facts: `/proc`, the kernel's links and rules, the packet filter, the configuration, and the running vipd.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::{FileTypeExt, MetadataExt},
    path::{Path, PathBuf},
    time::Duration,
};

use nix::sys::{
    statfs::{BPF_FS_MAGIC, statfs},
    utsname::uname,
};
use vipd_config::{Command, Config, Fence, Fifo, Notify, NotifySettings};

use super::{
    Broken, Facts, InterfaceSettings, MachineFacts, ProgramSupport, Unanswered, balancing, real_servers,
};
use crate::{
    beside::{self, KEEPALIVED, Speaker},
    cleanup,
    control::{
        self, ClientError, Request, Response,
        model::{ArbiterStatus, Status},
    },
    daemon::{clock, runtime_dir, services::modules},
    dataplane::{self, LoadRefused},
    host::{Survey, first_hops},
    machine::Source,
    processes::{self, Process},
    scripts::{self, Accounts},
    tracking::{arbiter, arbiter_status},
};

/// Where to find the facts.
#[derive(Clone, Debug)]
pub struct FactSources {
    pub source: Source,
    pub bpffs_dir: PathBuf,
    pub runtime_dir: PathBuf,
}

impl From<&FactSources> for cleanup::StateDirs {
    fn from(places: &FactSources) -> Self {
        Self { bpffs_dir: places.bpffs_dir.clone(), runtime_dir: places.runtime_dir.clone() }
    }
}

impl Facts {
    /// Needs a tokio runtime. Asks the targets of arbiters if no vipd runs, and by ARP for the VIPs of services by DR; otherwise it changes and sends
    /// nothing.
    pub async fn gather(places: &FactSources) -> Self {
        let configuration = places.source.load();
        let config = configuration.as_ref().ok().map(|loaded| &loaded.config);
        let survey = Survey::take().await.map_err(|error| format!("{error:#}"));
        // Before the status, which then has what vipd notices of the answers.
        let first_hops = match config {
            Some(config) => first_hops(real_servers::addresses(config)).await.unwrap_or_default(),
            None => BTreeMap::new(),
        };
        let stations = real_servers::ask(config, survey.as_ref().ok(), &first_hops);
        let (running, unanswered) = match status(&places.runtime_dir) {
            Ok(running) => (running, None),
            Err(unanswered) => (None, Some(unanswered)),
        };
        let mut speakers = beside::speakers(running.as_ref().map(|status| status.pid));
        if unanswered.is_some() {
            // It is the one that was not asked.
            speakers.retain(|speaker| speaker.name != "vipd");
        }
        let left = match (&running, &unanswered) {
            (Some(_), _) | (_, Some(_)) => Ok(Vec::new()),
            (None, None) => cleanup::survey(&cleanup::StateDirs::from(places)).await,
        };
        let leftovers = left.map_err(|error| format!("{error:#}"));
        let ruleset = scripts::read("nft", &["-j", "list", "ruleset"], PATIENCE).await;
        let ruleset = ruleset.map_err(|error| error.to_string());
        Self {
            machine: machine(&places.bpffs_dir, running.as_ref().map(|status| status.pid)),
            survey,
            first_hops,
            stations,
            nonlocal_bind: ["ipv4", "ipv6"].map(|family| {
                let file = format!("/proc/sys/net/{family}/ip_nonlocal_bind");
                Some(fs::read_to_string(file).ok()?.trim() != "0")
            }),
            forwarding: ["ipv4/ip_forward", "ipv6/conf/all/forwarding"].map(|sysctl| {
                Some(fs::read_to_string(format!("/proc/sys/net/{sysctl}")).ok()?.trim() != "0")
            }),
            ipvs: modules::presence(),
            ipvs_conntrack: fs::read_to_string("/proc/sys/net/ipv4/vs/conntrack")
                .ok()
                .map(|value| value.trim() != "0"),
            missing_modules: modules::missing(config.map(balancing::modules).unwrap_or_default()),
            settings: settings(),
            groups: processes::groups(),
            listeners: processes::listeners(),
            ruleset: ruleset
                .and_then(|json| serde_json::from_slice(&json).map_err(|error| format!("nft: {error}"))),
            legacy_rules: ["ip_tables_names", "ip6_tables_names"]
                .iter()
                .any(|file| fs::read(Path::new("/proc/net").join(file)).is_ok_and(|names| !names.is_empty())),
            idle_keepalived: idle_keepalived(&speakers),
            speakers,
            leftovers,
            broken: config.map(broken).unwrap_or_default(),
            arbiters: arbiters(config, running.as_ref()).await,
            runtime_dir: runtime_dir(&places.runtime_dir),
            running,
            unanswered,
            configuration,
        }
    }
}

/// Whether a vipd can be reached there. That nothing is there is no obstacle.
fn runtime_dir(dir: &Path) -> Result<(), String> {
    let socket = runtime_dir::socket(dir);
    let kind = |path: &Path| path.metadata().ok().map(|found| found.file_type());
    if kind(dir).is_some_and(|kind| !kind.is_dir()) {
        return Err(format!("{} is no directory", dir.display()));
    }
    match kind(&socket) {
        Some(kind) if !kind.is_socket() => Err(format!("{} is no socket", socket.display())),
        _ => Ok(()),
    }
}

/// Status of the vipd of a runtime directory; `None` without one.
fn status(runtime_dir: &Path) -> Result<Option<Status>, Unanswered> {
    match control::request(&runtime_dir::socket(runtime_dir), &Request::Status) {
        Ok(Response::Status(status)) => Ok(Some(*status)),
        Ok(response) => Err(Unanswered::Unreachable(format!("it answers something else: {response:?}"))),
        Err(ClientError::NotRunning(_)) => Ok(None),
        Err(error @ ClientError::Unresponsive { .. }) => Err(Unanswered::Unresponsive(error.to_string())),
        Err(error) => Err(Unanswered::Unreachable(format!("{:#}", anyhow::Error::from(error)))),
    }
}

/// The limits and capabilities are those of vipd, or of this process if none runs.
fn machine(bpffs_dir: &Path, vipd: Option<u32>) -> MachineFacts {
    let process = Process::of(vipd);
    let number = |path: &str| fs::read_to_string(path).ok()?.trim().parse().ok();
    let (release, version) = uname().map_or_else(
        |_| Default::default(),
        |name| (name.release().to_string_lossy().into_owned(), name.version().to_string_lossy().into_owned()),
    );
    MachineFacts {
        release,
        version,
        bpffs: statfs(bpffs_dir).is_ok_and(|found| found.filesystem_type() == BPF_FS_MAGIC)
            // A directory below the mount point that vipd is to make.
            || bpffs_dir.parent().is_some_and(|dir| {
                !bpffs_dir.exists() && statfs(dir).is_ok_and(|found| found.filesystem_type() == BPF_FS_MAGIC)
            }),
        bpffs_shared: fs::metadata(bpffs_dir)
            .ok()
            .map(|found| found.mode() & 0o7777)
            .filter(|mode| mode & 0o002 != 0),
        bpffs_dir: bpffs_dir.to_owned(),
        pinned: fs::read_dir(bpffs_dir.join("vipd")).is_ok_and(|mut pins| pins.next().is_some()),
        capabilities: process.capabilities(),
        memlock: process.limit("Max locked memory"),
        rtprio: process.limit("Max realtime priority").unwrap_or(u64::MAX),
        jit: number("/proc/sys/net/core/bpf_jit_enable"),
        clocksource: fs::read_to_string("/sys/devices/system/clocksource/clocksource0/current_clocksource")
            .ok()
            .map(|name| name.trim().to_owned()),
        clock: dataplane::compare_clock(clock::now).ok(),
        programs: programs(),
    }
}

/// Loads the programs as a test, if this process may; nothing is attached, pinned or left loaded.
fn programs() -> ProgramSupport {
    let missing = dataplane::missing_capabilities();
    if !missing.is_empty() {
        return ProgramSupport::Untried(format!("this command runs without {}", missing.join(", ")));
    }
    match dataplane::try_load() {
        Ok(verified) => ProgramSupport::Loaded(verified),
        Err(error) => match error.downcast_ref::<LoadRefused>() {
            Some(refused) => {
                ProgramSupport::Refused { what: refused.what(), fix: refused.remedy().to_owned() }
            }
            None => ProgramSupport::Untried(format!("{error:#}")),
        },
    }
}

fn settings() -> BTreeMap<String, InterfaceSettings> {
    let Ok(interfaces) = fs::read_dir("/proc/sys/net/ipv4/conf") else { return BTreeMap::new() };
    let of = |dir: fs::DirEntry| {
        let read = |name| fs::read_to_string(dir.path().join(name)).ok()?.trim().parse().ok();
        let settings = InterfaceSettings {
            rp_filter: read("rp_filter")?,
            arp_ignore: read("arp_ignore")?,
            arp_announce: read("arp_announce")?,
        };
        Some((dir.file_name().to_string_lossy().into_owned(), settings))
    };
    interfaces.flatten().filter_map(of).collect()
}

/// The keepaliveds of this network namespace that have no VRRP socket, without their child processes.
fn idle_keepalived(speakers: &[Speaker]) -> Vec<u32> {
    let here = fs::read_link("/proc/self/ns/net").ok();
    let is_it = |process: &Process| process.name().as_deref() == Some(KEEPALIVED);
    let processes = Process::all().filter(is_it);
    let processes = processes.filter(|process| process.parent().is_none_or(|parent| !is_it(&parent)));
    let here = processes.filter(|process| process.namespace() == here).map(|process| process.id());
    here.filter(|pid| !speakers.iter().any(|speaker| speaker.pid == Some(*pid))).collect()
}

/// The commands of the configuration that cannot be run.
fn broken(config: &Config) -> Vec<Broken> {
    let accounts = match Accounts::new(&config.script_policy) {
        Ok(accounts) => accounts,
        Err(problem) => {
            return vec![Broken {
                name: "the scripts (`script_user`)".to_owned(),
                problem: problem.to_string(),
            }];
        }
    };
    let mut commands: Vec<(String, Command)> = Vec::new();
    for script in config.tracking().scripts {
        commands.push((format!("vrrp_script {}", script.name), script.command));
    }
    for NotifySettings { name, notify, .. } in config.told() {
        let Notify { master, backup, fault, stop, deleted, lower_heard, any, conflict } = notify;
        let deleted = deleted.and_then(|deleted| deleted.0);
        let all = [
            ("notify_master", master),
            ("notify_backup", backup),
            ("notify_fault", fault),
            ("notify_stop", stop),
            ("notify_deleted", deleted),
            ("notify_master_rx_lower_pri", lower_heard),
            ("notify", any),
            ("notify_conflict", conflict),
        ];
        let named =
            all.into_iter().filter_map(|(keyword, command)| Some((format!("{keyword} of {name}"), command?)));
        commands.extend(named);
    }
    for instance in &config.instances {
        let fence = instance.fence.as_ref();
        let named = |fence: &Fence| (format!("fence_script of {}", instance.name), fence.command.clone());
        commands.extend(fence.map(named));
    }
    for Fifo { path, reader, .. } in &config.fifos {
        commands.extend(reader.clone().map(|reader| (format!("the reader of {path}"), reader)));
    }
    let problem = |(name, command): (String, Command)| {
        let problem = accounts.resolve(&command).err()?.to_string();
        Some(Broken { name, problem })
    };
    commands.into_iter().filter_map(problem).collect()
}

async fn arbiters(config: Option<&Config>, running: Option<&Status>) -> Vec<ArbiterStatus> {
    if let Some(status) = running {
        return status.arbiters.clone();
    }
    let mut known = Vec::new();
    for arbiter in config.map(Config::tracking).unwrap_or_default().arbiters {
        let (health, targets) = arbiter::once(&arbiter).await;
        known.push(arbiter_status(&arbiter, health, &targets));
    }
    known
}

/// Time limit for tools of the system.
const PATIENCE: Duration = Duration::from_secs(5);
