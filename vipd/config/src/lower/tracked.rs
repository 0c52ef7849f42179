//! What is said of lines of `track_*` blocks that count for nothing, or for less than they say: all as in keepalived.

use std::collections::HashMap;

use super::{
    context::LowerContext,
    given::{Draft, PlacedGroup, PlacedTrack},
    tracking,
};
use crate::{
    model::{
        config::Config,
        instance::Instance,
        weighing::{TrackKind, Weighing},
    },
    syntax::{
        diagnostic::Code,
        parser::SyntaxNode,
        report::Report,
        span::{Span, Word},
    },
};

/// The blocks, and what their lines name.
const BLOCKS: [(&str, TrackKind); 6] = [
    ("track_script", TrackKind::Script),
    ("track_interface", TrackKind::Interface),
    ("track_file", TrackKind::File),
    ("track_process", TrackKind::Process),
    ("track_arbiter", TrackKind::Arbiter),
    ("track_bfd", TrackKind::Bfd),
];

/// The names in a block, if it is one of those, without the lines that count for nothing because of their order; says so.
pub fn placed(block: &SyntaxNode, report: &mut Report) -> Vec<PlacedTrack> {
    let keyword = block.words.first().map(|word| word.text.as_str()).unwrap_or_default();
    let Some((_, kind)) = BLOCKS.iter().find(|(name, _)| *name == keyword) else { return Vec::new() };
    let mut tracked = Vec::new();
    for line in block.block.iter().flatten().filter(|line| !line.unsupported) {
        let Some(name) = line.words.first() else { continue };
        match line.words.get(1).filter(|word| tracking::SIGNS.contains(&word.text.as_str())) {
            Some(sign) => misplaced(name, sign, &line.words, report),
            None => tracked.push(PlacedTrack { kind: *kind, name: name.clone() }),
        }
    }
    tracked
}

/// As keepalived 2.2.7, which takes `reverse` behind a weight only, and drops the line otherwise.
fn misplaced(name: &Word, sign: &Word, words: &[Word], report: &mut Report) {
    let (shown, sign_shown) = (report.quote(name), report.quote(sign));
    let is_weight = |pair: &&[Word]| pair[0].text == "weight";
    let hint = match words.windows(2).find(is_weight).map(|pair| &pair[1]) {
        Some(weight) => format!("write `weight {} {}`", weight.text, sign.text),
        None if sign.text == "reverse" => "write the weight before it, as in `weight 0 reverse`".to_owned(),
        None => "remove it".to_owned(),
    };
    let message = format!("{sign_shown} stands behind no weight, so {shown} is not tracked");
    report.warning(Code::Ignored, sign.span, message, hint);
}

/// Of several lines about the same the first counts.
pub fn check_repeated(tracked: &[PlacedTrack], report: &mut Report) {
    let mut first: HashMap<(TrackKind, &str), Span> = HashMap::new();
    for PlacedTrack { kind, name } in tracked {
        if let Some(first) = first.get(&(*kind, &*name.text)) {
            let line = report.line_of(*first, name.span);
            let message = format!("{} is tracked already: this line is ignored", report.quote(name));
            report.warning(
                Code::Repeated,
                name.span,
                message,
                format!("{line} counts: remove one of the two"),
            );
        } else {
            first.insert((*kind, &name.text), name.span);
        }
    }
}

/// Lines of an instance that name its own interface.
pub fn check_own(cx: &mut LowerContext<'_>) {
    check_repeated(&cx.draft.given.tracked, cx.report);
    let Some(own) = cx.values.text("interface") else { return };
    for PlacedTrack { kind, name } in &cx.draft.given.tracked {
        if *kind == TrackKind::Interface && name.text == own.value {
            let message =
                format!("{} is the instance's own interface: this line is ignored", cx.report.quote(name));
            let hint = "remove it: the instance is in FAULT while its own interface is down, unless `dont_track_primary`";
            cx.report.warning(Code::Ignored, name.span, message, hint);
        }
    }
}

/// Weights that do not count, in sync groups and for address owners, and what a group tracks in place of a member.
pub fn check_weights(config: &Config, drafts: &[Draft], groups: &[PlacedGroup], report: &mut Report) {
    let drafts: HashMap<&str, &Draft> = drafts.iter().map(|draft| (draft.name.as_str(), draft)).collect();
    let groups: HashMap<&str, &PlacedGroup> =
        groups.iter().map(|group| (group.name.as_str(), group)).collect();
    for instance in &config.instances {
        let Some(draft) = drafts.get(instance.name.as_str()) else { continue };
        let group = config.group_of(&instance.name).and_then(|group| groups.get(group.name.as_str()));
        for (i, placed) in draft.given.tracked.iter().enumerate() {
            let is_again = draft.given.tracked[..i].iter().any(|other| is_same(other, placed));
            let is_own = placed.kind == TrackKind::Interface && placed.name.text == instance.interface;
            // Of these something is said already.
            if is_again || is_own {
                continue;
            }
            if let Some(of_group) =
                group.and_then(|group| group.tracked.iter().find(|other| is_same(other, placed)))
            {
                let line = report.line_of(of_group.name.span, placed.name.span);
                let message =
                    format!("the sync group tracks {} too: this line is ignored", report.quote(&placed.name));
                report.warning(
                    Code::Ignored,
                    placed.name.span,
                    message,
                    format!("{line} counts: remove one of the two"),
                );
                continue;
            }
            check_weight(config, instance, placed, report);
        }
        for placed in group.iter().flat_map(|group| &group.tracked) {
            if placed.kind == TrackKind::Interface && placed.name.text == instance.interface {
                let message = format!(
                    "{} is the own interface of a member: this line is ignored for it",
                    report.quote(&placed.name)
                );
                let hint = "an instance is in FAULT while its own interface is down, and its group with it; a weight does nothing";
                report.warning(Code::Ignored, placed.name.span, message, hint);
            }
        }
    }
}

fn is_same(one: &PlacedTrack, other: &PlacedTrack) -> bool {
    one.kind == other.kind && one.name.text == other.name.text
}

fn check_weight(config: &Config, instance: &Instance, placed: &PlacedTrack, report: &mut Report) {
    let PlacedTrack { kind, name } = placed;
    let line = instance.tracks.of(*kind).iter().find(|line| line.name == name.text);
    let Some(weight) = line.and_then(|line| config.weight(*kind, line)) else { return };
    let weighing = config.weighing(instance);
    let counts = weighing.of(*kind, weight);
    if counts == Some(weight) || weighing == Weighing::Counts {
        return;
    }
    let place = match weighing {
        Weighing::Owner => "for an address owner",
        _ => "in a sync group",
    };
    let shown = report.quote(name);
    let (message, becomes) = match counts {
        Some(_) => (format!("the weight {} of {shown} is ignored {place}", weight.value), fault(*kind)),
        None => (
            format!("{shown} has the weight {}, so it is ignored {place}", weight.value),
            "it is not looked at",
        ),
    };
    let hint = match weighing {
        Weighing::Owner => {
            format!("{becomes}: write `weight 0` to have a fault, or a priority below 255 to have the weight")
        }
        _ => format!(
            "{becomes}: write `weight 0` to have a fault, or `sync_group_tracking_weight` in the group to have the weight"
        ),
    };
    report.warning(Code::Ignored, name.span, message, hint);
}

/// What becomes of it without its weight.
fn fault(kind: TrackKind) -> &'static str {
    match kind {
        TrackKind::File => "the group is in FAULT while the file has another value than 0",
        TrackKind::Interface => "the group is in FAULT while the interface is down",
        TrackKind::Script | TrackKind::Process | TrackKind::Arbiter => "the group is in FAULT while it fails",
        TrackKind::Bfd => "the group is in FAULT while the session is down",
    }
}
