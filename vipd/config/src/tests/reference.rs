//! `docs/reference/config.md`, made from the keyword table.

use std::{fmt::Write, fs, path::Path};

use crate::schema::{
    form::wants,
    grammar,
    keyword::{BALANCES, Engine, Inside, Keyword, Support},
    table::{ALL, called, rows},
};

const HEAD: &str = "\
# The configuration, keyword by keyword

Made from the keyword table by `VIPD_WRITE_DOCS=1 cargo test -p vipd-config --lib reference`; a test compares. The language itself (comments,
includes, conditions, definitions, generators) is keepalived's; [configure.md](../operate/configure.md#the-language) has the exceptions.

What is marked *no effect* is read, checked and mentioned, and changes nothing. What is *ignored with a warning* keepalived does and vipd
does not; the warning says what to use instead. What has *no engine yet* is read and refused, by line and column, with the advice given
here; `--allow-unsupported` makes that a warning and ignores it, `--allow-unsupported=KEYWORD,...` only what it names. Mistakes within what
is ignored are warnings. What is *not yet* or *not* supported is always refused. Nothing is passed over in silence.

## What differs from keepalived

- An unknown keyword, a word that is left over behind a value, a value out of range or a name that nothing bears is an error here. keepalived
  2.2.7 logs it and runs with the rest, reads the block of an unknown keyword as part of the block around it, and drops the words after
  `script COMMAND` unless they are in quotes. A word behind a switch (`nopreempt 1`) is ignored with a warning, as there.
- `lvs_id`, `nat_mask`, `net_mask` and `nb_get_retry`, which keepalived has dropped, are ignored with a warning wherever they stand.
- `global_defs` counts wherever it stands. In keepalived it does not for the instances before it.
- An address may stand once in a file: it has one owner, and the host's route to it leads to one interface. keepalived advertises it twice.
- Two virtual routers of a family on one interface need different ids, unicast ones too. keepalived tells those of different peers apart.
- `accept off` is off. keepalived 2.2.7 reads it as `accept`.
- Without a prefix length an address is a host, as there; vipd puts none on an interface, so what only says how (`label`, `brd` and so
  on) has no effect. `ip address` does not list VIPs: `vipd status` does.
- An advert is taken whatever addresses it lists, and those that differ are counted: `skip_check_adv_addr` has no effect.
- `vrrp_strict` takes back what keepalived takes back, says that the addresses take no packet, and does so in XDP, without a firewall.
- An empty `unicast_peer` is an error; keepalived falls back to multicast.
- Unicast adverts are heard from peers only: `check_unicast_src` is on, keepalived's is off. Without `min_ttl` and `max_ttl` an IPv4 peer on the
  link must come with a TTL of 255, unless `unicast_ttl` is below that here; other peers may come with any.
- In a `virtual_server` what keepalived logs and runs on with is a warning where the meaning is plain (`protocol` with a firewall mark, a port
  that DR does not change, a server twice, `sh-port` before `lb_algo sh`), and an error where a part would be lost: an unknown scheduler or
  group, a tunnel without its port, servers of another family, an address in two virtual servers.
- `sorry_server` and `real_server` without a port have that of the virtual server. With `enable_sni` the URLs of each server name are a check.
- vipd's own about load balancing are `rise`, `total_timeout`, `ramp`, `min_alive`, `drain_timeout`, `jitter`, `verify`, `http_method`, `expect`
  of DNS_CHECK, and TEXT_CHECK: it connects, sends `send` and matches the answer with the regular expression `expect`.
- vipd's own are `lease`, `self_probe`, `xdp_mode`, `metrics_listen`, `status_group` and `notify_conflict` ([configure.md](../operate/configure.md#keywords-of-vipds-own)),
  `heartbeat_interface` ([heartbeat.md](../operate/heartbeat.md)), `arbiter` and `track_arbiter` ([arbitration.md](../operate/arbitration.md)),
  `fence_script`, `fence_timeout`, `fence_failed` and `vip_visible` ([maintenance.md](../operate/maintenance.md)), and `interface` in
  `bfd_instance` ([bfd.md](../operate/bfd.md)).
";

fn document() -> String {
    let mut text = HEAD.to_owned();
    for block in ALL.iter().copied() {
        let (title, statements) = called(block);
        let title = if statements { format!("In {title}") } else { format!("On {title}") };
        let _ = writeln!(text, "\n## {}", title.replacen("In the top", "At the top", 1));
        let of =
            |wanted: fn(&Support) -> bool| rows(block).iter().filter(move |keyword| wanted(&keyword.status));
        let served = |status: &Support| match status {
            Support::Supported(_) => true,
            Support::Grammar { engine, .. } => {
                !matches!(engine, Engine::Missing(_) | Engine::Needed(_) | Engine::Unserved(_))
            }
            _ => false,
        };
        table(&mut text, "", of(served));
        let missing = |status: &Support| {
            let Support::Grammar { engine, .. } = status else { return false };
            matches!(engine.in_force(BALANCES), Engine::Missing(_) | Engine::Needed(_))
        };
        table(&mut text, "No engine yet", of(missing));
        let unserved = |status: &Support| matches!(status, Support::Grammar { engine, .. } if matches!(engine.in_force(BALANCES), Engine::Unserved(_)));
        table(&mut text, "Read, and ignored with a warning until vipd balances load", of(unserved));
        section(&mut text, "No effect", of(|status| matches!(status, Support::NoEffect { .. })));
        section(&mut text, "Ignored with a warning", of(|status| matches!(status, Support::Dropped { .. })));
        section(&mut text, "Not supported yet", of(|status| matches!(status, Support::NotYet(_))));
        section(&mut text, "Not supported", of(|status| matches!(status, Support::Refused(_))));
    }
    text
}

/// Keywords with what they take.
fn table(text: &mut String, title: &str, keywords: impl Iterator<Item = &'static Keyword>) {
    let mut advices: Vec<&str> = Vec::new();
    for (i, keyword) in keywords.enumerate() {
        if i == 0 {
            let title = if title.is_empty() { String::new() } else { format!("{title}:\n\n") };
            let _ = writeln!(text, "\n{title}| keyword | takes | default |\n|---|---|---|");
        }
        let takes = match &keyword.status {
            Support::Supported(form) => wants(form),
            Support::Grammar { takes, inside, engine } => {
                if let Engine::Missing(advice) | Engine::Needed(advice) | Engine::Unserved(advice) =
                    engine.in_force(BALANCES)
                    && !advices.contains(&advice)
                {
                    advices.push(advice);
                }
                let block = match inside {
                    Inside::Nothing => "",
                    _ if takes.is_empty() => "a block",
                    _ => ", and a block",
                };
                let takes =
                    if takes.is_empty() && keyword.block { String::new() } else { grammar::wants(takes) };
                let lines = match inside {
                    Inside::Lines(args) => format!(" of lines: {}", grammar::wants(args)),
                    Inside::LinesOf(block) => format!(" of lines as in {}", called(*block).0),
                    _ => String::new(),
                };
                takes + block + &lines
            }
            _ => continue,
        };
        let also = match keyword.means {
            means if means == keyword.name => "",
            means => &format!("; sets what `{means}` sets"),
        };
        let many = if keyword.many { "; may be repeated" } else { "" };
        let must = if keyword.required { "; must be there" } else { "" };
        let default = keyword.default.map_or(String::new(), |default| format!("`{default}`"));
        let _ = writeln!(text, "| `{}` | {}{also}{many}{must} | {default} |", keyword.name, cell(&takes));
    }
    if !advices.is_empty() {
        let _ = writeln!(text, "\nUntil then: {}.", advices.join("; "));
    }
}

/// Keywords of one kind, those with the same reason together.
fn section(text: &mut String, title: &str, keywords: impl Iterator<Item = &'static Keyword>) {
    let mut reasons: Vec<(&str, Vec<String>)> = Vec::new();
    for keyword in keywords {
        let (Support::NoEffect { reason, .. }
        | Support::Dropped { instead: reason, .. }
        | Support::NotYet(reason)
        | Support::Refused(reason)) = &keyword.status
        else {
            continue;
        };
        let name = format!("`{}`", keyword.name);
        match reasons.iter_mut().find(|(of, _)| of == reason) {
            Some((_, names)) => names.push(name),
            None => reasons.push((reason, vec![name])),
        }
    }
    if !reasons.is_empty() {
        let _ = writeln!(text, "\n{title}:\n");
        for (reason, names) in reasons {
            let _ = writeln!(text, "- {}: {reason}.", names.join(", "));
        }
    }
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

#[test]
fn the_reference_is_that_of_the_table() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/config.md");
    let document = document();
    if std::env::var_os("VIPD_WRITE_DOCS").is_some() {
        fs::write(&path, &document).unwrap();
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    let first = document.lines().zip(written.lines()).position(|(wanted, found)| wanted != found);
    assert!(
        document == written,
        "{} is not what the table says from line {} on; write it with VIPD_WRITE_DOCS=1",
        path.display(),
        first.unwrap_or(document.lines().count().min(written.lines().count())) + 1
    );
}
