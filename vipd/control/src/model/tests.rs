//! `docs/reference/status.md`, made from the schema; the schema, against what is serialised.

use std::{fmt::Write, fs, path::Path};

use schemars::schema_for;
use serde_json::Value;

use super::{SCHEMA, Status, samples};
use crate::explain::Explanation;

const HEAD: &str = "\
# Output of `vipd status --json`

Made from the schema by `VIPD_WRITE_DOCS=1 cargo test -p vipd-control --lib status_reference`; a test compares. `vipd status --schema` prints
the same as a JSON Schema (draft 2020-12).

One JSON object, in which every field is always present. The name of a number ends in its unit: `_ms` milliseconds, `_us` microseconds, `_cs`
hundredths of a second. Numbers without a unit are counters. A counter starts at 0 with the daemon or the instance and only rises.

**Compatibility.** `schema` is the version of this page. Within one version new fields, new values of `reason` and new keys of `counters` and
`discards` may come: a reader must ignore what it does not know. No field is renamed or removed, and none gets another type, unit or
meaning; such a change is another version. If `vipd status` is newer than the daemon, it fills in 0, `null` or an empty list for missing fields.

";

const EXPLAIN: &str = "# `vipd explain --json`

A JSON array with an object for each instance that was asked for. The same compatibility holds, also for new values of `kind`.
";

fn schema() -> Value {
    serde_json::to_value(schema_for!(Status)).unwrap()
}

fn document() -> String {
    let schema = schema();
    let mut text = HEAD.to_owned() + &format!("Version: {SCHEMA}.\n");
    section(&mut text, "The object", &schema);
    let definitions = schema["$defs"].as_object().unwrap();
    for (name, definition) in definitions {
        section(&mut text, &format!("`{name}`"), definition);
    }
    text += EXPLAIN;
    let explain = serde_json::to_value(schema_for!(Explanation)).unwrap();
    section(&mut text, "An object of `vipd explain --json`", &explain);
    let own =
        explain["$defs"].as_object().unwrap().iter().filter(|(name, _)| !definitions.contains_key(*name));
    for (name, definition) in own.filter(|(_, definition)| definition["properties"].is_object()) {
        section(&mut text, &format!("`{name}`"), definition);
    }
    text
}

fn section(text: &mut String, title: &str, object: &Value) {
    let about = object["description"].as_str().expect("what it is");
    let _ = writeln!(text, "\n## {title}\n\n{about}\n\n| field | type | unit | |\n|---|---|---|---|");
    for (name, field) in object["properties"].as_object().unwrap() {
        let about = field["description"].as_str().unwrap_or_else(|| panic!("{name} has no description"));
        let (kind, about) = (kind(field), about.replace('\n', " "));
        let _ = writeln!(text, "| `{name}` | {kind} | {} | {about} |", unit(name));
    }
}

fn kind(field: &Value) -> String {
    if let Some(reference) = field["$ref"].as_str() {
        return format!("`{}`", reference.rsplit('/').next().unwrap());
    }
    if let Some(any) = field["anyOf"].as_array() {
        return any.iter().map(kind).collect::<Vec<_>>().join(" or ");
    }
    let of = |kind: &str| match kind {
        "array" => format!("list of {}", self::kind(&field["items"])),
        "object" => format!("object of {}", self::kind(&field["additionalProperties"])),
        "string" if field["format"] == "ip" => "IP address".to_owned(),
        "null" => "`null`".to_owned(),
        plain => plain.to_owned(),
    };
    match &field["type"] {
        Value::String(kind) => of(kind),
        Value::Array(kinds) => {
            kinds.iter().map(|kind| of(kind.as_str().unwrap())).collect::<Vec<_>>().join(" or ")
        }
        other => panic!("a field of type {other}"),
    }
}

fn unit(name: &str) -> &'static str {
    match name.rsplit('_').next() {
        Some("ms") => "ms",
        Some("us") => "µs",
        Some("cs") => "cs",
        _ => "",
    }
}

#[test]
fn status_reference_is_that_of_the_schema() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/status.md");
    let document = document();
    if std::env::var_os("VIPD_WRITE_DOCS").is_some() {
        fs::write(&path, &document).unwrap();
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert!(document == written, "{} is out of date; write it with VIPD_WRITE_DOCS=1", path.display());
}

/// Every field that is serialised is in the schema with its type, and the other way round.
#[test]
fn the_schema_is_that_of_what_is_serialised() {
    let schema = schema();
    for status in [samples::status(), samples::cluster()] {
        compare(&serde_json::to_value(status).unwrap(), &schema, &schema, "status");
    }
}

fn compare(found: &Value, wanted: &Value, root: &Value, path: &str) {
    if let Some(reference) = wanted["$ref"].as_str() {
        let definition = root.pointer(reference.strip_prefix('#').unwrap()).unwrap();
        return compare(found, definition, root, path);
    }
    if let Some(any) = wanted["anyOf"].as_array() {
        let fits = |wanted: &&Value| (wanted["type"] == "null") == found.is_null();
        return compare(found, any.iter().find(fits).unwrap(), root, path);
    }
    let is = match found {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let kinds = &wanted["type"];
    assert!(
        kinds == is || kinds.as_array().is_some_and(|kinds| kinds.iter().any(|k| k == is)),
        "{path}: {is}, {kinds}"
    );
    match found {
        Value::Array(items) => items.iter().for_each(|item| compare(item, &wanted["items"], root, path)),
        Value::Object(fields) => match wanted["properties"].as_object() {
            Some(properties) => {
                let names = |fields: &serde_json::Map<String, Value>| {
                    fields.keys().cloned().collect::<std::collections::BTreeSet<_>>()
                };
                assert_eq!(names(fields), names(properties), "{path}");
                for (name, value) in fields {
                    compare(value, &properties[name], root, &format!("{path}.{name}"));
                }
            }
            None => {
                fields.values().for_each(|value| compare(value, &wanted["additionalProperties"], root, path))
            }
        },
        _ => {}
    }
}

/// A daemon of before the schema had a number.
#[test]
fn what_an_older_daemon_says_is_read() {
    let mut old = serde_json::to_value(samples::status()).unwrap();
    let fields = old.as_object_mut().unwrap();
    fields.remove("schema");
    for instance in fields["instances"].as_array_mut().unwrap() {
        let instance = instance.as_object_mut().unwrap();
        for new in ["lease_length_ms", "lease_margin_least_us", "last_adv_age_ms", "vip_answers"] {
            assert!(instance.remove(new).is_some(), "{new}");
        }
    }
    let status: Status = serde_json::from_value(old).unwrap();
    assert_eq!((status.schema, status.instances.len()), (0, 3));
    assert!(status.instances.iter().all(|i| i.vip_answers.is_empty()));
}
