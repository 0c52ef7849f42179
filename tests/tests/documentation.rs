//! The documentation holds together: every link leads somewhere, every page that is named is there, and the README's
//! configuration is one that vipd takes.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
};

use anyhow::{Context, Result, bail, ensure};
use vipd_tests::vipd_bin;

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The files below the repository with one of these endings, without what builds leave and hidden directories.
fn files(endings: &[&str]) -> Result<Vec<PathBuf>> {
    let (mut found, mut directories) = (Vec::new(), vec![repository()]);
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory).with_context(|| directory.display().to_string())? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if path.is_symlink() || name.starts_with('.') || name == "target" {
                continue;
            }
            if path.is_dir() {
                directories.push(path);
            } else if endings.iter().any(|ending| name.ends_with(ending)) {
                found.push(path);
            }
        }
    }
    Ok(found)
}

/// The text without its fenced blocks.
fn prose(text: &str) -> String {
    let mut fenced = false;
    let outside = |line: &&str| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        !fenced && !fence
    };
    text.lines().filter(outside).collect::<Vec<_>>().join("\n")
}

/// The targets of a page's links, but for those to other sites.
fn links(text: &str) -> Vec<String> {
    let rest = text.split("](").skip(1);
    rest.filter_map(|rest| rest.split_once(')'))
        .map(|(target, _)| target.to_owned())
        .filter(|target| !target.contains("://"))
        .collect()
}

/// The anchors that a renderer makes of a page's headings: lower case, blanks to hyphens, other punctuation dropped.
fn anchors(text: &str) -> BTreeSet<String> {
    let slug = |heading: &str| {
        let kept = heading.trim().to_lowercase();
        let kept = kept.chars().filter(|c| c.is_alphanumeric() || [' ', '-', '_'].contains(c));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect::<String>()
    };
    let headings = prose(text);
    headings
        .lines()
        .filter(|line| line.starts_with('#'))
        .map(|line| slug(line.trim_start_matches('#')))
        .collect()
}

#[test]
fn every_link_leads_somewhere() -> Result<()> {
    let pages = files(&[".md"])?;
    ensure!(pages.len() > 15, "only {} pages were found", pages.len());
    let mut broken = Vec::new();
    for page in &pages {
        let text = fs::read_to_string(page)?;
        for link in links(&prose(&text)) {
            let (path, anchor) = link.split_once('#').unwrap_or((&link, ""));
            let target = if path.is_empty() {
                page.clone()
            } else {
                page.parent().context("a page is in a directory")?.join(path)
            };
            let there = match fs::read_to_string(&target) {
                Ok(target) => anchor.is_empty() || anchors(&target).contains(anchor),
                Err(_) => target.is_dir(),
            };
            if !there {
                broken.push(format!("{}: {link}", page.display()));
            }
        }
    }
    ensure!(broken.is_empty(), "broken links:\n{}", broken.join("\n"));
    Ok(())
}

/// In sources, messages and other pages, by its path.
#[test]
fn every_page_that_is_named_is_there() -> Result<()> {
    let mut missing = Vec::new();
    for file in files(&[".rs", ".md", ".service", ".example", "postinst"])? {
        let text = fs::read_to_string(&file)?;
        for (before, after) in [("docs/", ".md"), ("share/doc/vipd/", ".md")] {
            for rest in text.split(before).skip(1) {
                let name = rest.split(|c: char| !c.is_ascii_alphanumeric() && !"-_/.".contains(c)).next();
                let name = name.unwrap_or_default().trim_end_matches('.');
                let Some(name) = name.strip_suffix(after) else { continue };
                if !repository().join("docs").join(name).with_extension("md").exists() && name != "README" {
                    missing.push(format!("{}: {before}{name}{after}", file.display()));
                }
            }
        }
    }
    ensure!(missing.is_empty(), "no such pages:\n{}", missing.join("\n"));
    Ok(())
}

/// Each row is a term, its meaning, and the files that own it. A term has one row.
#[test]
fn every_file_of_the_glossary_is_there() -> Result<()> {
    let text = fs::read_to_string(repository().join("docs/internals/glossary.md"))?;
    let rows = text.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| term |"));
    let (mut terms, mut wrong) = (BTreeSet::new(), Vec::new());
    for row in rows {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let [term, _, owners] = cells[..] else { bail!("not three cells: {row}") };
        if !terms.insert(term) {
            wrong.push(format!("{term} has two rows"));
        }
        let files: Vec<&str> = owners.split('`').skip(1).step_by(2).collect();
        if files.is_empty() {
            wrong.push(format!("{term} has no file"));
        }
        let missing = files.iter().filter(|file| !repository().join(file).is_file());
        wrong.extend(missing.map(|file| format!("{term}: {file} does not exist")));
    }
    ensure!(terms.len() > 30, "only {} terms were found", terms.len());
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

/// Checks a configuration on interfaces that this machine does not have: what it says of the addresses of its own is not asked.
fn checked(configuration: &str) -> Result<String> {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let path = std::env::temp_dir().join(format!("vipd-documentation-{}-{number}.conf", std::process::id()));
    fs::write(&path, configuration.replace("eth", "lan"))?;
    let output = Command::new(vipd_bin()?).args(["check", "--strict", "-f"]).arg(&path).output()?;
    fs::remove_file(&path)?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(output.status.success(), "{said}");
    Ok(said)
}

#[test]
fn the_examples_are_configurations_without_a_fault() -> Result<()> {
    let examples: Vec<_> = files(&[".conf"])?
        .into_iter()
        .filter(|path| path.parent().is_some_and(|parent| parent.ends_with("examples")))
        .collect();
    ensure!(examples.len() >= 6, "{examples:?}");
    for example in &examples {
        let said = checked(&fs::read_to_string(example)?)?;
        ensure!(said.contains("no errors or warnings"), "{said}");
    }
    Ok(())
}

#[test]
fn the_readme_is_short_and_its_configuration_is_complete() -> Result<()> {
    let readme = fs::read_to_string(repository().join("README.md"))?;
    ensure!(readme.lines().count() <= 150, "{} lines", readme.lines().count());
    let start = readme.find("```\nvrrp_instance").context("a configuration")? + "```\n".len();
    let length = readme[start..].find("```").context("its end")?;
    checked(&readme[start..start + length]).map(drop)
}
