//! Includes, conditions, definitions and generators.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use nix::time::ClockId;

use super::*;
use crate::{self as config, Outside};

/// Files by their path, on a machine called `lb01`.
struct Files(BTreeMap<PathBuf, String>);

impl Files {
    fn new<const N: usize>(files: [(&str, &str); N]) -> Self {
        Self(files.into_iter().map(|(path, text)| (path.into(), text.to_owned())).collect())
    }
}

impl Outside for Files {
    fn config_id(&self) -> &str {
        "lb01"
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        match self.0.get(path) {
            Some(text) if text == "DIRECTORY" => Err(io::Error::other("it is not a regular file")),
            Some(text) => Ok(text.clone().into_bytes()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    /// `*` only, and only before the end.
    fn glob(&self, dir: &Path, pattern: &str) -> Result<Vec<PathBuf>, String> {
        let pattern = dir.join(pattern).to_string_lossy().into_owned();
        let (start, end) = pattern.split_once('*').unwrap_or((&pattern, ""));
        let matches = |path: &&PathBuf| {
            let path = path.to_string_lossy();
            path.starts_with(start) && path.ends_with(end)
        };
        Ok(self.0.keys().filter(matches).cloned().collect())
    }

    fn absolute(&self, path: &Path) -> PathBuf {
        Path::new("/etc").join(path)
    }

    fn environment(&self, name: &str) -> Option<String> {
        (name == "VIP").then(|| "10.9.9.9".to_owned())
    }

    fn random(&self, min: u32, max: u32) -> u32 {
        u32::midpoint(min, max)
    }
}

fn load(files: &Files) -> Result<Loaded, Failure> {
    config::load(Path::new("k.conf"), files, Unsupported::Refused)
}

/// The lines that the parser is given.
fn lines(text: &str) -> Vec<String> {
    lines_of(&Files::new([("k.conf", text)]))
}

fn lines_of(files: &Files) -> Vec<String> {
    let mut report = crate::syntax::report::Report::default();
    let text = &files.0[Path::new("k.conf")];
    let lines = crate::source::expand(Path::new("k.conf"), text, files, &mut report);
    let findings = report.finish();
    assert!(findings.is_empty(), "{text}\n{findings:?}");
    lines.into_iter().map(|line| line.text).collect()
}

fn found(files: &Files) -> Vec<String> {
    let diagnostics = match load(files) {
        Ok(loaded) => loaded.warnings,
        Err(failure) => failure.diagnostics,
    };
    diagnostics
        .iter()
        .map(|d| format!("{}:{}:{}: {}: {}", d.file, d.line, d.column, d.severity, d.message))
        .collect()
}

#[test]
fn lines_become_what_keepalived_makes_of_them() {
    for (text, expected) in [
        ("a\n\tb  c # d\n  ! e\n\\# \"f # g\"! h", &["a", "b  c", "\\# \"f # g\""][..]),
        // Conditions.
        ("@lb01 a\n@lb02 b\n@^lb01 c\n@^lb02  d", &["a", "d"]),
        ("@lb01 $P=1\n@lb02 $P=2\nx $P", &["x 1"]),
        ("$IF_MAIN=@lb01\n$IF_MAIN priority 240\n$OTHER=@lb02\n$OTHER priority 1", &["priority 240"]),
        // Definitions.
        ("$A=one\nx $A ${A}z", &["x one onez"]),
        ("  $A=one two \nx $A", &["x one two"]),
        ("$E=\nx ${E}y", &["x y"]),
        ("$BASE=10.2.${SUB}\n$SUB=0\n${BASE}.100\n$SUB=10\n${BASE}.100", &["10.2.0.100", "10.2.10.100"]),
        ("$A=one\nx \"${A} #1\" # $A", &["x \"one #1\""]),
        ("$NET=10.1.0.0/16 # lab\n${NET} dev eth1", &["10.1.0.0/16 dev eth1"]),
        ("$I= \\\n i\n$I # web", &["i"]),
        ("@lb01 $V= \\\n a \\\n b\n@lb02 $W= \\\n c \\\n d\n$V\n@lb01 $V", &["a", "b", "a", "b"]),
        ("$A=b # c\nx $A", &["x b"]),
        ("$K=x {\n$K\n}", &["x {", "}"]),
        ("$B= \\\n p $N \\\n q # r \\\n s\n$N=1\n$B\n$N=2\n${B}", &["p 1", "q", "s", "p 2", "q", "s"]),
        ("$B=p \\\n\nx", &["x"]),
        ("$I= \\\n i $N\n$O= \\\n $N=1 \\\n $I \\\n $N=2 \\\n $I\n$O", &["i 1", "i 2"]),
        ("$A=1\n$A=2\nx $A", &["x 2"]),
        // keepalived's own.
        ("x ${_INSTANCE} $_PWD \"${_HASH}1 ${_BANG}\"", &["x lb01 /etc/. \"#1 !\""]),
        ("x ${_RANDOM 4 8} ${_ENV VIP}", &["x 6 10.9.9.9"]),
        // Generators.
        ("~SEQ(i, 3) 10.0.0.${i}", &["10.0.0.1", "10.0.0.2", "10.0.0.3"]),
        ("~SEQx(i, 8, 2, 12) fe80::$i", &["fe80::8", "fe80::a", "fe80::c"]),
        ("~SEQ(a, 1, 2) ~SEQ(b,5,6) ${a}.${b}", &["1.5", "1.6", "2.5", "2.6"]),
        ("~LST(v, a, b) x$v", &["xa", "xb"]),
        ("~LST({v,w}, {a,1}, {b,2}) ${v}${w}", &["a1", "b2"]),
        ("$B= \\\n p $i \\\n q\n~SEQ(i, 1, 2) $B", &["p 1", "q", "p 2", "q"]),
        ("$N=2\n~SEQ(i, ${N}) $i", &["1", "2"]),
        ("@lb01 ~SEQ(i, 2) $i\n$S=~SEQ(i, 2) s$i\n$S", &["1", "2", "s1", "s2"]),
        ("$i=before\n~SEQ(i, 1) $i\nx $i", &["1", "x before"]),
    ] {
        assert_eq!(lines(text), expected, "{text}");
    }
}

#[test]
fn includes_are_relative_to_their_file() {
    let files = Files::new([
        (
            "k.conf",
            "a\ninclude d/*.conf\nb\ninclude d/sub/{x,y}\n@lb02 include d/1.conf\n$F=d/1.conf\ninclude $F # c",
        ),
        ("d/1.conf", "one\ninclude sub/x"),
        ("d/2.conf", "two ${_PWD}"),
        ("d/sub/x", "x"),
        ("d/sub/y", "y"),
    ]);
    assert_eq!(lines_of(&files), ["a", "one", "x", "two /etc/d", "b", "x", "y", "one", "x"]);
}

#[test]
fn includes_that_find_nothing() {
    let none = |line: &str| Files::new([("k.conf", line), ("dir", "DIRECTORY"), ("there", "")]);
    for (line, expected) in [
        ("include no.conf", &["k.conf:1:1: warning: cannot include no.conf: entity not found"][..]),
        ("includer no.conf", &["k.conf:1:1: warning: cannot include no.conf: entity not found"]),
        ("includem no.conf", &["k.conf:1:1: error: cannot include no.conf: entity not found"]),
        ("include no*.conf", &["k.conf:1:1: notice: no file matches `no*.conf`"]),
        ("includem no*.conf", &["k.conf:1:1: notice: no file matches `no*.conf`"]),
        ("includew no*.conf", &["k.conf:1:1: error: no file matches `no*.conf`"]),
        ("includeb {no*,there}", &["k.conf:1:1: error: no file matches `no*`"]),
        ("includeb {no,there}", &["k.conf:1:1: error: cannot include no: entity not found"]),
        ("includea no*", &["k.conf:1:1: error: no file matches `no*`"]),
        ("include dir", &["k.conf:1:1: warning: cannot include dir: it is not a regular file"]),
        ("includer dir", &["k.conf:1:1: error: cannot include dir: it is not a regular file"]),
        ("  include", &["k.conf:1:3: error: `include` needs a file"]),
        ("include k.conf", &["k.conf:1:1: error: k.conf includes itself"]),
    ] {
        let found: Vec<_> =
            found(&none(line)).into_iter().filter(|found| !found.contains("no vrrp_instance")).collect();
        assert_eq!(found, expected, "{line}");
    }
}

#[test]
fn include_check_makes_a_plain_include_strict() {
    let files =
        |check: &str| Files::new([("k.conf", &*format!("global_defs {{\n{check}\n}}\ninclude no.conf"))]);
    let severity = |check: &str| found(&files(check))[0].split(": ").nth(1).unwrap().to_owned();
    assert_eq!(severity("router_id x"), "warning");
    assert_eq!(severity("include_check"), "error");
    assert_eq!(severity("include_check readable wildcard_match"), "warning", "the file is named");
    // Only in its own file.
    let part =
        Files::new([("k.conf", "include part\ninclude no.conf"), ("part", "global_defs { include_check }")]);
    assert!(found(&part)[0].contains("warning"), "{:?}", found(&part));
    // A stricter form adds to it.
    let more = Files::new([("k.conf", "global_defs { include_check }\nincluder no.conf")]);
    assert!(found(&more)[0].contains("error"), "{:?}", found(&more));
    assert_eq!(severity("include_check\ninclude_check -match"), "warning");
    assert_eq!(severity("include_check +match"), "error");
    let wrong = found(&files("include_check +readable matches"));
    assert_eq!(wrong[0], "k.conf:2:25: error: unknown check `matches` after `include_check`");
}

#[test]
fn what_is_wrong_with_them() {
    for (lines, expected) in [
        ("priority $PRIO", &["2:10: error: `$PRIO` is not defined"][..]),
        (
            "$P=200\npriority $P.",
            &[
                "3:10: warning: `$P` is not replaced here: no blank follows it",
                "3:10: error: priority `$P.` is not a whole number",
            ],
        ),
        ("$1=x", &["2:1: error: `$1` cannot be defined"]),
        ("$_PWD=x", &["2:1: error: `$_PWD` cannot be defined"]),
        ("$A=${A}\npriority $A", &["2:1: error: `$A` is defined by itself"]),
        ("$A=$B\n$B=$A\npriority $A", &["4:1: error: the definitions on this line do not come to an end"]),
        ("$A= \\\n$A\n$A", &["3:1: error: definitions and generators are nested deeper than 64"]),
        (
            "$B= \\\nx\npriority $B",
            &[
                "4:10: error: `$B` has several lines and is not alone on this one",
                "4:1: error: `priority` needs a value",
            ],
        ),
        ("$A=~SEQ(i,1) $A\n$A", &["2:1: error: `$A` is defined by itself"]),
        ("$A = 3", &["2:4: error: a blank before the `=` of a definition"]),
        (
            "priority $_INSTANCE/",
            &[
                "2:10: error: priority `$_INSTANCE/` is not a whole number",
                "2:10: warning: `$_INSTANCE` is not replaced here: no blank follows it",
            ],
        ),
        ("~SEQ(i) x", &["2:1: error: a sequence takes a name and one to three numbers"]),
        ("~SEQ i, 3 x", &["2:1: error: this generator has no `(...)`"]),
        ("~LST(i) x", &["2:1: error: a list needs a value"]),
        (
            "~SEQ(i, 1, 1000000) ~SEQ(j, 1, 1000000) @no",
            &["2:1: error: more than 150000 lines, 16777216 characters or 600000 steps to make them"],
        ),
        (
            "priority ${_RANDOM 5 1}",
            &[
                "2:10: error: `_RANDOM` takes a least and a greatest number",
                "2:1: error: `priority` needs a value",
            ],
        ),
        (
            "priority ${_ENV NO}",
            &["2:10: error: no environment variable `NO`", "2:1: error: `priority` needs a value"],
        ),
        (
            "virtual_ipaddress {\n10.0.0.~SEQ(x, 1, 9)\n}",
            &[
                "3:8: warning: a generator in the middle of a line is none",
                "3:1: error: `10.0.0.~SEQ(x,` is not an IP address",
                "3:16: error: unknown word `1,` after an address",
            ],
        ),
    ] {
        let mut found = findings(&with(lines));
        found.sort();
        let mut expected = expected.to_vec();
        expected.sort_unstable();
        assert_eq!(found, expected, "{lines}");
    }
}

#[test]
fn a_generated_line_points_at_what_was_written() {
    let files = Files::new([
        ("k.conf", "$P=2OO\ninclude vi.conf\n"),
        (
            "vi.conf",
            "vrrp_instance VI_1 {\ninterface eth0\nvirtual_router_id 51\n  priority ${P} # high\nvirtual_ipaddress {\n\
             ~SEQ(i, 255, 256) 10.0.0.${i}\n}\n}",
        ),
    ]);
    let failure = load(&files).unwrap_err().to_string();
    let expected = "error[bad-value]: priority `2OO` is not a whole number
 --> vi.conf:4:12
  |
4 |   priority ${P} # high
  |            ^^^^
  |
  = note: it becomes `priority 2OO`
  = note: included at k.conf:2
  = help: write `200`: the digit 0, not the letter
error[bad-value]: `10.0.0.256` is not an IP address
 --> vi.conf:6:19
  |
6 | ~SEQ(i, 255, 256) 10.0.0.${i}
  |                   ^^^^^^^^^^^
  |
  = note: it becomes `10.0.0.256`
  = note: included at k.conf:2";
    assert!(failure.starts_with(expected), "{failure}");
}

#[test]
fn the_body_of_a_definition_says_where_it_was_used() {
    let text = "$B= \\\nprioritty 100\nvrrp_instance VI_1 {\ninterface eth0\nvirtual_router_id 51\nvirtual_ipaddress {\n10.0.0.3\n}\n$B\n}";
    let failure = parse(text).unwrap_err().to_string();
    let expected = "error[unknown-keyword]: unknown keyword `prioritty` in vrrp_instance VI_1
 --> k.conf:2:1
  |
2 | prioritty 100
  | ^^^^^^^^^
  |
  = note: in `$B`, used at k.conf:9
  = help: did you mean `priority`?";
    assert_eq!(failure, expected);
}

#[test]
fn a_password_stays_secret_in_a_definition() {
    for text in [
        "$PW=S3cret x\n$1=S3cret\nauthentication {\nauth_type PASS\nauth_pass $PW\n}",
        "$_PW=S3cret",
        "$PW = S3cret",
        "authentication {\nauth_type PASS\npass S3c$S3cret\n}",
        "$L=auth_pass S3cret\n$L",
        "authentication {\nauth_type PASS\n$L\n}\n$L=auth_pass S3cret x\nauthentication {\nauth_type PASS\n$L\n}",
        "$L=auth_pas my S3cret\nauthentication {\nauth_type PASS\n$L\n}",
        "~LST({id,pw}, {51,S3cret,x}) $VI",
        "authentication {\nauth_type PASS\n~LST(p, S3cret, S3cret2) auth_pass ${p}\n}",
        "$PW=S3cret\nauthentication {\nauth_type PASS\nauth_pas $PW\n}",
        "$B= \\\nauthentication { \\\nauth_type PASS \\\nauth_pass S3cret x \\\n}\n$B",
        "$B= \\\nauthentication { \\\nauth_type PASS \\\nauth_pass ${PW} x \\\n}\n$PW=S3cret\n$B",
    ] {
        let shown: Vec<String> = diagnostics(&with(text)).iter().map(ToString::to_string).collect();
        assert!(!shown.is_empty(), "{text}: nothing to check");
        assert!(!shown.join("\n").contains("S3cret"), "{text}\n{}", shown.join("\n"));
    }
}

#[test]
fn as_many_lines_as_are_promised() {
    let of = |count: u32| format!("~SEQ(i, {count}) # $i\n~SEQ(i, {count}) x\n");
    assert_eq!(lines(&of(149_000)).len(), 149_000);
    let found = findings(&of(150_001));
    assert!(found[0].contains("more than 150000 lines"), "{found:?}");
}

/// Each name is looked for once, not to the end of the line from each `$`.
#[test]
fn names_that_do_not_end_are_read_in_no_time() {
    let text = format!(
        "$A={}\n$B=${{A}}${{A}}${{A}}${{A}}${{A}}${{A}}${{A}}${{A}}\n~SEQ(i, 100) $B\n",
        "${".repeat(500)
    );
    // Processor time, and as a ratio: the machine may be busy, or slow.
    let spent = |text: &str| {
        let now = || Duration::from(ClockId::CLOCK_THREAD_CPUTIME_ID.now().unwrap());
        let begin = now();
        let _ = parse(text);
        now() - begin
    };
    let (all, plain) = (spent(&text), spent(&text.replace("${${", "abcd")));
    assert!(all < 20 * plain, "{all:?} against {plain:?}");
}

/// keepalived 2.2.7 reads what follows as a comment: files are switched by it.
#[test]
fn a_definition_may_start_a_comment() {
    let comment = "a comment starts here: the rest of this line, and of others like it, is not read";
    let text = format!(
        "$OFF=${{_HASH}}\n$OFF what is off\n{}",
        with("${OFF} priority 1000\n  $OFF }\npriority 90 $OFF 80")
    );
    assert_eq!(findings(&text), [format!("2:1: warning: {comment}")]);
    assert_eq!(parse(&text).unwrap().config.instances[0].priority.get(), 90);
    // Within a word it is what the manual page says.
    let text = "global_defs {\nrouter_id a${_HASH}b\n}\n".to_owned() + &with("");
    let within = "within a word this is a character; keepalived 2.2 starts a comment here";
    assert_eq!(findings(&text), [format!("2:12: warning: {within}")]);
    assert_eq!(parse(&text).unwrap().config.router_id.as_deref(), Some("a#b"));
    // In quotes it is one for both.
    let text = "global_defs {\nrouter_id \"${_HASH}b\"\n}\n".to_owned() + &with("");
    assert_eq!(parse(&text).unwrap().config.router_id.as_deref(), Some("#b"));
    assert_eq!(findings(&text), [""; 0]);
}

#[test]
fn a_missing_environment_variable_is_an_error_wherever_it_is() {
    let text = with("authentication {\nauth_type PASS\nauth_pass x${_ENV NO}\n}");
    assert!(findings(&text).iter().any(|found| found.contains("error: no environment variable `NO`")));
}

#[test]
fn a_thousand_findings_are_enough() {
    let found = findings("~SEQ(i, 1, 1500) foo$i\n~SEQ(i, 1, 3) $E\nvrrp_instance {\n");
    assert_eq!(found.iter().filter(|found| found.contains("error")).count(), 1_000);
    assert_eq!(found.iter().filter(|found| found.contains("`$E` is not defined")).count(), 1);
    assert!(found.iter().any(|found| found.ends_with(", here and at 2 more places")));
    assert!(found.iter().any(|found| found.ends_with("more like these are not shown")), "{:?}", found.last());
}
