//! `vipd import`: opens the files of ldirectord and heartbeat, and prints the configuration that `vipd_import` writes.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    net::{IpAddr, ToSocketAddrs},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};
use serde::Serialize;
use vipd_import::{Files, Import, ImportHost, Note, NoteSeverity, SourceText};

use super::{Exit, print_json};

/// Which files are read, and where the result goes.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Directory of heartbeat's files. The files that it has are read, unless files are named
    #[arg(long, value_name = "DIR", default_value = "/etc/ha.d")]
    dir: PathBuf,
    /// ldirectord.cf; may be given several times
    #[arg(long, value_name = "FILE")]
    ldirectord: Vec<PathBuf>,
    /// ha.cf
    #[arg(long, value_name = "FILE")]
    ha: Option<PathBuf>,
    /// haresources
    #[arg(long, value_name = "FILE")]
    haresources: Option<PathBuf>,
    /// authkeys; no key is written anywhere
    #[arg(long, value_name = "FILE")]
    authkeys: Option<PathBuf>,
    /// Write the configuration to this file, which must not exist yet, instead of standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Fail if anything has no equal
    #[arg(long)]
    strict: bool,
    /// Print one JSON object: configuration, and for each note file, line, column, severity, message, help
    #[arg(long, conflicts_with = "output")]
    json: bool,
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct ImportReport<'i> {
    configuration: &'i str,
    notes: Vec<ImportNote<'i>>,
}

#[derive(Debug, Serialize)]
struct ImportNote<'i> {
    file: &'i str,
    line: u32,
    column: u32,
    severity: String,
    message: &'i str,
    help: Option<&'i str>,
}

/// Prints the configuration, and the notes to standard error; the exit code is that of the worst note.
pub fn import(args: &Args) -> Result<Exit> {
    let files = open(args)?;
    let Import { configuration, notes } = vipd_import::import(&files, &ThisHost);
    let worst = notes.iter().map(|note| note.severity).max();
    if args.json {
        let notes = notes.iter().map(shown).collect();
        print_json(&ImportReport { configuration: &configuration, notes })?;
    } else {
        let mut err = io::stderr().lock();
        for note in &notes {
            writeln!(err, "{note}")?;
        }
        let count = |severity| notes.iter().filter(|note| note.severity == severity).count();
        let [errors, warnings] = [NoteSeverity::Error, NoteSeverity::Warning].map(count);
        writeln!(err, "{errors} errors, {warnings} warnings")?;
        match &args.output {
            _ if worst == Some(NoteSeverity::Error) => {
                writeln!(err, "no configuration is written: correct the errors in a copy of the files")?;
            }
            Some(path) => OpenOptions::new()
                .write(true)
                .create_new(true)
                .open(path)
                .and_then(|mut file| file.write_all(configuration.as_bytes()))
                .with_context(|| format!("write {}", path.display()))?,
            None => io::stdout().write_all(configuration.as_bytes())?,
        }
    }
    Ok(match worst {
        Some(NoteSeverity::Error) => Exit::Usage,
        Some(NoteSeverity::Warning) if args.strict => Exit::Failure,
        _ => Exit::Success,
    })
}

fn shown(note: &Note) -> ImportNote<'_> {
    let Note { file, line, column, severity, message, help } = note;
    let (line, column) = (*line, *column);
    ImportNote { file, line, column, severity: severity.to_string(), message, help: help.as_deref() }
}

/// The named files, else those of the directory; with them the files that haresources names.
fn open(args: &Args) -> Result<Files> {
    let named = !args.ldirectord.is_empty()
        || [&args.ha, &args.haresources, &args.authkeys].iter().any(|file| file.is_some());
    let choose = |given: &Option<PathBuf>, name: &str| -> Result<Option<SourceText>> {
        match given {
            Some(path) => text(path).map(Some),
            None if named => Ok(None),
            None => present(&args.dir.join(name)),
        }
    };
    let haresources = choose(&args.haresources, "haresources")?;
    let mut ldirectord = args.ldirectord.iter().map(|path| text(path)).collect::<Result<Vec<_>>>()?;
    if args.ldirectord.is_empty() {
        let mut names = haresources.as_ref().map(vipd_import::director_files).unwrap_or_default();
        if names.is_empty() && !named {
            names.push("ldirectord.cf".to_owned());
        }
        for name in names {
            // An absolute name replaces the directory.
            ldirectord.extend(present(&args.dir.join(name))?);
        }
    }
    let files = Files {
        ldirectord,
        ha: choose(&args.ha, "ha.cf")?,
        haresources,
        authkeys: choose(&args.authkeys, "authkeys")?,
    };
    let none = files.ldirectord.is_empty() && files.haresources.is_none();
    ensure!(
        !none,
        "nothing to import: neither ldirectord.cf nor haresources is in {}; name them with --ldirectord and --haresources",
        args.dir.display()
    );
    Ok(files)
}

fn text(path: &Path) -> Result<SourceText> {
    let contents = fs::read(path).with_context(|| format!("read {}", path.display()))?;
    Ok(SourceText {
        name: path.display().to_string(),
        contents: String::from_utf8_lossy(&contents).into_owned(),
    })
}

fn present(path: &Path) -> Result<Option<SourceText>> {
    if path.exists() { text(path).map(Some) } else { Ok(None) }
}

/// Names, services and scripts of this host.
struct ThisHost;

impl ImportHost for ThisHost {
    fn resolve(&self, host: &str, ipv6: bool) -> Option<IpAddr> {
        let addresses = (host, 0).to_socket_addrs().ok()?;
        addresses.map(|address| address.ip()).find(|address| address.is_ipv6() == ipv6)
    }

    fn port(&self, service: &str, protocol: &str) -> Option<u16> {
        let services = fs::read_to_string("/etc/services").ok()?;
        services.lines().find_map(|line| {
            let mut words = line.split('#').next()?.split_whitespace();
            let (name, port) = (words.next()?, words.next()?);
            let named = name == service || words.any(|alias| alias == service);
            named.then(|| port.strip_suffix(protocol)?.strip_suffix('/')?.parse().ok()).flatten()
        })
    }

    fn is_file(&self, path: &str) -> bool {
        Path::new(path).is_file()
    }
}

#[cfg(test)]
mod tests {
    use vipd_config::Unsupported;

    use super::*;
    use crate::machine::Source;

    /// An LVS pair by heartbeat and ldirectord: two VIPs, NAT, an arbiter.
    const FILES: [(&str, &str); 4] = [
        (
            "ha.cf",
            "logfile /var/log/ha-log\nkeepalive 2\ndeadtime 30\nudpport 694\nbcast eth0\nmcast eth0 225.0.120.1 694 1 0\n\
             auto_failback on\nnode node1\nnode node2\nping 192.168.1.1\ncompression bz2\n",
        ),
        ("authkeys", "auth 1\n1 sha1 4ece364b077efd89\n"),
        ("haresources", "node1 192.168.1.200/24/eth0 192.168.2.200/24/eth1 ldirectord::ldirectord.cf\n"),
        (
            "ldirectord.cf",
            "checktimeout=3\ncheckinterval=1\nautoreload=yes\nquiescent=yes\nfallback=127.0.0.1:80\n\n\
             virtual=192.168.1.200:80\n    real=192.168.2.12:80 masq\n    real=192.168.2.6:80 masq\n    service=http\n    \
             request=\"test.html\"\n    receive=\"ok\"\n    scheduler=rr\n    protocol=tcp\n    checktype=negotiate\n    checkport=80\n",
        ),
    ];

    #[test]
    fn what_is_written_is_read_by_vipd() {
        let dir = std::env::temp_dir().join(format!("vipd-import-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        for (name, contents) in FILES {
            fs::write(dir.join(name), contents).unwrap();
        }
        let output = dir.join("vipd.conf");
        let args = Args {
            dir: dir.clone(),
            ldirectord: Vec::new(),
            ha: None,
            haresources: None,
            authkeys: None,
            output: Some(output.clone()),
            strict: false,
            json: false,
        };
        assert_eq!(import(&args).unwrap(), Exit::Success);
        let written = fs::read_to_string(&output).unwrap();
        assert!(!written.contains("4ece364b"), "a key is in the configuration: {written}");
        // The result is never overwritten.
        assert!(import(&args).is_err());
        for (node, priority) in [("node1", 150), ("node2", 100)] {
            let source = Source {
                path: output.clone(),
                config_id: Some(node.to_owned()),
                unsupported: Unsupported::Ignored,
            };
            let loaded =
                source.load().unwrap_or_else(|failure| panic!("{written}\n{:?}", failure.diagnostics));
            let instances = &loaded.config.instances;
            assert_eq!(instances.len(), 2, "{written}");
            assert!(instances.iter().all(|instance| instance.priority.get() == priority), "{written}");
        }
        fs::remove_dir_all(&dir).unwrap();
    }
}
