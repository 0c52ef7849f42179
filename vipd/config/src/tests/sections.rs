//! What has no engine yet: read and checked all the same.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

use super::{table::sample, *};
use crate::{
    Config, TrackLine, Weight, explain, print,
    schema::{
        grammar::{Arg, WordKind},
        keyword::{Block, Engine, Inside, Keyword, Support},
        statement::Statement,
        table::{ALL, rows},
    },
};

/// The file with `lines` in `block`, and the number of the first; what `lines` may ask for by name is there.
fn place(block: Block, lines: &str) -> Option<(String, u32)> {
    let server = |inside: &str| format!("virtual_server 10.7.7.7 80 {{\n{inside}\n}}\n");
    let real = |inside: &str| server(&format!("real_server 10.7.7.8 80 {{\n{inside}\n}}"));
    let check = |name: &str, rest: &str| real(&format!("{name} {{\n{lines}\n{rest}\n}}"));
    let (text, line) = match block {
        Block::Root => (format!("{lines}\n"), 1),
        Block::GlobalDefs => (format!("global_defs {{\n{lines}\n}}\n"), 2),
        Block::Instance => return Some((with(lines) + &named(lines), 2)),
        Block::Script => (format!("vrrp_script VI_1 {{\n{lines}\n{}\n}}\n", unless(lines, "script /x")), 2),
        Block::TrackProcess => {
            (format!("vrrp_track_process VI_1 {{\n{lines}\n{}\n}}\n", unless(lines, "process x")), 2)
        }
        Block::TrackFile => (format!("track_file VI_1 {{\n{lines}\n{}\n}}\n", unless(lines, "file /x")), 2),
        Block::Arbiter => {
            let beside = match lines.split(' ').next() {
                Some("ping" | "tcp") => "",
                Some("timeout") => "interval 9\nping 10.9.9.7",
                _ => "ping 10.9.9.1 10.9.9.2 10.9.9.3 10.9.9.4 10.9.9.5 10.9.9.6 10.9.9.7",
            };
            (format!("arbiter VI_1 {{\n{lines}\n{beside}\n}}\n"), 2)
        }
        Block::Bfd => {
            let address =
                if lines.contains("neighbour_ip") { "" } else { unless(lines, "neighbor_ip 10.9.9.7") };
            (format!("bfd_instance VI_1 {{\n{lines}\n{address}\n}}\n"), 2)
        }
        Block::SyncGroup => {
            let group = if lines.starts_with("group") { "" } else { "group {\nVI_1\nVI_2\n}" };
            (format!("vrrp_sync_group G {{\n{lines}\n{group}\n}}\n"), 2)
        }
        Block::TrackGroup => (format!("track_group G {{\n{lines}\n}}\n"), 2),
        Block::GarpGroup => (format!("garp_group {{\n{lines}\n}}\n"), 2),
        Block::AuthHmac => return Some((with(&format!("auth_hmac {{\n{lines}\n}}")), 3)),
        Block::Probe => return Some((with(&format!("probe {{\n{lines}\n}}")), 3)),
        Block::Ssl => {
            let beside = match lines.split(' ').next() {
                Some("certificate") => "key /k",
                Some("key") => "certificate /c",
                _ => "",
            };
            let check = real("SSL_GET {\nverify on\nurl {\npath /\n}\n}");
            (format!("SSL {{\n{lines}\n{beside}\n}}\n{check}"), 2)
        }
        Block::VirtualServer if lines.starts_with("ip_family") => {
            let text = server(&format!("{lines}\nlb_kind TUN\nreal_server 10.7.7.8 80 {{\n}}"));
            (text.replacen("10.7.7.7 80", "fwmark 7", 1), 2)
        }
        Block::VirtualServer => (server(&format!("{lines}\nreal_server 10.7.7.8 80 {{\nweight 9\n}}")), 2),
        Block::RealServer if lines.starts_with("lthreshold") => (real(&format!("{lines}\nuthreshold 9")), 3),
        Block::RealServer => (real(lines), 3),
        Block::TcpCheck => (check("TCP_CHECK", ""), 4),
        Block::TextCheck => (check("TEXT_CHECK", ""), 4),
        Block::HttpGet => {
            (check("HTTP_GET", if lines.starts_with("url {") { "" } else { "url {\npath /\n}" }), 4)
        }
        Block::Url => (real(&format!("SSL_GET {{\nurl {{\n{lines}\n{}\n}}\n}}", unless(lines, "path /"))), 5),
        Block::MiscCheck => (check("MISC_CHECK", unless(lines, "misc_path /x")), 4),
        Block::SmtpCheck => (check("SMTP_CHECK", ""), 4),
        Block::SmtpHost => (real(&format!("SMTP_CHECK {{\nhost {{\n{lines}\n}}\n}}")), 5),
        Block::DnsCheck => (check("DNS_CHECK", ""), 4),
        Block::PingCheck => (check("PING_CHECK", ""), 4),
        Block::UdpCheck => (check("UDP_CHECK", ""), 4),
        Block::FileCheck => (check("FILE_CHECK", unless(lines, "track_file VI_1")), 4),
        Block::BfdCheck => (check("BFD_CHECK", unless(lines, "name VI_1")), 4),
        _ => return None,
    };
    let second = with("").replace("VI_1", "VI_2").replace("51", "52").replace("10.0.0.3", "10.0.0.4");
    let named = named(&text);
    Some((text + &with("") + &second + &named, line))
}

/// `statement`, unless its keyword is given.
fn unless<'s>(lines: &str, statement: &'s str) -> &'s str {
    let keyword = statement.split(' ').next().unwrap();
    if lines.split_whitespace().next() == Some(keyword) { "" } else { statement }
}

/// One of everything that can be asked for by name, but for what `text` has.
fn named(text: &str) -> String {
    let blocks = [
        ("vrrp_script VI_1", "script /x"),
        ("track_file VI_1", "file /x"),
        ("vrrp_track_process VI_1", "process x"),
        ("arbiter VI_1", "ping 10.9.9.7"),
        ("bfd_instance VI_1", "neighbor_ip 10.9.9.7"),
    ];
    let text = text.replace("vrrp_track_file", "track_file");
    let missing = blocks.iter().filter(|(head, _)| !text.contains(&format!("{head} {{")));
    missing.map(|(head, inside)| format!("{head} {{\n{inside}\n}}\n")).collect()
}

/// Rows without an engine, with a file that holds each and the line where it is.
fn rows_without_engine() -> Vec<(Block, &'static Keyword, String, String, u32)> {
    let mut all = Vec::new();
    for block in ALL {
        for keyword in rows(*block) {
            // Those that are always refused are in `table`.
            let Support::Grammar { takes, inside, engine } = keyword.status else { continue };
            if matches!(engine, Engine::Needed(_)) || *block == Block::AuthHmac {
                continue;
            }
            let inside = match inside {
                Inside::Nothing => String::new(),
                Inside::Lines(line) => format!(" {{\n{}\n}}", sample(line).trim_start()),
                Inside::LinesOf(Block::VirtualIpaddress) => " {\n10.6.6.6/24 dev eth0\n}".to_owned(),
                Inside::LinesOf(Block::VirtualRoutes) => " {\n10.6.6.0/24 dev eth0\n}".to_owned(),
                Inside::LinesOf(_) => " {\nfrom 10.6.6.6 table 7\n}".to_owned(),
                Inside::Statements(Block::Arbiter) => " {\nping 10.9.9.7\n}".to_owned(),
                Inside::Statements(block) => {
                    let required = rows(block).iter().filter(|row| row.required);
                    let of = |row: &Keyword| match row.status {
                        Support::Grammar { takes, inside: Inside::Nothing, .. } => {
                            format!("{}{}\n", row.name, sample(takes))
                        }
                        _ if row.name == "url" => "url {\npath /\n}\n".to_owned(),
                        _ => "group {\nVI_1\n}\n".to_owned(),
                    };
                    format!(" {{\n{}}}", required.map(of).collect::<String>())
                }
            };
            let line = format!("{}{}{inside}", keyword.name, sample(takes));
            let Some((text, number)) = place(*block, &line) else { panic!("no place for {block:?}") };
            all.push((*block, keyword, text, line, number));
        }
    }
    all
}

#[test]
fn each_is_read_with_all_that_it_takes() {
    let all = rows_without_engine();
    assert!(all.len() > 250, "{}", all.len());
    for (block, keyword, text, _, _) in all {
        for parse in [parse_unserved, parse_served] {
            let loaded = parse(&text)
                .unwrap_or_else(|failure| panic!("{block:?} {}\n{text}\n{failure}", keyword.name));
            let printed = print(&loaded.config, &loaded.origins);
            let again = parse(&printed).unwrap_or_else(|failure| panic!("{printed}\n{failure}"));
            assert_eq!(print(&again.config, &again.origins), printed);
            assert!(again.origins.says_the_same_as(&loaded.origins), "{printed}");
            assert_eq!(without_lines(again.config), without_lines(loaded.config.clone()), "{printed}");
        }
        let loaded = parse_all(&text).expect("just read");
        // Lines of static blocks are printed as what they mean.
        let shown = explain(&loaded.config, &loaded.origins);
        assert!(
            shown.lines().any(|line| line.trim_start().starts_with(keyword.name)),
            "{}\n{shown}",
            keyword.name
        );
    }
}

/// For each keyword that is served and read by a grammar its block and name, a file with it and a file without.
pub fn with_and_without() -> Vec<(Block, &'static str, String, String)> {
    let served = |engine: Engine, block: Block| match engine.in_force(true) {
        Engine::Present => true,
        Engine::OfBlock => SERVED.contains(&block),
        _ => false,
    };
    let mut all = Vec::new();
    for (block, keyword, text, line, _) in rows_without_engine() {
        let Support::Grammar { engine, .. } = keyword.status else { continue };
        if !served(engine, block) {
            continue;
        }
        // Off is what most switches are without a word.
        let on = filled(block, keyword.name, &line.replace(" off", " on"));
        let file = |line_now: &str| dressed(block, keyword.name, &text.replacen(&line, line_now, 1));
        all.push((block, keyword.name, file(&on), file("")));
    }
    all
}

/// What is served and read by a grammar is a value of the model, or it would be read for nothing.
#[test]
fn each_that_is_served_changes_the_model() {
    let all = with_and_without();
    let mut unused = Vec::new();
    for (block, name, with, without) in &all {
        let config = |text: &str| parse_served(text).map(|loaded| without_lines(loaded.config));
        let with = config(with).unwrap_or_else(|failure| panic!("{with}\n{failure}"));
        if Ok(with) == config(without) {
            unused.push((*block, *name));
        }
    }
    assert_eq!(unused, []);
    assert!(all.len() > 70, "{}", all.len());
}

fn without_lines(mut config: Config) -> Config {
    config.instances.iter_mut().for_each(|instance| instance.line = 0);
    config
}

/// Blocks whose keywords vipd acts on.
const SERVED: &[Block] = &[
    Block::SyncGroup,
    Block::Script,
    Block::TrackProcess,
    Block::TrackFile,
    Block::Arbiter,
    Block::Ssl,
    Block::VirtualServer,
    Block::RealServer,
    Block::TcpCheck,
    Block::TextCheck,
    Block::HttpGet,
    Block::Url,
    Block::MiscCheck,
    Block::SmtpCheck,
    Block::SmtpHost,
    Block::DnsCheck,
    Block::PingCheck,
    Block::UdpCheck,
    Block::FileCheck,
];
/// A block with what it means nothing without.
fn filled(block: Block, name: &str, line: &str) -> String {
    const SERVER: &str = "real_server 10.7.7.8 80 {\nSSL_GET {\nurl {\npath /\n}\n}\n}";
    let insides = |inside: &str| line.replacen("{\n", &format!("{{\n{inside}\n"), 1);
    match (block, name) {
        (Block::Root, "virtual_server") => insides(SERVER),
        (Block::Root, "virtual_server_group") => {
            format!("{line}\nvirtual_server group VI_1 {{\n{SERVER}\n}}")
        }
        (Block::Root, "SSL") => {
            insides("certificate /c\nkey /k") + &format!("\nvirtual_server 10.7.7.7 80 {{\n{SERVER}\n}}")
        }
        (Block::SmtpCheck, "host") => insides("connect_ip 10.9.9.9"),
        _ => line.to_owned(),
    }
}

/// The file with what a keyword needs beside it to mean anything.
fn dressed(block: Block, name: &str, text: &str) -> String {
    const MAIL: &str = "notification_email {\na@b\n}\nsmtp_server 10.7.7.7\n";
    let global = |lines: &str| format!("global_defs {{\n{lines}\n}}\n{text}");
    let inside = |head: &str, lines: &str| text.replacen(head, &format!("{head}\n{lines}"), 1);
    const SERVICE: &str = "virtual_server 10.7.7.7 80 {";
    const SERVER: &str = "real_server 10.7.7.8 80 {";
    const SSL: &str = "SSL_GET {\nenable_sni\nverify on\nurl {\npath /\n}\n}";
    match (block, name) {
        (Block::VirtualServer, "persistence_engine") => return inside(SERVICE, "persistence_timeout"),
        (Block::VirtualServer, "sorry_server_inhibit" | "sorry_server_lvs_method") => {
            return inside(SERVICE, "sorry_server 10.7.7.9");
        }
        (Block::VirtualServer, "hysteresis") => return inside(SERVICE, "quorum 9"),
        (Block::VirtualServer, "sh-port" | "sh-fallback") => return inside(SERVICE, "lb_algo sh"),
        (Block::VirtualServer, "mh-port" | "mh-fallback") => return inside(SERVICE, "lb_algo mh"),
        (Block::VirtualServer, "weight") => return text.replacen("weight 9", "", 1),
        (
            Block::VirtualServer,
            "alpha" | "virtualhost" | "delay_loop" | "retry" | "delay_before_retry" | "warmup"
            | "connect_timeout" | "rise" | "total_timeout",
        )
        | (
            Block::RealServer,
            "alpha" | "virtualhost" | "delay_loop" | "retry" | "delay_before_retry" | "warmup"
            | "connect_timeout" | "rise" | "total_timeout",
        ) => return inside(SERVER, SSL),
        (Block::RealServer, "smtp_alert") => return format!("global_defs {{\nsmtp_alert off\n}}\n{text}"),
        (Block::TextCheck, "sni_name" | "verify") => return inside("TEXT_CHECK {", "protocol TLS"),
        (Block::HttpGet, "enable_sni") => {
            return inside("HTTP_GET {", "sni_name a").replace("HTTP_GET", "SSL_GET");
        }
        (Block::HttpGet, "sni_name" | "verify") => {
            return inside("HTTP_GET {", "enable_sni").replace("HTTP_GET", "SSL_GET");
        }
        (Block::Url, regex) if regex.starts_with("regex_") => return inside("url {", "regex x"),
        (Block::UdpCheck, "min_reply_length" | "max_reply_length") => {
            return inside("UDP_CHECK {", "require_reply");
        }
        (Block::GlobalDefs, "smtp_alert_checker" | "rs_init_notifies") => {
            return format!("{SERVICE}\nprotocol TCP\n{SERVER}\n}}\n}}\n{text}");
        }
        _ => {}
    }
    match name {
        "lvs_notify_fifo_script" => global("lvs_notify_fifo /run/f"),
        "smtp_alert" | "smtp_alert_vrrp" => global(MAIL),
        name if name.starts_with("smtp_") || name.contains("email") => global(&format!("{MAIL}smtp_alert")),
        "notify_fifo_script" => global("notify_fifo /run/f"),
        "vrrp_notify_fifo_script" => global("vrrp_notify_fifo /run/f"),
        "instance" => global("data_use_instance"),
        "data_use_instance" => format!("instance x\n{text}"),
        "startup_script_timeout" => global("startup_script /bin/x"),
        "shutdown_script_timeout" => global("shutdown_script /bin/x"),
        "fence_timeout" | "fence_failed" => {
            text.replacen("interface eth0", "interface eth0\nfence_script /bin/x", 1)
        }
        _ => text.to_owned(),
    }
}

#[test]
fn none_takes_a_word_more() {
    for (block, keyword, text, line, number) in rows_without_engine() {
        // They take every word.
        let takes_all = |arg: &Arg| {
            matches!(
                arg,
                Arg::Many(WordKind::Text | WordKind::ShellWord)
                    | Arg::Any(WordKind::Text | WordKind::Interface)
            )
        };
        if matches!(keyword.status, Support::Grammar { takes: [.., last], .. } if takes_all(last)) {
            continue;
        }
        let first = line.lines().next().unwrap();
        let (head, brace) = first.strip_suffix(" {").map_or((first, ""), |head| (head, " {"));
        let text = text.replacen(first, &format!("{head} ?{brace}"), 1);
        let column = head.chars().count() + 2;
        let found = findings_of_all(&text);
        // What is ignored may be wrong, and what follows a switch is.
        let here = [format!("{number}:{column}: error: "), format!("{number}:{column}: warning: ")];
        assert!(
            found.iter().any(|found| here.iter().any(|here| found.starts_with(here))),
            "{block:?} {}\n{text}\n{found:#?}",
            keyword.name
        );
    }
}

#[test]
fn a_whole_block_is_refused_at_its_head_alone() {
    let text = with("") + "track_group G {\ngroup {\nVI_1\n}\n}\n";
    assert_eq!(findings(&text), ["9:1: error: `track_group` is not supported yet"]);
}

#[test]
fn values_have_types_and_defaults_are_filled_in() {
    let text = with("track_script {\nchk weight -20 reverse\n}")
        + "vrrp_script chk {\nscript \"/bin/sh -c 'exit 1'\"\ninterval 0.5\nuser nobody nogroup\n}\n";
    let loaded = parse_all(&text).unwrap();
    let say = |statements: &[Statement]| -> Vec<String> {
        statements
            .iter()
            .map(|s| {
                format!("{} {:?}{}", s.keyword, s.values, if s.place.is_none() { " default" } else { "" })
            })
            .collect()
    };
    let script = loaded.origins.written.blocks[0].inside.as_ref().unwrap();
    assert_eq!(
        say(script),
        [
            r#"script [Command(["/bin/sh", "-c", "exit 1"])]"#,
            "interval [Seconds(500ms)]",
            r#"user [Text("nobody"), Text("nogroup")]"#,
            "weight [Number(0)] default",
            "rise [Number(1)] default",
            "fall [Number(1)] default",
        ]
    );
    let tracked = &loaded.config.instances[0].tracks.scripts;
    let weight = Some(Weight { value: -20, reverse: true });
    assert_eq!(*tracked, [TrackLine { name: "chk".to_owned(), weight }]);
}

#[test]
fn commands_are_split_as_keepalived_splits_them() {
    let split = |script: &str| {
        let config =
            parse_all(&(format!("vrrp_script s {{\nscript {script}\n}}\n") + &with("track_script {\ns\n}")));
        let config = config.unwrap_or_else(|failure| panic!("{failure}")).config;
        config.scripts[0].command.words.clone()
    };
    // As keepalived 2.2.7 dumps them.
    for (script, words) in [
        ("/bin/true", &["/bin/true"][..]),
        (r#""/bin/sh -c 'exit 0'""#, &["/bin/sh", "-c", "exit 0"]),
        (r#"'/bin/sh -c "exit 0"'"#, &["/bin/sh", "-c", "exit 0"]),
        (r"/bin/echo\040x", &["/bin/echo", "x"]),
        (r#""killall -0 \"hap roxy\"""#, &["killall", "-0", "hap roxy"]),
        (r#""/bin/echo {a} # no comment""#, &["/bin/echo", "{a}", "#", "no", "comment"]),
        (r#""a\x41\tb""#, &["aA", "b"]),
        (r#""a ''""#, &["a", ""]),
    ] {
        assert_eq!(split(script), words, "{script}");
    }
    // keepalived drops the words without saying so.
    let text = "vrrp_script s {\nscript /bin/true now\n}\n".to_owned() + &with("track_script {\ns\n}");
    assert_eq!(findings_of_all(&text), ["2:18: error: unexpected `now` after `/bin/true`"]);
}

#[test]
fn names_must_be_there() {
    let script = "vrrp_script chk_nginx {\nscript /x\n}\n";
    let found = |text: &str| {
        let found = diagnostics_of(parse_all(text)).into_iter().filter(|d| d.code != Code::NotSupportedYet);
        found
            .map(|d| format!("{}:{}: {}; {}", d.line, d.column, d.message, d.hint.unwrap_or_default()))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        found(&(with("track_script {\nchk_ngnix\n}") + script)),
        [
            "3:1: no `vrrp_script` is called `chk_ngnix`; did you mean `chk_nginx`?",
            "11:13: nothing uses `vrrp_script chk_nginx`; it is not run; track it in an instance"
        ]
    );
    assert_eq!(
        found(&with("track_file {\nf\n}")),
        ["3:1: no `track_file` is called `f`; add a `track_file f`, or remove this"]
    );
    assert_eq!(
        found(&(with("track_script {\nchk_nginx\n}") + script + script)),
        ["14:13: `vrrp_script chk_nginx` is there already; the other is on line 11"]
    );
    let group = |name: &str| format!("vrrp_sync_group {name} {{\ngroup {{\nVI_1\nVI_2\n}}\n}}\n");
    assert_eq!(
        found(&(with("") + &group("G"))),
        ["12:1: no `vrrp_instance` is called `VI_2`; did you mean `VI_1`?"]
    );
}

#[test]
fn what_does_not_fit_together() {
    let servers = |head: &str| {
        format!(
            "virtual_server 10.7.7.7 80 {{\n{head}\nprotocol TCP\nreal_server 10.7.7.8 80 {{\n}}\nreal_server 2001:db8::1 80 {{\n}}\n}}\n"
        )
    };
    let process = "vrrp_track_process p {\nprocess x\nquorum 5\nquorum_max 3\n}\n";
    let group = "vrrp_sync_group G {\ngroup {\nVI_1\n}\n}\n";
    let twice = "vrrp_sync_group G {\ngroup {\nVI_1\nVI_1\n}\n}\n";
    for (text, expected) in [
        (servers(""), "6:13: error: `2001:db8::1` is of another family than its virtual server"),
        (
            servers("quorum 3\nlb_kind TUN"),
            "2:1: warning: quorum 3 is above the weight of all real servers, 2",
        ),
        (
            "virtual_server fwmark 3 {\n}\n".to_owned(),
            "1:1: warning: `virtual_server fwmark 3` has no `real_server`",
        ),
        (process.to_owned() + &with("track_process {\np\n}"), "4:1: error: quorum_max 3 is below quorum 5"),
        (group.to_owned() + &with(""), "2:1: warning: a sync group with one instance"),
        ("vrrp_sync_group G {\ngroup {\n}\n}\n".to_owned() + &with(""), "2:1: error: `group` is empty"),
        (twice.to_owned() + &with(""), "4:1: error: `VI_1` is in a sync group already"),
        (
            "vrrp_script s {\n}\n".to_owned() + &with("track_script {\ns\n}"),
            "1:1: error: `vrrp_script s` has no `script`",
        ),
        (with("track_script {\n}"), "2:1: warning: `track_script` is empty"),
    ] {
        let text = if text.contains("vrrp_instance") { text } else { text + &with("") };
        assert_eq!(findings_of_all(&text), [expected], "{text}");
    }
}

#[test]
fn secrets_are_not_shown() {
    let text =
        "SSL {\npassword S3cret extra\nca /x\n}\n".to_owned() + &with("auth_hmac {\nkey 1 S3cret extra\n}");
    for diagnostic in diagnostics_of(parse_all(&text)) {
        assert!(!diagnostic.to_string().contains("S3cret"), "{diagnostic}");
    }
    // Also in the wrong place.
    for text in [
        "global_defs {\npassword S3cret\n}\n",
        "password S3cret\n",
        "virtual_server 10.7.7.7 80 {\npassword S3cret\n}\n",
        "vrrp_instance V {\nkey 1 S3cret\n}\n",
    ] {
        for diagnostic in diagnostics_of(parse_all(text)) {
            assert!(!diagnostic.to_string().contains("S3cret"), "{diagnostic}");
        }
    }
    let text = text.replace("auth_hmac {\nkey 1 S3cret extra\n}", "");
    let loaded = parse_all(&text.replace(" extra", "")).unwrap();
    assert!(!explain(&loaded.config, &loaded.origins).contains("S3cret"));
    assert!(!format!("{:?}", loaded.config).contains("S3cret"));
    assert!(print(&loaded.config, &loaded.origins).contains("password S3cret"));
}

/// However many names there are, each is looked up at once.
#[test]
#[allow(clippy::disallowed_methods, reason = "tests measure")]
fn many_names_are_looked_up_in_no_time() {
    let time = |text: &str| {
        // Of the thread: others may have the cores.
        let now = || Duration::from(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap());
        let begin = now();
        let _ = parse_all(text);
        now() - begin
    };
    let block = |i: u32| format!("vrrp_script s{i} {{\nscript /x\n}}\n");
    let blocks: String = (0..2_000).map(block).collect();
    let lines = |prefix: &str| (0..2_000).map(|i| format!("{prefix}{i}\n")).collect::<String>();
    let known = blocks.clone() + &with(&format!("track_script {{\n{}}}", lines("s")));
    let unknown = blocks + &with(&format!("track_script {{\n{}}}", lines("t")));
    // As a ratio: machines differ.
    assert!(time(&unknown) < 20 * time(&known));
}
