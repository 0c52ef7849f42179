//! Words: a type of the product has a name of its own, so that a reader who has met it once knows it everywhere.

#![allow(clippy::unwrap_used, reason = "all of it is a test")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// The sources of the product.
const PRODUCT: &[&str] = &["vipd", "vipd-common", "vipd-ebpf"];

/// Names that several files have on purpose, and why.
const SHARED: &[(&str, &[&str], &str)] = &[
    (
        "Context",
        &["vipd-ebpf/src/hook/tc.rs", "vipd-ebpf/src/hook/xdp.rs"],
        "the same for each of two builds",
    ),
    (
        "LeasePolicy",
        &["vipd/config/src/model/instance.rs", "vipd/core/src/vrrp/settings.rs"],
        "the same, in crates that do not know each other",
    ),
];

/// Formats are named by their module, `arp::Repr`, as smoltcp does.
const FORMATS: &str = "vipd-common/src/wire/";

fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if path.is_dir() {
            // Tests, and what is built.
            if !["tests", "target", "examples", "benches"].contains(&name.as_str()) {
                sources(&path, found);
            }
        } else if name.ends_with(".rs") && name != "tests.rs" {
            found.push(path);
        }
    }
}

/// The types that a file defines, without those of its tests.
fn types(text: &str) -> Vec<&str> {
    let product = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
    product
        .lines()
        .filter_map(|line| {
            let line = line.trim_start();
            let line = line
                .strip_prefix("pub ")
                .or_else(|| line.strip_prefix("pub(")?.split_once(") ").map(|(_, rest)| rest))
                .unwrap_or(line);
            let line = line.strip_prefix("unsafe ").unwrap_or(line);
            let rest =
                ["struct ", "enum ", "union ", "trait "].iter().find_map(|word| line.strip_prefix(word))?;
            let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
            Some(&rest[..end]).filter(|name| !name.is_empty())
        })
        .collect()
}

/// Names with several definitions, and where these are.
fn ambiguous(files: &[(String, String)]) -> BTreeMap<&str, BTreeSet<&str>> {
    let mut found: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (path, text) in files {
        if path.starts_with(FORMATS) {
            continue;
        }
        for name in types(text) {
            found.entry(name).or_default().insert(path);
        }
    }
    found.retain(|_, places| places.len() > 1);
    found
}

#[test]
fn a_type_name_has_one_meaning() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut paths = Vec::new();
    for part in PRODUCT {
        sources(&root.join(part), &mut paths);
    }
    let files: Vec<_> = paths
        .iter()
        .map(|path| {
            let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            (name, fs::read_to_string(path).unwrap())
        })
        .collect();
    assert!(files.len() > 200, "only {} sources were found", files.len());
    let mut found = ambiguous(&files);
    for (name, places, why) in SHARED {
        let places: BTreeSet<_> = places.iter().copied().collect();
        assert_eq!(
            found.remove(name).as_ref(),
            Some(&places),
            "{name} is no longer shared as the table says: {why}"
        );
    }
    assert!(found.is_empty(), "give each its own name, and see docs/internals/glossary.md: {found:#?}");
}

#[test]
fn a_name_with_two_meanings_is_found() {
    let files = [
        ("a.rs", "pub(crate) struct Wire<'a> {"),
        ("b.rs", "    enum Wire {\nstruct Other;"),
        ("c.rs", "// struct Other"),
    ];
    let files = files.map(|(name, text)| (name.to_owned(), text.to_owned()));
    let found = ambiguous(&files);
    assert_eq!(found.keys().copied().collect::<Vec<_>>(), ["Wire"]);
}
