//! Mail about changes of state.

use std::{collections::BTreeSet, time::Duration};

/// How mail is sent, and to whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mail {
    /// `notification_email`: at least one.
    pub recipients: Vec<String>,
    /// `notification_email_from`; `None`: the user that vipd runs as, at this host.
    pub from: Option<String>,
    /// `smtp_server`.
    pub server: String,
    /// TCP port of the server, 1 to 65,535. 25 unless given.
    pub port: u16,
    /// `smtp_helo_name`: what vipd calls itself; `None`: as the host is called.
    pub helo: Option<String>,
    /// `smtp_connect_timeout`: for the connection, and for each answer. 30 s unless given.
    pub timeout: Duration,
    /// `router_id`: what the subject begins with; `None`: the name of the host.
    pub router_id: Option<String>,
    /// `no_email_faults`: changes to FAULT are not mailed. Off unless given.
    pub without_faults: bool,
    /// Names of the instances and of the sync groups whose changes are mailed: `smtp_alert` of their own, else
    /// `smtp_alert_vrrp`, else `smtp_alert` of `global_defs`, else none.
    pub instances: BTreeSet<String>,
    pub groups: BTreeSet<String>,
}
