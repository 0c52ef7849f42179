//! Commands that the configuration names, and who runs them.

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
    /// `enable_script_security`: what others than root may change is not run by root. Off unless given.
    pub secure: bool,
}
