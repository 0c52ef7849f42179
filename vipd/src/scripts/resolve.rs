//! Turns the words of a command into an executable file and a user.

use std::{env, ffi::CString, fs, io, os::unix::fs::PermissionsExt, path::PathBuf};

use nix::unistd::{Gid, Group, Uid, User, getgrouplist};
use thiserror::Error;
use vipd_config::{Account, Command, ScriptPolicy};

use super::{child::RunAs, secure};
use crate::files::Open;

/// A command that can be run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Executable {
    pub path: PathBuf,
    pub arguments: Vec<String>,
    /// `None`: the user of vipd.
    pub account: Option<RunAs>,
    /// Whether only root may change it; checked before each run.
    pub secure: bool,
}

/// Why a command cannot be run.
#[derive(Debug, Error)]
pub enum UnusableCommand {
    #[error("there is no user `{0}`")]
    NoUser(String),
    #[error("there is no group `{0}`")]
    NoGroup(String),
    #[error("{path} cannot be examined: {error}")]
    Unreadable { path: PathBuf, error: io::Error },
    #[error("{0} is not an executable file")]
    NotExecutable(PathBuf),
    #[error("`enable_script_security` refuses it: it would run as root, and other users may change {}: {why}", path.display())]
    Insecure { path: PathBuf, why: Open },
    #[error("{0} is a relative path, and vipd runs commands from `/`: write an absolute path")]
    Relative(PathBuf),
}

/// The default users.
#[derive(Clone, Debug)]
pub struct Accounts {
    default: Option<RunAs>,
    secure: bool,
}

/// The default user, as in keepalived.
const DEFAULT_USER: &str = "keepalived_script";

impl Accounts {
    pub fn new(policy: &ScriptPolicy) -> Result<Self, UnusableCommand> {
        let default = match &policy.account {
            Some(account) => Some(look_up(account)?),
            None => look_up(&Account { user: DEFAULT_USER.to_owned(), group: None }).ok(),
        };
        // Another user than root can only be itself.
        let default = default.filter(|_| Uid::effective().is_root());
        Ok(Self { default, secure: policy.secure })
    }

    /// Owner of a file made for commands; `None`: the user of vipd.
    pub fn owner(&self, account: Option<&Account>) -> Result<Option<(Uid, Gid)>, UnusableCommand> {
        Ok(self.run_as(account)?.map(|account| (account.uid, account.gid)))
    }

    fn run_as(&self, account: Option<&Account>) -> Result<Option<RunAs>, UnusableCommand> {
        match account {
            Some(account) => Ok(Some(look_up(account)?).filter(|_| Uid::effective().is_root())),
            None => Ok(self.default.clone()),
        }
    }

    /// The executable of a command.
    pub fn resolve(&self, command: &Command) -> Result<Executable, UnusableCommand> {
        let account = self.run_as(command.account.as_ref())?;
        let first = command.words.first().map(String::as_str).unwrap_or_default();
        let (path, arguments) = match executable(first)? {
            Some(path) => (path, command.words[1..].to_vec()),
            // As keepalived: what is no file is for the shell.
            None => ("/bin/sh".into(), vec!["-c".to_owned(), command.words.join(" ")]),
        };
        let by_root = account.as_ref().map_or_else(Uid::effective, |account| account.uid).is_root();
        let secure = self.secure && by_root;
        if secure {
            secure::check(&path)?;
        }
        Ok(Executable { path, arguments, account, secure })
    }
}

fn look_up(account: &Account) -> Result<RunAs, UnusableCommand> {
    let no_user = || UnusableCommand::NoUser(account.user.clone());
    let user = User::from_name(&account.user).ok().flatten().ok_or_else(no_user)?;
    let gid = match &account.group {
        Some(name) => {
            let no_group = || UnusableCommand::NoGroup(name.clone());
            Group::from_name(name).ok().flatten().ok_or_else(no_group)?.gid
        }
        None => user.gid,
    };
    let name = CString::new(account.user.as_str()).map_err(|_| no_user())?;
    // The groups of a login. If they cannot be had the one is enough.
    let groups = getgrouplist(&name, gid).unwrap_or_else(|_| vec![gid]);
    Ok(RunAs { uid: user.uid, gid, groups })
}

/// The file of a command; `None` if there is none.
pub fn executable(word: &str) -> Result<Option<PathBuf>, UnusableCommand> {
    if word.contains('/') && !word.starts_with(['<', '>']) {
        let path = PathBuf::from(word);
        if path.is_relative() {
            return Err(UnusableCommand::Relative(path));
        }
        let metadata =
            fs::metadata(&path).map_err(|error| UnusableCommand::Unreadable { path: path.clone(), error })?;
        return if is_executable(&metadata) {
            Ok(Some(path))
        } else {
            Err(UnusableCommand::NotExecutable(path))
        };
    }
    let path = env::var_os("PATH").unwrap_or_else(|| "/usr/sbin:/usr/bin:/sbin:/bin".into());
    let found = env::split_paths(&path).map(|dir| dir.join(word)).find(|path| {
        path.is_absolute() && !word.is_empty() && fs::metadata(path).is_ok_and(|m| is_executable(&m))
    });
    Ok(found)
}

fn is_executable(metadata: &fs::Metadata) -> bool {
    metadata.is_file() && metadata.permissions().mode() & 0o111 != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(words: &[&str]) -> Command {
        Command { words: words.iter().map(|word| (*word).to_owned()).collect(), account: None }
    }

    #[test]
    fn a_command_is_a_file_or_for_the_shell() {
        let accounts = Accounts::new(&ScriptPolicy::default()).unwrap();
        let resolve = |words: &[&str]| accounts.resolve(&command(words));
        let found = resolve(&["/bin/sh", "-c", "exit 3"]).unwrap();
        assert_eq!((found.path, found.arguments), ("/bin/sh".into(), vec!["-c".into(), "exit 3".into()]));
        assert!(resolve(&["sh"]).unwrap().path.ends_with("sh"), "by search");
        let shell = resolve(&["</dev/null", "cat"]).unwrap();
        assert_eq!(
            (shell.path, shell.arguments),
            ("/bin/sh".into(), vec!["-c".into(), "</dev/null cat".into()])
        );
        assert!(matches!(resolve(&["/nowhere/x"]), Err(UnusableCommand::Unreadable { .. })));
        assert!(matches!(resolve(&["/etc/passwd"]), Err(UnusableCommand::NotExecutable(_))));
        assert!(matches!(resolve(&["/etc"]), Err(UnusableCommand::NotExecutable(_))));
        for relative in ["./check", "bin/sh", "../bin/sh"] {
            assert!(matches!(resolve(&[relative]), Err(UnusableCommand::Relative(_))), "{relative}");
        }
        let account = Some(Account { user: "no-such-user".into(), group: None });
        let unknown = Command { account, ..command(&["sh"]) };
        assert!(matches!(accounts.resolve(&unknown), Err(UnusableCommand::NoUser(_))));
    }

    #[test]
    fn what_others_may_change_is_not_run_by_root() {
        if !Uid::effective().is_root() {
            return vipd_tests::skip("needs root");
        }
        let dir = env::temp_dir().join(format!("vipd-scripts-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let script = dir.join("check");
        fs::write(&script, "#!/bin/sh\n").unwrap();
        let mode = |mode| fs::set_permissions(&script, fs::Permissions::from_mode(mode)).unwrap();
        let policy = |user: &str| {
            let account = Some(Account { user: user.to_owned(), group: None });
            Accounts::new(&ScriptPolicy { account, secure: true }).unwrap()
        };
        let words = command(&[script.to_str().unwrap()]);
        mode(0o755);
        policy("root").resolve(&words).unwrap();
        mode(0o757);
        assert!(matches!(policy("root").resolve(&words), Err(UnusableCommand::Insecure { .. })));
        let as_nobody = policy("nobody").resolve(&words).unwrap();
        assert!(!as_nobody.secure && as_nobody.account.unwrap().uid.as_raw() != 0);
        fs::remove_dir_all(&dir).unwrap();
    }
}
