//! What instances depend on: `vrrp_script`, `track_file`, `vrrp_track_process`, `interface_up_down_delays` and the `track_*` blocks.

use std::collections::HashSet;

use super::{
    given::Section,
    notify::{account, command_of},
};
use crate::{
    model::{
        command::Command,
        tracking::{LinkDelay, ParamMatch, Script, TrackLine, TrackedFile, TrackedProcess, Tracks},
        weight::Weight,
    },
    schema::{
        statement::{Statement, count, find, number, number_of, seconds, text},
        value::Value,
    },
    syntax::{diagnostic::Code, report::Report},
};

/// What the `track_*` blocks of an instance or of a sync group name.
pub fn tracks(statements: &[Statement]) -> Tracks {
    let lines = |keyword: &str| -> Vec<TrackLine> {
        let blocks = statements.iter().filter(|block| block.keyword == keyword);
        let mut names = HashSet::new();
        let line =
            |line: &Statement| TrackLine { name: text(&line.values, 0).to_owned(), weight: weight(line) };
        // As keepalived: of several lines about the same the first counts, and one that is wrong is none.
        blocks
            .flat_map(Statement::lines)
            .filter(|line| !is_misplaced(line))
            .map(line)
            .filter(|line| names.insert(line.name.clone()))
            .collect()
    };
    Tracks {
        scripts: lines("track_script"),
        interfaces: lines("track_interface"),
        files: lines("track_file"),
        processes: lines("track_process"),
        arbiters: lines("track_arbiter"),
        bfd: lines("track_bfd"),
    }
}

/// Whether a sign stands before the weight that it is about, or without one.
fn is_misplaced(line: &Statement) -> bool {
    matches!(line.values.get(1), Some(Value::Word(word)) if SIGNS.contains(word))
}

/// What may stand behind the weight of a line of `track_*`.
pub const SIGNS: [&str; 2] = ["reverse", "noreverse"];

/// The same of an instance on an interface, which keepalived does not track a second time.
pub fn tracks_of(statements: &[Statement], interface: &str) -> Tracks {
    let mut tracks = tracks(statements);
    tracks.interfaces.retain(|line| line.name != interface);
    tracks
}

/// `vrrp_script`.
pub fn script(block: &Statement) -> Option<Script> {
    let inside = block.inside.as_deref()?;
    let interval = seconds(find(inside, "interval")?, 0)?;
    let command = command_of(inside, "script")?;
    let user = find(inside, "user").and_then(account);
    Some(Script {
        name: text(&block.values, 0).to_owned(),
        command: Command { account: user.or(command.account), ..command },
        interval,
        timeout: find(inside, "timeout").and_then(|timeout| seconds(timeout, 0)).unwrap_or(interval),
        rise: count(inside, "rise"),
        fall: count(inside, "fall"),
        init_fail: find(inside, "init_fail").is_some(),
        weight: find(inside, "weight").and_then(weight).unwrap_or_default(),
    })
}

/// `track_file`.
pub fn file(block: &Statement) -> Option<TrackedFile> {
    let inside = block.inside.as_deref()?;
    let init = find(inside, "init_file");
    Some(TrackedFile {
        name: text(&block.values, 0).to_owned(),
        path: text(&find(inside, "file")?.values, 0).to_owned(),
        init: init.map(|init| small(&init.values).unwrap_or(0)),
        overwrite: init.is_some_and(|init| init.has("overwrite")),
        weight: find(inside, "weight").and_then(weight).unwrap_or(Weight { value: 1, reverse: false }),
    })
}

/// `vrrp_track_process`.
pub fn process(block: &Statement) -> Option<TrackedProcess> {
    let inside = block.inside.as_deref()?;
    let words = &find(inside, "process")?.values;
    let words: Vec<String> = words.iter().filter_map(word).collect();
    let param_match = match find(inside, "param_match") {
        Some(given) if given.has("initial") => ParamMatch::Initial,
        Some(given) if given.has("partial") => ParamMatch::Partial,
        _ => ParamMatch::Exact,
    };
    let delay = |keyword| find(inside, keyword).and_then(|given| seconds(given, 0));
    let both = delay("delay").unwrap_or_default();
    let quorum_max = number_of(inside, "quorum_max").and_then(|max| u32::try_from(max).ok());
    Some(TrackedProcess {
        name: text(&block.values, 0).to_owned(),
        full_command: find(inside, "full_command").is_some() || words.len() > 1,
        words,
        param_match,
        // As keepalived: at most none means none.
        quorum: if quorum_max == Some(0) { 0 } else { count(inside, "quorum") },
        quorum_max,
        fork_delay: delay("fork_delay").unwrap_or(both),
        terminate_delay: delay("terminate_delay").unwrap_or(both),
        weight: find(inside, "weight").and_then(weight).unwrap_or_default(),
    })
}

/// What must fit together in a `vrrp_track_process`.
pub fn check_process(section: &Section<'_>, report: &mut Report) {
    let number = |keyword: &str| number_of(&section.given.statements, keyword);
    let (Some(quorum), Some(max)) = (number("quorum"), number("quorum_max")) else { return };
    // 0 is well while there is no such process.
    if let Some(at) = section.given.seen_at("quorum_max").filter(|_| max < quorum && max != 0) {
        let message = format!("quorum_max {max} is below quorum {quorum}");
        report.error_hint(Code::Conflict, at, message, "no number of processes is both");
    }
}

/// A line of `interface_up_down_delays`.
pub fn link_delay(line: &Statement) -> Option<LinkDelay> {
    let down = seconds(line, 1)?;
    let interface = text(&line.values, 0).to_owned();
    Some(LinkDelay { interface, down, up: seconds(line, 2).unwrap_or(down) })
}

/// The weight that a statement gives, if it gives one.
pub fn weight(statement: &Statement) -> Option<Weight> {
    let value = small(&statement.values)?;
    Some(Weight { value, reverse: statement.has("reverse") })
}

fn word(value: &Value) -> Option<String> {
    if let Value::ShellWord(word) = value { Some(word.clone()) } else { None }
}

/// A number in the range of those that are weighed.
fn small(values: &[Value]) -> Option<i32> {
    i32::try_from(number(values)?).ok()
}
