//! Who imports whom: the layers in their order, and no circle among the modules.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

/// Each layer, and the layers that it may import besides itself.
const LAYERS: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("schema", &["model"]),
    ("syntax", &["schema"]),
    ("source", &["syntax"]),
    ("lower", &["source", "syntax", "schema", "model"]),
    ("explain", &["lower", "syntax", "schema", "model"]),
    ("compare", &["explain", "lower", "syntax", "schema", "model"]),
];

/// The path of a module, from the root of the crate.
type Module = Vec<String>;

/// Every module and its text, without tests and comments.
fn modules(dir: &Path, path: &[String], found: &mut BTreeMap<Module, String>) {
    for entry in
        fs::read_dir(dir).expect("the sources are there").map(|entry| entry.expect("and can be listed"))
    {
        let name = entry.file_name().into_string().expect("names are text");
        if name == "tests" || name == "tests.rs" {
            continue;
        }
        let child = |name: &str| [path, &[name.to_owned()]].concat();
        match name.strip_suffix(".rs") {
            None => modules(&entry.path(), &child(&name), found),
            Some(stem) => {
                let module = if matches!(stem, "lib" | "mod") { path.to_vec() } else { child(stem) };
                let text = fs::read_to_string(entry.path()).expect("sources are text");
                let text = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
                let code = text.lines().map(|line| line.split("//").next().unwrap_or_default());
                found.insert(module, code.collect::<Vec<_>>().join("\n"));
            }
        }
    }
}

/// The paths in the tree of a `use`.
fn flatten(tree: &str) -> Vec<String> {
    let Some((before, inside)) = tree.split_once('{') else {
        return vec![tree.split(" as ").next().unwrap_or_default().trim().to_owned()];
    };
    let inside = inside.rsplit_once('}').map_or(inside, |(inside, _)| inside);
    let (mut depth, mut parts) = (0, vec![String::new()]);
    for c in inside.chars() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(String::new());
                continue;
            }
            _ => {}
        }
        parts.last_mut().expect("there is one").push(c);
    }
    let parts = parts.iter().filter(|part| !part.trim().is_empty());
    parts.flat_map(|part| flatten(part)).map(|part| before.trim().to_owned() + &part).collect()
}

/// The module that a path leads to, as far as it names modules; `None`: one of another crate.
fn resolve(from: &Module, path: &str, known: &BTreeMap<Module, String>) -> Option<Module> {
    let mut words = path.split("::").map(str::trim).peekable();
    let mut at = match words.peek()? {
        &"crate" => {
            words.next();
            Module::new()
        }
        &"super" => {
            let mut at = from.clone();
            while words.next_if_eq(&"super").is_some() {
                at.pop();
            }
            at
        }
        word => {
            let child = [from.as_slice(), &[(*word).to_owned()]].concat();
            known.contains_key(&child).then(|| from.clone())?
        }
    };
    for word in words {
        let next = [at.as_slice(), &[word.to_owned()]].concat();
        if !known.contains_key(&next) {
            break;
        }
        at = next;
    }
    Some(at)
}

fn imports(from: &Module, text: &str, known: &BTreeMap<Module, String>) -> BTreeSet<Module> {
    let uses = text.split("use ").skip(1).filter_map(|rest| rest.split(';').next());
    let mut paths: Vec<String> = uses.flat_map(flatten).collect();
    // What is named where it is used.
    for start in ["crate::", "super::"] {
        let inline = text.match_indices(start).map(|(at, _)| {
            let is_path = |c: char| c.is_alphanumeric() || matches!(c, '_' | ':');
            let end = text[at..].find(|c| !is_path(c)).unwrap_or(text.len() - at);
            text[at..at + end].trim_end_matches(':').to_owned()
        });
        paths.extend(inline.filter(|path| path.contains("::")));
    }
    paths.iter().filter_map(|path| resolve(from, path, known)).filter(|to| to != from).collect()
}

fn graph() -> BTreeMap<Module, BTreeSet<Module>> {
    let mut known = BTreeMap::new();
    modules(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &[], &mut known);
    let of = |(from, text): (&Module, &String)| (from.clone(), imports(from, text, &known));
    let graph: BTreeMap<_, _> = known.iter().map(of).collect();
    let edges = graph.values().map(BTreeSet::len).sum::<usize>();
    assert!(
        graph.len() > 60 && edges > 200,
        "{} modules with {edges} imports: not all were found",
        graph.len()
    );
    graph
}

#[test]
fn layers_import_only_what_is_below_them() {
    let mut wrong = Vec::new();
    for (from, to) in graph().iter().flat_map(|(from, to)| to.iter().map(move |to| (from, to))) {
        // The root puts the layers together.
        let Some(layer) = from.first() else { continue };
        let row = LAYERS.iter().find(|(name, _)| name == layer);
        let (_, below) = row.unwrap_or_else(|| panic!("{layer} is in no row of LAYERS"));
        let target = to.first().map_or("the root", String::as_str);
        if target != layer && !below.contains(&target) {
            wrong.push(format!("{} imports {}", from.join("::"), to.join("::")));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// A module whose imports lead back to it cannot be read by itself.
#[test]
fn no_module_imports_itself_by_others() {
    let mut graph = graph();
    // One that imports none of those that are left is in no circle, nor is one that none of them imports.
    loop {
        let imported: BTreeSet<Module> = graph.values().flatten().cloned().collect();
        let before = graph.len();
        let left: BTreeSet<Module> = graph.keys().cloned().collect();
        graph.retain(|module, to| imported.contains(module) && to.iter().any(|to| left.contains(to)));
        if graph.len() == before {
            break;
        }
    }
    let circle: Vec<String> = graph.keys().map(|module| module.join("::")).collect();
    assert!(circle.is_empty(), "on a circle of imports, or between two: {circle:#?}");
}
