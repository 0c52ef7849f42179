//! The status page: what is served, and what is not.

use serde_json::Value;

use super::served::{Served, get};
use crate::{
    control::model::{Status, samples},
    metrics::page,
};

fn data(status: &Status) -> Value {
    serde_json::from_str(&page::data(status)).unwrap()
}

fn levels(status: &Status) -> Vec<(String, String)> {
    let data = data(status);
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    data["instances"].as_array().unwrap().iter().map(|i| (text(&i["name"]), text(&i["level"]))).collect()
}

#[test]
fn the_page_and_its_data_are_served_with_a_policy_and_nothing_else_is() {
    let served = Served::new(samples::cluster());
    for (path, content_type) in [
        ("/", "text/html; charset=utf-8"),
        ("/?x", "text/html; charset=utf-8"),
        ("/page.css", "text/css; charset=utf-8"),
        ("/page.js", "text/javascript; charset=utf-8"),
        ("/page.json", "application/json"),
    ] {
        let answer = served.ask(&get(path)).to_lowercase();
        for wanted in [
            "http/1.1 200 ok",
            &format!("content-type: {content_type}"),
            "content-security-policy: default-src 'none'; script-src 'self';",
            "frame-ancestors 'none'",
            "x-content-type-options: nosniff",
            "x-frame-options: deny",
            "referrer-policy: no-referrer",
            "cache-control: no-store",
            "cross-origin-resource-policy: same-origin",
        ] {
            assert!(answer.contains(wanted), "{path}: {wanted}\n{answer}");
        }
        assert!(!answer.contains("access-control"), "{answer}");
        let post = served.ask(&get(path).replace("GET", "POST"));
        assert!(post.starts_with("HTTP/1.1 405"), "{post}");
    }
    for path in ["/page.html", "/page", "/page.json/", "/../page.json", "/status.json", "/favicon.ico"] {
        let answer = served.ask(&get(path));
        assert!(answer.starts_with("HTTP/1.1 404"), "{path}: {answer}");
    }
    let metrics = served.ask(&get("/metrics"));
    assert!(metrics.contains("vipd_build_info") && !metrics.contains("content-security-policy"), "{metrics}");
}

/// It may be read by whoever reaches the port.
#[test]
fn what_scripts_print_and_paths_are_not_in_the_data() {
    let mut status = samples::cluster();
    status.config_file = "/S3cret/path".into();
    status.config_id = Some("S3cret".into());
    status.tracked[0].run = Some(samples::run("exit code 1", Some(1), &["S3cret"]));
    status.notify_scripts[0].script = "/S3cret/notify".into();
    status.notify_scripts[0].run = samples::run("exit code 1", Some(1), &["S3cret"]);
    let failed = "check chk_nginx failed (exit code 1): S3cret";
    status.instances[2].reason = Some(failed.into());
    status.instances[2].tracks = vec![samples::track("vrrp_script", "chk_nginx", 0, false)];
    status.instances[2].tracks[0].state = failed.into();
    let service = &mut status.balancing.as_mut().unwrap().services[0];
    service.servers[0].checks[0].check = "HTTP_GET 10.1.0.11:80/S3cret".into();
    service.servers[0].checks[0].words = "HTTP 200: S3cret".into();
    service.servers[1].reason = "HTTP_GET: /S3cret: status 503".into();
    let data = page::data(&status);
    assert!(data.contains("exit code 1") && !data.contains("S3cret"), "{data}");
}

#[test]
fn the_worst_problem_is_the_level() {
    let status = samples::cluster();
    let level = |name: &str, level: &str| (name.to_owned(), level.to_owned());
    // VI_F has no nodes here, so nobody is its master.
    assert_eq!(levels(&status), [level("VI_1", "critical"), level("VI_6", "ok"), level("VI_F", "critical")]);
    let mut well = status.clone();
    well.instances.truncate(1);
    well.instances[0].nodes.truncate(1);
    well.instances[0].nodes.push(samples::reported("lb02", "10.0.0.6", "BACKUP", 140));
    // A heartbeat link is down.
    assert_eq!(levels(&well), [level("VI_1", "warning")]);
    well.instances[0].lines.truncate(1);
    assert_eq!(levels(&well), [level("VI_1", "ok")]);
    well.instances[0].lease_remaining_ms = None;
    assert_eq!(levels(&well), [level("VI_1", "critical")]);
}

#[test]
fn services_have_their_servers_and_their_problems() {
    let mut status = samples::cluster();
    let services = |status: &Status| data(status)["balancing"]["services"].clone();
    let shown = services(&status);
    let [web, marked] = shown.as_array().unwrap().as_slice() else { panic!("{shown}") };
    assert_eq!((&web["title"], &web["level"]), (&"10.0.0.3:80 TCP".into(), &"warning".into()));
    assert_eq!(web["problems"][0]["text"], "1 of 3 servers are up");
    let why = |server: usize| web["servers"][server]["why"].as_str().unwrap().to_owned();
    assert_eq!([why(0), why(1)], ["HTTP_GET 1500 µs", "HTTP_GET: connection refused"]);
    assert_eq!(web["servers"][1]["weight"], Value::Null);
    assert_eq!((&marked["level"], &marked["sorry_serves"]), (&"critical".into(), &true.into()));
    let texts: Vec<_> = marked["problems"].as_array().unwrap().iter().map(|it| it["text"].clone()).collect();
    assert_eq!(texts, ["none of 1 servers is up", "no quorum (0 of 1)", "the sorry server serves"]);

    status.balancing.as_mut().unwrap().services[0].servers.truncate(1);
    assert_eq!(services(&status)[0]["level"], "ok");
    status.balancing = None;
    assert_eq!(data(&status)["balancing"], Value::Null);
}

/// A policy forbids what these files do not do; a mistake would show in a browser only.
#[test]
fn the_files_ask_for_nothing_of_others_and_make_no_markup_of_texts() {
    for path in ["/", "/page.css", "/page.js"] {
        let (_, text) = page::file(path).unwrap();
        for banned in [
            "://",
            "innerHTML",
            "outerHTML",
            "insertAdjacent",
            "document.write",
            "eval(",
            "style=",
            "onclick",
            "@import",
            "url(",
        ] {
            assert!(!text.contains(banned), "{banned} in {path}");
        }
        assert!(text.len() < 20_000, "{path} has {} octets", text.len());
    }
    let (_, html) = page::file("/").unwrap();
    assert!(!html.contains("<style") && html.matches("<script").count() == 1);
}
