//! Writes the manual pages and the shells' completions (as `vipd completions` prints them), as `cargo xtask dist` packs them:
//! `cargo run -p vipd --example generate -- DIR`.
//!
//! An example, so that what makes them is no part of vipd.

use std::{
    env, fs,
    io::Write,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use clap_mangen::{
    Man,
    roff::{Roff, bold, roman},
};
use vipd::cli::{Generator, Shell};

fn main() -> Result<()> {
    let dir = PathBuf::from(env::args_os().nth(1).context("which directory?")?);
    let (man, completions) = (dir.join("man"), dir.join("completions"));
    for dir in [&man, &completions] {
        fs::create_dir_all(dir).with_context(|| format!("make {}", dir.display()))?;
    }
    let mut command = vipd::cli::command().disable_help_subcommand(true);
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        let path = completions.join(shell.file_name("vipd"));
        let text = vipd::cli::completions(shell);
        fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
    }
    command.build();
    for command in command.get_subcommands() {
        page(command.clone()).generate_to(&man).with_context(|| format!("{command}"))?;
    }
    main_page(command, &man)
}

fn page(command: clap::Command) -> Man {
    Man::new(command).section("8").manual("vipd").source(concat!("vipd ", env!("CARGO_PKG_VERSION")))
}

/// vipd(8): what clap knows, and what belongs to no option.
fn main_page(command: clap::Command, dir: &Path) -> Result<()> {
    let others: Vec<String> = command.get_subcommands().map(|c| format!("vipd-{}", c.get_name())).collect();
    let exit_codes = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    let page = page(command);
    let mut text = Vec::new();
    page.render_title(&mut text)?;
    page.render_name_section(&mut text)?;
    page.render_synopsis_section(&mut text)?;
    page.render_description_section(&mut text)?;
    page.render_options_section(&mut text)?;
    page.render_subcommands_section(&mut text)?;
    let mut more = Roff::new();
    more.control("SH", ["EXIT STATUS"]);
    // The heading has no number.
    for line in exit_codes.lines().skip(1) {
        if let Some((code, what)) = line.trim().split_once("  ") {
            item(&mut more, code, what);
        } else {
            // What is not indented goes on with no code.
            if !line.starts_with(' ') {
                more.control("PP", []);
            }
            more.text([roman(line.trim())]);
        }
    }
    more.control("SH", ["SIGNALS"]);
    for (signal, what) in SIGNALS {
        item(&mut more, signal, what);
    }
    more.control("SH", ["FILES"]);
    for (file, what) in FILES {
        item(&mut more, file, what);
    }
    more.control("SH", ["SEE ALSO"]);
    let others = others.iter().flat_map(|name| [bold(name), roman("(8), ")]);
    more.text(
        others
            .chain([bold("keepalived.conf"), roman("(5), "), bold("bpftool"), roman("(8)")])
            .collect::<Vec<_>>(),
    );
    more.to_writer(&mut text)?;
    let path = dir.join(page.get_filename());
    fs::File::create(&path)
        .and_then(|mut file| file.write_all(&text))
        .with_context(|| format!("write {}", path.display()))
}

fn item(roff: &mut Roff, head: &str, text: &str) {
    roff.control("TP", []);
    roff.text([bold(head)]);
    roff.text([roman(text)]);
}

const SIGNALS: [(&str, &str); 6] = [
    ("SIGTERM, SIGINT", "Hand every VIP over, remove everything made, and exit, as vipd stop does."),
    (
        "SIGQUIT",
        "Exit at once and leave the VIPs answered for the next vipd, as vipd stop --for-restart does.",
    ),
    ("SIGHUP", "Read the configuration again, as vipd reload does."),
    ("SIGUSR1", "Write the state to /tmp/keepalived.data."),
    ("SIGUSR2", "Write the counters to /tmp/keepalived.stats."),
    ("SIGRTMIN+2", "Write state and counters to /tmp/keepalived.json."),
];

const FILES: [(&str, &str); 12] = [
    (
        "/etc/vipd/vipd.conf",
        "What vipd.service runs with; without it the service does not start. vipd check and vipd doctor read it if no vipd runs.",
    ),
    (
        "/etc/keepalived/keepalived.conf",
        "What vipd run reads unless told otherwise, and vipd check and vipd doctor if no vipd runs and there is no /etc/vipd/vipd.conf.",
    ),
    ("/etc/default/vipd", "Options and environment of vipd.service."),
    ("/run/vipd/vipd.sock", "The control socket. Who may write to it may stop vipd."),
    (
        "/run/vipd/status.sock",
        "The socket that only shows. Members of its group, vipd or status_group, see status and events.",
    ),
    ("/run/vipd/vipd.pid", "The process id."),
    ("/run/vipd/vipd.lock", "The lock of the runtime directory, mode 0600."),
    ("/run/vipd/locks/", "The locks of network namespaces, mode 0700: each has one vipd."),
    ("/var/lib/vipd/drained", "Says that the node is drained."),
    ("/var/lib/vipd/events.jsonl, events.old.jsonl", "The last events, mode 0600."),
    (
        "/sys/fs/bpf/vipd/",
        "The pinned maps and links; /usr/share/doc/vipd/reference/bpftool.md explains them.",
    ),
    ("/usr/share/doc/vipd/reference/config.md", "Every keyword of the configuration."),
];
