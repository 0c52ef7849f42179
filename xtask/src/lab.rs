//! `lab up`, `exec`, `down`: the demo's lab, kept to play in.

use std::{
    env,
    fs::{self, OpenOptions},
    io::Write,
    os::unix::process::CommandExt,
    path::PathBuf,
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use vipd_tests::{Lab, Netns, janitor};

use crate::{
    ebpf,
    scene::{self, BALANCERS, INSTANCE, Keeper, VIP},
    setup, sh,
};

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Build vipd and start it, and an nginx, on lb01 and lb02
    Up {
        #[command(flatten)]
        name: Name,
    },
    /// Run a command on a node: lb01, lb02, client or switch
    Exec {
        #[command(flatten)]
        name: Name,
        node: String,
        #[arg(last = true, required = true)]
        command: Vec<String>,
    },
    /// End it and remove all of it
    Down {
        #[command(flatten)]
        name: Name,
    },
}

#[derive(Debug, clap::Args)]
pub struct Name {
    /// Which lab, if there are several
    #[arg(long, default_value = "play")]
    name: String,
}

/// What `exec` and `down` must know of a lab that stands.
#[derive(Debug, Serialize, Deserialize)]
struct State {
    prefix: String,
    dir: PathBuf,
}

pub fn run(command: Command) -> Result<ExitCode> {
    match command {
        Command::Up { name } => up(&name)?,
        Command::Exec { name, node, command } => exec(&name, &node, &command)?,
        Command::Down { name } => down(&name)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn up(name: &Name) -> Result<()> {
    setup::ensure_for_root()?;
    let file = name.state_file()?;
    ensure!(!file.exists(), "the lab {0:?} is up already; cargo xtask lab down --name {0}", name.name);
    ebpf::build()?;
    let vipd = scene::build_vipd()?;

    let lab = scene::build()?;
    fs::create_dir_all(STATE_DIR)?;
    // Two `lab up` at once: the second fails here, and its lab goes as it came.
    let mut state =
        OpenOptions::new().write(true).create_new(true).open(&file).context("another is coming up")?;
    let started = start(&lab, &vipd).and_then(|()| {
        let text =
            serde_json::to_string(&State { prefix: lab.prefix().to_owned(), dir: lab.dir().to_owned() })?;
        state.write_all(text.as_bytes()).context("cannot write the state file")
    });
    if let Err(error) = started {
        let _ = fs::remove_file(&file);
        return Err(error);
    }
    describe(&lab, name);
    lab.keep()
}

fn start(lab: &Lab, vipd: &std::path::Path) -> Result<()> {
    let mut daemons = Vec::new();
    for (name, ..) in BALANCERS {
        let node = lab.node(name);
        daemons.push(scene::start_keeper(node, Keeper::Vipd, vipd)?);
        daemons.push(scene::start_nginx(node)?);
        node.write_vipd_wrapper(vipd)?;
    }
    lab.node("lb01").wait_state(vipd, INSTANCE, "MASTER", Duration::from_secs(15))?;
    daemons.into_iter().for_each(vipd_tests::Daemon::leave_running);
    Ok(())
}

fn describe(lab: &Lab, name: &Name) {
    let option = if name.name == DEFAULT { String::new() } else { format!("--name {} ", name.name) };
    let exec = format!("cargo xtask lab exec {option}");
    println!("lab {:?} is up: lb01 and lb02 keep {VIP}, client can ask for it\n", name.name);
    for node in lab.nodes() {
        println!(
            "  {:8}{:12} {} {}",
            node.name(),
            node.ip().map(|i| i.to_string()).unwrap_or_default(),
            node.mac(),
            node.ns().name()
        );
    }
    println!(
        "\nfiles: {0}/lb01/vipd.conf, vipd.log, run/ (socket), nginx/; the same for lb02",
        lab.dir().display()
    );
    println!("pins:  {} and likewise for lb02\n", lab.node("lb01").bpffs_dir().display());
    for (line, why) in [
        ("client -- curl -s http://10.0.0.3/", "who serves"),
        ("client -- arping -c 3 -I eth0 10.0.0.3", "who owns the VIP on the wire"),
        ("lb01 -- vipd status", "what lb01 thinks (sockets are filled in)"),
        ("lb01 -- vipd stop", "a planned handover"),
        ("switch -- ip link set port-lb01 down", "pull lb01's cable"),
        ("client -- tcpdump -eni eth0 arp or vrrp", "watch"),
        ("lb01 -- bpftool map", "what the kernel holds (maps are not in namespaces: all nodes')"),
    ] {
        println!("  {exec}{line:45} # {why}");
    }
    println!("  cargo xtask lab down {option}");
}

fn exec(name: &Name, node: &str, command: &[String]) -> Result<()> {
    let state = name.state()?;
    let ns = Netns::open(&format!("{}-{node}", state.prefix))
        .with_context(|| format!("the lab has lb01, lb02, client and switch, not {node:?}"))?;
    let (program, args) = command.split_first().context("an empty command")?;
    let bin = state.dir.join(node).join("bin");
    let path = env::var_os("PATH").unwrap_or_default();
    let path = [bin, "/usr/sbin".into(), "/sbin".into()].into_iter().chain(env::split_paths(&path));
    // A name is looked up by the new PATH, which has this node's vipd first.
    let path = env::join_paths(path)?;
    Err(ns.command(program).args(args).env("PATH", path).exec())
        .with_context(|| format!("cannot run {program}"))
}

fn down(name: &Name) -> Result<()> {
    ensure!(sh::is_root(), "removing a lab needs root");
    let state = name.state()?;
    janitor::clean_up(&state.prefix, &state.dir)?;
    fs::remove_file(name.state_file()?)?;
    println!("lab {:?} is gone", name.name);
    Ok(())
}

/// The prefixes of the labs that stand, which outlive the processes that made them.
pub fn kept() -> Vec<String> {
    let files = fs::read_dir(STATE_DIR).into_iter().flatten().flatten();
    let states = files.filter_map(|file| fs::read_to_string(file.path()).ok());
    states.filter_map(|text| serde_json::from_str::<State>(&text).ok()).map(|state| state.prefix).collect()
}

impl Name {
    fn state_file(&self) -> Result<PathBuf> {
        let odd = |c: char| !(c.is_ascii_alphanumeric() || c == '-' || c == '_');
        ensure!(
            !self.name.is_empty() && !self.name.contains(odd),
            "a lab's name has letters, digits, - and _"
        );
        Ok(PathBuf::from(STATE_DIR).join(&self.name))
    }

    fn state(&self) -> Result<State> {
        let file = self.state_file()?;
        let text = fs::read_to_string(&file)
            .with_context(|| format!("there is no lab {:?}; cargo xtask lab up", self.name))?;
        serde_json::from_str(&text).with_context(|| format!("odd contents of {}", file.display()))
    }
}

const STATE_DIR: &str = "/run/vipd-lab";
const DEFAULT: &str = "play";
