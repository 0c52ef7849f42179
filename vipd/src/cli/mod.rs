//! The command line: arguments, exit codes, rendering.

mod capture;
mod check;
mod chosen;
mod cleanup;
mod cluster;
mod completions;
mod doctor;
mod events;
mod import;
mod init;
mod locate;
mod monitor;
mod reload;
mod replaced;
mod top;
mod unnoticed;
mod when;

use std::{
    collections::BTreeSet,
    ffi::OsStr,
    io::{self, IsTerminal, Write},
    net::IpAddr,
    os::fd::AsRawFd,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use chosen::Choice;
use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};
pub use clap_complete::{Generator, Shell};
pub use completions::completions;
use monitor::MonitoringResult;
use serde::Serialize;
use vipd_config::Unsupported;
use vipd_control::status::{self, StatusView};

use crate::{
    cluster::ClusterView,
    control::{
        self, ClientError, Request, Response,
        explain::{self, Explanation},
        model::Status,
    },
    daemon::{self, journal, runtime_dir},
    events::EventFilter,
    metrics,
};

/// How often, and how far apart, `vipd upgrade` looks for the new vipd: it has taken over, and makes its socket next.
const UPGRADE_LOOKS: u32 = 200;
const BETWEEN_UPGRADE_LOOKS: Duration = Duration::from_millis(25);

/// Exit codes. Documented in `vipd --help`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    Success = 0,
    /// Anything not named below.
    Failure = 1,
    /// clap's own code for bad arguments, and that of `check` for errors.
    Usage = 2,
    /// No vipd answers on the control socket.
    NotRunning = 3,
    /// A vipd runs where none may.
    Running = 4,
    /// A vipd runs and does not answer.
    Unresponsive = 5,
    /// The configuration cannot be read or has errors.
    Config = 6,
    /// The running vipd is of a version that does not know the request.
    TooOld = 7,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

const AFTER_HELP: &str = "\
Exit codes:
  0  success
  1  failure: the host or the kernel refused something; check --strict: there are warnings;
     doctor: there is a problem, or with --strict a warning; cleanup: something is left;
     where, is-master: this node does not own the VIP or the instance;
     reload --dry-run --exit-code: something would change
  2  bad arguments; check: the configuration has errors; no instance has the name or VIP that was given
  3  no vipd is running (status, services, cluster, events, capture, reload, handover, drain, undrain,
     drain-server, undrain-server, upgrade, stop;
     top waits for one);
     where, is-master: nor when it does not answer
  4  a vipd is running (cleanup)
  5  a vipd runs and does not answer: it is stopped, or hangs (status, events, run --replace)
  6  the configuration cannot be read or has errors (run, reload)
  7  the running vipd is of an earlier version, which cannot be replaced while it runs (upgrade)
status --check has the codes of a monitoring plugin: 0 ok, 1 warning, 2 critical, 3 unknown.";

/// Keeps a virtual IP alive across machines: VRRP with an eBPF data plane.
#[derive(Debug, Parser)]
#[command(name = "vipd", version, after_help = AFTER_HELP)]
struct Arguments {
    #[command(subcommand)]
    command: CliCommand,
}

#[derive(Debug, Subcommand)]
enum CliCommand {
    /// Run in the foreground until `vipd stop`, SIGTERM, SIGINT or SIGQUIT
    Run {
        #[command(flatten)]
        source: SourceArgs,
        #[command(flatten)]
        pins: Pins,
        #[command(flatten)]
        runtime: Runtime,
        /// Directory for state that outlives restarts and reboots: whether the node is drained
        #[arg(long, value_name = "DIR", default_value = "/var/lib/vipd")]
        state_dir: PathBuf,
        /// Also write the process id to this file; vipd.pid in the runtime directory always has it
        #[arg(short = 'p', long = "pid", value_name = "FILE")]
        pid_file: Option<PathBuf>,
        /// Start although an interface is missing or cannot be used. Its instances stay in FAULT until it can be used, as with
        /// `dynamic_interfaces`. For a start at boot
        #[arg(long)]
        wait_for_interfaces: bool,
        /// Also log the eBPF program's own diagnostics of revocations and conflicts
        #[arg(long)]
        log_xdp: bool,
        /// How log lines are written; at the level of `vipd log`, or of RUST_LOG
        #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
        log_format: journal::Form,
        /// Where the eBPF program runs, for interfaces without an xdp_mode in the configuration
        #[arg(long, value_name = "MODE", value_enum, default_value_t)]
        xdp_mode: XdpModeArg,
        /// Serve Prometheus metrics at /metrics and a status page at / on IP:PORT or unix:PATH, without a login
        #[arg(long, value_name = "ADDR")]
        metrics_listen: Option<metrics::Listen>,
        /// Take over from the vipd that runs with this runtime directory, if one does, without a gap: prepare everything beside it, then
        /// have it end. If anything fails before, it goes on
        #[arg(long)]
        replace: bool,
        /// Seconds between two looks at what was made on the host
        #[arg(long, value_name = "SECONDS", default_value = "2", value_parser = look_period, hide = true)]
        look_period: Duration,
    },
    /// Ask for what a pair of nodes needs, and write the configurations of both, each line explained
    ///
    /// On a terminal it asks for what is not given, and proposes what it finds. Without one --vip has to be given, and what else
    /// cannot be found. Exit codes: 0 written; 1 nothing is written; 2 bad arguments.
    Init {
        #[command(flatten)]
        options: init::InitOptions,
        #[command(flatten)]
        runtime: Runtime,
    },
    /// Check a configuration and the files it includes: print every error, warning and notice at once
    ///
    /// Exit codes: 0 no errors; 1 warnings, with --strict; 2 errors.
    Check {
        #[command(flatten)]
        choice: Choice,
        #[command(flatten)]
        runtime: Runtime,
        /// Print the configuration with defaults filled in and the place of each value; diagnostics go to standard error
        #[arg(long)]
        explain: bool,
        /// Print one JSON object: counts, and for each diagnostic file, line, column, end, severity, code, message, notes, help
        #[arg(long, conflicts_with = "explain")]
        json: bool,
        /// Fail for warnings too
        #[arg(long)]
        strict: bool,
    },
    /// Check this host, the configuration and the running vipd for problems, and print the remedies; change nothing
    ///
    /// Exit codes: 0 no problem; 1 a problem, or with --strict a warning.
    Doctor {
        #[command(flatten)]
        choice: Choice,
        #[command(flatten)]
        pins: Pins,
        #[command(flatten)]
        runtime: Runtime,
        /// Print one JSON object: counts, and for each finding about, check, level, what, fix
        #[arg(long)]
        json: bool,
        /// Fail for warnings too
        #[arg(long)]
        strict: bool,
    },
    /// Remove what a killed or crashed vipd has left in this network namespace: programs and pins of every version, routes,
    /// rules, addresses, MAC filter entries, settings, files
    ///
    /// Needs no configuration. Never touches a running vipd. Exit codes: 0 nothing is left; 1 something is left, and the
    /// output says how to remove it; 4 a vipd runs.
    Cleanup {
        #[command(flatten)]
        pins: Pins,
        #[command(flatten)]
        runtime: Runtime,
        /// Only list what would be removed
        #[arg(long)]
        dry_run: bool,
        /// Print one JSON object: dry_run, removed, left and problems; of each thing kind, what and fix
        #[arg(long)]
        json: bool,
    },
    /// Show each instance: state, master, lease, VIPs, adverts. More than four instances make a table
    Status {
        /// Show only these instances, in full: names, or VIPs of theirs
        #[arg(value_name = "NAME|IP")]
        instances: Vec<String>,
        /// Show all instances in full, and the counters of the eBPF program
        #[arg(long)]
        long: bool,
        /// Print the whole status as one JSON object, see --schema
        #[arg(long, conflicts_with = "long")]
        json: bool,
        /// Print the JSON Schema of --json; needs no running vipd
        #[arg(long, conflicts_with_all = ["json", "long", "instances"])]
        schema: bool,
        /// Print one line for a monitoring system, VIPD OK, WARNING, CRITICAL or UNKNOWN, and exit with 0, 1, 2 or 3
        #[arg(long, conflicts_with_all = ["json", "long", "schema"])]
        check: bool,
        #[command(flatten)]
        runtime: Runtime,
    },
    /// Say why an instance is master, or why not: priority, weights, checks and their output, the master, and what would change it
    Explain {
        /// Explain only these instances: names, or VIPs of theirs
        #[arg(value_name = "NAME|IP")]
        instances: Vec<String>,
        /// Print a JSON array with an object for each instance; docs/reference/status.md describes it
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        runtime: Runtime,
    },
    /// Show every node of each virtual router: who is master, priorities, faults, versions, links
    ///
    /// Other nodes are known by what they report with `cluster_report`, or else by their adverts alone. docs/operate/cluster.md
    Cluster {
        /// Show only these instances: names, or VIPs of theirs
        #[arg(value_name = "NAME|IP")]
        instances: Vec<String>,
        /// Print one JSON object: for each virtual router its problems and nodes
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        runtime: Runtime,
    },
    /// Say where a VIP is: its instance, interface and state on this node, and who is the master as far as this node knows
    ///
    /// Exit codes: 0 it is here; 1 it is not; 2 no instance has it; 3 no vipd answers.
    Where {
        /// A VIP of the configuration
        #[arg(value_name = "IP")]
        address: IpAddr,
        #[command(flatten)]
        runtime: Runtime,
    },
    /// Say whether this node is the master of an instance, or of the instance that has a VIP; for scripts
    ///
    /// Exit codes: 0 it is, and its lease runs; 1 it is not; 2 there is no such instance; 3 no vipd answers.
    IsMaster {
        /// An instance, by its name or one of its VIPs
        #[arg(value_name = "NAME|IP")]
        instance: String,
        /// Print nothing, no error either
        #[arg(short, long)]
        quiet: bool,
        #[command(flatten)]
        runtime: Runtime,
    },
    /// Show the status live in this terminal
    Top {
        /// Time between two updates
        #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = status::interval)]
        interval: Duration,
        #[command(flatten)]
        runtime: Runtime,
    },
    /// Show the journal of events: state changes, conflicts, checks, reloads. docs/operate/events.md lists all events
    Events {
        #[command(flatten)]
        choice: events::EventChoice,
        #[command(flatten)]
        runtime: Runtime,
    },
    /// Show adverts, ARP and Neighbor Discovery as they come in, with what the eBPF program did: answered, dropped, passed, and why
    ///
    /// tcpdump on this node does not see what the program answers or drops. Ends with Ctrl-C. What vipd itself sends, tcpdump sees.
    Capture {
        #[command(flatten)]
        options: capture::CaptureOptions,
        #[command(flatten)]
        runtime: Runtime,
    },
    /// Check the configuration again and apply it, like SIGHUP; wait for the result, and print what has changed. An error changes
    /// nothing
    ///
    /// A line for each change: + what is new, - what is gone, ~ what has another value, and in parentheses what follows from it.
    /// A comment, a moved line and another spelling of a value are no changes. Exit codes: 0 in force, or with --dry-run
    /// acceptable; 1 a part was refused by the kernel, or with --exit-code there are changes; 3 no vipd is running; 6 rejected.
    Reload {
        /// Only print what would change, and what would be rejected; apply nothing
        #[arg(long)]
        dry_run: bool,
        /// Print one JSON object: what, and of each change kind, instance, place, keyword, before, after, effect, text
        #[arg(long)]
        json: bool,
        /// Exit with 1 if something would change, as git diff does
        #[arg(long, requires = "dry_run")]
        exit_code: bool,
        #[command(flatten)]
        runtime: Runtime,
    },
    /// Hand an instance and its sync group over to a backup without a gap; without a backup they stay here
    ///
    /// Afterwards this node has priority 1 for the instance. That ends when no other node is left and this node is master again, with
    /// `--to preferred`, or with a restart.
    Handover {
        /// An instance, by its name or one of its VIPs
        #[arg(value_name = "NAME|IP")]
        instance: String,
        /// Target of the handover
        #[arg(long, value_enum, default_value_t = control::To::Backup)]
        to: control::To,
        #[command(flatten)]
        runtime: Runtime,
    },
    /// Hand all instances over and give this node priority 1 until `vipd undrain`, over restarts too. Without a backup nothing changes
    Drain {
        #[command(flatten)]
        runtime: Runtime,
    },
    /// End `vipd drain` and every `vipd handover`: use the configured priorities again
    Undrain {
        #[command(flatten)]
        runtime: Runtime,
    },
    /// Show the virtual servers: each real server with its weight, its state and why, connections and rates
    Services {
        /// Print one JSON object, as `balancing` in docs/reference/status.md
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        runtime: Runtime,
    },
    /// Give a real server no new connections until `vipd undrain-server`, over restarts too; says how many connections are left
    DrainServer {
        /// A virtual server: VIP:PORT, `fwmark N`, the name of a group, or as `vipd services --json` names it
        #[arg(value_name = "VIP:PORT")]
        service: String,
        /// The real server: RIP:PORT, or an address for every port
        #[arg(value_name = "RIP:PORT")]
        server: String,
        /// End the rest of its connections after this time, such as 90s, 10m or 2h; without it never, or as `drain_timeout` says
        #[arg(long = "for", value_name = "TIME", value_parser = when::span)]
        limit: Option<Duration>,
        #[command(flatten)]
        runtime: Runtime,
    },
    /// End `vipd drain-server`: the server gets new connections again if its checks pass
    UndrainServer {
        /// A virtual server, as for drain-server
        #[arg(value_name = "VIP:PORT")]
        service: String,
        /// The real server
        #[arg(value_name = "RIP:PORT")]
        server: String,
        #[command(flatten)]
        runtime: Runtime,
    },
    /// Log at another level until the next restart; without LEVEL, print the present one
    Log {
        #[arg(value_enum)]
        level: Option<control::LogLevel>,
        #[command(flatten)]
        runtime: Runtime,
    },
    /// Replace the running vipd by a new process without a gap: the installed program, with the same arguments. The running one
    /// goes on if the new one fails
    Upgrade {
        #[command(flatten)]
        runtime: Runtime,
    },
    /// Write a configuration from the files of ldirectord and heartbeat: ldirectord.cf, ha.cf, haresources, authkeys
    ///
    /// Each part says which line it comes from; notes name every line that has no equal. Exit codes: 0 no errors; 1 something has
    /// no equal, with --strict; 2 errors, and nothing is written.
    Import {
        #[command(flatten)]
        args: import::Args,
    },
    /// Print a completion script for a shell
    Completions { shell: Shell },
    /// Hand all instances over, remove everything from the kernel, and exit
    Stop {
        /// Keep answering for the VIPs until the leases end, for a vipd that starts at once; like SIGQUIT
        #[arg(long)]
        for_restart: bool,
        #[command(flatten)]
        runtime: Runtime,
    },
}

/// `xdp_mode` on the command line.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum XdpModeArg {
    /// Native XDP where the driver sees every frame, else tc ingress
    #[default]
    Auto,
    /// Native XDP, or fail
    Native,
    /// tc ingress
    Tc,
}

impl From<XdpModeArg> for vipd_config::XdpMode {
    fn from(mode: XdpModeArg) -> Self {
        match mode {
            XdpModeArg::Auto => Self::Auto,
            XdpModeArg::Native => Self::Native,
            XdpModeArg::Tc => Self::Tc,
        }
    }
}

#[derive(Debug, Args)]
struct Pins {
    /// BPF file system for pinned maps and links, below `vipd/`
    #[arg(long, value_name = "DIR", default_value = "/sys/fs/bpf")]
    bpffs_dir: PathBuf,
}

#[derive(Debug, Args)]
struct Runtime {
    /// Directory for the control socket, the lock and saved host settings
    #[arg(long, value_name = "DIR", default_value = "/run/vipd")]
    runtime_dir: PathBuf,
}

impl Runtime {
    /// Path of the control socket.
    fn socket(&self) -> PathBuf {
        runtime_dir::socket(&self.runtime_dir)
    }
}

/// Which configuration, and how it is read.
#[derive(Debug, Args)]
struct SourceArgs {
    /// Configuration file, in keepalived's language
    #[arg(short = 'f', long, value_name = "FILE", default_value = "/etc/keepalived/keepalived.conf")]
    config: PathBuf,
    /// Name of this machine for lines that start with `@ID`; default: the host name up to its first dot
    #[arg(short = 'i', long, value_name = "ID")]
    config_id: Option<String>,
    /// Ignore unsupported features (static addresses and more; load balancing where the kernel has no IPVS) with a warning, instead of refusing the file. With
    /// keywords only those: `--allow-unsupported=virtual_server,static_routes`
    #[arg(long, value_name = "KEYWORD,...", require_equals = true, value_parser = chosen::unsupported)]
    allow_unsupported: Option<Option<Unsupported>>,
}

impl From<SourceArgs> for crate::machine::Source {
    fn from(SourceArgs { config, config_id, allow_unsupported }: SourceArgs) -> Self {
        let unsupported = chosen::allowed(allow_unsupported);
        Self { path: config, config_id, unsupported }
    }
}

/// A time of at least 100 ms.
fn look_period(text: &str) -> Result<Duration, String> {
    const SHORTEST: Duration = Duration::from_millis(100);
    let seconds = text.parse().map_err(|_| "expected a number of seconds".to_owned())?;
    let period = Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())?;
    if period < SHORTEST { Err(format!("expected at least {SHORTEST:?}")) } else { Ok(period) }
}

/// The command line as clap knows it: what manual pages and completions are made from (`examples/generate.rs`).
pub fn command() -> clap::Command {
    Arguments::command()
}

/// The configuration that a command line names, if it is one of `vipd run`.
fn source_of<'a>(words: impl Iterator<Item = &'a OsStr>) -> Option<crate::machine::Source> {
    match Arguments::try_parse_from(words).ok()?.command {
        CliCommand::Run { source, .. } => Some(source.into()),
        _ => None,
    }
}

/// Runs the command line's command.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match arguments.command {
        CliCommand::Run {
            source,
            pins,
            runtime,
            state_dir,
            pid_file,
            wait_for_interfaces,
            log_xdp,
            log_format,
            xdp_mode,
            metrics_listen,
            replace,
            look_period,
        } => run(daemon::Options {
            source: source.into(),
            bpffs_dir: pins.bpffs_dir,
            runtime_dir: runtime.runtime_dir,
            state_dir,
            pid_file,
            wait_for_interfaces,
            log_xdp,
            log_format,
            xdp_mode: xdp_mode.into(),
            metrics_listen,
            replace,
            invocation: daemon::Invocation::of_this_process(),
            look_period,
        }),
        CliCommand::Init { options, runtime } => init::init(options, &runtime.socket()),
        CliCommand::Check { choice, runtime, explain, json, strict } => {
            let form = match (json, explain) {
                (true, _) => check::OutputForm::Json,
                (_, true) => check::OutputForm::Explain,
                _ => check::OutputForm::People,
            };
            let chosen = choice.choose(&runtime.socket());
            match check::check(&chosen, form, strict) {
                (_, Err(error)) if error.kind() != io::ErrorKind::BrokenPipe => fail(&error.into()),
                // Printed, or the reader has seen enough.
                (exit, _) => exit,
            }
        }
        CliCommand::Doctor { choice, pins, runtime, json, strict } => {
            let chosen = choice.choose(&runtime.socket());
            match doctor::doctor(chosen, pins.bpffs_dir, runtime.runtime_dir, json, strict) {
                Ok(exit) => exit,
                Err(error) => fail(&error),
            }
        }
        CliCommand::Cleanup { pins, runtime, dry_run, json } => {
            let places = cleanup::StateDirs { bpffs_dir: pins.bpffs_dir, runtime_dir: runtime.runtime_dir };
            match cleanup::cleanup(&places, dry_run, json) {
                Ok(exit) => exit,
                Err(error) => fail(&error),
            }
        }
        CliCommand::Status { schema: true, .. } => {
            shown(print_json(&schemars::schema_for!(Status)).map_err(Into::into))
        }
        CliCommand::Status { instances, check: true, runtime, .. } => {
            return monitored(&runtime, instances);
        }
        CliCommand::Status { instances, long, json, schema: false, check: false, runtime } => {
            let view = StatusView { instances, long, width: terminal_width() };
            ask(&runtime.socket(), &Request::Status, |response| match response {
                Response::Status(status) => show_status(&view, *status, json),
                _ => Ok(()),
            })
        }
        CliCommand::Explain { instances, json, runtime } => {
            ask(&runtime.socket(), &Request::Status, |response| match response {
                Response::Status(status) => explained(&status, &instances, json),
                _ => Ok(()),
            })
        }
        CliCommand::Cluster { instances, json, runtime } => {
            let view = StatusView { instances, ..StatusView::default() };
            ask(&runtime.socket(), &Request::Status, |response| match response {
                Response::Status(status) => show_cluster(&view, *status, json),
                _ => Ok(()),
            })
        }
        CliCommand::Where { address, runtime } => located(&runtime, &address.to_string(), false),
        CliCommand::IsMaster { instance, quiet, runtime } => located(&runtime, &instance, quiet),
        CliCommand::Top { interval, runtime } => match top::run(&runtime.socket(), interval) {
            Ok(never) => match never {},
            Err(error) => fail(&error),
        },
        CliCommand::Events { choice, runtime } => events::events(&runtime.socket(), choice),
        CliCommand::Reload { dry_run, json, exit_code, runtime } => {
            let socket = runtime.socket();
            reload::reload(&socket, dry_run, json, exit_code)
        }
        CliCommand::Capture { options, runtime } => capture::capture(&runtime.socket(), &options),
        CliCommand::Handover { instance, to, runtime } => hand_over(&runtime, instance, to),
        CliCommand::Drain { runtime } => done(&runtime, &Request::Drain),
        CliCommand::Undrain { runtime } => done(&runtime, &Request::Undrain),
        CliCommand::Services { json, runtime } => {
            ask(&runtime.socket(), &Request::Status, |response| match response {
                Response::Status(status) => show_services(*status, json),
                _ => Ok(()),
            })
        }
        CliCommand::DrainServer { service, server, limit, runtime } => {
            let for_s = limit.map(|limit| limit.as_secs());
            done(&runtime, &Request::DrainServer { service, server, for_s })
        }
        CliCommand::UndrainServer { service, server, runtime } => {
            done(&runtime, &Request::UndrainServer { service, server })
        }
        CliCommand::Upgrade { runtime } => upgrade(&runtime),
        CliCommand::Log { level, runtime } => done(&runtime, &Request::Log { level }),
        CliCommand::Import { args } => match import::import(&args) {
            Ok(exit) => exit,
            Err(error) => fail(&error),
        },
        CliCommand::Completions { shell } => {
            shown(io::stdout().write_all(&completions(shell)).map_err(Into::into))
        }
        CliCommand::Stop { for_restart, runtime } => {
            let request = if for_restart { Request::Leave } else { Request::Stop { progress: true } };
            let tell = |what: &str| journal::complain(&format!("vipd stop: {what}"));
            match control::request_stop(&runtime.socket(), &request, tell) {
                Ok(()) => Exit::Success,
                Err(error) => not_answered(error),
            }
        }
    }
    .into()
}

fn run(options: daemon::Options) -> Exit {
    let reason = daemon::UpgradeReason::of_this_process();
    let Err(error) = daemon::run(&options) else { return Exit::Success };
    if let Some(reason) = reason {
        reason.tell(&format!("{error:#}"));
    }
    let complain = |text: &str| journal::complain_as(options.log_format, text);
    let failure = error.downcast_ref::<vipd_config::Failure>();
    let exit = match (failure, error.downcast_ref::<ClientError>()) {
        (Some(failure), _) => {
            match options.log_format {
                journal::Form::Text => complain(&failure.to_string()),
                journal::Form::Json => {
                    failure.diagnostics.iter().for_each(|diagnostic| complain(&diagnostic.summary()));
                }
            }
            Exit::Config
        }
        (None, Some(ClientError::Unresponsive { .. })) => {
            complain(&format!("vipd: {error:#}; it was not replaced. {UNRESPONSIVE_REMEDY}"));
            Exit::Unresponsive
        }
        (None, _) => {
            format!("{error:#}").lines().for_each(|line| complain(&format!("vipd: {line}")));
            Exit::Failure
        }
    };
    let count = daemon::error_count(&error);
    complain(&format!("vipd: not started: {count}"));
    exit
}

const UNRESPONSIVE_REMEDY: &str = "To end it, kill it with SIGKILL; its leases run out by themselves, and a vipd that starts before goes \
                                   on with them.";

/// Columns of the terminal that standard output is.
fn terminal_width() -> Option<usize> {
    let stdout = io::stdout();
    if !stdout.is_terminal() {
        return None;
    }
    let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the kernel writes a `winsize`, which outlives the call.
    let result = unsafe { libc::ioctl(stdout.as_raw_fd(), libc::TIOCGWINSZ, &raw mut size) };
    // A terminal that does not know its size says 0.
    Some(usize::from(size.ws_col)).filter(|columns| result == 0 && *columns > 0)
}

/// `status --check`: prints one line, and exits as a monitoring system reads it.
fn monitored(runtime: &Runtime, instances: Vec<String>) -> ExitCode {
    let socket = runtime.socket();
    let whole = instances.is_empty();
    let verdict = match control::request(&socket, &Request::Status) {
        Ok(Response::Status(status)) => {
            // Without events only an address conflict is not seen.
            let events =
                control::request(&socket, &Request::Events { wanted: EventFilter::default(), follow: false });
            let events = if let Ok(Response::Events(batch)) = events { batch.events } else { Vec::new() };
            match (StatusView { instances, ..StatusView::default() }).select(*status) {
                Ok(status) => MonitoringResult::of(&status, whole, &events),
                Err(unknown) => MonitoringResult::unknown(&unknown),
            }
        }
        Ok(_) => MonitoringResult::unknown(&"vipd has answered another question"),
        Err(error) => MonitoringResult::of_silence(error),
    };
    // The exit code counts, whoever reads the line.
    let _ = writeln!(io::stdout(), "{verdict}");
    verdict.health.into()
}

/// Says whether this node owns what is asked for; nothing at all with `quiet`.
fn located(runtime: &Runtime, wanted: &str, quiet: bool) -> Exit {
    let complain = |error: &anyhow::Error| {
        if !quiet {
            journal::complain(&format!("vipd: {error:#}"));
        }
    };
    let status = match control::request(&runtime.socket(), &Request::Status) {
        Ok(Response::Status(status)) => status,
        Ok(_) => {
            complain(&anyhow::anyhow!("vipd has answered another question"));
            return Exit::NotRunning;
        }
        Err(error) => {
            complain(&error.into());
            return Exit::NotRunning;
        }
    };
    let located = match quiet {
        true => locate::locate(&mut io::sink(), &status, wanted),
        false => locate::locate(&mut io::stdout().lock(), &status, wanted),
    };
    match located {
        // The exit code counts, whoever reads the line.
        Ok((exit, _)) => exit,
        Err(_) if quiet => Exit::Usage,
        Err(error) => unknown(&error.into()),
    }
}

/// Prints a status: for people, or with `json` for machines.
fn show_status(view: &StatusView, status: Status, json: bool) -> anyhow::Result<()> {
    let status = view.select(status)?;
    match json {
        true => print_json(&status)?,
        // Colours only where they are seen, and not with NO_COLOR.
        false => view.render(&mut anstream::stdout().lock(), &status)?,
    }
    Ok(())
}

/// Explains the instances that are asked for, or all.
fn explained(status: &Status, wanted: &[String], json: bool) -> anyhow::Result<()> {
    let mut positions = BTreeSet::new();
    for name in wanted {
        positions.extend(status::find::find(status, name)?);
    }
    let all = 0..status.instances.len();
    let asked = all.filter(|at| wanted.is_empty() || positions.contains(at));
    let explanations: Vec<Explanation> = asked.filter_map(|at| explain::explain(status, at)).collect();
    if json {
        return Ok(print_json(&explanations)?);
    }
    let mut out = anstream::stdout().lock();
    for (n, explanation) in explanations.iter().enumerate() {
        if n > 0 {
            writeln!(out)?;
        }
        explain::text::render(&mut out, explanation)?;
    }
    Ok(())
}

/// Prints the services that a status has.
fn show_services(status: Status, json: bool) -> anyhow::Result<()> {
    let balancing = status.balancing.unwrap_or_default();
    match json {
        true => print_json(&balancing)?,
        false => status::services::render(&mut anstream::stdout().lock(), &balancing)?,
    }
    Ok(())
}

/// Prints the cluster as a status has it.
fn show_cluster(view: &StatusView, status: Status, json: bool) -> anyhow::Result<()> {
    let status = view.select(status)?;
    let cluster = ClusterView::of(&status);
    match json {
        true => print_json(&cluster)?,
        false => cluster::render(&mut anstream::stdout().lock(), &cluster)?,
    }
    Ok(())
}

fn print_json(value: &impl Serialize) -> io::Result<()> {
    let mut text = serde_json::to_vec_pretty(value)?;
    text.push(b'\n');
    io::stdout().write_all(&text)
}

/// Sends a request and prints the result.
fn done(runtime: &Runtime, request: &Request) -> Exit {
    ask(&runtime.socket(), request, |response| match response {
        Response::Done { what } => Ok(writeln!(io::stdout(), "{what}")?),
        _ => Ok(()),
    })
}

/// Hands an instance over that is named as every command names it.
fn hand_over(runtime: &Runtime, wanted: String, to: control::To) -> Exit {
    let status = match control::request(&runtime.socket(), &Request::Status) {
        Ok(Response::Status(status)) => status,
        Ok(_) => return fail(&anyhow::anyhow!("vipd has answered another question")),
        Err(error) => return not_answered(error),
    };
    let found = match status::find::find(&status, &wanted) {
        Ok(found) => found,
        Err(error) => return unknown(&error.into()),
    };
    let names: Vec<&str> =
        found.iter().filter_map(|at| Some(status.instances.get(*at)?.name.as_str())).collect();
    match names[..] {
        [name] => done(runtime, &Request::HandOver { instance: name.to_owned(), to }),
        _ => {
            let all = names.join(" and ");
            fail(&anyhow::anyhow!("{wanted} is a VIP of {all}: name one of them"));
            Exit::Usage
        }
    }
}

/// Upgrades, and waits until the new vipd answers: whoever asks next is not to be told that there is none.
fn upgrade(runtime: &Runtime) -> Exit {
    let exit = done(runtime, &Request::Upgrade);
    if exit == Exit::Success {
        for _ in 0..UPGRADE_LOOKS {
            if control::request(&runtime.socket(), &Request::Status).is_ok() {
                return exit;
            }
            std::thread::sleep(BETWEEN_UPGRADE_LOOKS);
        }
        journal::complain("vipd: the new vipd has taken over, and does not answer yet");
    }
    exit
}

fn ask(socket: &Path, request: &Request, show: impl FnOnce(Response) -> anyhow::Result<()>) -> Exit {
    match control::request(socket, request) {
        Ok(response) => shown(show(response)),
        Err(error) => not_answered(error),
    }
}

fn not_answered(error: ClientError) -> Exit {
    match error {
        ClientError::NotRunning(_) => {
            journal::complain(&format!("vipd: {error}"));
            Exit::NotRunning
        }
        ClientError::Unresponsive { .. } => {
            journal::complain(&format!("vipd: {error}"));
            Exit::Unresponsive
        }
        ClientError::Refused(message) if message.starts_with(control::NOT_A_REQUEST) => {
            journal::complain(
                "vipd: the running vipd is of a version that does not know this request; restart it",
            );
            Exit::TooOld
        }
        ClientError::Unchanged { .. } => {
            journal::complain(&error.to_string());
            Exit::Config
        }
        _ => fail(&error.into()),
    }
}

fn shown(result: anyhow::Result<()>) -> Exit {
    match result {
        Err(error) if error.downcast_ref::<status::Unknown>().is_some() => unknown(&error),
        // A reader that has seen enough, as `vipd status | head -1`.
        Err(error)
            if error.downcast_ref::<io::Error>().is_none_or(|e| e.kind() != io::ErrorKind::BrokenPipe) =>
        {
            fail(&error)
        }
        _ => Exit::Success,
    }
}

/// Of a name or VIP that no instance has: every command that takes one ends like this, but for `status --check`.
fn unknown(error: &anyhow::Error) -> Exit {
    fail(error);
    Exit::Usage
}

/// Prints the chain of causes once.
fn fail(error: &anyhow::Error) -> Exit {
    journal::complain(&format!("vipd: {error:#}"));
    Exit::Failure
}
