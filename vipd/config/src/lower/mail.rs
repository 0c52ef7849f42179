//! Mail about changes of state: `notification_email` and what belongs to it.

use std::{collections::BTreeSet, time::Duration};

use crate::{
    model::mail::Mail,
    schema::{
        statement::{Statement, find, number, seconds, text},
        value::Value,
    },
};

/// Whether the changes of an instance or of a sync group are mailed: its own `smtp_alert`, else that of all instances, else of all
/// that vipd does, else no.
pub fn is_wanted(statements: &[Statement], global: &[Statement]) -> bool {
    let switch = find(statements, "smtp_alert")
        .or_else(|| find(global, "smtp_alert_vrrp"))
        .or_else(|| find(global, "smtp_alert"));
    switch.is_some_and(Statement::is_on)
}

/// How mail is sent, and to whom, without the names of those whose changes are mailed; `None`: nobody is to get any.
pub fn settings(global: &[Statement], router_id: Option<&String>) -> Option<Mail> {
    let lines = find(global, "notification_email")?.lines();
    let words = lines.flat_map(|line| &line.values);
    let recipients: Vec<String> = words
        .filter_map(|value| if let Value::Text(word) = value { Some(word.clone()) } else { None })
        .collect();
    let server = find(global, "smtp_server")?;
    let given = |keyword| find(global, keyword).map(|given| text(&given.values, 0).to_owned());
    (!recipients.is_empty()).then(|| Mail {
        recipients,
        from: given("notification_email_from"),
        server: text(&server.values, 0).to_owned(),
        port: number(&server.values).and_then(|port| u16::try_from(port).ok()).unwrap_or(SMTP),
        helo: given("smtp_helo_name"),
        timeout: find(global, "smtp_connect_timeout").and_then(|t| seconds(t, 0)).unwrap_or(TIMEOUT),
        router_id: router_id.cloned(),
        without_faults: find(global, "no_email_faults").is_some(),
        instances: BTreeSet::new(),
        groups: BTreeSet::new(),
    })
}

/// `None`: nobody is to get any. `instances` and `groups`: the names of those whose changes are mailed.
pub fn mail(
    global: &[Statement],
    router_id: Option<&String>,
    instances: BTreeSet<String>,
    groups: BTreeSet<String>,
) -> Option<Mail> {
    let any = !instances.is_empty() || !groups.is_empty();
    settings(global, router_id).filter(|_| any).map(|mail| Mail { instances, groups, ..mail })
}

const SMTP: u16 = 25;
/// keepalived's.
const TIMEOUT: Duration = Duration::from_secs(30);
