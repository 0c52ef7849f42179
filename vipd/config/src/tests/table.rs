//! The keyword table itself.

use std::collections::HashSet;

use vipd_common::Family;

use super::{findings, parse, with};
use crate::schema::{
    grammar::{Arg, WordKind},
    keyword::{BALANCES, Block, Engine, Inside, Keyword, KeywordForm, Support},
    table::{ALL, find, rows},
};

#[test]
fn keywords_are_unique_in_their_block() {
    for block in ALL.iter().copied() {
        let mut names = HashSet::new();
        for keyword in rows(block) {
            assert!(names.insert(keyword.name), "{block:?}: {} twice", keyword.name);
        }
    }
}

/// `lower::grammars` knows no others.
#[test]
fn a_block_that_is_read_by_grammars_has_rows_with_grammars() {
    let inside = |keyword: &Keyword| match keyword.status {
        Support::Grammar { inside: Inside::Statements(block), .. } => Some(block),
        _ => None,
    };
    for block in ALL.iter().flat_map(|block| rows(*block)).filter_map(inside) {
        for keyword in rows(block) {
            assert!(
                matches!(
                    keyword.status,
                    Support::Grammar { .. } | Support::NoEffect { .. } | Support::Dropped { .. }
                ),
                "{block:?}: {}",
                keyword.name
            );
        }
    }
}

#[test]
fn a_synonym_sets_what_another_keyword_sets() {
    for block in ALL.iter().copied() {
        for keyword in rows(block).iter().filter(|keyword| keyword.name != keyword.means) {
            // Words such as `blackhole` exclude one another, and a route has no keyword for that.
            let meant = find(block, keyword.means).map_or("type", |meant| meant.means);
            assert_eq!(meant, keyword.means, "{block:?}: {}", keyword.name);
        }
    }
}

/// What `name` needs around it to mean anything.
fn dress(name: &str, text: &str) -> String {
    let beside = |line: &str| text.replace("interface eth0", &format!("interface eth0\n{line}"));
    match name {
        "unicast_src_ip" | "unicast_ttl" | "check_unicast_src" | "vrrp_check_unicast_src" => {
            beside("unicast_peer {\n10.8.8.8\n}")
        }
        "vmac_xmit_base" => beside("use_vmac"),
        // The checksum is a choice in version 3 only.
        "v3_checksum_as_v2" => beside("version 3"),
        "vrrp_mcast_group6" => text.replace("10.0.0.3", "fe80::3"),
        _ => text.to_owned(),
    }
}

/// The file with `line` in `block`, and where the line stands.
fn place(block: Block, line: &str) -> Option<(String, &'static str)> {
    let auth = |rest: &str| with(&format!("authentication {{\n{line}\n{rest}\n}}"));
    match block {
        Block::Root => Some((with("") + line, "9:1")),
        Block::GlobalDefs => Some((format!("global_defs {{\n{line}\n}}\n") + &with(""), "2:1")),
        Block::Instance => Some((with(line), "2:1")),
        Block::Authentication if line.starts_with("auth_type") => Some((auth("auth_pass x"), "3:1")),
        Block::Authentication => Some((auth("auth_type PASS"), "3:1")),
        Block::VipOption => {
            Some((with(&format!("virtual_ipaddress_excluded {{\n10.9.9.9 {line}\n}}")), "3:10"))
        }
        Block::PeerOption => Some((with(&format!("unicast_peer {{\n10.9.9.9 {line}\n}}")), "3:10")),
        Block::Route => Some((with(&format!("virtual_routes {{\n10.9.9.0/24 dev eth9 {line}\n}}")), "3:22")),
        Block::Hop => {
            Some((with(&format!("virtual_routes {{\n10.9.9.0/24 nexthop dev eth9 {line}\n}}")), "3:30"))
        }
        Block::Rule => Some((with(&format!("virtual_rules {{\nfrom 10.9.9.9 table 5 {line}\n}}")), "3:23")),
        // They hold lines, or have no engine: see `sections`.
        _ => None,
    }
}

/// Words that the grammar takes, the optional ones too, with a blank before each.
pub fn sample(args: &[Arg]) -> String {
    let kind = |kind: &WordKind| match kind {
        WordKind::Text | WordKind::ShellWord => "text".to_owned(),
        WordKind::Secret => "a-secret-of-27-characters-a".to_owned(),
        WordKind::Name | WordKind::Of(_) => "VI_1".to_owned(),
        WordKind::Interface => "eth8".to_owned(),
        WordKind::Whole { min, max } => 7.clamp(*min, *max).to_string(),
        WordKind::Millis { min_us, .. } if *min_us > 7_500 => "1000.5".to_owned(),
        WordKind::Seconds { .. } | WordKind::Millis { .. } => "7.5".to_owned(),
        WordKind::Flag => "off".to_owned(),
        WordKind::Choice(of) => of[of.len() - 1].to_owned(),
        WordKind::Address => "10.9.9.9".to_owned(),
        WordKind::Station => "10.9.9.9".to_owned(),
        WordKind::Service => "10.9.9.9:80".to_owned(),
        WordKind::Range => "10.9.9.9-20".to_owned(),
        WordKind::Netmask => "255.255.255.0".to_owned(),
        WordKind::Md5 => "0aff".repeat(8),
        WordKind::StatusCodes => "200-204".to_owned(),
        WordKind::Command => "\"/bin/true 'a b' c\"".to_owned(),
        WordKind::Account => "root".to_owned(),
        WordKind::Octets => "0aff".to_owned(),
        WordKind::OctetPattern => "xa1x".to_owned(),
        WordKind::OnOrPath => "on".to_owned(),
        WordKind::Listen => "127.0.0.1:9812".to_owned(),
    };
    let named = |names: &[(&str, &[Arg])]| -> String {
        names.iter().map(|(name, args)| format!(" {name}{}", sample(args))).collect()
    };
    let arg = |arg: &Arg| match arg {
        Arg::One(of) | Arg::Opt(of) | Arg::OptUnless(of, _) => format!(" {}", kind(of)),
        Arg::Many(WordKind::Of(_)) => " VI_1".to_owned(),
        // All different.
        Arg::Many(WordKind::Station) => " 10.9.9.9 fe80::9%eth0".to_owned(),
        Arg::Many(WordKind::Service) => " 10.9.9.9:80 [fe80::9%eth0]:80".to_owned(),
        Arg::Many(of) | Arg::Any(of) => format!(" {} {}", kind(of), kind(of)),
        Arg::Named(names) => named(names),
        Arg::Either(_, other) => sample(other),
    };
    args.iter().map(arg).collect()
}

#[test]
fn what_is_not_supported_is_never_silent() {
    for block in ALL.iter().copied() {
        for keyword in rows(block) {
            let name = keyword.name;
            let (values, severity, message) = match keyword.status {
                Support::Supported(_) => continue,
                Support::NotYet(_) => (String::new(), "error", "is not supported yet"),
                Support::Refused(_) => (String::new(), "error", "is not supported"),
                Support::NoEffect { takes, .. } => (sample(takes), "notice", "has no effect"),
                Support::Dropped { takes, .. } => (sample(takes), "warning", "is ignored"),
                // Those of blocks without an engine are, with their blocks.
                Support::Grammar { takes, engine, .. } => match engine.in_force(BALANCES) {
                    Engine::Missing(_) | Engine::Needed(_) => {
                        (sample(takes), "error", "is not supported yet")
                    }
                    Engine::Unserved(_) => (sample(takes), "warning", "is ignored"),
                    Engine::Present | Engine::OfBlock => continue,
                },
            };
            let braces = if keyword.block { " {\n}" } else { "" };
            let Some((text, at)) = place(block, &format!("{name}{values}{braces}")) else {
                continue;
            };
            let found = findings(&text);
            let wanted = format!("{at}: {severity}: `{name}` {message}");
            assert_eq!(found.first(), Some(&wanted), "{text}\n{found:#?}");
        }
    }
}

#[test]
fn every_default_is_what_absence_means() {
    for block in ALL.iter().copied() {
        for keyword in rows(block) {
            let Some(default) = keyword.default else { continue };
            let Some((text, _)) = place(block, &format!("{} {default}", keyword.name)) else {
                continue;
            };
            let text = dress(keyword.name, &text);
            let without = text.replace(&format!("{} {default}\n", keyword.name), "\n");
            let (given, absent) = (parse(&text).unwrap(), parse(&without).unwrap());
            assert_eq!(given.config, absent.config, "{}", keyword.name);
        }
    }
}

/// For each supported keyword that sets something its block and name, a file with it and a file without.
pub fn with_and_without() -> Vec<(Block, &'static str, String, String)> {
    let mut all = Vec::new();
    for block in ALL.iter().copied() {
        for keyword in rows(block) {
            let Support::Supported(form) = &keyword.status else {
                continue;
            };
            let name = keyword.name;
            let value = match (name, form) {
                (_, KeywordForm::Block(_) | KeywordForm::IncludeCheck) => continue,
                // These mean the default or are checked, and change nothing by themselves.
                ("preempt" | "accept" | "auth_type" | "interface" | "virtual_router_id", _) => {
                    continue;
                }
                // These exclude what the file has, or say what it says: see `routes`.
                ("type" | "unicast" | "blackhole" | "unreachable" | "prohibit" | "throw", _) => continue,
                ("inet" | "inet6", _) => continue,
                (_, KeywordForm::Bare | KeywordForm::Stands(_)) => "",
                ("check_unicast_src" | "vrrp_check_unicast_src", KeywordForm::Flag) => "off",
                (_, KeywordForm::Flag | KeywordForm::NotFlag) => "on",
                (_, KeywordForm::Text) => "text",
                ("state", KeywordForm::Choice(_)) => "MASTER",
                (_, KeywordForm::Choice(_)) => "strict",
                (_, KeywordForm::Whole { max: 3, .. }) => "3",
                // Not before the `local` rule.
                ("preference" | "priority" | "order", KeywordForm::Whole { .. }) => "177",
                (
                    _,
                    KeywordForm::Whole { .. } | KeywordForm::Seconds { .. } | KeywordForm::Decimal { .. },
                ) => "77",
                (_, KeywordForm::Unicast | KeywordForm::Source | KeywordForm::Network) => "10.7.7.7",
                (_, KeywordForm::Multicast(Some(Family::V6))) => "ff02::77",
                (_, KeywordForm::Multicast(_)) => "224.7.7.7",
                (_, KeywordForm::Interface) => "eth7",
                (_, KeywordForm::Named { .. } | KeywordForm::Mark) => "77",
                (_, KeywordForm::Vmac) => "",
            };
            let line = format!("{name} {value}");
            let Some((text, _)) = place(block, &line) else {
                continue;
            };
            let text = dress(name, &text);
            let base = text.replace(
                &format!("{name} {value}"),
                if name == "auth_pass" { "auth_pass other" } else { "" },
            );
            all.push((block, name, text, base));
        }
    }
    all
}

/// A value that nothing reads shows here; what each sets exactly is in `model`.
#[test]
fn every_supported_keyword_changes_the_configuration_or_is_a_pure_switch() {
    for (block, name, text, base) in with_and_without() {
        let (with, without) = (parse(&text).unwrap().config, parse(&base).unwrap().config);
        assert_ne!(with, without, "{block:?} {name}");
        assert!(findings(&base).is_empty(), "{name}: {:?}", findings(&base));
    }
}

/// `vrrp_x` in `global_defs` does what `x` does in the instance, so a row that names its neighbour shows here.
#[test]
fn global_keywords_mean_what_the_instances_mean() {
    let mut compared = 0;
    for keyword in rows(Block::GlobalDefs) {
        let own = find(Block::Instance, keyword.name.trim_start_matches("vrrp_"));
        let (Support::Supported(form), Some(own)) = (&keyword.status, own) else {
            continue;
        };
        let value = match form {
            KeywordForm::Choice(_) => "strict",
            KeywordForm::Flag => "on",
            KeywordForm::Bare => "",
            KeywordForm::Whole { max: 3, .. } => "3",
            _ => "77",
        };
        let file = |global: &str, own: &str| {
            dress(keyword.name, &(format!("global_defs {{ {global} }}\n") + &with(own)))
        };
        let global = file(&format!("{} {value}", keyword.name), "");
        // As keepalived: after an advert of lower priority the global value counts.
        let also = match own.name {
            "garp_master_delay" => "\ngarp_lower_prio_delay 77",
            "garp_master_repeat" => "\ngarp_lower_prio_repeat 77",
            _ => "",
        };
        let own = file("", &format!("{} {value}{also}", own.name));
        let (global, own) = (parse(&global).unwrap().config, parse(&own).unwrap().config);
        assert_eq!(global, own, "{}", keyword.name);
        compared += 1;
    }
    assert_eq!(compared, 14, "the settings both blocks have");
}
