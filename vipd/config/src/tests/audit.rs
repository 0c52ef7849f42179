//! What other users may change or read, on a machine that is made up.

use std::{
    io,
    path::{Path, PathBuf},
};

use super::*;
use crate::{self as config, Outside};

/// `/home` is a user's, whose id is 1000; files in `/open` may be written and read by all.
struct Machine;

impl Outside for Machine {
    fn config_id(&self) -> &str {
        "host"
    }

    fn read(&self, _: &Path) -> io::Result<Vec<u8>> {
        Err(io::ErrorKind::NotFound.into())
    }

    fn glob(&self, _: &Path, _: &str) -> Result<Vec<PathBuf>, String> {
        Ok(Vec::new())
    }

    fn absolute(&self, path: &Path) -> PathBuf {
        Path::new("/").join(path)
    }

    fn environment(&self, _: &str) -> Option<String> {
        None
    }

    fn random(&self, min: u32, _: u32) -> u32 {
        min
    }

    fn uid(&self, user: &str) -> Option<u32> {
        [("root", 0), ("user", 1000)].into_iter().find(|(name, _)| *name == user).map(|(_, uid)| uid)
    }

    fn program(&self, word: &str) -> Option<PathBuf> {
        Some(if word.contains('/') { word.into() } else { Path::new("/bin").join(word) })
    }

    fn open_to_others(&self, path: &Path) -> Option<(PathBuf, String)> {
        path.starts_with("/home").then(|| ("/home".into(), "it belongs to uid 1000".into()))
    }

    fn configuration_open_to_others(&self, path: &Path) -> Option<(PathBuf, String)> {
        path.starts_with("/open").then(|| (path.to_owned(), "everybody may write to it".into()))
    }

    fn is_readable_by_all(&self, path: &Path) -> bool {
        path.starts_with("/open")
    }
}

/// The findings in a file, each with its severity, line and message.
fn audited(path: &str, text: &str) -> Vec<String> {
    let found = match config::parse(path.as_ref(), text, &Machine, Unsupported::Refused) {
        Ok(loaded) => loaded.warnings,
        Err(failure) => failure.diagnostics,
    };
    let found = found.into_iter().filter(|d| d.severity != Severity::Notice);
    found.map(|d| format!("{} {}: {}", d.severity, d.line, d.message)).collect()
}

#[test]
fn commands_of_root_that_others_may_change() {
    let runs = "warning 2: root runs `/home/up`: others may change /home: it belongs to uid 1000";
    for (lines, global, expected) in [
        ("notify_master /home/up", "", &[runs][..]),
        ("notify_master \"/home/up now\"", "", &[runs]),
        ("fence_script /home/up root", "script_user user", &[runs]),
        ("notify /home/up", "script_user root", &[runs]),
        ("notify /home/up", "script_user user", &[]),
        ("notify /home/up user", "", &[]),
        ("notify /bin/up", "", &[]),
        ("notify up", "", &[]),
        (
            "notify_fault /home/up",
            "enable_script_security",
            &["warning 2: root does not run `/home/up`: others may change /home: it belongs to uid 1000"],
        ),
        ("notify_stop ./up", "", &["error 2: `./up` is a relative path: vipd runs commands from `/`"]),
        ("notify_stop \"</dev/null ./up\"", "", &[]),
    ] {
        let text = with(lines) + &format!("global_defs {{\n{global}\n}}\n");
        assert_eq!(audited("/etc/k.conf", &text), expected, "{text}");
    }
    let script = "vrrp_script c {\nscript \"/home/up\"\nuser USER\n}\n";
    let text = with("track_script {\nc\n}") + script;
    let found = audited("/etc/k.conf", &text.replace("USER", "root"));
    assert!(found.len() == 1 && found[0].contains("root runs `/home/up`"), "{found:?}");
    assert_eq!(audited("/etc/k.conf", &text.replace("USER", "user")), [""; 0]);
}

#[test]
fn files_that_others_may_change_or_read() {
    let text = with("version 2\nauthentication {\nauth_type PASS\nauth_pass secret\n}\nadvert_int 1");
    let found = audited("/open/k.conf", &text);
    assert_eq!(
        found,
        [
            "warning 1: others than root may change the configuration, and so what root runs: /open/k.conf: everybody may write to it",
            "warning 5: every user may read /open/k.conf, and the password in it",
        ]
    );
    assert_eq!(audited("/etc/k.conf", &text), [""; 0]);
}

#[test]
fn an_xdp_mode_of_an_interface_that_nothing_uses_is_a_warning() {
    let warned = |names: &str, error: &str| -> Vec<String> {
        let text = format!(
            "global_defs {{\nxdp_mode native {names}\n}}\nvrrp_instance VI_1 {{\ninterface eth0.10\nvirtual_router_id 51{error}\n\
             heartbeat_interface {{\neth2\n}}\nvirtual_ipaddress {{\n10.0.0.3 dev eth1\n}}\n}}\n"
        );
        let found = match config::parse(Path::new("k.conf"), &text, &Machine, Unsupported::Refused) {
            Ok(loaded) => loaded.warnings,
            Err(failure) => failure.diagnostics,
        };
        let of_mode = found.into_iter().filter(|d| d.message.contains("changes nothing"));
        of_mode
            .map(|d| format!("{}:{} {} | {}", d.line, d.column, d.message, d.hint.unwrap_or_default()))
            .collect()
    };
    assert_eq!(warned("eth0.10 eth1 eth2", ""), [""; 0]);
    assert_eq!(warned("", ""), [""; 0], "of all interfaces");
    assert_eq!(
        warned("eth1 eth0", ""),
        [
            "2:22 no instance uses the interface `eth0`: this line changes nothing | the interface as the instance names it, not the one \
             below a VLAN or bond; in use: eth0.10, eth1, eth2"
        ]
    );
    assert_eq!(warned("eth0", "2"), [""; 0], "an error elsewhere says enough");
}
