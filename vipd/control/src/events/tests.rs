use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use serde_json::json;
use tracing_subscriber::{
    Layer, Registry,
    filter::{LevelFilter, filter_fn},
    layer::SubscriberExt,
};

use super::*;

fn record(event: &str, instance: Option<&str>) -> Record {
    let fields = instance.map(|name| ("instance".to_owned(), json!(name))).into_iter().collect();
    let (level, message) = ("INFO".to_owned(), "it has happened".to_owned());
    Record { seq: 0, time_unix_ms: 1, level, event: event.to_owned(), message, fields }
}

/// What a subscriber with a collector takes of what `happens`.
fn collected(happens: impl FnOnce()) -> Collected {
    let (collector, collected) = collector(|| 1234);
    // Whatever the log shows.
    let silent = tracing_subscriber::fmt::layer().with_writer(std::io::sink).with_filter(LevelFilter::OFF);
    let subscriber = Registry::default().with(silent).with(collector.with_filter(filter_fn(is_event)));
    tracing::subscriber::with_default(subscriber, happens);
    collected
}

/// Runs to the end of what is ready.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

#[test]
fn an_event_has_its_name_message_and_fields() {
    let mut collected = collected(|| {
        tracing::info!("a line of the log");
        tracing::debug!(target: "vipd::event", event = "too_low", "of no interest");
        let address: std::net::IpAddr = [10, 0, 0, 6].into();
        tracing::warn!(
            target: "vipd::event",
            event = "test",
            instance = "VI_1",
            rival = %address,
            priority = 50u8,
            offset = -3,
            up = true,
            nobody = None::<u64>,
            "two {}",
            "masters"
        );
    });
    let (record, lost) = block_on(collected.next()).unwrap();
    let expect = json!({
        "seq": 0, "time_unix_ms": 1234, "level": "WARN", "event": "test", "message": "two masters",
        "fields": { "instance": "VI_1", "rival": "10.0.0.6", "priority": 50, "offset": -3, "up": true },
    });
    assert_eq!((serde_json::to_value(record).unwrap(), lost), (expect, 0));
    assert!(block_on(collected.next()).is_none(), "nothing else was collected");
}

/// Whoever emits never waits: what finds no room is counted.
#[test]
fn what_finds_no_room_is_counted() {
    let mut collected = collected(|| {
        for n in 0..1030u64 {
            tracing::info!(target: "vipd::event", event = "test", n, "again");
        }
    });
    let (first, lost) = block_on(collected.next()).unwrap();
    assert_eq!((first.fields["n"].as_u64(), lost), (Some(0), 6));
    let (second, lost) = block_on(collected.next()).unwrap();
    assert_eq!((second.fields["n"].as_u64(), lost), (Some(1), 0));
}

#[test]
fn the_journal_keeps_the_last_thousand() {
    let journal = Journal::default();
    for n in 0..1005 {
        journal.add(record("test", Some(if n % 2 == 0 { "A" } else { "B" })));
    }
    let read = |since, instance: Option<&str>| {
        let Batch { lost, events } =
            journal.read(&Wanted { since, instance: instance.map(str::to_owned), ..Wanted::default() });
        (lost, events.first().map(|event| event.seq), events.len())
    };
    for (since, instance, expect) in [
        (None, None, (0, Some(6), 1000)),
        (Some(0), None, (5, Some(6), 1000)),
        (Some(4), None, (1, Some(6), 1000)),
        (Some(5), None, (0, Some(6), 1000)),
        (Some(1000), None, (0, Some(1001), 5)),
        (Some(1005), None, (0, None, 0)),
        (Some(u64::MAX), None, (0, None, 0)),
        (None, Some("A"), (0, Some(7), 500)),
        (None, Some("C"), (0, None, 0)),
    ] {
        assert_eq!(read(since, instance), expect, "since {since:?} of {instance:?}");
    }
}

#[test]
fn events_are_chosen_by_name_and_time_and_numbers_go_on_from_those_of_before() {
    let before = |seq| Record { seq, time_unix_ms: seq * 10, ..record("before", None) };
    let journal = Journal::new([3, 7].map(before).to_vec(), None);
    journal.add(Record { time_unix_ms: 80, ..record("after", None) });
    let read =
        |wanted: Wanted| journal.read(&wanted).events.iter().map(|event| event.seq).collect::<Vec<_>>();
    assert_eq!(read(Wanted::default()), [3, 7, 8]);
    assert_eq!(read(Wanted { event: Some("before".into()), ..Wanted::default() }), [3, 7]);
    assert_eq!(read(Wanted { since_unix_ms: Some(70), ..Wanted::default() }), [7, 8]);
    assert_eq!(read(Wanted { until_unix_ms: Some(70), ..Wanted::default() }), [3]);
    let both = Wanted { since_unix_ms: Some(31), until_unix_ms: Some(80), ..Wanted::default() };
    assert_eq!(read(both), [7]);
}

#[test]
fn who_follows_is_told_of_what_is_wanted() {
    let journal = Journal::default();
    journal.add(record("before", None));
    let wanted = Wanted { since: Some(1), instance: Some("A".to_owned()), ..Wanted::default() };
    let (batch, mut followed) = journal.follow(wanted).unwrap();
    assert_eq!(batch, Batch::default());
    for instance in [None, Some("B"), Some("A")] {
        journal.add(record("after", instance));
    }
    let batch = block_on(followed.next()).unwrap();
    assert_eq!((batch.lost, batch.events.len(), batch.events[0].seq), (0, 1, 4));
    drop(journal);
    assert_eq!(block_on(followed.next()), None);
}

/// One who reads slowly is told how much is missing, and goes on with what there is.
#[test]
fn a_slow_follower_loses_the_oldest() {
    let journal = Journal::default();
    let (_, mut followed) = journal.follow(Wanted::default()).unwrap();
    for _ in 0..1030 {
        journal.add(record("test", None));
    }
    assert_eq!(block_on(followed.next()), Some(Batch { lost: 6, events: Vec::new() }));
    assert_eq!(block_on(followed.next()).unwrap().events[0].seq, 7);
}

#[test]
fn the_number_of_followers_is_bounded() {
    let journal = Journal::default();
    let mut following: Vec<_> = (0..16).map(|_| journal.follow(Wanted::default()).unwrap()).collect();
    assert!(journal.follow(Wanted::default()).is_none());
    following.pop();
    assert!(journal.follow(Wanted::default()).is_some(), "one has gone");
}

/// `docs/operate/events.md` lists exactly what the code emits: names, levels and fields.
#[test]
fn the_page_lists_every_event() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut emitted = BTreeMap::new();
    for file in sources(&root.join("..")) {
        for (name, level, fields) in emissions(&fs::read_to_string(&file).unwrap()) {
            let (levels, known): &mut (Vec<String>, Vec<String>) = emitted.entry(name).or_default();
            levels.extend(Some(level).filter(|level| !levels.contains(level)));
            known.extend(fields.into_iter().filter(|field| !known.contains(field)).collect::<Vec<_>>());
        }
    }
    emitted.values_mut().for_each(|(levels, _)| levels.sort());
    let page = fs::read_to_string(root.join("../../docs/operate/events.md")).unwrap();
    let mut listed = BTreeMap::new();
    let (_, table) = page.split_once("## All events").unwrap();
    for row in table.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = row.trim_matches('|').split(" | ").map(str::trim).collect();
        let [name, levels, fields, meaning] = cells[..] else { panic!("four cells: {row}") };
        assert!(meaning.len() > 10, "{row}");
        let fields: Vec<String> = fields.split('`').skip(1).step_by(2).map(str::to_owned).collect();
        let mut levels: Vec<String> = levels.split(", ").map(str::to_owned).collect();
        levels.sort();
        assert!(listed.insert(name.trim_matches('`').to_owned(), (levels, fields)).is_none(), "{name} twice");
    }
    for (name, (levels, fields)) in &mut emitted {
        let (listed_levels, listed) = listed.remove(name).unwrap_or_else(|| panic!("{name} is not listed"));
        assert_eq!(*levels, listed_levels, "levels of {name}");
        fields.sort();
        assert_eq!(*fields, sorted(listed), "fields of {name}");
    }
    assert!(listed.is_empty(), "listed, and never emitted: {listed:?}");
    assert_eq!(emitted.keys().map(String::as_str).collect::<Vec<_>>(), NAMES, "in `names`");
}

fn sorted(mut words: Vec<String>) -> Vec<String> {
    words.sort();
    words
}

/// The files of the crates in `vipd`, without their tests.
fn sources(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(sources(&path));
        } else if path.file_name().unwrap() != "tests.rs" {
            files.push(path);
        }
    }
    files
}

/// Name, level and fields of each event that a file emits.
fn emissions(text: &str) -> Vec<(String, String, Vec<String>)> {
    let mut found = Vec::new();
    let calls = text.match_indices("target: \"vipd::event\"").map(|(at, _)| at);
    for at in calls {
        let (before, after) = text.split_at(at);
        let level = before.trim_end().trim_end_matches("!(").rsplit("::").next().unwrap().to_uppercase();
        let arguments = arguments(after);
        let named = |argument: &String| argument.split_once(" = ").map(|(name, _)| name.to_owned());
        let name = arguments.iter().find_map(|argument| argument.strip_prefix("event = ")).expect("a name");
        let bare = |argument: &String| argument.trim_start_matches(['%', '?']).to_owned();
        let fields = arguments[1..].iter().filter(|argument| !argument.starts_with('"'));
        let fields = fields.map(|argument| named(argument).unwrap_or_else(|| bare(argument)));
        let fields = fields.filter(|field| field != "event").collect();
        found.push((name.trim_matches('"').to_owned(), level, fields));
    }
    found
}

/// What stands between the commas of a call, from within its parentheses.
fn arguments(text: &str) -> Vec<String> {
    let (mut depth, mut quoted, mut escaped) = (0, false, false);
    let mut arguments = vec![String::new()];
    for c in text.chars() {
        if quoted {
            quoted = c != '"' || escaped;
            escaped = c == '\\' && !escaped;
        } else {
            match c {
                '"' => quoted = true,
                '(' | '[' | '{' => depth += 1,
                ')' if depth == 0 => break,
                ')' | ']' | '}' => depth -= 1,
                ',' if depth == 0 => {
                    arguments.push(String::new());
                    continue;
                }
                _ => {}
            }
        }
        arguments.last_mut().expect("there is one").push(c);
    }
    let arguments = arguments.into_iter().map(|argument| argument.trim().to_owned());
    arguments.filter(|argument| !argument.is_empty()).collect()
}
