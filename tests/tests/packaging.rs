//! What is packed (`vipd/dist`, `docs/reference/bpftool.md`) fits what was built. The package itself: `cargo xtask dist --try`.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};
use vipd_common::abi::{Counters, InstanceCounters};
use vipd_tests::{find_program, skip, vipd_bin};

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: &str) -> Result<String> {
    fs::read_to_string(repository().join(path)).with_context(|| path.to_owned())
}

/// systemd knows every line of the unit, and of the stricter one.
#[test]
fn the_unit_is_one_that_systemd_understands() -> Result<()> {
    if find_program("systemd-analyze").is_none() {
        skip("systemd-analyze is not installed");
        return Ok(());
    }
    let dir = std::env::temp_dir().join(format!("vipd-unit-{}", std::process::id()));
    let drop_in = dir.join("vipd.service.d");
    fs::create_dir_all(&drop_in)?;
    // It looks whether the program is there.
    let unit = read("vipd/dist/vipd.service")?.replace("/usr/sbin/vipd", &vipd_bin()?.display().to_string());
    let verify = |text: &str| -> Result<String> {
        let path = dir.join("vipd.service");
        fs::write(&path, text)?;
        let output = Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(&path).output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        // Other units of the machine are not ours to judge.
        let ours = |line: &&str| line.contains("vipd.service") || line.contains("strict.conf");
        Ok(said.lines().filter(ours).collect::<Vec<_>>().join("\n"))
    };
    fs::copy(repository().join("vipd/dist/strict.conf"), drop_in.join("strict.conf"))?;
    let verdict = verify(&unit);
    // This test would notice: an odd line is one that is complained of.
    let odd = verify(&unit.replace("KillMode=process", "KillMode=gently"));
    fs::remove_dir_all(&dir)?;
    ensure!(verdict?.is_empty(), "systemd-analyze verify complains");
    ensure!(odd?.contains("gently"), "an odd line went unnoticed");
    Ok(())
}

#[test]
fn the_example_configuration_has_no_fault() -> Result<()> {
    let example = repository().join("vipd/dist/vipd.conf.example");
    // On an interface that this machine does not have: what it says of the addresses of its own is not asked.
    let whole = fs::read_to_string(&example)?.replace("eth0", "lan0");
    let path = std::env::temp_dir().join(format!("vipd-example-{}.conf", std::process::id()));
    let check = |path: &Path| {
        Command::new(vipd_bin()?).args(["check", "--strict", "-f"]).arg(path).output().context("vipd")
    };
    fs::write(&path, &whole)?;
    let output = check(&path)?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    // Nor what is commented out in it.
    let uncommented: String = whole.lines().map(|line| uncomment(line) + "\n").collect();
    ensure!(uncommented != whole);
    fs::write(&path, uncommented.replace("/usr/local/sbin/we-are-master", "/bin/true"))?;
    // As the documentation says of a file with a password.
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
    let output = check(&path)?;
    fs::remove_file(&path)?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    Ok(())
}

/// `#nopreempt` and `#    chk` are lines that wait to be used; `# Text` is not.
fn uncomment(line: &str) -> String {
    match line.split_once('#') {
        Some((before, rest))
            if before.trim().is_empty() && (!rest.starts_with(' ') || rest.starts_with("    ")) =>
        {
            format!("{before}{rest}")
        }
        _ => line.to_owned(),
    }
}

/// Every counter has its row, and every map.
#[test]
fn the_page_about_bpftool_is_complete() -> Result<()> {
    let page = read("docs/reference/bpftool.md")?;
    let rows: Vec<&str> =
        page.lines().filter_map(|line| line.strip_prefix("| ")?.split(" | ").next()).collect();
    let maps = read("vipd-ebpf/src/maps.rs")?;
    let maps: Vec<&str> =
        maps.lines().filter_map(|line| line.strip_prefix("pub static ")?.split(':').next()).collect();
    ensure!(maps.len() == 22, "{maps:?}");
    for name in maps.iter().chain(Counters::NAMES).chain(InstanceCounters::NAMES) {
        let word = format!("`{name}`");
        ensure!(
            rows.iter().any(|row| row.contains(&word)),
            "docs/reference/bpftool.md has no row for {word}"
        );
    }
    for row in rows.iter().filter(|row| row.starts_with('`') && row.contains('_') && !row.contains(", ")) {
        let name = row.trim_matches('`');
        let fields = ["address_list_digest", "heard_ns", "source_checksum", "revoked_ns", "line_heard_ns"];
        let known = maps.contains(&name)
            || Counters::NAMES.contains(&name)
            || InstanceCounters::NAMES.contains(&name)
            || fields.contains(&name);
        ensure!(known, "docs/reference/bpftool.md explains {name}, which there is not");
    }
    Ok(())
}

/// The numbers are those that vipd's routes and rules carry, and iproute2 reads the file.
#[test]
fn the_names_of_protocols_are_those_of_the_routes() -> Result<()> {
    let text = read("vipd/dist/rt_protos.conf")?;
    let rows: Vec<Vec<&str>> = text
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| line.split_whitespace().collect())
        .collect();
    let source = read("vipd/host/src/lib.rs")?;
    for (name, number, tag) in
        [("vipd", "118", "PROTOCOL_TAG: u8 = b'v'"), ("vipd_virtual", "119", "VIRTUAL_TAG: u8 = b'w'")]
    {
        ensure!(rows.contains(&vec![number, name]), "{name} is not in {rows:?}");
        ensure!(source.contains(tag), "{name} has another number");
    }
    ensure!((b'v', b'w') == (118, 119) && rows.len() == 2, "{rows:?}");
    if find_program("ip").is_none() || !nix::unistd::Uid::effective().is_root() {
        skip("iproute2 or root is missing");
        return Ok(());
    }
    // In namespaces of its own, with another /etc/iproute2.
    let script = "mount -t tmpfs none /etc/iproute2 && mkdir /etc/iproute2/rt_protos.d && ip link set lo up && \
                  { ! ip route show table all proto vipd 2>/dev/null || exit 9; } && \
                  cp \"$0\" /etc/iproute2/rt_protos.d/vipd.conf && \
                  ip route add local 10.9.8.7/32 dev lo table local proto 118 && ip route show table all proto vipd";
    let mut command = Command::new("unshare");
    command.args(["--mount", "--net", "sh", "-c", script]).arg(repository().join("vipd/dist/rt_protos.conf"));
    let output = command.output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    ensure!(said.contains("10.9.8.7"), "{said}{}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}
