//! What `global_defs` says about load balancing.

use crate::{
    lower::{mail, notify},
    model::{
        instance::Instance,
        lvs::{ConnectionSync, FlushScope, LvsSettings, LvsTimeouts},
    },
    schema::{
        statement::{Statement, find, number_of, text},
        value::Value,
    },
};

/// `lvs_timeouts` and its like.
pub fn settings(global: &[Statement], router_id: Option<&String>, instances: &[Instance]) -> LvsSettings {
    let default = LvsSettings::default();
    let flush_on_stop = global.iter().rfind(|given| given.keyword.starts_with("lvs_flush_on"));
    LvsSettings {
        timeouts: find(global, "lvs_timeouts").map(timeouts).unwrap_or_default(),
        flush_at_start: find(global, "lvs_flush").is_some(),
        flush_on_stop: flush_on_stop.map(|given| match given.has("VS") {
            true => FlushScope::Services,
            false => FlushScope::Table,
        }),
        sync: find(global, "lvs_sync_daemon").and_then(|given| sync(given, instances)),
        fifo: notify::fifo(global, "lvs_notify_fifo", "lvs_notify_fifo_script"),
        general_fifo: notify::fifo(global, "notify_fifo", "notify_fifo_script").map(|fifo| fifo.path),
        mail: mail::settings(global, router_id),
        jitter_percent: number_of(global, "jitter")
            .and_then(|percent| u8::try_from(percent).ok())
            .unwrap_or(default.jitter_percent),
    }
}

/// The number behind a word.
fn behind(given: &Statement, word: &str) -> Option<u32> {
    let at = given.values.iter().position(|value| matches!(value, Value::Word(known) if *known == word))?;
    match given.values.get(at + 1)? {
        Value::Number(number) => u32::try_from(*number).ok(),
        _ => None,
    }
}

fn timeouts(given: &Statement) -> LvsTimeouts {
    // 0 is what the kernel leaves as it is.
    let seconds = |word: &str| behind(given, word).filter(|seconds| *seconds > 0);
    LvsTimeouts { tcp_s: seconds("tcp"), tcp_fin_s: seconds("tcpfin"), udp_s: seconds("udp") }
}

fn sync(given: &Statement, instances: &[Instance]) -> Option<ConnectionSync> {
    let interface = text(&given.values, 0);
    let instance = given.values.iter().find_map(|value| match value {
        Value::Of(_, name) => Some(name.clone()),
        _ => None,
    });
    let vrid =
        instances.iter().find(|known| Some(&known.name) == instance.as_ref()).map(|known| known.vrid.get());
    let octet = |word: &str| behind(given, word).and_then(|number| u8::try_from(number).ok());
    let short =
        |word: &str| behind(given, word).and_then(|number| u16::try_from(number).ok()).filter(|n| *n > 0);
    Some(ConnectionSync {
        interface: Some(interface).filter(|name| !name.is_empty())?.to_owned(),
        id: octet("id").or(vrid).unwrap_or(0),
        instance,
        octets_max: short("maxlen"),
        port: short("port"),
        ttl: octet("ttl").filter(|ttl| *ttl > 0),
        group: given.values.iter().find_map(|value| match value {
            Value::Address(address) => Some(*address),
            _ => None,
        }),
    })
}
