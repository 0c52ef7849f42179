//! Dependencies are what `deny.toml` allows: licences, sources, bans, versions. Without the network; advisories need one.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    process::Command,
};

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

/// A module by the names that lead to it.
type Module = Vec<String>;

/// The modules below a directory, each with the source of its file but for its tests.
fn modules(root: &Path) -> Result<BTreeMap<Module, String>> {
    let mut found = BTreeMap::new();
    let mut directories = vec![root.to_path_buf()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory)? {
            let path = entry?.path();
            if path.is_dir() {
                directories.push(path);
                continue;
            }
            let mut module: Module = path
                .with_extension("")
                .strip_prefix(root)?
                .iter()
                .map(|n| n.to_string_lossy().into())
                .collect();
            match module.last().map(String::as_str) {
                Some("tests") => continue,
                Some("mod") => _ = module.pop(),
                _ => {}
            }
            let source = fs::read_to_string(&path)?;
            let source = source.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
            found.insert(module, source.to_owned());
        }
    }
    Ok(found)
}

/// Every path that a `use` tree names, as `a::b::c`.
fn paths(tree: &str) -> Vec<String> {
    let Some((before, nested)) = tree.split_once('{') else { return vec![tree.to_owned()] };
    let nested = nested.trim().strip_suffix('}').unwrap_or(nested);
    let (mut depth, mut parts) = (0, vec![String::new()]);
    for character in nested.chars() {
        match character {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(String::new());
                continue;
            }
            _ => {}
        }
        parts.last_mut().expect("one at least").push(character);
    }
    let parts = parts.iter().map(|part| part.trim()).filter(|part| !part.is_empty());
    parts.flat_map(paths).map(|path| format!("{before}{path}")).collect()
}

/// The modules below `crate::{top}` that a source names, by `use` or by a path that starts at `super`, `self` or the top.
fn imports(of: &Module, source: &str, top: &str, all: &BTreeMap<Module, String>) -> BTreeSet<Module> {
    let code = source.lines().filter(|line| !line.trim_start().starts_with("//"));
    let code: String = code.flat_map(|line| [line, "\n"]).collect();
    let mut named: Vec<String> = Vec::new();
    // Statements that begin a line: what functions use for themselves is theirs.
    let (mut others, mut rest) = (String::new(), code.as_str());
    while let Some(at) = rest.find("use ") {
        let begins =
            rest[..at].rsplit('\n').next().is_some_and(|before| before.is_empty() || before == "pub ");
        let end = if begins { rest[at..].find(';').map_or(rest.len(), |length| at + length) } else { at + 4 };
        others += &rest[..at];
        if begins {
            named.extend(paths(rest[at + 4..end].trim()));
        }
        rest = &rest[end..];
    }
    others += rest;
    let in_code = others.split(|c: char| !c.is_alphanumeric() && c != ':' && c != '_');
    named.extend(in_code.filter(|path| path.starts_with("super::")).map(str::to_owned));
    let resolve = |path: &String| {
        let mut at = of.clone();
        let mut segments = path.split("::").map(str::trim).peekable();
        match segments.peek().copied()? {
            "crate" => {
                segments.next();
                at.clear();
                segments.next().filter(|first| *first == top)?;
            }
            "self" => _ = segments.next(),
            "super" => {}
            child => {
                let child = [at.as_slice(), &[child.to_owned()]].concat();
                all.contains_key(&child).then_some(())?;
            }
        }
        for segment in segments {
            if segment == "super" {
                at.pop()?;
                continue;
            }
            at.push(segment.to_owned());
            if !all.contains_key(&at) {
                at.pop();
                break;
            }
        }
        Some(at).filter(|at| at != of)
    };
    named.iter().filter_map(resolve).collect()
}

/// A circle among the imports, each module of it named once.
fn circle(imports: &BTreeMap<Module, BTreeSet<Module>>) -> Option<Vec<Module>> {
    fn visit(
        module: &Module,
        imports: &BTreeMap<Module, BTreeSet<Module>>,
        way: &mut Vec<Module>,
        done: &mut BTreeSet<Module>,
    ) -> Option<Vec<Module>> {
        if let Some(start) = way.iter().position(|before| before == module) {
            return Some(way[start..].to_vec());
        }
        if !done.insert(module.clone()) {
            return None;
        }
        way.push(module.clone());
        let found =
            imports.get(module).into_iter().flatten().find_map(|next| visit(next, imports, way, done));
        way.pop();
        found
    }
    let mut done = BTreeSet::new();
    imports.keys().find_map(|module| visit(module, imports, &mut Vec::new(), &mut done))
}

fn circle_below(all: &BTreeMap<Module, String>, top: &str) -> Option<Vec<Module>> {
    circle(&all.iter().map(|(module, source)| (module.clone(), imports(module, source, top, all))).collect())
}

#[test]
fn modules_of_the_daemon_import_in_one_direction() -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../vipd/src/daemon");
    let all = modules(&root)?;
    ensure!(all.len() > 40, "only {} modules", all.len());
    let edges: usize = all.iter().map(|(of, source)| imports(of, source, "daemon", &all).len()).sum();
    ensure!(edges > 100, "only {edges} imports");
    if let Some(circle) = circle_below(&all, "daemon") {
        let names: Vec<String> = circle.iter().map(|module| module.join("::")).collect();
        bail!("these import each other: {}", names.join(" -> "));
    }
    Ok(())
}

#[test]
fn circles_of_imports_are_found() {
    let module = |path: &str| path.split("::").map(str::to_owned).collect::<Module>();
    let tree = |files: &[(&str, &str)]| -> BTreeMap<Module, String> {
        files.iter().map(|(path, source)| (module(path), (*source).to_owned())).collect()
    };
    let straight = [("a", "use super::{b::{self, B}, c::C};\n"), ("b", "use crate::top::c::C;\n"), ("c", "")];
    assert_eq!(circle_below(&tree(&straight), "top"), None);
    for (what, source) in [
        ("super", "use super::b::B;\n"),
        ("nested", "use std::fmt;\n\nuse super::{\n    b::{self, B},\n};\n"),
        ("from the top", "pub use crate::top::a::A;\n"),
        ("a path in code", "fn f() -> super::a::A {}\n"),
    ] {
        let files = [straight[0], straight[1], ("c", source)];
        assert!(circle_below(&tree(&files), "top").is_some(), "{what}");
    }
    let child = [("a", "mod b;\nuse b::B;\n"), ("a::b", "use super::A;\n")];
    assert!(circle_below(&tree(&child), "top").is_some(), "a child that uses its parent");
}

/// What the crates without IO are built from: nothing that could do any.
#[test]
fn the_pure_crates_depend_on_nothing_that_does_io() -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for (package, allowed) in [
        ("vipd-core", &["vipd-common", "zerocopy", "zerocopy-derive"][..]),
        ("vipd-balance", &["vipd-core", "vipd-common", "zerocopy", "zerocopy-derive"]),
        ("vipd-import", &[]),
        (
            "vipd-config",
            &[
                "vipd-balance",
                "vipd-core",
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
        ensure!(names.contains(package), "{package}: {names:?}");
        let others: Vec<_> =
            names.iter().filter(|name| **name != package && !allowed.contains(name)).collect();
        ensure!(others.is_empty(), "{package} depends on {others:?}");
    }
    Ok(())
}

/// Who may use what: the only crates of vipd that may name the library, so that anything else does not compile.
const ONLY_USERS: &[(&str, &[&str])] = &[
    ("aya", &["vipd-dataplane"]),
    ("aya-log", &["vipd-dataplane"]),
    ("rtnetlink", &["vipd-host"]),
    // Filters of tc, the kernel's news of processes, and IPVS.
    ("netlink-sys", &["vipd", "vipd-dataplane", "vipd-ipvs"]),
    ("netlink-packet-core", &["vipd-ipvs"]),
    ("netlink-packet-generic", &["vipd-ipvs"]),
    ("ratatui", &["vipd-top"]),
    ("crossterm", &["vipd-top"]),
    ("hyper", &["vipd", "vipd-probe"]),
    ("hyper-util", &["vipd", "vipd-probe"]),
    ("lettre", &["vipd"]),
    ("prometheus-client", &["vipd"]),
    ("tokio-rustls", &["vipd-probe"]),
    ("rustls-native-certs", &["vipd-probe"]),
    ("regex", &["vipd-probe"]),
    ("md-5", &["vipd-probe"]),
];

/// What must not get into a crate by way of another.
const APART: &[(&str, &[&str])] = &[
    ("vipd", &["ratatui", "crossterm", "vipd-top"]),
    ("vipd-top", &["aya", "rtnetlink", "hyper", "vipd", "vipd-config"]),
    ("vipd-control", &["aya", "rtnetlink", "ratatui", "hyper", "vipd-dataplane", "vipd-host", "vipd-config"]),
    ("vipd-announce", &["aya", "rtnetlink", "ratatui", "hyper", "tokio"]),
    ("vipd-dataplane", &["rtnetlink", "ratatui", "hyper", "vipd-host"]),
    ("vipd-host", &["aya", "ratatui", "hyper", "vipd-dataplane"]),
    ("vipd-ipvs", &["aya", "rtnetlink", "ratatui", "hyper", "vipd-config", "vipd-dataplane", "vipd-host"]),
    (
        "vipd-probe",
        &["aya", "rtnetlink", "ratatui", "lettre", "vipd-config", "vipd-dataplane", "vipd-host", "vipd-ipvs"],
    ),
    ("vipd-properties", &["ratatui", "rtnetlink", "hyper", "vipd"]),
];

fn metadata(root: &Path) -> Result<Value> {
    let mut command = Command::new(env!("CARGO"));
    command.args(["metadata", "--format-version", "1", "--locked", "--offline", "--no-deps"]);
    let output = command.current_dir(root).output().context("cargo metadata")?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(serde_json::from_slice(&output.stdout)?)
}

#[test]
fn each_library_has_the_users_that_the_architecture_names() -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let metadata = metadata(&root)?;
    let mut users: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for package in metadata["packages"].as_array().context("no packages")? {
        let manifest = package["manifest_path"].as_str().context("no manifest")?;
        // The product: the crates below `vipd`.
        if !Path::new(manifest).starts_with(root.canonicalize()?.join("vipd")) {
            continue;
        }
        let name = package["name"].as_str().context("no name")?;
        for dependency in package["dependencies"].as_array().context("no dependencies")? {
            if dependency["kind"].is_null() {
                users.entry(dependency["name"].as_str().context("no name")?).or_default().insert(name);
            }
        }
    }
    for (library, allowed) in ONLY_USERS {
        let found = users.get(library).with_context(|| format!("nobody uses {library}"))?;
        let allowed: BTreeSet<&str> = allowed.iter().copied().collect();
        ensure!(*found == allowed, "{library} is used by {found:?}, and may be by {allowed:?}");
    }
    Ok(())
}

#[test]
fn crates_are_built_without_what_they_are_apart_from() -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for (package, unwanted) in APART {
        let mut command = Command::new(env!("CARGO"));
        command.args(["tree", "--locked", "--offline", "--edges", "normal", "--prefix", "none"]);
        let output =
            command.args(["--package", package]).current_dir(&root).output().context("cargo tree")?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let tree = String::from_utf8(output.stdout)?;
        let names: BTreeSet<&str> = tree.lines().filter_map(|line| line.split(' ').next()).collect();
        ensure!(names.contains(package) && names.len() > 5, "{package}: {names:?}");
        let found: Vec<_> = unwanted.iter().filter(|name| names.contains(*name)).collect();
        ensure!(found.is_empty(), "{package} is built with {found:?}");
    }
    Ok(())
}

/// The fuzz targets have a lock file of their own, and `cargo xtask ci` builds them by it as it is.
#[test]
fn the_lock_file_of_the_fuzz_targets_knows_each_dependency() -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let lock = fs::read_to_string(root.join("tests/fuzz/Cargo.lock"))?;
    let locked: BTreeMap<&str, BTreeSet<&str>> =
        lock.split("[[package]]").filter_map(locked_package).collect();
    let metadata = metadata(&root)?;
    let mut compared = 0;
    for package in metadata["packages"].as_array().context("no packages")? {
        let name = package["name"].as_str().context("no name")?;
        let Some(locked) = locked.get(name) else { continue };
        for dependency in package["dependencies"].as_array().context("no dependencies")? {
            let is_plain = dependency["kind"].is_null() && dependency["optional"] == false;
            let needed = dependency["name"].as_str().context("no name")?;
            ensure!(
                !is_plain || locked.contains(needed),
                "tests/fuzz/Cargo.lock does not know that {name} needs {needed}: `cargo update --workspace` in tests/fuzz"
            );
            compared += 1;
        }
    }
    ensure!(compared > 20, "{compared} dependencies compared");
    Ok(())
}

/// Name and dependencies of one package of a lock file.
fn locked_package(text: &str) -> Option<(&str, BTreeSet<&str>)> {
    let name = text.lines().find_map(|line| line.strip_prefix("name = \"")?.strip_suffix('"'))?;
    let (_, list) = text.split_once("dependencies = [").unwrap_or_default();
    let elements = list.lines().filter_map(|line| line.strip_prefix(" \"")?.strip_suffix("\","));
    Some((name, elements.filter_map(|element| element.split(' ').next()).collect()))
}
