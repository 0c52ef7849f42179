//! What other users of the machine may change or read: the commands that root runs, the files of the configuration, a password in them.
//!
//! vipd runs all the same, as keepalived does: these are warnings. A relative path is an error, because it would be looked for in one
//! directory and run from another.

use std::{collections::BTreeSet, path::Path};

use crate::{
    model::{config::Config, instance::Instance},
    schema::command,
    source::Outside,
    syntax::{
        diagnostic::{Code, Diagnostic, Severity},
        parser::SyntaxNode,
        report::{Report, fit},
        span::Word,
    },
};

/// The blocks that have commands which vipd runs.
const BLOCKS: &[&str] = &["global_defs", "vrrp_instance", "vrrp_sync_group"];
/// The keywords there that are followed by a command, and then by who runs it.
const COMMANDS: &[&str] = &[
    "notify",
    "notify_master",
    "notify_backup",
    "notify_fault",
    "notify_stop",
    "notify_deleted",
    "notify_master_rx_lower_pri",
    "notify_conflict",
    "notify_fifo_script",
    "vrrp_notify_fifo_script",
    "fence_script",
    "startup_script",
    "shutdown_script",
];
/// The same in `global_defs`, `virtual_server` and `real_server`, about services.
const COMMANDS_OF_SERVICES: &[&str] =
    &["lvs_notify_fifo_script", "quorum_up", "quorum_down", "notify_up", "notify_down"];
/// Interfaces that a hint names at most.
const NAMED: usize = 8;
/// What a shell does not take for an argument.
const SHELL_SIGNS: &[&str] = &["|", "||", "&&", "&", ";", ">", ">>", "<"];
const SHELLS: &[&str] = &["sh", "bash", "dash", "ash", "ksh", "zsh", "busybox"];
/// Who runs commands unless it is said, if there is such a user.
const DEFAULT_USER: &str = "keepalived_script";

/// `balances`: whether those of services are run.
///
/// Reports commands that are relative paths, and those that root runs and others may change.
pub fn commands(tree: &[SyntaxNode], outside: &dyn Outside, balances: bool, report: &mut Report) {
    let global: Vec<&SyntaxNode> = blocks(tree, "global_defs").flat_map(children).collect();
    let default = global.iter().rev().find(|node| is(node, "script_user")).and_then(|node| word(node, 1));
    let secure = global.iter().any(|node| is(node, "enable_script_security"));
    let default = match default {
        Some(user) => outside.uid(user),
        None => Some(outside.uid(DEFAULT_USER).unwrap_or(0)),
    };
    for (written, user) in
        named(tree).into_iter().chain(named_by_services(tree).into_iter().filter(|_| balances))
    {
        let Ok(words) = command::split(&written.text) else { continue };
        let Some(program) = words.first() else { continue };
        if program.contains('/') && !program.starts_with(['/', '<', '>']) {
            let place = outside.absolute(Path::new(report.file_of(written.span)));
            let whole = place.parent().unwrap_or(Path::new("/")).join(program);
            let hint = format!("write the whole path, such as `{}`", fit(&whole.to_string_lossy()));
            let message = format!("`{}` is a relative path: vipd runs commands from `/`", fit(program));
            report.error_hint(Code::BadValue, written.span, message, hint);
            continue;
        }
        if outside.lacks_program(program) {
            let message =
                format!("`{}` is no executable file on this machine: vipd does not run it", fit(program));
            let hint = "correct the path, or put the script there and make it executable with `chmod a+x`";
            report.warning(Code::Advice, written.span, message, hint);
        }
        without_shell(&words, written, outside, report);
        if user.map_or(default, |user| outside.uid(user)) != Some(0) {
            continue;
        }
        let Some((part, why)) = outside.program(program).and_then(|path| outside.open_to_others(&path))
        else {
            continue;
        };
        let part = fit(&part.to_string_lossy());
        let does = if secure { "does not run" } else { "runs" };
        let message = format!("root {does} `{}`: others may change {part}: {why}", fit(program));
        let hint = if secure {
            format!("`chown root {part}` and `chmod go-w {part}`, or name another user who runs it")
        } else {
            format!(
                "`chown root {part}` and `chmod go-w {part}`, or name another user who runs it; with `enable_script_security` vipd \
                 does not run it"
            )
        };
        report.warning(Code::Insecure, written.span, message, hint);
    }
}

/// Reports what only a shell would read, in a command that is run without one: as in keepalived, where the first word is a file.
fn without_shell(words: &[String], written: &Word, outside: &dyn Outside, report: &mut Report) {
    let [program, arguments @ ..] = words else { return };
    let is_shell = program.rsplit('/').next().is_some_and(|name| SHELLS.contains(&name));
    if is_shell || !(program.starts_with('/') || outside.program(program).is_some()) {
        return;
    }
    let is_sign = |word: &&String| {
        SHELL_SIGNS.contains(&word.as_str())
            || [">", "<", "2>", "&>", "$(", "`"].iter().any(|sign| word.starts_with(sign))
    };
    let Some(sign) = arguments.iter().find(is_sign) else { return };
    let message =
        format!("`{}` is an argument of `{}` here: no shell reads this command", fit(sign), fit(program));
    let hint =
        format!("write `\"/bin/sh -c '{}'\"`, or put the command into a script", fit(&words.join(" ")));
    report.warning(Code::Advice, written.span, message, hint);
}

/// Reports passwords in files that every user may read.
pub fn passwords(tree: &[SyntaxNode], outside: &dyn Outside, report: &mut Report) {
    let mut given = Vec::new();
    find(tree, "auth_pass", &mut given);
    let mut told = BTreeSet::new();
    for keyword in given {
        let file = report.file_of(keyword.span).to_owned();
        if outside.is_readable_by_all(Path::new(&file)) && told.insert(file.clone()) {
            let file = fit(&file);
            let message = format!("every user may read {file}, and the password in it");
            report.warning(Code::Insecure, keyword.span, message, format!("`chmod o-r {file}`"));
        }
    }
}

/// Reports interfaces that `xdp_mode` names and nothing uses: a misspelt one has the mode of all others.
pub fn unused_interfaces(tree: &[SyntaxNode], config: &Config, report: &mut Report) {
    // What an instance with an error would have used is not known.
    if report.has_errors() {
        return;
    }
    let used: BTreeSet<&str> = config.instances.iter().flat_map(interfaces).collect();
    let lines = blocks(tree, "global_defs").flat_map(children).filter(|node| is(node, "xdp_mode"));
    let unused = lines.flat_map(|line| line.words.iter().skip(2)).filter(|name| !used.contains(&*name.text));
    for name in unused {
        let message =
            format!("no instance uses the interface {}: this line changes nothing", report.quote(name));
        let hint = match used.is_empty() {
            true => "there is no instance".to_owned(),
            false => {
                let used: Vec<&str> = used.iter().copied().take(NAMED).collect();
                format!(
                    "the interface as the instance names it, not the one below a VLAN or bond; in use: {}",
                    used.join(", ")
                )
            }
        };
        report.warning(Code::UnknownName, name.span, message, hint);
    }
}

/// Every interface that an instance has VIPs or sends adverts on.
fn interfaces(instance: &Instance) -> impl Iterator<Item = &str> {
    let of_vips = instance.vips.iter().chain(&instance.excluded).filter_map(|vip| vip.interface.as_deref());
    let of_heartbeats = instance.heartbeat_links.iter().map(|link| link.interface.as_str());
    [instance.interface.as_str()].into_iter().chain(of_vips).chain(of_heartbeats)
}

/// What is to be said of the files that were read, each of which says what root runs.
pub fn files(files: &[String], outside: &dyn Outside) -> Vec<Diagnostic> {
    let distinct: BTreeSet<&String> = files.iter().collect();
    let open = |file: &String| {
        let (part, why) = outside.configuration_open_to_others(Path::new(file))?;
        Some(diagnostic(file, &part, &why))
    };
    distinct.into_iter().filter_map(open).collect()
}

fn diagnostic(file: &str, part: &Path, why: &str) -> Diagnostic {
    let part = fit(&part.to_string_lossy());
    Diagnostic {
        severity: Severity::Warning,
        code: Code::Insecure,
        file: file.to_owned(),
        line: 1,
        column: 1,
        message: format!(
            "others than root may change the configuration, and so what root runs: {part}: {why}"
        ),
        source: String::new(),
        caret: 1,
        width: 1,
        notes: Vec::new(),
        hint: Some(format!("`chown root {part}` and `chmod go-w {part}`")),
    }
}

/// Every command, and the user that is named with it.
fn named(tree: &[SyntaxNode]) -> Vec<(&Word, Option<&str>)> {
    let mut named = Vec::new();
    for node in BLOCKS.iter().copied().flat_map(|block| blocks(tree, block)).flat_map(children) {
        if COMMANDS.iter().any(|keyword| is(node, keyword)) {
            named.extend(node.words.get(1).map(|command| (command, word(node, 2))));
        }
    }
    for script in blocks(tree, "vrrp_script") {
        let last = |keyword| children(script).filter(|node| is(node, keyword)).last();
        let user = last("user").and_then(|node| word(node, 1));
        named.extend(last("script").and_then(|node| node.words.get(1)).map(|command| (command, user)));
    }
    named
}

/// The same of services and their checks.
fn named_by_services(tree: &[SyntaxNode]) -> Vec<(&Word, Option<&str>)> {
    let mut named = Vec::new();
    let mut inside: Vec<&SyntaxNode> =
        blocks(tree, "virtual_server").chain(blocks(tree, "global_defs")).flat_map(children).collect();
    let servers: Vec<&SyntaxNode> =
        inside.iter().filter(|node| is(node, "real_server")).flat_map(|node| children(node)).collect();
    inside.extend(&servers);
    for node in inside.iter().filter(|node| COMMANDS_OF_SERVICES.iter().any(|keyword| is(node, keyword))) {
        named.extend(node.words.get(1).map(|command| (command, word(node, 2))));
    }
    for check in servers.iter().filter(|node| is(node, "MISC_CHECK")) {
        let last = |keyword| children(check).filter(|node| is(node, keyword)).last();
        let user = last("user").and_then(|node| word(node, 1));
        named.extend(last("misc_path").and_then(|node| node.words.get(1)).map(|command| (command, user)));
    }
    named
}

fn blocks<'t>(tree: &'t [SyntaxNode], keyword: &'static str) -> impl Iterator<Item = &'t SyntaxNode> {
    tree.iter().filter(move |node| is(node, keyword))
}

fn children(node: &SyntaxNode) -> impl Iterator<Item = &SyntaxNode> {
    node.block.iter().flatten()
}

fn is(node: &SyntaxNode, keyword: &str) -> bool {
    word(node, 0) == Some(keyword)
}

fn word(node: &SyntaxNode, at: usize) -> Option<&str> {
    node.words.get(at).map(|word| &*word.text)
}

/// The keyword of every statement of that name, however deep.
fn find<'t>(tree: &'t [SyntaxNode], keyword: &str, found: &mut Vec<&'t Word>) {
    for node in tree {
        if is(node, keyword) {
            found.extend(node.words.first());
        }
        find(node.block.as_deref().unwrap_or_default(), keyword, found);
    }
}
