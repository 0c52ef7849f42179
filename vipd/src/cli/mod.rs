//! The command line: arguments, exit codes, rendering.

mod check;
pub mod status;

use std::{io::Write, path::PathBuf, process::ExitCode};

use clap::{Args, CommandFactory, Parser, Subcommand};

use crate::{
    config,
    control::{self, ClientError, Request, Response},
    daemon::{self, journal, runtime_dir},
};

/// What went wrong, as an exit code. Documented in `vipd --help`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    Success = 0,
    /// Anything not named below.
    Failure = 1,
    /// clap's own code for bad arguments, and that of `check` for a file that cannot be run.
    Usage = 2,
    /// No vipd answers on the control socket.
    NotRunning = 3,
    /// The configuration file cannot be read or is refused.
    Config = 6,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

const AFTER_HELP: &str = "\
Exit codes:
  0  success
  1  failure: the environment or the kernel refused something; check --strict: there are warnings
  2  bad arguments; check: the configuration cannot be run
  3  no vipd is running (status, reload, stop)
  6  the configuration cannot be read or is refused (run, reload)";

/// Keeps a virtual IP alive across machines: VRRP elections over an XDP data plane.
#[derive(Debug, Parser)]
#[command(name = "vipd", version, after_help = AFTER_HELP)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run in the foreground until `vipd stop`, SIGTERM, SIGINT or SIGQUIT
    Run {
        #[command(flatten)]
        source: Source,
        /// BPF file system to pin maps and links in, under `vipd/`
        #[arg(long, value_name = "DIR", default_value = "/sys/fs/bpf")]
        bpffs_dir: PathBuf,
        #[command(flatten)]
        runtime: Runtime,
        /// File to write the process id to, besides vipd.pid in the runtime directory
        #[arg(short = 'p', long = "pid", value_name = "FILE")]
        pid_file: Option<PathBuf>,
        /// Log the XDP program's own diagnostics of revocations and conflicts too
        #[arg(long)]
        log_xdp: bool,
    },
    /// Check a configuration, and what it includes, without running it: every error, warning and notice at once
    ///
    /// Exit codes: 0 it can be run; 1 it can be run, but there are warnings and --strict was given; 2 it cannot be run.
    Check {
        #[command(flatten)]
        source: Source,
        /// Print the configuration in force, with defaults filled in and the place each value comes from; findings go to
        /// standard error
        #[arg(long)]
        explain: bool,
        /// Print one JSON object: counts, and for each finding file, line, column, end, severity, code, message, notes, help
        #[arg(long, conflicts_with = "explain")]
        json: bool,
        /// Let warnings fail too
        #[arg(long)]
        strict: bool,
    },
    /// Show each instance: state, master, lease, VIPs, adverts
    Status {
        /// Print the whole status as one JSON object
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        runtime: Runtime,
    },
    /// Read the configuration again, as does SIGHUP, and wait until it is in force; one that is refused changes nothing
    Reload {
        #[command(flatten)]
        runtime: Runtime,
    },
    /// Hand every VIP over, remove everything made, and exit
    Stop {
        /// Leave the VIPs answered until their leases end, for a vipd that is started at once (as does SIGQUIT)
        #[arg(long)]
        for_restart: bool,
        #[command(flatten)]
        runtime: Runtime,
    },
}

#[derive(Debug, clap::Args)]
struct Runtime {
    /// Directory of the control socket, lock and saved host settings
    #[arg(long, value_name = "DIR", default_value = "/run/vipd")]
    runtime_dir: PathBuf,
}

/// Which configuration, and how it is read.
#[derive(Debug, Args)]
struct Source {
    /// Configuration, in keepalived's format
    #[arg(short = 'f', long, value_name = "FILE", default_value = "/etc/keepalived/keepalived.conf")]
    config: PathBuf,
    /// What lines that start with `@ID` are for; the host's name up to its first dot if not given
    #[arg(short = 'i', long, value_name = "ID")]
    config_id: Option<String>,
    /// Warn of what vipd does not support yet (load balancing, BFD, SNMP, DBus and more) and ignore it, instead of refusing
    /// the file
    #[arg(long)]
    allow_unsupported: bool,
}

impl From<Source> for config::Source {
    fn from(Source { config, config_id, allow_unsupported }: Source) -> Self {
        let unsupported =
            if allow_unsupported { config::Unsupported::Ignored } else { config::Unsupported::Refused };
        Self { path: config, config_id, unsupported }
    }
}

/// The command line as clap knows it: what manual pages and completions are made from (`examples/generate.rs`).
pub fn command() -> clap::Command {
    Arguments::command()
}

/// Runs the command line's command.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match arguments.command {
        Command::Run { source, bpffs_dir, runtime, pid_file, log_xdp } => run(daemon::Options {
            source: source.into(),
            bpffs_dir,
            runtime_dir: runtime.runtime_dir,
            pid_file,
            log_xdp,
        }),
        Command::Check { source, explain, json, strict } => {
            let form = match (json, explain) {
                (true, _) => check::Form::Json,
                (_, true) => check::Form::Explain,
                _ => check::Form::People,
            };
            match check::check(&source.into(), form, strict) {
                (_, Err(error)) if error.kind() != std::io::ErrorKind::BrokenPipe => fail(&error.into()),
                // Printed, or the reader has seen enough.
                (exit, _) => exit,
            }
        }
        Command::Status { json, runtime } => ask(&runtime, &Request::Status, |response| match response {
            Response::Status(status) if json => {
                let mut line = serde_json::to_vec_pretty(&status)?;
                line.push(b'\n');
                std::io::stdout().write_all(&line)
            }
            Response::Status(status) => status::render(&mut std::io::stdout().lock(), &status),
            _ => Ok(()),
        }),
        Command::Reload { runtime } => ask(&runtime, &Request::Reload, |response| match response {
            Response::Reloaded { what } => writeln!(std::io::stdout(), "{what}"),
            _ => Ok(()),
        }),
        Command::Stop { for_restart, runtime } => {
            let request = if for_restart { Request::Leave } else { Request::Stop };
            ask(&runtime, &request, |_| Ok(()))
        }
    }
    .into()
}

fn run(options: daemon::Options) -> Exit {
    match daemon::run(&options) {
        Ok(()) => Exit::Success,
        Err(error) => match error.downcast_ref::<config::Failure>() {
            Some(failure) => {
                journal::complain(&failure.to_string());
                Exit::Config
            }
            None => fail(&error),
        },
    }
}

fn ask(runtime: &Runtime, request: &Request, show: impl FnOnce(Response) -> std::io::Result<()>) -> Exit {
    match control::request(&runtime_dir::socket(&runtime.runtime_dir), request) {
        Ok(response) => match show(response) {
            // A reader that has seen enough, as `vipd status | head -1`.
            Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => fail(&error.into()),
            _ => Exit::Success,
        },
        Err(error @ ClientError::NotRunning(_)) => {
            journal::complain(&format!("vipd: {error}"));
            Exit::NotRunning
        }
        Err(error @ ClientError::Unchanged(_)) => {
            journal::complain(&format!("vipd: {error}"));
            Exit::Config
        }
        Err(error) => fail(&error.into()),
    }
}

/// Prints the chain of causes once.
fn fail(error: &anyhow::Error) -> Exit {
    journal::complain(&format!("vipd: {error:#}"));
    Exit::Failure
}
