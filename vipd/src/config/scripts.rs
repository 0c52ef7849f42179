//! Commands that the configuration names: who runs them, and what is to be run when an instance changes its state.

use super::{
    grammar::Value,
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

/// What is to be run when an instance changes its state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Notify {
    pub master: Option<Command>,
    pub backup: Option<Command>,
    pub fault: Option<Command>,
    pub stop: Option<Command>,
    /// At each change, with what has changed as arguments.
    pub any: Option<Command>,
}

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
    pub fn of(instance: &Instance) -> Self {
        let command = |keyword| find(&instance.statements, keyword).and_then(Command::of);
        Self {
            master: command("notify_master"),
            backup: command("notify_backup"),
            fault: command("notify_fault"),
            stop: command("notify_stop"),
            any: command("notify"),
        }
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
