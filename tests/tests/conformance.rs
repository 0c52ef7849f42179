//! `docs/internals/conformance.md` is complete, and what it names exists.

use std::{collections::BTreeMap, fs, path::Path};

/// The statements: a letter for each kind, and how many of it there are.
const STATEMENTS: [(char, usize); 10] = [
    ('W', 29),
    ('R', 32),
    ('F', 35),
    ('X', 10),
    ('A', 13),
    ('N', 12),
    ('D', 9),
    ('V', 8),
    ('K', 8),
    ('B', 19),
];
const MANAGEMENT: (char, usize) = ('O', 7);

/// Whether `file` has a test of that name.
fn has_test(file: &str, name: &str) -> bool {
    let lines: Vec<&str> = file.lines().map(str::trim).collect();
    let is_test = |i: usize| {
        let above =
            lines[..i].iter().rev().take_while(|line| line.starts_with("#[") || line.starts_with("//"));
        above.into_iter().any(|line| *line == "#[test]")
    };
    let heads = [format!("fn {name}("), format!("async fn {name}(")];
    (0..lines.len()).any(|i| heads.iter().any(|head| lines[i].starts_with(head.as_str())) && is_test(i))
}

#[test]
fn every_statement_has_its_test_or_its_reason() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let read = |path: &Path| fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let text = read(&root.join("docs/internals/conformance.md"));
    let rows: Vec<Vec<&str>> = text
        .lines()
        .filter(|line| line.starts_with("| ") && !line.starts_with("| ID "))
        .map(|line| line.trim_matches('|').split(" | ").map(str::trim).collect())
        .collect();
    let expected: Vec<String> = STATEMENTS
        .into_iter()
        .chain([MANAGEMENT])
        .flat_map(|(kind, count)| (1..=count).map(move |n| format!("{kind}-{n:02}")))
        .collect();
    let listed: Vec<&str> = rows.iter().map(|row| row[0]).collect();
    assert_eq!(listed, expected, "all of them, once each, in order");

    let mut sources: BTreeMap<String, String> = BTreeMap::new();
    let (mut tested, mut not_applicable, mut deviations) = (0, 0, 0);
    for row in &rows {
        let [id, level, statement, source, coverage] = row[..] else { panic!("not five columns: {row:?}") };
        assert!(["M", "S", "P"].contains(&level), "{id}: level {level:?}");
        assert!(!statement.is_empty() && !source.is_empty(), "{id}: an empty column");
        let tests: Vec<&str> = coverage.split('`').filter(|part| part.contains(".rs::")).collect();
        for test in &tests {
            let (path, name) = test.split_once("::").expect("a path and a name");
            let file = sources.entry(path.to_owned()).or_insert_with(|| read(&root.join(path)));
            assert!(has_test(file, name), "{id}: {path} has no test {name}");
        }
        let reasons = [("n/a: ", &mut not_applicable), ("deviation: ", &mut deviations)];
        let mut reasoned = false;
        for (word, count) in reasons {
            if let Some((_, reason)) = coverage.split_once(word) {
                assert!(reason.len() > 10, "{id}: no reason after {word:?}");
                *count += 1;
                reasoned = true;
            }
        }
        tested += usize::from(!tests.is_empty());
        assert!(!tests.is_empty() || reasoned, "{id}: neither a test nor a reason");
    }
    println!("{} statements: {tested} tested, {not_applicable} n/a, {deviations} deviations", rows.len());
}

#[test]
fn a_renamed_test_is_missed() {
    let file = "#[test]\nfn one() {}\n\nfn two() {}\n#[test]\n#[ignore]\nfn three_four() {}\n";
    assert!(has_test(file, "one") && has_test(file, "three_four"));
    assert!(!has_test(file, "two") && !has_test(file, "three") && !has_test(file, "on"));
}
