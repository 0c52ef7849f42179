//! Dependencies are what `deny.toml` allows: licences, sources, bans, versions. Without the network; advisories need one.

use std::{collections::BTreeSet, fs, path::Path, process::Command};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

/// An array of strings of `deny.toml`, one element a line.
fn list(file: &str, section: &str, key: &str) -> Result<BTreeSet<String>> {
    let lines = file.lines().skip_while(|line| *line != format!("[{section}]")).skip(1);
    let mut lines = lines.take_while(|line| !line.starts_with('['));
    lines.find(|line| *line == format!("{key} = [")).with_context(|| format!("no {key} in [{section}]"))?;
    let mut elements = BTreeSet::new();
    for line in lines {
        let line = line.trim();
        if line == "]" {
            return Ok(elements);
        }
        let element = line.strip_prefix('"').and_then(|line| line.strip_suffix("\","));
        elements.insert(element.with_context(|| format!("{line:?} is no element"))?.to_owned());
    }
    bail!("{key} in [{section}] has no end")
}

/// Whether an SPDX expression holds if these licences may be used. `/` is an old form of OR.
fn allows(allowed: &BTreeSet<String>, expression: &str) -> Result<bool> {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let words: Vec<_> = spaced.split_whitespace().collect();
    let mut rest = &words[..];
    let holds = either(allowed, &mut rest).with_context(|| format!("the licence {expression:?}"))?;
    ensure!(rest.is_empty(), "the licence {expression:?} has more than is understood: {rest:?}");
    Ok(holds)
}

fn either(allowed: &BTreeSet<String>, rest: &mut &[&str]) -> Result<bool> {
    let mut holds = both(allowed, rest)?;
    while let ["OR", more @ ..] = rest {
        *rest = more;
        holds |= both(allowed, rest)?;
    }
    Ok(holds)
}

fn both(allowed: &BTreeSet<String>, rest: &mut &[&str]) -> Result<bool> {
    let mut holds = one(allowed, rest)?;
    while let ["AND", more @ ..] = rest {
        *rest = more;
        holds &= one(allowed, rest)?;
    }
    Ok(holds)
}

fn one(allowed: &BTreeSet<String>, rest: &mut &[&str]) -> Result<bool> {
    match *rest {
        ["(", more @ ..] => {
            *rest = more;
            let holds = either(allowed, rest)?;
            let [")", more @ ..] = rest else { bail!("an open parenthesis") };
            *rest = more;
            Ok(holds)
        }
        [licence, "WITH", exception, more @ ..] => {
            *rest = more;
            Ok(allowed.contains(&format!("{licence} WITH {exception}")))
        }
        [licence, more @ ..] if !["AND", "OR", "WITH", ")"].contains(licence) => {
            *rest = more;
            Ok(allowed.contains(*licence))
        }
        _ => bail!("a licence is missing"),
    }
}

#[test]
fn expressions_are_understood() -> Result<()> {
    let allowed = ["MIT", "Zlib", "Apache-2.0 WITH LLVM-exception"].map(str::to_owned).into();
    let table = [
        ("MIT", true),
        ("GPL-3.0", false),
        ("MIT OR GPL-3.0", true),
        ("GPL-2.0/MIT", true),
        ("MIT AND GPL-3.0", false),
        ("(MIT OR GPL-3.0) AND Zlib", true),
        ("(MIT OR Zlib) AND GPL-3.0", false),
        ("GPL-3.0 OR MIT AND GPL-2.0", false),
        ("Apache-2.0", false),
        ("Apache-2.0 WITH LLVM-exception", true),
    ];
    for (expression, expected) in table {
        ensure!(allows(&allowed, expression)? == expected, "{expression}");
    }
    for odd in ["", "MIT OR", "(MIT", "MIT MIT"] {
        ensure!(allows(&allowed, odd).is_err(), "{odd:?}");
    }
    Ok(())
}

#[test]
fn dependencies_are_as_deny_toml_has_them() -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let file = fs::read_to_string(root.join("deny.toml"))?;
    let (allowed, banned) = (list(&file, "licenses", "allow")?, list(&file, "bans", "deny")?);
    let sources = list(&file, "sources", "allow-registry")?;
    let mut used = BTreeSet::new();
    let mut wrong = Vec::new();
    for target in list(&file, "graph", "targets")? {
        // The lock file as it is; what is downloaded for the build is enough.
        let mut command = Command::new(env!("CARGO"));
        command.args([
            "metadata",
            "--format-version",
            "1",
            "--locked",
            "--offline",
            "--filter-platform",
            &target,
        ]);
        let output = command.current_dir(&root).output().context("cargo metadata")?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let metadata: Value = serde_json::from_slice(&output.stdout)?;
        let nodes = metadata["resolve"]["nodes"].as_array().context("no graph")?;
        let here: BTreeSet<_> = nodes.iter().filter_map(|node| node["id"].as_str()).collect();
        ensure!(here.len() > 100, "only {} packages for {target}", here.len());
        for package in metadata["packages"].as_array().context("no packages")? {
            if !package["id"].as_str().is_some_and(|id| here.contains(id)) {
                continue;
            }
            let name = package["name"].as_str().context("no name")?;
            let licence = package["license"].as_str().unwrap_or_default();
            used.insert(licence.to_owned());
            if !allows(&allowed, licence)? {
                wrong.push(format!("{name}: the licence {licence:?} is not allowed"));
            }
            if banned.contains(name) {
                wrong.push(format!("{name}: is banned"));
            }
            match package["source"].as_str() {
                // A member of the workspace.
                None => {
                    for dependency in package["dependencies"].as_array().into_iter().flatten() {
                        if dependency["req"] == "*" && dependency["path"].is_null() {
                            wrong.push(format!("{name}: any version of {} will do", dependency["name"]));
                        }
                    }
                }
                Some(source) if sources.contains(source.trim_start_matches("registry+")) => {}
                Some(source) => wrong.push(format!("{name}: comes from {source}")),
            }
        }
    }
    ensure!(used.len() > 5, "licences were not read: {used:?}");
    ensure!(wrong.is_empty(), "not as deny.toml has it:\n{}", wrong.join("\n"));
    Ok(())
}

/// What the crates without IO are built from: nothing that could do any.
#[test]
fn the_pure_crates_depend_on_nothing_that_does_io() -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for (package, allowed) in [
        ("vipd-core", &["vipd-common", "zerocopy", "zerocopy-derive"][..]),
        (
            "vipd-config",
            &[
                "vipd-common",
                "zerocopy",
                "zerocopy-derive",
                "annotate-snippets",
                "anstyle",
                "memchr",
                "unicode-width",
            ],
        ),
    ] {
        let mut command = Command::new(env!("CARGO"));
        // Features as the package alone has them: in the workspace others ask for more.
        command.args([
            "tree",
            "--locked",
            "--offline",
            "--edges",
            "normal,no-proc-macro",
            "--prefix",
            "none",
        ]);
        let output =
            command.args(["--package", package]).current_dir(&root).output().context("cargo tree")?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let tree = String::from_utf8(output.stdout)?;
        let names: BTreeSet<&str> = tree.lines().filter_map(|line| line.split(' ').next()).collect();
        ensure!(names.contains(package) && names.contains("vipd-common"), "{package}: {names:?}");
        let others: Vec<_> =
            names.iter().filter(|name| **name != package && !allowed.contains(name)).collect();
        ensure!(others.is_empty(), "{package} depends on {others:?}");
    }
    Ok(())
}
