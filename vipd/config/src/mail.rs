//! Mail about changes of state: `notification_email` and what belongs to it.

use std::{collections::BTreeSet, time::Duration};

use super::{
    grammar::Value,
    groups::SyncGroup,
    model::{Config, Statement},
    statement::{find, number, seconds, text},
};

/// How mail is sent, and to whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mail {
    /// At least one.
    pub recipients: Vec<String>,
    /// `None`: the user that vipd runs as, at this host.
    pub from: Option<String>,
    pub server: String,
    pub port: u16,
    /// What vipd calls itself; `None`: as the host is called.
    pub helo: Option<String>,
    /// For the connection, and for each answer.
    pub timeout: Duration,
    /// What the subject begins with; `None`: the name of the host.
    pub router_id: Option<String>,
    /// `no_email_faults`.
    pub without_faults: bool,
    /// Names of the instances and of the sync groups whose changes are mailed.
    pub instances: BTreeSet<String>,
    pub groups: BTreeSet<String>,
}

impl Mail {
    /// `None`: nobody is to get any.
    pub fn of(config: &Config) -> Option<Self> {
        let global = &config.statements;
        let lines = find(global, "notification_email")?.inside.iter().flatten();
        let words = lines.flat_map(|line| &line.values);
        let recipients: Vec<String> = words
            .filter_map(|value| if let Value::Text(word) = value { Some(word.clone()) } else { None })
            .collect();
        let server = find(global, "smtp_server")?;
        let is_wanted = |statements: &[Statement]| wanted(statements, global);
        let instances = config.instances.iter().filter(|instance| is_wanted(&instance.statements));
        let groups = SyncGroup::of(config).into_iter().filter(|group| is_wanted(&group.statements));
        let given = |keyword| find(global, keyword).map(|given| text(&given.values, 0).to_owned());
        let mail = Self {
            recipients,
            from: given("notification_email_from"),
            server: text(&server.values, 0).to_owned(),
            port: number(&server.values).and_then(|port| u16::try_from(port).ok()).unwrap_or(SMTP),
            helo: given("smtp_helo_name"),
            timeout: find(global, "smtp_connect_timeout").and_then(|t| seconds(t, 0)).unwrap_or(TIMEOUT),
            router_id: config.router_id.clone(),
            without_faults: find(global, "no_email_faults").is_some(),
            instances: instances.map(|instance| instance.name.clone()).collect(),
            groups: groups.map(|group| group.name).collect(),
        };
        let any = !mail.instances.is_empty() || !mail.groups.is_empty();
        (!mail.recipients.is_empty() && any).then_some(mail)
    }
}

/// Its own `smtp_alert`, else that of all instances, else of all that vipd does, else no.
fn wanted(statements: &[Statement], global: &[Statement]) -> bool {
    let switch = find(statements, "smtp_alert")
        .or_else(|| find(global, "smtp_alert_vrrp"))
        .or_else(|| find(global, "smtp_alert"));
    switch.is_some_and(Statement::is_on)
}

const SMTP: u16 = 25;
/// keepalived's.
const TIMEOUT: Duration = Duration::from_secs(30);
