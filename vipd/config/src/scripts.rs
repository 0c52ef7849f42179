//! Commands that the configuration names: who runs them, and what is to be run when an instance changes its state.

use super::{
    grammar::Value,
    groups::SyncGroup,
    model::{Config, Instance, Statement},
    statement::{find, text},
};

/// A command, its arguments, and who runs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// At least one word.
    pub words: Vec<String>,
    /// `None`: as `script_user` says.
    pub account: Option<Account>,
}

/// A user of the system, and a group if not the user's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    pub user: String,
    pub group: Option<String>,
}

/// What `global_defs` says of all commands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScriptPolicy {
    /// `script_user`.
    pub account: Option<Account>,
    /// `enable_script_security`: what others than root may change is not run by root.
    pub secure: bool,
}

/// Who is told of changes, and who is run then: of an instance, or of a sync group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    pub name: String,
    pub notify: Notify,
    /// Changes of its priority are written to the FIFOs.
    pub priorities: bool,
    /// Of a group: the names of its members.
    pub members: Option<Vec<String>>,
}

/// What is to be run when an instance or a sync group changes its state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Notify {
    pub master: Option<Command>,
    pub backup: Option<Command>,
    pub fault: Option<Command>,
    pub stop: Option<Command>,
    /// `None`: an instance that a new configuration does not have any more is told of as one in FAULT.
    pub deleted: Option<Deleted>,
    /// While it is master, and hears a router that it beats.
    pub lower_heard: Option<Command>,
    /// When another router or station acts as the owner of a VIP, and when it has ceased to.
    pub conflict: Option<Command>,
    /// At each change, with what has changed as arguments.
    pub any: Option<Command>,
}

/// `notify_deleted`: with a command of its own, or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deleted(pub Option<Command>);

/// A FIFO that changes are written to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fifo {
    pub path: String,
    /// Whom one that vipd makes belongs to, if not to whom `script_user` says.
    pub owner: Option<Account>,
    /// Started by vipd, with the path as its last argument.
    pub reader: Option<Command>,
}

impl Command {
    /// The command of a statement, and who runs it if it says.
    pub(super) fn of(statement: &Statement) -> Option<Self> {
        match statement.values.split_first()? {
            (Value::Command(words), who) => {
                Some(Self { words: words.clone(), account: Account::named(text(who, 0), text(who, 1)) })
            }
            _ => None,
        }
    }

    pub(super) fn run_by(self, account: Option<Account>) -> Self {
        Self { account: account.or(self.account), ..self }
    }
}

impl Account {
    pub(super) fn of(statement: &Statement) -> Option<Self> {
        Self::named(text(&statement.values, 0), text(&statement.values, 1))
    }

    fn named(user: &str, group: &str) -> Option<Self> {
        let named = |name: &str| Some(name.to_owned()).filter(|name| !name.is_empty());
        Some(Self { user: named(user)?, group: named(group) })
    }
}

impl ScriptPolicy {
    pub fn of(config: &Config) -> Self {
        Self {
            account: find(&config.statements, "script_user").and_then(Account::of),
            secure: find(&config.statements, "enable_script_security").is_some(),
        }
    }
}

impl Notify {
    fn of(statements: &[Statement]) -> Self {
        let command = |keyword| find(statements, keyword).and_then(Command::of);
        Self {
            master: command("notify_master"),
            backup: command("notify_backup"),
            fault: command("notify_fault"),
            stop: command("notify_stop"),
            deleted: find(statements, "notify_deleted").map(|deleted| Deleted(Command::of(deleted))),
            lower_heard: command("notify_master_rx_lower_pri"),
            conflict: command("notify_conflict"),
            any: command("notify"),
        }
    }
}

impl Told {
    /// Of a group: the names of its members.
    pub fn members(&self) -> impl Iterator<Item = &str> {
        self.members.iter().flatten().map(String::as_str)
    }

    /// Every instance and every sync group.
    pub fn of(config: &Config) -> Vec<Self> {
        let groups = SyncGroup::of(config);
        let all = find(&config.statements, "vrrp_notify_priority_changes").is_some_and(Statement::is_on);
        let conflict = find(&config.statements, "notify_conflict").and_then(Command::of);
        let priorities =
            |statements: &[Statement]| find(statements, "notify_priority_changes").map(Statement::is_on);
        let instance = |instance: &Instance| {
            let group = groups.iter().find(|group| group.members.contains(&instance.name));
            let of_group = group.and_then(|group| priorities(&group.statements));
            let notify = Notify::of(&instance.statements);
            Self {
                name: instance.name.clone(),
                notify: Notify { conflict: notify.conflict.clone().or_else(|| conflict.clone()), ..notify },
                priorities: priorities(&instance.statements).or(of_group).unwrap_or(all),
                members: None,
            }
        };
        let group = |group: &SyncGroup| Self {
            name: group.name.clone(),
            notify: Notify::of(&group.statements),
            priorities: false,
            members: Some(group.members.clone()),
        };
        config.instances.iter().map(instance).chain(groups.iter().map(group)).collect()
    }
}

impl Fifo {
    /// `notify_fifo` and `vrrp_notify_fifo`.
    pub fn of(config: &Config) -> Vec<Self> {
        let fifo = |keyword: &str, reader: &str| {
            let values = &find(&config.statements, keyword)?.values;
            let path = text(values, 0).to_owned();
            let owner = Account::named(text(values, 1), text(values, 2));
            Some(Self { path, owner, reader: find(&config.statements, reader).and_then(Command::of) })
        };
        let fifos =
            [fifo("notify_fifo", "notify_fifo_script"), fifo("vrrp_notify_fifo", "vrrp_notify_fifo_script")];
        fifos.into_iter().flatten().collect()
    }
}
