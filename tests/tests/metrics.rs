//! `--metrics-listen`: scraped over TCP and a unix socket, the text is OpenMetrics or the classic format, and its numbers are what
//! happened; promtool takes the text and runs the documented alerts.

#![allow(clippy::disallowed_methods, reason = "tests measure")]

mod support;

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    os::unix::{fs::PermissionsExt, net::UnixStream},
    path::{Path, PathBuf},
    process::{self, Command, Output, Stdio},
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use support::{Bed, HIGH, INSTANCE, INTERVAL, LEASE, LOW, SOON, VIP, frames, node_conf, pins};
use vipd_tests::{Daemon, Node, find_program, skip, wait_for};

const ADDRESS: &str = "127.0.0.1:9812";
const LABELS: &str = "vrrp_instance=\"VI_1\",interface=\"eth0\",vrid=\"51\",family=\"ipv4\"";

fn start(bed: &Bed, node: &str, conf: &str, listen: &str) -> Result<Daemon> {
    let node = bed.lab.node(node);
    node.write_vipd_conf(conf)?;
    let mut command = node.vipd_run(&bed.vipd);
    Daemon::start("vipd", command.args(["--metrics-listen", listen]), &node.vipd_log())
}

fn socket(node: &Node) -> PathBuf {
    node.dir().join("metrics.sock")
}

/// What came back for a request.
#[derive(Debug)]
struct Reply {
    code: u16,
    head: String,
    body: String,
}

fn over_tcp(node: &Node, request: &str) -> Result<Reply> {
    let address: SocketAddr = ADDRESS.parse()?;
    node.ns().run(|| converse(TcpStream::connect(address)?, request))?
}

fn over_unix(node: &Node, request: &str) -> Result<Reply> {
    converse(UnixStream::connect(socket(node))?, request)
}

fn converse(mut stream: impl Read + Write, request: &str) -> Result<Reply> {
    stream.write_all(request.as_bytes())?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let (head, body) = text.split_once("\r\n\r\n").with_context(|| format!("no answer: {text:?}"))?;
    let code = head.split(' ').nth(1).context("no code")?.parse()?;
    Ok(Reply { code, head: head.to_lowercase(), body: body.to_owned() })
}

fn get(path: &str) -> String {
    asking(path, "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1")
}

/// As a client that takes these media types.
fn asking(path: &str, accept: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: vipd\r\nUser-Agent: test\r\nAccept: {accept}\r\n\r\n")
}

/// Every sample by its name and labels, as they stand there.
type Samples = BTreeMap<String, f64>;

/// Reads a scrape, and checks it against the grammar of OpenMetrics 1.0 as far as it is used.
fn samples(reply: &Reply) -> Result<Samples> {
    ensure!(reply.code == 200, "{reply:?}");
    ensure!(
        reply.head.contains("content-type: application/openmetrics-text; version=1.0.0"),
        "{}",
        reply.head
    );
    let length = format!("content-length: {}\r\n", reply.body.len());
    ensure!(format!("{}\r\n", reply.head).contains(&length), "{}", reply.head);
    let body = reply.body.strip_suffix("# EOF\n").context("it does not end with # EOF")?;
    let mut samples = Samples::new();
    // Family, and what its samples are called.
    let mut family = (String::new(), String::new());
    let mut families = BTreeSet::new();
    for line in body.lines() {
        if let Some(comment) = line.strip_prefix("# ") {
            let [kind, name, rest] = *comment.splitn(3, ' ').collect::<Vec<_>>() else { bail!("{line}") };
            match kind {
                "HELP" => {
                    ensure!(families.insert(name.to_owned()), "{name} is not in one piece");
                    family = (name.to_owned(), String::new());
                }
                "TYPE" => {
                    let suffix = match rest {
                        "gauge" => "",
                        "counter" => "_total",
                        "info" => "_info",
                        _ => bail!("{line}"),
                    };
                    family.1 = format!("{name}{suffix}");
                }
                "UNIT" => ensure!(name.ends_with(&format!("_{rest}")), "{line}"),
                _ => bail!("{line}"),
            }
            ensure!(family.0 == name, "{line} is among {}", family.0);
            continue;
        }
        let (series, value) = line.rsplit_once(' ').with_context(|| line.to_owned())?;
        let value = value.parse().with_context(|| line.to_owned())?;
        let (name, labels) = series.split_once('{').context("a sample has labels, or none in braces")?;
        ensure!(name == family.1, "{line} is among {}", family.1);
        let labels = labels.strip_suffix('}').with_context(|| line.to_owned())?;
        // No value has a comma in it here.
        for label in labels.split(',').filter(|label| !label.is_empty()) {
            let (name, value) = label.split_once('=').with_context(|| line.to_owned())?;
            ensure!(name.bytes().all(|c| c.is_ascii_lowercase() || c == b'_'), "{line}");
            ensure!(value.len() >= 2 && value.starts_with('"') && value.ends_with('"'), "{line}");
        }
        ensure!(samples.insert(series.to_owned(), value).is_none(), "twice: {line}");
    }
    Ok(samples)
}

fn scrape(node: &Node) -> Result<Samples> {
    samples(&if socket(node).exists() {
        over_unix(node, &get("/metrics"))
    } else {
        over_tcp(node, &get("/metrics"))
    }?)
}

fn value(samples: &Samples, series: &str) -> Result<f64> {
    samples.get(series).copied().with_context(|| format!("no {series} in {samples:#?}"))
}

/// Waits until a sample of a node has a value.
fn wait_value(node: &Node, series: &str, expect: f64) -> Result<()> {
    let mut last = String::new();
    let is = || {
        let found = scrape(node).and_then(|samples| value(&samples, series));
        last = format!("{found:?}");
        found.is_ok_and(|found| found == expect)
    };
    wait_for(format_args!("{series} to be {expect}"), SOON, is).with_context(|| last.clone()).map(drop)
}

fn state(state: &str) -> String {
    format!("vipd_instance_state{{{LABELS},state=\"{state}\"}}")
}

fn answers() -> String {
    format!("vipd_vip_answers_total{{{LABELS},vip=\"{VIP}\"}}")
}

/// Asks for the VIP so many times.
fn ask(bed: &Bed, times: usize) -> Result<()> {
    let client = bed.client();
    let question = frames::arp(1, client.mac().0, client.ip().context("an address")?, VIP);
    (0..times).try_for_each(|_| client.inject(&question))
}

#[test]
fn numbers_are_those_of_a_takeover() -> Result<()> {
    let Some(bed) = Bed::new()? else { return Ok(()) };
    let (lb01, lb02) = (bed.lb01(), bed.lb02());
    let unix = format!("unix:{}", socket(lb02).display());
    // The master's own questions would be counted too.
    let conf = |priority| node_conf(priority, "self_probe off");
    let mut first = start(&bed, "lb01", &conf(HIGH), ADDRESS)?;
    bed.wait("lb01", "MASTER")?;
    let _second = start(&bed, "lb02", &conf(LOW), &unix)?;
    bed.wait("lb02", "BACKUP")?;
    ensure!(fs::metadata(socket(lb02))?.permissions().mode() & 0o777 == 0o660);

    ask(&bed, 20)?;
    wait_value(lb01, &answers(), 20.0)?;
    wait_value(lb02, "vipd_xdp_frames_total{kind=\"arp_gated\"}", 20.0)?;
    let status = bed.status("lb01")?;
    ensure!(status["vip_answers"][VIP.to_string()] == 20, "{status}");

    // The first renewal is heard.
    wait_for("adverts", SOON, || bed.status("lb02").is_ok_and(|i| i["adverts_received"].as_u64() > Some(1)))?;
    // Each advert sets the time until a takeover back, long before the election has to know.
    for _ in 0..10 {
        let status = bed.status("lb02")?;
        let ms = |field: &str| status[field].as_u64().with_context(|| format!("{field}: {status}"));
        let wait = ms("master_down_interval_cs")? * 10;
        let left = ms("master_down_in_ms")? + ms("last_adv_age_ms")?;
        ensure!(left + 20 >= wait, "{left} ms of {wait}: {status}");
        thread::sleep(Duration::from_millis(70));
    }
    let (master, backup) = (scrape(lb01)?, scrape(lb02)?);
    for (samples, series, expect) in [
        (&master, state("MASTER"), 1.0),
        (&master, state("BACKUP"), 0.0),
        (&backup, state("MASTER"), 0.0),
        (&backup, state("BACKUP"), 1.0),
        (&backup, answers(), 0.0),
        (&master, format!("vipd_instance_became_master_total{{{LABELS}}}"), 1.0),
        (&backup, format!("vipd_instance_became_master_total{{{LABELS}}}"), 0.0),
        (&master, format!("vipd_instance_priority{{{LABELS}}}"), HIGH.into()),
        (&master, format!("vipd_instance_advert_interval_seconds{{{LABELS}}}"), 0.3),
        (&master, format!("vipd_instance_lease_length_seconds{{{LABELS}}}"), 1.2),
        (&backup, format!("vipd_instance_lease_remaining_seconds{{{LABELS}}}"), 0.0),
        (&master, format!("vipd_instance_discards_total{{{LABELS},reason=\"own_source\"}}"), 0.0),
    ] {
        let found = value(samples, &series)?;
        ensure!(found == expect, "{series} is {found}, expected {expect}");
    }
    for (samples, series, most) in [
        (&master, format!("vipd_instance_lease_remaining_seconds{{{LABELS}}}"), 1.2),
        (&master, format!("vipd_instance_lease_margin_least_seconds{{{LABELS}}}"), 1.2),
        (&master, format!("vipd_instance_adverts_sent_total{{{LABELS}}}"), 1e6),
        (&backup, format!("vipd_instance_adverts_received_total{{{LABELS}}}"), 1e6),
        (&backup, format!("vipd_instance_last_advert_age_seconds{{{LABELS}}}"), 60.0),
        (&master, "vipd_uptime_seconds{}".into(), 1e6),
    ] {
        let found = value(samples, &series)?;
        ensure!(found > 0.0 && found <= most, "{series} is {found}, expected up to {most}");
    }
    ensure!(!master.contains_key(&format!("vipd_instance_master_down_seconds{{{LABELS}}}")), "{master:#?}");

    first.kill9()?;
    wait_value(lb02, &state("MASTER"), 1.0)?;
    wait_value(lb02, &format!("vipd_instance_became_master_total{{{LABELS}}}"), 1.0)?;
    ask(&bed, 5)?;
    wait_value(lb02, &answers(), 5.0)?;
    Ok(())
}

/// Runs promtool; `None`, counted as a skip, if it is not there.
fn promtool(arguments: &[&str], input: &str) -> Result<Option<Output>> {
    let Some(promtool) = find_program("promtool") else {
        skip("promtool is missing: `cargo xtask setup` installs Debian's package prometheus");
        return Ok(None);
    };
    let mut command = Command::new(promtool);
    let mut child = command
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("start promtool")?;
    // Closed when it is written, which ends the input.
    child.stdin.take().context("standard input")?.write_all(input.as_bytes())?;
    Ok(Some(child.wait_with_output()?))
}

fn repository(path: &str) -> Result<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
    Ok(path.to_str().context("a path in UTF-8")?.to_owned())
}

#[test]
fn the_classic_text_is_what_promtool_takes() -> Result<()> {
    let Some(bed) = Bed::new()? else { return Ok(()) };
    let lb01 = bed.lb01();
    let script = "vrrp_script chk {\n    script \"/bin/true\"\n    interval 1\n}\n";
    let conf = script.to_owned() + &node_conf(HIGH, "track_script {\n chk\n }");
    let _daemon = start(&bed, "lb01", &conf, ADDRESS)?;
    bed.wait("lb01", "MASTER")?;
    let no_accept = "GET /metrics HTTP/1.1\r\nHost: vipd\r\n\r\n".to_owned();
    for request in [no_accept, asking("/metrics", "*/*"), asking("/metrics", "text/plain;version=0.0.4")] {
        let reply = over_tcp(lb01, &request)?;
        ensure!(reply.code == 200, "{reply:?}");
        ensure!(
            reply.head.contains("content-type: text/plain; version=0.0.4; charset=utf-8"),
            "{}",
            reply.head
        );
        for line in [
            format!("{} 1", state("MASTER")),
            format!("vipd_vip_owned{{{LABELS},vip=\"{VIP}\"}} 1"),
            "# TYPE vipd_instance_adverts_sent_total counter".into(),
            "# TYPE process_resident_memory_bytes gauge".into(),
        ] {
            ensure!(reply.body.lines().any(|found| found == line), "{line} is not in\n{}", reply.body);
        }
        let Some(output) = promtool(&["check", "metrics"], &reply.body)? else { return Ok(()) };
        let said =
            String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success() && said.is_empty(), "{}: {said}\n{}", output.status, reply.body);
    }
    // It finds fault with what is wrong.
    if let Some(output) = promtool(&["check", "metrics"], "# TYPE vipd_ms counter\nvipd_ms 1\n")? {
        ensure!(!output.status.success(), "{output:?}");
    }
    Ok(())
}

#[test]
fn the_process_is_among_the_metrics() -> Result<()> {
    let Some(bed) = Bed::new()? else { return Ok(()) };
    let lb01 = bed.lb01();
    let daemon = start(&bed, "lb01", &node_conf(HIGH, ""), ADDRESS)?;
    bed.wait("lb01", "MASTER")?;
    let samples = scrape(lb01)?;
    let fds = fs::read_dir(format!("/proc/{}/fd", daemon.pid()))?.count();
    for (series, least, most) in [
        ("process_open_fds{}", 10.0, f64::from(u32::try_from(fds)?) + 2.0),
        ("process_max_fds{}", 1024.0, 1e9),
        ("process_threads{}", 2.0, 100.0),
        ("process_resident_memory_bytes{}", 1e6, 1e9),
        ("process_virtual_memory_bytes{}", 1e6, 1e12),
        ("process_cpu_seconds_total{}", 0.0, 60.0),
    ] {
        let found = value(&samples, series)?;
        ensure!(found >= least && found <= most, "{series} is {found}, expected {least} to {most}");
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs_f64();
    let age = now - value(&samples, "process_start_time_seconds{}")?;
    // The kernel says when it was booted to a second.
    ensure!(age > -2.0 && age < 120.0, "started {age} s ago");
    Ok(())
}

/// What both alerts of before got wrong, and each other rule, with series that are made up.
#[test]
fn the_documented_alerts_fire_when_they_should() -> Result<()> {
    let tests = repository("tests/promtool/alerts.yml")?;
    let Some(output) = promtool(&["test", "rules", &tests], "")? else { return Ok(()) };
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success() && said.contains("SUCCESS"), "{}: {said}", output.status);
    let (rules, tests) =
        (fs::read_to_string(repository("docs/reference/vipd-alerts.yml")?)?, fs::read_to_string(tests)?);
    for alert in rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")) {
        let name = format!("alertname: {alert}\n");
        let fires = tests.split(&name).skip(1).any(|rest| rest.trim_start().starts_with("exp_alerts:"));
        ensure!(fires, "no test has {alert} fire");
    }
    Ok(())
}

#[test]
fn the_dashboards_expressions_are_promql() -> Result<()> {
    let dashboard = fs::read_to_string(repository("docs/reference/grafana-dashboard.json")?)?;
    let dashboard: Value = serde_json::from_str(&dashboard)?;
    let panels = dashboard["panels"].as_array().context("panels")?;
    let expressions: Vec<&str> = panels
        .iter()
        .filter_map(|panel| panel["targets"].as_array())
        .flatten()
        .filter_map(|target| target["expr"].as_str())
        .collect();
    let mut rules = "groups:\n- name: dashboard\n  rules:\n".to_owned();
    for (n, expression) in expressions.iter().enumerate() {
        let expression = expression.replace("$__rate_interval", "1m");
        rules += &format!("  - record: panel:{n}\n    expr: {}\n", serde_json::to_string(&expression)?);
    }
    let file = env::temp_dir().join(format!("vipd-dashboard-{}.yml", process::id()));
    fs::write(&file, rules)?;
    let output = promtool(&["check", "rules", file.to_str().context("a path in UTF-8")?], "");
    fs::remove_file(&file)?;
    let Some(output) = output? else { return Ok(()) };
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{said}");
    ensure!(said.contains(&format!("{} rules found", expressions.len())), "{said}");
    Ok(())
}

/// A lease that has run out is seen after the fact, by whoever looks within a minute.
#[test]
fn the_margin_of_a_frozen_master_is_0() -> Result<()> {
    let Some(bed) = Bed::new()? else { return Ok(()) };
    let lb01 = bed.lb01();
    let mut daemon = start(&bed, "lb01", &node_conf(HIGH, ""), ADDRESS)?;
    bed.wait("lb01", "MASTER")?;
    let margin = format!("vipd_instance_lease_margin_least_seconds{{{LABELS}}}");
    wait_for("a renewal", SOON, || {
        scrape(lb01).is_ok_and(|samples| samples.get(&margin).is_some_and(|m| *m > 0.0))
    })?;
    daemon.sigstop()?;
    thread::sleep(LEASE + INTERVAL);
    daemon.sigcont()?;
    wait_value(lb01, &format!("vipd_instance_released_master_total{{{LABELS}}}"), 1.0)?;
    bed.wait("lb01", "MASTER")?;
    wait_value(lb01, &margin, 0.0)?;
    let status = bed.status("lb01")?;
    ensure!(status["lease_margin_least_us"] == 0, "{status}");
    Ok(())
}

#[test]
fn only_scrapes_are_served_and_few_at_once() -> Result<()> {
    let Some(bed) = Bed::new()? else { return Ok(()) };
    let lb01 = bed.lb01();
    let mut daemon = start(&bed, "lb01", &node_conf(HIGH, ""), ADDRESS)?;
    bed.wait("lb01", "MASTER")?;
    for (request, code) in [
        (get("/metrics"), 200),
        (get("/metrics?debug=1"), 200),
        (get("/metrics").replace("GET", "HEAD"), 200),
        (get("/"), 200),
        (get("/page.json"), 200),
        (get("/status"), 404),
        (get("/metrics/"), 404),
        (get("/metrics").replace("GET", "POST"), 405),
        (get("/metrics").replace("GET", "DELETE"), 405),
        ("nonsense\r\n\r\n".into(), 400),
        (format!("GET /metrics HTTP/1.1\r\nX: {}\r\n\r\n", "a".repeat(100_000)), 431),
    ] {
        let shown = &request[..request.len().min(40)];
        let reply = over_tcp(lb01, &request).with_context(|| shown.to_owned())?;
        ensure!(reply.code == code, "{shown:?}: {reply:?}, expected {code}");
    }
    // The length of a body that does not come.
    let head = over_tcp(lb01, &get("/metrics").replace("GET", "HEAD"))?;
    let length = head.head.lines().find_map(|line| line.strip_prefix("content-length: "));
    ensure!(head.body.is_empty() && length.is_some_and(|length| length != "0"), "{head:?}");
    // Those who say nothing keep nobody waiting, nor the election.
    let address: SocketAddr = ADDRESS.parse()?;
    let silent: Vec<TcpStream> =
        lb01.ns().run(|| (0..10).map(|_| TcpStream::connect(address)).collect::<Result<_, _>>())??;
    let before = scrape(lb01)?;
    drop(silent);
    let lateness = value(&before, &format!("vipd_instance_advert_lateness_max_seconds{{{LABELS}}}"))?;
    println!("adverts at most {lateness} s late");
    ensure!(value(&before, &format!("vipd_instance_became_master_total{{{LABELS}}}"))? == 1.0);

    // The next vipd has the address and goes on counting.
    ask(&bed, 3)?;
    wait_value(lb01, &answers(), 3.0)?;
    bed.told("lb01", &["stop", "--for-restart"])?;
    let _next = start(&bed, "lb01", &node_conf(HIGH, ""), ADDRESS)?;
    ensure!(daemon.wait(SOON)?.success(), "{}", daemon.log());
    bed.wait("lb01", "MASTER")?;
    ask(&bed, 1)?;
    wait_value(lb01, &answers(), 4.0)
}

/// Any user can take a port, and kept vipd from starting.
#[test]
fn a_port_that_somebody_has_is_waited_for() -> Result<()> {
    let Some(bed) = Bed::new()? else { return Ok(()) };
    let lb01 = bed.lb01();
    let address: SocketAddr = ADDRESS.parse()?;
    let taken = lb01.ns().run(|| TcpListener::bind(address))??;
    let _daemon = start(&bed, "lb01", &node_conf(HIGH, ""), ADDRESS)?;
    bed.wait("lb01", "MASTER")?;
    let told = bed.wait_event("lb01", "metrics_not_served", |_| true)?;
    ensure!(told["fields"]["listen"] == ADDRESS, "{told}");
    drop(taken);
    bed.wait_event("lb01", "metrics_served", |_| true)?;
    wait_value(lb01, &format!("vipd_instance_became_master_total{{{LABELS}}}"), 1.0)
}

#[test]
fn an_address_that_cannot_be_had_is_an_error_at_start() -> Result<()> {
    let Some(bed) = Bed::new()? else { return Ok(()) };
    let lb01 = bed.lb01();
    let file = lb01.dir().join("file");
    fs::write(&file, "mine")?;
    for (listen, why) in [
        ("192.0.2.1:9812".to_owned(), "Cannot assign"),
        (format!("unix:{}", file.display()), "is not a socket"),
        (format!("unix:{}/none/metrics.sock", lb01.dir().display()), "No such file"),
    ] {
        let mut daemon = start(&bed, "lb01", &node_conf(HIGH, ""), &listen)?;
        let (status, log) = (daemon.wait(SOON)?, daemon.log());
        ensure!(status.code() == Some(1), "{listen}: {status}, {log}");
        let line = log.lines().rev().nth(1).unwrap_or_default();
        ensure!(
            log.ends_with("vipd: not started: 1 error\n")
                && line.contains(&format!("serve metrics on {listen}"))
                && line.contains(why),
            "{listen}: {log}"
        );
        ensure!(!pins(lb01).exists(), "{listen}: pins are left");
    }
    ensure!(fs::read_to_string(&file)? == "mine");

    // What a crash has left is replaced, and what is stopped leaves nothing.
    let listen = format!("unix:{}", socket(lb01).display());
    let mut crashed = start(&bed, "lb01", &node_conf(HIGH, ""), &listen)?;
    bed.wait("lb01", "MASTER")?;
    crashed.kill9()?;
    ensure!(socket(lb01).exists());
    let mut daemon = start(&bed, "lb01", &node_conf(HIGH, ""), &listen)?;
    bed.wait("lb01", "MASTER")?;
    wait_value(lb01, &state("MASTER"), 1.0)?;
    let status = bed.status("lb01")?;
    ensure!(status["name"] == INSTANCE, "{status}");
    daemon.sigterm()?;
    ensure!(daemon.wait(SOON)?.success(), "{}", daemon.log());
    ensure!(!socket(lb01).exists(), "the socket is left");
    Ok(())
}
