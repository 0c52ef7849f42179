//! The status page in a headless Chromium: what it shows of every state, and screenshots to look at, in `target/screenshots`.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use vipd_tests::{find_program, skip};

use super::served::Served;
use crate::control::model::{NodeStatus, Status, samples};

/// Name and size of a window.
const WINDOWS: [(&str, &str); 2] = [("desktop", "1280,900"), ("phone", "390,844")];
/// Name and number of Chromium's colour scheme.
const SCHEMES: [(&str, &str); 2] = [("dark", "0"), ("light", "1")];

struct Browser {
    program: PathBuf,
    dir: PathBuf,
}

impl Browser {
    /// `None` without a Chromium.
    fn find() -> Option<Self> {
        let Some(program) = find_program("chromium") else {
            skip("no chromium: the status page is not tried in a browser (apt-get install chromium)");
            return None;
        };
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/screenshots");
        fs::create_dir_all(&dir).unwrap();
        Some(Self { program, dir })
    }

    /// Shows the page for two seconds of its own time; returns what Chromium prints, its complaints too.
    fn run(&self, page: &Served, fragment: &str, arguments: &[&str]) -> String {
        let profile = self.dir.join(format!("profile-{}", std::process::id()));
        let mut command = Command::new(&self.program);
        command.args([
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--hide-scrollbars",
            "--virtual-time-budget=3000",
        ]);
        command
            .args(["--enable-logging=stderr", "--v=0"])
            .arg(format!("--user-data-dir={}", profile.display()));
        let output =
            command.args(arguments).arg(format!("http://{}/#{fragment}", page.address())).output().unwrap();
        let _ = fs::remove_dir_all(profile);
        let complaints = String::from_utf8_lossy(&output.stderr).into_owned();
        // A script that fails, or that the policy keeps from running.
        assert!(!complaints.contains("CONSOLE"), "{complaints}");
        assert!(output.status.success(), "{complaints}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// The document after the script has run, with one virtual router opened.
    fn document(&self, page: &Served, opened: &str) -> String {
        self.run(page, opened, &["--dump-dom"])
    }

    fn screenshots(&self, page: &Served, opened: &str, name: &str) {
        for (window, size) in WINDOWS {
            for (scheme, number) in SCHEMES {
                let file = self.dir.join(format!("{name}-{window}-{scheme}.png"));
                let _ = fs::remove_file(&file);
                let scheme = format!("--blink-settings=preferredColorScheme={number}");
                let shot = format!("--screenshot={}", file.display());
                self.run(page, opened, &[&format!("--window-size={size}"), &scheme, &shot]);
                let length = fs::metadata(&file).map_or(0, |file| file.len());
                assert!(length > 10_000, "{} has {length} octets", file.display());
            }
        }
    }
}

fn one() -> Status {
    let mut status = samples::cluster();
    status.instances.truncate(1);
    status.balancing = None;
    let first = &mut status.instances[0];
    first.lines[1].state = "up".into();
    first.nodes.truncate(1);
    first.nodes[0].links[1].state = "up".into();
    first.nodes.push(samples::reported("lb02.example.net", "10.0.0.6", "BACKUP", 140));
    status.cluster_reports.refused.values_mut().for_each(|count| *count = 0);
    status
}

fn sixty() -> Status {
    let mut status = one();
    let first = status.instances[0].clone();
    for n in 2..=60 {
        let mut next = match n % 10 {
            3 => samples::backup("", n),
            7 => samples::fault("", n),
            _ => first.clone(),
        };
        (next.name, next.vrid) = (format!("VI_{n}"), n);
        next.vips = vec![std::net::IpAddr::from([10, 0, n, 3])];
        status.instances.push(next);
    }
    for n in 1..60 {
        if status.instances[n].state != "MASTER" {
            let node = samples::this_node(&status, n);
            let master = samples::reported("lb02.example.net", "10.0.0.6", "MASTER", 200);
            status.instances[n].nodes = vec![node, master];
        }
    }
    status
}

/// Every state, every problem, and texts of a hostile node.
fn faults() -> Status {
    let mut status = samples::cluster();
    (status.drained, status.real_time) = (true, false);
    status.cluster_reports.problem = Some("another process has UDP port 9813".into());
    let hostile = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>";
    status.instances[0].nodes.push(NodeStatus {
        faults: Some(hostile.into()),
        split_brain: true,
        mismatches: Some("interval, version".into()),
        address_conflicts: 2,
        ..samples::reported(hostile, "10.0.0.9", "MASTER", 255)
    });
    status.instances[0].nodes[0].split_brain = true;
    status.instances[0].address_conflicts = 3;
    let peer = NodeStatus {
        known_by: "peer".into(),
        address: Some("fe80::7".parse().unwrap()),
        ..NodeStatus::default()
    };
    status.instances[1].nodes.push(peer);
    status.instances[2].nodes = vec![samples::this_node(&status, 2)];
    for (n, state) in [(4, "INIT"), (5, "STOP")] {
        let mut other = samples::backup(&format!("VI_{state}"), n);
        (other.state, other.master) = (state.into(), None);
        status.instances.push(other);
    }
    status.instances[4].lines = status.instances[0].lines.clone();
    status.instances[4].lines[0].sends_fail = true;
    status
}

#[test]
#[ignore = "long tier: a browser"]
fn the_page_shows_every_state_in_a_browser() {
    let Some(browser) = Browser::find() else { return };
    for (name, status, opened, shown) in [
        (
            "one",
            one(),
            "",
            &["1 virtual router, all is well", "lb02.example.net", "10.0.0.3 (69000 answers)", "chk_nginx"][..],
        ),
        (
            "services",
            Status { balancing: Some(samples::balancing()), ..one() },
            "",
            &[
                "1 of 1 virtual router and 2 services critical",
                ">1 of 3 up<",
                ">HTTP_GET: connection refused<",
                ">10.1.0.12:80<",
                "the sorry server serves",
            ],
        ),
        (
            "sixty",
            sixty(),
            "",
            &[
                "of 60 virtual routers critical",
                ">VI_60<",
                ">10.0.60.3<",
                ">All 60<",
                ">Fault 6<",
                ">Backup 6<",
            ],
        ),
        (
            "faults",
            faults(),
            "VI_1",
            &[
                "This node is drained",
                "without real-time scheduling",
                "another process has UDP port 9813",
                "hop_limit 4, signature 3",
                "2 masters: lb01.example.net, &lt;img src=x",
                "lb03.example.net is lost: no report for 120 s",
                "lb02.example.net is in FAULT: check chk_nginx failed (exit code 1)",
                "no node is known to be the master",
                ">INIT<",
                ">STOP<",
            ],
        ),
    ] {
        let page = Served::new(status);
        let document = browser.document(&page, opened);
        for text in shown {
            assert!(document.contains(text), "{name}: {text} is not in\n{document}");
        }
        // What other nodes say is text.
        assert!(!document.contains("<img") && !document.contains("<title>owned"), "{document}");
        assert_eq!(document.matches("<script").count(), 1, "{document}");
        browser.screenshots(&page, opened, name);
    }
}
