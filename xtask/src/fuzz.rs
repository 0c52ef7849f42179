//! `fuzz`: builds the targets of `tests/fuzz` as cargo-fuzz would, and runs them for a while.
//!
//! It takes neither cargo-fuzz nor a nightly. What it finds goes under `target/`, never into the tree.

use std::{
    env,
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use anyhow::{Context, Result, bail};
use clap::ValueEnum;

use crate::{ebpf, sh};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Which target; all of them if none is named
    target: Option<Target>,
    /// How long to run each target
    #[arg(long, default_value_t = SECONDS, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
    /// Where the random numbers start; with the same inputs at hand the same are tried
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    seed: Option<u32>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Target {
    /// What vipd sends, read by other decoders
    Wire,
    /// Both ends of the control socket
    Control,
    /// The configuration parser and its diagnostics
    Config,
    /// The XDP program through BPF_PROG_TEST_RUN; needs root
    Xdp,
}

impl Target {
    fn name(self) -> &'static str {
        match self {
            Self::Wire => "wire",
            Self::Control => "control",
            Self::Config => "config",
            Self::Xdp => "xdp",
        }
    }

    /// Whether it needs one crate of vipd alone.
    fn is_alone(self) -> bool {
        matches!(self, Self::Config)
    }

    /// Longest input tried, in octets.
    fn max_len(self) -> u32 {
        match self {
            Self::Wire => 8192,
            // A request's limit and more.
            Self::Control => 4200,
            // A line's limit, twice.
            Self::Config => 3000,
            // A jumbo frame, whose end the program does not see.
            Self::Xdp => 9216,
        }
    }
}

/// How long to run each target unless told.
const SECONDS: u32 = 30;
/// The same for `test --all`.
const TEST_SECONDS: u32 = 180;
const MANIFEST: &str = "tests/fuzz/Cargo.toml";
/// An input that takes longer has hung; with the sanitizer, the largest that a generator may make takes some seconds.
const TIMEOUT_S: u32 = 30;
const RSS_LIMIT_MB: u32 = 2048;

/// As cargo-fuzz has them: coverage for libFuzzer, compared operands too. More codegen units would lose counters.
const FLAGS: [&str; 9] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Cllvm-args=-simplifycfg-branch-fold-threshold=0",
    "-Ccodegen-units=1",
    "--cfg",
    "fuzzing",
];

/// Runs the targets one after the other; fails if one of them found something.
pub fn run(args: &Args) -> Result<ExitCode> {
    ebpf::build()?;
    Ok(if holds(args)? { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The part of `test --all`; whether nothing was found.
///
/// From the same start each time, so that in a fresh checkout much the same is tried.
pub fn test() -> Result<bool> {
    holds(&Args { target: None, seconds: TEST_SECONDS, seed: Some(1) })
}

fn holds(args: &Args) -> Result<bool> {
    let targets = args.target.map_or_else(|| Target::value_variants().to_vec(), |target| vec![target]);
    let mut found = Vec::new();
    let bin_dir = build(&targets)?;
    for target in targets {
        if matches!(target, Target::Xdp) && !sh::is_root() {
            if args.target.is_some() {
                bail!("the target xdp needs root");
            }
            println!("fuzz: xdp is skipped, it needs root");
            continue;
        }
        if let Some(command) = fuzz(target, &bin_dir, args)? {
            found.push((target.name(), command));
        }
    }
    for (target, command) in &found {
        println!("fuzz: {target} FAILED; to reproduce: {command}");
    }
    Ok(found.is_empty())
}

/// Checks formatting and lints of the targets, which are no part of the main workspace.
pub fn check() -> Result<()> {
    let manifest = ["--manifest-path", MANIFEST];
    sh::run(sh::cargo().arg("fmt").args(manifest).args(["--", "--check"]))?;
    let mut clippy = sh::cargo();
    // The main workspace's directory, whose dependencies are checked already; and no libFuzzer, which takes C++.
    clippy.args([
        "clippy",
        "--locked",
        "--no-default-features",
        "--features",
        "vipd",
        "--target-dir",
        "target",
    ]);
    clippy.args(manifest).args(["--", "-D", "warnings"]);
    sh::run(&mut clippy)
}

/// Builds the targets; returns where they are.
fn build(targets: &[Target]) -> Result<PathBuf> {
    let rustc = || Command::new(env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    let version = sh::output(rustc().arg("-vV")).context("cannot run rustc")?;
    let triple =
        version.lines().find_map(|line| line.strip_prefix("host: ")).context("rustc names no host")?;
    let library = sh::output(rustc().args(["--print", "target-libdir"])).context("rustc has no libraries")?;

    let mut flags = FLAGS.to_vec();
    if has_address_sanitizer(Path::new(&library)) {
        flags.push("-Zsanitizer=address");
    } else {
        eprintln!("fuzz: {library} has no address sanitizer; running without");
    }
    let target_dir = sh::workspace().join("target/fuzz");
    let mut cargo = sh::cargo();
    cargo
        .args(["build", "--locked", "--release", "--manifest-path", MANIFEST])
        // Named, so that the flags are not for build scripts too.
        .args(["--target", triple, "--target-dir"])
        .arg(&target_dir)
        .args(targets.iter().flat_map(|target| ["--bin", target.name()]))
        .args(if targets.iter().all(|target| target.is_alone()) {
            &["--no-default-features", "--features", "link"][..]
        } else {
            &[]
        })
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"))
        // The flags are unstable, the compiler is not.
        .env("RUSTC_BOOTSTRAP", "1");
    sh::run(&mut cargo)?;
    Ok(target_dir.join(triple).join("release"))
}

fn has_address_sanitizer(library: &Path) -> bool {
    let runtime = |name: &str| name.contains("rustc") && name.ends_with("_rt.asan.a");
    let entries = fs::read_dir(library).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name()).any(|name| runtime(&name.to_string_lossy()))
}

/// Runs one target; the command that reproduces what it found, if it found anything.
fn fuzz(target: Target, bin_dir: &Path, args: &Args) -> Result<Option<String>> {
    let workspace = sh::workspace();
    let name = target.name();
    let committed = workspace.join("tests/fuzz/corpus").join(name);
    let dictionary = workspace.join("tests/fuzz/dict").join(name);
    let scratch = workspace.join("target/fuzz/corpus").join(name);
    let artifacts = workspace.join("target/fuzz/artifacts").join(name);
    for dir in [&scratch, &artifacts] {
        fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    }
    let before = files(&artifacts)?;

    let mut command = Command::new(bin_dir.join(name));
    // New inputs go to the first directory.
    command.arg(&scratch).arg(&committed);
    command.arg(format!("-artifact_prefix={}/", artifacts.display()));
    command.arg(format!("-max_total_time={}", args.seconds));
    if let Some(seed) = args.seed {
        command.arg(format!("-seed={seed}"));
    }
    command.args([format!("-timeout={TIMEOUT_S}"), format!("-rss_limit_mb={RSS_LIMIT_MB}")]);
    command.args([format!("-max_len={}", target.max_len()), "-print_final_stats=1".into()]);
    command.arg("-verbosity=0");
    if dictionary.is_file() {
        command.arg(format!("-dict={}", dictionary.display()));
    }
    eprintln!("$ {}", sh::display(&command));
    let log_path = workspace.join(format!("target/fuzz/{name}.log"));
    let log = File::create(&log_path).with_context(|| format!("cannot write {}", log_path.display()))?;
    command.stdout(log.try_clone()?).stderr(log);
    sh::ends_with_us(&mut command);
    let status = command.status().with_context(|| format!("cannot run {name}"))?;
    let log = String::from_utf8_lossy(&fs::read(&log_path)?).into_owned();
    if status.success() {
        let figure = |of: &str| statistic(&log, of).unwrap_or("?");
        println!(
            "fuzz: {name}: {} runs, {} a second, {} inputs found, {} MB",
            figure("number_of_executed_units"),
            figure("average_exec_per_sec"),
            figure("new_units_added"),
            figure("peak_rss_mb")
        );
        return Ok(None);
    }
    eprintln!("{log}");
    let artifact = files(&artifacts)?.into_iter().find(|path| !before.contains(path));
    let Some(artifact) = artifact else {
        // The same input as in an earlier run, or the target did not start.
        return Ok(Some(sh::display(&command)));
    };
    Ok(Some(sh::display(Command::new(bin_dir.join(name)).arg(artifact))))
}

/// A figure of libFuzzer's final statistics.
fn statistic<'a>(log: &'a str, name: &str) -> Option<&'a str> {
    log.lines()
        .find_map(|line| line.strip_prefix("stat::")?.strip_prefix(name)?.strip_prefix(':'))
        .map(str::trim)
}

fn files(dir: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(dir).with_context(|| format!("cannot list {}", dir.display()))?;
    Ok(entries.collect::<Result<Vec<_>, _>>()?.into_iter().map(|entry| entry.path()).collect())
}
