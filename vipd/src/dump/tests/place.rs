//! Where dumps go, and that no link leads them elsewhere.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
};

use vipd_config::Dumps;

use super::{Nothing, Unsupported, parse};
use crate::{
    dump::{DumpKind, MODE, path},
    files,
};

fn dumps(global: &str, root: &str) -> Dumps {
    let text = format!(
        "{root}\nglobal_defs {{\n{global}\n}}\nvrrp_instance A {{\ninterface eth0\nvirtual_router_id 1\nvirtual_ipaddress {{\n10.0.0.1\n}}\n}}\n"
    );
    parse("k.conf".as_ref(), &text, &Nothing, Unsupported::Refused).unwrap().config.dumps
}

#[test]
fn dumps_go_where_the_configuration_says() {
    let all = [DumpKind::Data, DumpKind::Stats, DumpKind::Json];
    for (global, root, expect) in [
        ("", "", ["/t/keepalived.data", "/t/keepalived.stats", "/t/keepalived.json"]),
        ("", "instance one", ["/t/keepalived.data", "/t/keepalived.stats", "/t/keepalived.json"]),
        ("data_use_instance", "", ["/t/keepalived.data", "/t/keepalived.stats", "/t/keepalived.json"]),
        (
            "data_use_instance",
            "instance one",
            ["/t/keepalived.one.data", "/t/keepalived.stats", "/t/keepalived.json"],
        ),
        (
            "data_use_instance",
            "instance ../one",
            ["/t/keepalived..._one.data", "/t/keepalived.stats", "/t/keepalived.json"],
        ),
        (
            "state_dump_file /a/x\nstats_dump_file /a/y\njson_dump_file z\ndata_use_instance",
            "instance one",
            ["/a/x", "/a/y", "/t/z"],
        ),
    ] {
        let dumps = dumps(global, root);
        assert_eq!(
            all.map(|kind| path(kind, &dumps, Path::new("/t"))),
            expect.map(PathBuf::from),
            "{global}"
        );
    }
}

#[test]
fn the_version_of_the_json_is_given() {
    for (global, expect) in [("", 1), ("json_version 1", 1), ("json_version 2", 2)] {
        assert_eq!(dumps(global, "").json_version, expect, "{global}");
    }
}

/// A directory of the test's own, gone with it.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("vipd-dump-{}-{name}", std::process::id()));
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.0).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn a_dump_takes_the_place_of_the_one_before() {
    let directory = Directory::new("again");
    let path = directory.0.join("keepalived.data");
    for text in ["a long text", "short"] {
        files::replace(&path, text, MODE).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), text);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
        assert_eq!(directory.names(), ["keepalived.data"]);
    }
}

#[test]
fn a_link_is_replaced_and_not_followed() {
    let directory = Directory::new("link");
    let path = directory.0.join("keepalived.data");
    let victim = directory.0.join("victim");
    fs::write(&victim, "precious").unwrap();
    for target in [&victim, &directory.0.join("absent")] {
        let _ = fs::remove_file(&path);
        symlink(target, &path).unwrap();
        files::replace(&path, "text", MODE).unwrap();
        assert!(fs::symlink_metadata(&path).unwrap().is_file());
        assert_eq!(fs::read_to_string(&path).unwrap(), "text");
        assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
        assert_eq!(directory.names(), ["keepalived.data", "victim"]);
    }
    // Another name of a file that is somebody's.
    fs::remove_file(&path).unwrap();
    fs::hard_link(&victim, &path).unwrap();
    files::replace(&path, "text", MODE).unwrap();
    assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
}

#[test]
fn what_cannot_be_replaced_is_named_and_left() {
    let directory = Directory::new("fails");
    let path = directory.0.join("keepalived.data");
    fs::create_dir(&path).unwrap();
    let error = format!("{:#}", files::replace(&path, "text", MODE).unwrap_err());
    assert!(error.starts_with(&format!("replace {}: ", path.display())), "{error}");
    assert_eq!(directory.names(), ["keepalived.data"]);
    let error = format!("{:#}", files::replace(&path.join("no/file"), "text", MODE).unwrap_err());
    assert!(error.contains("keepalived.data/no: No such file"), "{error}");
    let error = format!("{:#}", files::replace(Path::new("/"), "text", MODE).unwrap_err());
    assert_eq!(error, "/ does not name a file");
}
