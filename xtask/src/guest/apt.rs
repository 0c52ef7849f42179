//! A private view of Debian's archive: the machine's own Debian mirrors, and backports from the same mirrors.
//!
//! apt is run with sources, lists and caches of its own under `target/guest/apt`, so nothing that the machine's apt
//! knows is changed. Proxies, credentials and keys are the machine's.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};

use crate::sh;

const RELEASE: &str = "bookworm";
pub const BACKPORTS: &str = "bookworm-backports";

/// apt with lists of its own, which are up to date.
#[derive(Debug)]
pub struct Apt {
    config: PathBuf,
}

impl Apt {
    /// Fetches the lists of packages.
    pub fn open(dir: &Path) -> Result<Self> {
        for sub in ["sources", "lists/partial", "cache/archives/partial"] {
            let sub = dir.join(sub);
            fs::create_dir_all(&sub).with_context(|| format!("make {}", sub.display()))?;
        }
        let sources = sources(&machine_sources()?);
        ensure!(
            sources.contains(BACKPORTS),
            "no source of {RELEASE} in /etc/apt: kernels come from the mirror named there"
        );
        fs::write(dir.join("sources/guest.sources"), sources)?;
        let config = dir.join("apt.conf");
        fs::write(&config, configuration(dir))?;
        let apt = Self { config };
        eprintln!(
            "guest: fetching lists of packages from the machine's Debian mirror (15 MB, into {})",
            dir.display()
        );
        sh::run(apt.command("apt-get").args(["--quiet", "update"]))?;
        Ok(apt)
    }

    /// The kernel package that a metapackage of a suite stands for.
    pub fn kernel_of(&self, metapackage: &str, suite: Option<&str>) -> Result<String> {
        let mut command = self.command("apt-cache");
        command.args(suite.iter().flat_map(|suite| ["--target-release", suite]));
        let depends = sh::output(command.args(["depends", metapackage])).context("apt-cache failed")?;
        let mut packages = depends.lines().filter_map(|line| line.trim().strip_prefix("Depends: "));
        packages
            .find(|package| package.starts_with("linux-image-"))
            .map(str::to_owned)
            .with_context(|| format!("{metapackage} depends on no kernel:\n{depends}"))
    }

    /// The package with the least number between these two parts of its name.
    pub fn oldest(&self, before: &str, after: &str) -> Result<String> {
        let names =
            sh::output(self.command("apt-cache").args(["pkgnames", before])).context("apt-cache failed")?;
        least(&names, before, after).with_context(|| format!("no package {before}NUMBER{after}"))
    }

    /// Downloads a package into a directory that is empty, and returns the file.
    pub fn download(&self, package: &str, into: &Path) -> Result<PathBuf> {
        sh::run(self.command("apt-get").args(["--quiet", "download", package]).current_dir(into))?;
        let files = fs::read_dir(into)?.collect::<std::io::Result<Vec<_>>>()?;
        let deb = files
            .into_iter()
            .map(|file| file.path())
            .find(|path| path.extension().is_some_and(|e| e == "deb"));
        deb.with_context(|| format!("apt-get download left no package in {}", into.display()))
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        // Read last, so that it can clear what the machine's configuration has set.
        command.arg("--config-file").arg(&self.config).env("LC_ALL", "C");
        command
    }
}

/// Of names, one a line, the one with the least number between these two parts.
fn least(names: &str, before: &str, after: &str) -> Option<String> {
    let number = |name: &str| name.strip_prefix(before)?.strip_suffix(after)?.parse::<u32>().ok();
    let numbers = names.lines().filter_map(number);
    numbers.min().map(|number| format!("{before}{number}{after}"))
}

fn configuration(dir: &Path) -> String {
    let dir = dir.display();
    format!(
        "Dir::Etc::sourcelist \"/dev/null\";\n\
         Dir::Etc::sourceparts \"{dir}/sources\";\n\
         Dir::State::lists \"{dir}/lists\";\n\
         Dir::Cache \"{dir}/cache\";\n\
         Acquire::Languages \"none\";\n\
         Acquire::IndexTargets::deb::DEP-11::DefaultEnabled \"false\";\n\
         // apt's own user cannot write to a build directory.\n\
         APT::Sandbox::User \"root\";\n\
         // Hooks that tidy the machine's own caches.\n\
         #clear APT::Update::Post-Invoke;\n\
         #clear APT::Update::Post-Invoke-Success;\n"
    )
}

/// One place that packages come from: a line of `sources.list`, or a stanza of a `.sources` file.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Source {
    uris: Vec<String>,
    suites: Vec<String>,
    components: Vec<String>,
    /// Fields such as `Signed-By`, as a stanza writes them.
    options: Vec<(String, String)>,
}

/// What the machine's apt is configured with.
fn machine_sources() -> Result<Vec<Source>> {
    let mut files = vec![PathBuf::from("/etc/apt/sources.list")];
    if let Ok(parts) = fs::read_dir("/etc/apt/sources.list.d") {
        files.extend(parts.filter_map(|part| Some(part.ok()?.path())));
    }
    files.sort();
    let mut sources = Vec::new();
    for file in files.iter().filter(|file| file.is_file()) {
        let parse = match file.extension().and_then(|e| e.to_str()) {
            Some("list") => one_line,
            Some("sources") => stanzas,
            _ => continue,
        };
        let text = fs::read_to_string(file).with_context(|| format!("read {}", file.display()))?;
        sources.extend(parse(&text));
    }
    Ok(sources)
}

/// `deb [signed-by=KEY] URI SUITE COMPONENT...`
fn one_line(text: &str) -> Vec<Source> {
    let source = |line: &str| {
        let rest = line.split('#').next()?.trim().strip_prefix("deb ")?.trim_start();
        let (options, rest) = match rest.strip_prefix('[') {
            Some(rest) => rest.split_once(']')?,
            None => ("", rest),
        };
        let options = options.split_whitespace().filter_map(|option| option.split_once('='));
        let mut words = rest.split_whitespace().map(str::to_owned);
        Some(Source {
            uris: vec![words.next()?],
            suites: vec![words.next()?],
            components: words.collect(),
            options: options.map(|(name, value)| (name.to_owned(), value.replace(',', " "))).collect(),
        })
    };
    text.lines().filter_map(source).collect()
}

/// Fields as in a package's control file; stanzas are parted by empty lines.
fn stanzas(text: &str) -> Vec<Source> {
    let mut sources = Vec::new();
    let mut fields: Vec<(String, String)> = Vec::new();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    for line in lines.chain([""]) {
        if line.trim().is_empty() {
            sources.extend(source_of(std::mem::take(&mut fields)));
        } else if line.starts_with([' ', '\t']) {
            // A long value goes on, such as a key that stands in the file itself.
            if let Some((_, value)) = fields.last_mut() {
                *value += "\n";
                *value += line;
            }
        } else if let Some((name, value)) = line.split_once(':') {
            fields.push((name.to_owned(), value.trim().to_owned()));
        }
    }
    sources
}

fn source_of(fields: Vec<(String, String)>) -> Option<Source> {
    let words = |wanted: &str| -> Vec<String> {
        let field = fields.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted));
        field.map(|(_, value)| value.split_whitespace().map(str::to_owned).collect()).unwrap_or_default()
    };
    let (uris, suites, components) = (words("URIs"), words("Suites"), words("Components"));
    let enabled = words("Enabled").first().is_none_or(|word| word != "no");
    if uris.is_empty() || !enabled || !words("Types").contains(&"deb".to_owned()) {
        return None;
    }
    let known = ["Types", "URIs", "Suites", "Components", "Enabled"];
    let other = |(name, _): &(String, String)| !known.iter().any(|known| name.eq_ignore_ascii_case(known));
    Some(Source { uris, suites, components, options: fields.into_iter().filter(other).collect() })
}

/// The sources of the release and its updates, and backports from the mirrors of the release.
fn sources(machine: &[Source]) -> String {
    let of_release = |suite: &String| {
        let rest = suite.strip_prefix(RELEASE);
        rest.is_some_and(|rest| ["", "-updates", "-security"].contains(&rest))
            || suite == &format!("{RELEASE}/updates")
    };
    let mut text = String::new();
    for source in machine {
        let suites: Vec<_> = source.suites.iter().filter(|suite| of_release(suite)).cloned().collect();
        let backports = suites.iter().any(|suite| suite == RELEASE).then(|| BACKPORTS.to_owned());
        let suites: Vec<_> = suites.into_iter().chain(backports).collect();
        if suites.is_empty() {
            continue;
        }
        let fields =
            [("Types", "deb".to_owned()), ("URIs", source.uris.join(" ")), ("Suites", suites.join(" "))];
        let fields = fields.into_iter().chain([("Components", source.components.join(" "))]);
        let options = source.options.iter().map(|(name, value)| (name.as_str(), value.clone()));
        for (name, value) in fields.chain(options) {
            text += &format!("{name}: {value}\n");
        }
        text += "\n";
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXPECT: &str = "Types: deb\nURIs: http://mirror.example/debian\nSuites: bookworm bookworm-backports\n\
                          Components: main contrib\nSigned-By: /a.gpg\n\n";

    #[test]
    fn backports_come_from_the_mirror_of_the_release() {
        let rows: [(&str, Vec<Source>, &str); 5] = [
            (
                "a line",
                one_line(
                    "# deb http://x y z\ndeb [Signed-By=/a.gpg] http://mirror.example/debian bookworm main contrib # ours\n",
                ),
                EXPECT,
            ),
            (
                "a stanza",
                stanzas(
                    "Types: deb deb-src\n# note\nURIs: http://mirror.example/debian\nSuites: bookworm\n\
                     Components: main contrib\nSigned-By: /a.gpg\n",
                ),
                EXPECT,
            ),
            (
                "security alone has no backports",
                one_line("deb http://mirror.example/security bookworm-security main\n"),
                "Types: deb\nURIs: http://mirror.example/security\nSuites: bookworm-security\nComponents: main\n\n",
            ),
            ("another distribution", one_line("deb http://mirror.example/debian trixie main\n"), ""),
            (
                "a stanza that is off",
                stanzas(
                    "Enabled: no\nTypes: deb\nURIs: http://mirror.example/debian\nSuites: bookworm\nComponents: main\n",
                ),
                "",
            ),
        ];
        for (what, machine, expect) in rows {
            assert_eq!(sources(&machine), expect, "{what}");
        }
    }

    #[test]
    fn the_oldest_has_the_least_number() {
        let names = "k-6.1.0-100-amd64\nk-6.1.0-47-cloud-amd64\nk-6.1.0-9-amd64-dbg\nk-6.1.0-47-amd64\n";
        assert_eq!(least(names, "k-6.1.0-", "-amd64").as_deref(), Some("k-6.1.0-47-amd64"));
        assert_eq!(least(names, "k-6.2.0-", "-amd64"), None);
    }

    #[test]
    fn a_key_in_the_stanza_is_kept_whole() {
        let stanza = "Types: deb\nURIs: http://mirror.example/debian\nSuites: bookworm\nComponents: main\n\
                      Signed-By:\n -----BEGIN\n .\n -----END\n";
        let text = sources(&stanzas(stanza));
        assert!(text.ends_with("Signed-By: \n -----BEGIN\n .\n -----END\n\n"), "{text}");
    }
}
