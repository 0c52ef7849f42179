//! Commands: who runs them, and what is run when an instance or a sync group changes its state.

use crate::{
    model::{
        command::{Account, Command, ScriptPolicy},
        notify::{Deleted, Fifo, Notify},
    },
    schema::{
        statement::{Statement, find, text},
        value::Value,
    },
};

/// The command of a statement, and who runs it if it says.
pub fn command(statement: &Statement) -> Option<Command> {
    match statement.values.split_first()? {
        (Value::Command(words), who) => {
            Some(Command { words: words.clone(), account: named(text(who, 0), text(who, 1)) })
        }
        _ => None,
    }
}

/// The command of a keyword.
pub fn command_of(statements: &[Statement], keyword: &str) -> Option<Command> {
    find(statements, keyword).and_then(command)
}

/// Who a statement names.
pub fn account(statement: &Statement) -> Option<Account> {
    named(text(&statement.values, 0), text(&statement.values, 1))
}

fn named(user: &str, group: &str) -> Option<Account> {
    let named = |name: &str| Some(name.to_owned()).filter(|name| !name.is_empty());
    Some(Account { user: named(user)?, group: named(group) })
}

/// What `global_defs` says of all commands.
pub fn policy(global: &[Statement]) -> ScriptPolicy {
    ScriptPolicy {
        account: find(global, "script_user").and_then(account),
        secure: find(global, "enable_script_security").is_some(),
    }
}

/// The commands of an instance or of a sync group.
pub fn notify(statements: &[Statement]) -> Notify {
    let command = |keyword| command_of(statements, keyword);
    Notify {
        master: command("notify_master"),
        backup: command("notify_backup"),
        fault: command("notify_fault"),
        stop: command("notify_stop"),
        deleted: find(statements, "notify_deleted").map(|deleted| Deleted(self::command(deleted))),
        lower_heard: command("notify_master_rx_lower_pri"),
        conflict: command("notify_conflict"),
        any: command("notify"),
    }
}

/// `notify_priority_changes` of an instance or of a sync group.
pub fn priority_changes(statements: &[Statement]) -> Option<bool> {
    find(statements, "notify_priority_changes").map(Statement::is_on)
}

/// `notify_fifo` and `vrrp_notify_fifo`.
pub fn fifos(global: &[Statement]) -> Vec<Fifo> {
    let fifos = [
        fifo(global, "notify_fifo", "notify_fifo_script"),
        fifo(global, "vrrp_notify_fifo", "vrrp_notify_fifo_script"),
    ];
    fifos.into_iter().flatten().collect()
}

/// A FIFO, and the command that reads it.
pub fn fifo(global: &[Statement], keyword: &str, reader: &str) -> Option<Fifo> {
    let values = &find(global, keyword)?.values;
    let owner = named(text(values, 1), text(values, 2));
    Some(Fifo { path: text(values, 0).to_owned(), owner, reader: command_of(global, reader) })
}
