//! Builds the tests and the programs they run, and lists the tests.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use crate::sh;

/// What a build has made.
#[derive(Debug, Default)]
pub struct Built {
    binaries: Vec<Binary>,
    programs: Vec<(String, PathBuf)>,
}

/// A program whose tests libtest runs.
#[derive(Debug)]
struct Binary {
    name: String,
    path: PathBuf,
    /// The directory of its package, where cargo runs tests.
    dir: PathBuf,
    in_lab: bool,
}

/// A test, and how it is run.
#[derive(Debug)]
pub struct Test {
    /// `binary::module::test`.
    pub name: String,
    /// Its name in the binary.
    pub path: String,
    pub binary: PathBuf,
    pub dir: PathBuf,
    /// Waits for daemons in network namespaces more than it computes.
    pub in_lab: bool,
    /// Of the long tier.
    pub ignored: bool,
}

impl Built {
    /// The program of that name.
    pub fn program(&self, name: &str) -> Result<&Path> {
        let program = self.programs.iter().find(|(found, _)| found == name);
        program.map(|(_, path)| path.as_path()).with_context(|| format!("cargo has built no {name}"))
    }
}

/// Builds the tests and the programs in one go, because two builds with other features would build much twice.
pub fn build() -> Result<Built> {
    let mut command = sh::cargo();
    command.args(["build", "--bins", "--tests", "--message-format=json-render-diagnostics"]);
    eprintln!("$ {}", sh::display(&command));
    let output = command.stderr(Stdio::inherit()).output().context("cannot run cargo")?;
    ensure!(output.status.success(), "the build failed");
    let mut built = Built::default();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let message: Message = serde_json::from_str(line).with_context(|| format!("cargo said {line:?}"))?;
        if let Message::CompilerArtifact { target, profile, manifest_path, executable: Some(path) } = message
        {
            let dir = manifest_path.parent().context("a manifest is in a directory")?.to_owned();
            if profile.test {
                let in_lab = dir.ends_with("tests") && target.kind == ["test"];
                built.binaries.push(Binary { name: target.name, path, dir, in_lab });
            } else {
                built.programs.push((target.name, path));
            }
        }
    }
    Ok(built)
}

/// The tests of what has been built.
pub fn list(built: &Built) -> Result<Vec<Test>> {
    let mut tests = Vec::new();
    for binary in &built.binaries {
        let ignored: BTreeSet<_> = names(binary, &["--ignored"])?.into_iter().collect();
        tests.extend(names(binary, &[])?.into_iter().map(|path| Test {
            name: format!("{}::{path}", binary.name),
            ignored: ignored.contains(&path),
            path,
            binary: binary.path.clone(),
            dir: binary.dir.clone(),
            in_lab: binary.in_lab,
        }));
    }
    ensure!(!tests.is_empty(), "there are no tests");
    Ok(tests)
}

fn names(binary: &Binary, more: &[&str]) -> Result<Vec<String>> {
    let mut command = Command::new(&binary.path);
    command.args(["--list", "--format", "terse"]).args(more).current_dir(&binary.dir);
    let output = command.output().with_context(|| format!("cannot run {}", binary.path.display()))?;
    ensure!(output.status.success(), "{} cannot list its tests", binary.path.display());
    let text = String::from_utf8(output.stdout)?;
    Ok(text.lines().filter_map(|line| line.strip_suffix(": test")).map(str::to_owned).collect())
}

/// What cargo says of a build, as far as it is of interest.
#[derive(Debug, Deserialize)]
#[serde(tag = "reason", rename_all = "kebab-case")]
enum Message {
    CompilerArtifact {
        target: Target,
        profile: Profile,
        manifest_path: PathBuf,
        executable: Option<PathBuf>,
    },
    #[serde(other)]
    Other,
}

#[derive(Debug, Deserialize)]
struct Target {
    name: String,
    kind: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Profile {
    test: bool,
}
