//! `vipd check` beside `keepalived -t`, over real files: where one takes a file that the other refuses, the reason is here.

#![allow(clippy::disallowed_methods, reason = "tests measure")]

use std::{
    fs,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use vipd_tests::{Lab, Node, require_lab, skip, vipd_bin, wait_for};

/// What one takes and the other, keepalived 2.2.7 of Debian 12, refuses: the file, who takes it, what the other says, and why.
const DIFFERENCES: &[(&str, Takes, &str, &str)] = &[
    (
        "own/iptables.conf",
        Takes::Vipd,
        "iptables not supported",
        "this keepalived is built without iptables; vipd needs no firewall",
    ),
    ("own/fraction.conf", Takes::Vipd, "invalid number '0.5'", "later keepalived takes parts of a second"),
    (
        "own/route-without-interface.conf",
        Takes::Vipd,
        "cannot track route",
        "vipd depends on no route, keepalived asks for `no_track`",
    ),
    (
        "own/weights.conf",
        Takes::Vipd,
        "duplicate track_script good",
        "keepalived runs with the first line, and so does vipd, with a warning",
    ),
    (
        "own/wrong-arguments.conf",
        Takes::Keepalived,
        "unexpected `-x`",
        "keepalived runs the script without its arguments, and says nothing",
    ),
    (
        "own/wrong-quotes.conf",
        Takes::Keepalived,
        "typographic quotes",
        "keepalived runs a command whose name begins with such a quote",
    ),
    (
        "seeds/000-lvs.conf",
        Takes::Vipd,
        "Unknown keyword 'nat_mask'",
        "keywords of another age, which vipd ignores with a warning",
    ),
    ("seeds/000-dual-lb01.conf", Takes::Vipd, "not found/accessible", SCRIPT),
    ("seeds/001-mail.conf", Takes::Vipd, "not found/accessible", SCRIPT),
    ("seeds/001-nginx.conf", Takes::Vipd, "not found/accessible", SCRIPT),
    ("seeds/003-haproxy-backup.conf", Takes::Vipd, "Invalid smtp server", SERVER),
    ("seeds/003-haproxy-master.conf", Takes::Vipd, "Invalid smtp server", SERVER),
    (
        "samples/keepalived.conf.fwmark",
        Takes::Vipd,
        "protocol will be ignored",
        "keepalived ignores the protocol of a mark",
    ),
    (
        "samples/keepalived.conf.track_interface",
        Takes::Vipd,
        "doesn't exist",
        "vipd asks for interfaces when it starts",
    ),
    (
        "samples/keepalived.conf.vrrp",
        Takes::Keepalived,
        "192.168.200.18 is on line 28 already",
        "keepalived advertises the address twice",
    ),
    (
        "samples/keepalived.conf.vrrp.localcheck",
        Takes::Vipd,
        "SECURITY VIOLATION",
        "keepalived asks for `enable_script_security`; vipd does not insist",
    ),
    (
        "samples/keepalived.conf.vrrp.static_ipaddress",
        Takes::Vipd,
        "cannot track route",
        "vipd depends on no route, keepalived asks for `no_track`",
    ),
];

const SCRIPT: &str = "the script is not on this machine: vipd says so when it starts";
const SERVER: &str = "keepalived looks the mail server up; vipd does when it sends";

/// Files that neither takes, and what vipd says.
const REFUSED_BY_BOTH: &[(&str, &str)] = &[
    ("own/wrong-address.conf", "`10.0.0.510/24` is not an IP address"),
    ("own/wrong-block.conf", "unknown keyword `nosuchblock`"),
    ("own/wrong-brace.conf", "stray `}`"),
    ("own/wrong-definition.conf", "a blank before the `=`"),
    ("own/wrong-fraction.conf", "advert_int 0.5 with version 2"),
    ("own/wrong-include.conf", "cannot include /nowhere/x.conf"),
    ("own/wrong-junk.conf", "priority `100x` is not a whole number"),
    ("own/wrong-keyword.conf", "did you mean `priority`?"),
    ("own/wrong-no-interface.conf", "has no `interface`"),
    ("own/wrong-no-peer.conf", "unicast_peer holds no address"),
    ("own/wrong-no-script.conf", "no `vrrp_script` is called `chk`"),
    ("own/wrong-no-value.conf", "`preempt_delay` needs a value"),
    ("own/wrong-range.conf", "priority `300` is out of range: 1 to 255"),
    ("own/wrong-state.conf", "state `SLAVE` is not a known value"),
    ("own/wrong-twice.conf", "second `vrrp_instance VI_1`"),
    ("own/wrong-two-statements.conf", "second statement on one line"),
    ("own/wrong-unclosed.conf", "is not closed at the end of the file"),
    ("own/wrong-vrid-twice.conf", "virtual_router_id 51 is taken"),
    ("own/wrong-vrid.conf", "virtual_router_id `0` is out of range: 1 to 255"),
    // keepalived crashes (SIGSEGV) on the doubled quote.
    ("seeds/000-check.conf", "is not closed on its line"),
    ("seeds/000-described.conf", "unknown word `Virtual` after an address"),
    ("samples/keepalived.conf.SSL_GET", "auth_type AH is not supported"),
    ("samples/keepalived.conf.conditional_conf", "`vrrp_script check_VI_0` has no `script`"),
    ("samples/keepalived.conf.vrrp.lvs_syncd", "`VI_2` stands outside of `group { }`"),
    ("samples/keepalived.conf.vrrp.routes", "write each way as `nexthop via ADDRESS`"),
    ("samples/keepalived.conf.vrrp.rules", "`192.168.100./24` is not an IP address"),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Takes {
    Vipd,
    Keepalived,
    Both,
    Neither,
}

/// keepalived's samples, where Debian puts them.
const SAMPLES: &str = "/usr/share/doc/keepalived/samples";

#[test]
fn the_same_files_are_right_for_both_but_for_a_list() -> Result<()> {
    let Some(()) = require_lab() else { return Ok(()) };
    let lab = Lab::builder().node("lb01", "10.0.0.5/24").build()?;
    let node = lab.node("lb01");
    // What the files name, and keepalived asks for.
    for (name, peer) in [("eth1", "eth2"), ("eth3", "enp0s3")] {
        node.exec(&["ip", "link", "add", name, "type", "veth", "peer", "name", peer])?;
        node.exec(&["ip", "link", "set", name, "up"])?;
        node.exec(&["ip", "link", "set", peer, "up"])?;
    }
    let conf = Path::new(env!("CARGO_MANIFEST_DIR")).join("conf");
    let mut files = conf_files("own", &conf.join("own"))?;
    files.extend(conf_files("seeds", &conf.join("seeds"))?);
    // Some systems are told to install no documentation.
    let samples = Path::new(SAMPLES).is_dir();
    if samples {
        files.extend(conf_files("samples", Path::new(SAMPLES))?);
    } else {
        skip(format_args!("keepalived's samples: no {SAMPLES}"));
    }

    let mut wrong = Vec::new();
    for (name, path) in &files {
        let (vipd, vipd_says) =
            judge(node, &vipd_bin()?, &["check", "--allow-unsupported", "-i", "one", "-f"], path)?;
        let (keepalived, keepalived_says) =
            judge(node, Path::new("keepalived"), &["-t", "-i", "one", "-f"], path)?;
        let found = match (vipd, keepalived) {
            (true, true) => Takes::Both,
            (true, false) => Takes::Vipd,
            (false, true) => Takes::Keepalived,
            (false, false) => Takes::Neither,
        };
        let listed = DIFFERENCES.iter().find(|(file, ..)| file == name);
        let refused = REFUSED_BY_BOTH.iter().find(|(file, _)| file == name);
        let (expected, says, by) = match (listed, refused) {
            (Some((_, takes @ Takes::Vipd, says, _)), None) => (*takes, *says, &keepalived_says),
            (Some((_, takes, says, _)), None) => (*takes, *says, &vipd_says),
            (None, Some((_, says))) => (Takes::Neither, *says, &vipd_says),
            (None, None) => (Takes::Both, "", &vipd_says),
            (Some(_), Some(_)) => panic!("{name} is in both lists"),
        };
        if found != expected || !by.contains(says) {
            wrong.push(format!(
                "{name}: {found:?} takes it, expected {expected:?} and {says:?}\nvipd: {vipd_says}\nkeepalived: {keepalived_says}"
            ));
        } else if let Some((.., reason)) = listed {
            println!("{name}: {found:?} takes it: {reason}");
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    let listed =
        DIFFERENCES.iter().map(|(file, ..)| file).chain(REFUSED_BY_BOTH.iter().map(|(file, _)| file));
    for file in listed.filter(|file| samples || !file.starts_with("samples/")) {
        ensure!(files.iter().any(|(name, _)| name == file), "{file} is listed and not there");
    }
    Ok(())
}

/// Configurations in a directory, by `KIND/NAME`.
fn conf_files(kind: &str, dir: &Path) -> Result<Vec<(String, PathBuf)>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).with_context(|| format!("cannot read {}", dir.display()))? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.ends_with(".conf") || name.starts_with("keepalived.conf.") {
            files.push((format!("{kind}/{name}"), entry.path()));
        }
    }
    files.sort();
    Ok(files)
}

/// Whether a program takes the file, and what it says.
fn judge(node: &Node, program: &Path, arguments: &[&str], file: &Path) -> Result<(bool, String)> {
    let log = node.dir().join("judge.log");
    let out = fs::File::create(&log)?;
    let mut command: Command = node.command(program);
    command.args(arguments).arg(file).env("NO_COLOR", "1");
    command.stdin(Stdio::null()).stdout(out.try_clone()?).stderr(out);
    // keepalived ends its whole process group.
    let mut child =
        command.process_group(0).spawn().with_context(|| format!("cannot run {}", program.display()))?;
    let ended = wait_for(format_args!("{} to judge {}", program.display(), file.display()), SOON, || {
        child.try_wait().is_ok_and(|status| status.is_some())
    });
    if ended.is_err() {
        child.kill()?;
    }
    let status = child.wait()?;
    ended?;
    let said = String::from_utf8_lossy(&fs::read(&log)?).into_owned();
    Ok((status.success(), format!("{status}\n{said}")))
}

const SOON: Duration = Duration::from_secs(60);
