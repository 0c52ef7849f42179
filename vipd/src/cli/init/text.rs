//! The two files, from the answers. Pure.

use std::{fmt::Write, net::IpAddr};

/// What both files are made from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answers {
    pub interface: String,
    /// With the lengths of their prefixes.
    pub vips: Vec<(IpAddr, u8)>,
    pub name: String,
    pub vrid: u8,
    /// This node's address and the other's: adverts are unicast. `None`: multicast.
    pub unicast: Option<(IpAddr, IpAddr)>,
    /// The command of a check.
    pub check: Option<String>,
}

/// One of the two nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Node {
    /// Has the VIPs while it is well.
    This,
    Other,
}

/// The file of a node.
pub fn file(answers: &Answers, node: Node) -> String {
    let mut text = String::new();
    let (this, other, priority) = match node {
        Node::This => ("This node's", "the other node's is the .peer file", HIGH),
        Node::Other => ("The other node's", "it becomes the same path there", LOW),
    };
    line(&mut text, &format!("# {this} configuration of vipd, by `vipd init`; {other}."));
    line(&mut text, "# Every keyword: /usr/share/doc/vipd/reference/config.md. `vipd check` finds mistakes.");
    if let Some(check) = &answers.check {
        block(
            &mut text,
            "vrrp_script check_service",
            &[
                ("The service is well while this command exits with 0.", format!("script \"{check}\"")),
                ("Seconds between two runs.", "interval 2".to_owned()),
                (
                    "Failures in a row until it counts as failed, and successes until it counts as well.",
                    "fall 2".to_owned(),
                ),
                ("", "rise 2".to_owned()),
            ],
        );
    }
    let _ = write!(text, "\nvrrp_instance {} {{\n", answers.name);
    for (comment, statement) in statements(answers, node, priority) {
        explained(&mut text, comment, &statement);
    }
    inner(
        &mut text,
        "virtual_ipaddress",
        "The virtual IPs. No interface gets them: vipd answers for them.",
        &answers.vips.iter().map(|(address, len)| format!("{address}/{len}")).collect::<Vec<_>>(),
    );
    if answers.check.is_some() {
        let comment = "Without a weight a failed check hands the VIPs over.";
        inner(&mut text, "track_script", comment, &["check_service".to_owned()]);
    }
    text + "}\n"
}

fn statements(answers: &Answers, node: Node, priority: u8) -> Vec<(&'static str, String)> {
    let mut all = vec![
        ("The state before the first election; the priorities decide.", "state BACKUP".to_owned()),
        (
            match node {
                Node::This => "Where the VIPs are served and adverts are exchanged.",
                Node::Other => {
                    "Where the VIPs are served and adverts are exchanged: adjust it if it has another name there."
                }
            },
            format!("interface {}", answers.interface),
        ),
        (
            "The same on both nodes, and different from every other virtual router on the network.",
            format!("virtual_router_id {}", answers.vrid),
        ),
        (
            match node {
                Node::This => "Higher than the other node's: this node has the VIPs while it is well.",
                Node::Other => {
                    "Lower than the other node's: this node has the VIPs while the other is not well."
                }
            },
            format!("priority {priority}"),
        ),
        ("The protocol: 3 takes intervals below a second, and IPv6.", "version 3".to_owned()),
        (
            "Seconds between two adverts. A failed master is noticed after three to four of them.",
            "advert_int 1".to_owned(),
        ),
    ];
    if let Some((own, other)) = answers.unicast {
        let (own, other) = if node == Node::This { (own, other) } else { (other, own) };
        all.push(("Adverts go from this address of this node", format!("unicast_src_ip {own}")));
        all.push((
            "to the other node alone, not to a multicast group.",
            format!("unicast_peer {{\n        {other}\n    }}"),
        ));
    }
    all
}

fn line(text: &mut String, line: &str) {
    text.push_str(line);
    text.push('\n');
}

fn explained(text: &mut String, comment: &str, statement: &str) {
    if !comment.is_empty() {
        line(text, &format!("    # {comment}"));
    }
    line(text, &format!("    {statement}"));
}

fn block(text: &mut String, head: &str, lines: &[(&str, String)]) {
    let _ = write!(text, "\n{head} {{\n");
    lines.iter().for_each(|(comment, statement)| explained(text, comment, statement));
    text.push_str("}\n");
}

fn inner(text: &mut String, head: &str, comment: &str, lines: &[String]) {
    explained(text, comment, &format!("{head} {{"));
    lines.iter().for_each(|inside| line(text, &format!("        {inside}")));
    line(text, "    }");
}

const HIGH: u8 = 150;
const LOW: u8 = 100;

#[cfg(test)]
mod tests {
    use std::path::Path;

    use vipd_config::{Config, Nothing, Unsupported};

    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn read(answers: &Answers, node: Node) -> Config {
        let text = file(answers, node);
        let loaded = vipd_config::parse(Path::new("vipd.conf"), &text, &Nothing, Unsupported::Refused)
            .unwrap_or_else(|failure| panic!("{text}\n{failure}"));
        assert_eq!(loaded.warnings, [], "{text}");
        loaded.config
    }

    #[test]
    fn both_files_are_right_whatever_was_answered() {
        let unicast = Some((ip("10.0.0.5"), ip("10.0.0.6")));
        for vips in [vec![(ip("10.0.0.3"), 24)], vec![(ip("10.0.0.3"), 24), (ip("10.0.0.4"), 32)]] {
            for unicast in [None, unicast] {
                for check in [None, Some("/usr/bin/pgrep -x nginx".to_owned())] {
                    let (interface, name, vips) = ("eth0".to_owned(), "VI_1".to_owned(), vips.clone());
                    let answers = Answers { interface, vips, name, vrid: 52, unicast, check };
                    let [this, other] = [Node::This, Node::Other].map(|node| read(&answers, node));
                    let [a, b] = [&this, &other].map(|config| &config.instances[0]);
                    assert!(a.priority.get() > b.priority.get());
                    assert_eq!((a.vrid, &a.vips, a.version), (b.vrid, &b.vips, b.version));
                    assert_eq!(a.source, unicast.map(|(own, _)| own));
                    assert_eq!(b.source, unicast.map(|(_, other)| other));
                    assert_eq!(this.scripts.len(), usize::from(answers.check.is_some()));
                }
            }
        }
        let v6 = vec![(ip("fe80::3"), 64), (ip("2001:db8::3"), 64)];
        let (interface, name) = ("eth0".to_owned(), "VI_1".to_owned());
        read(&Answers { interface, vips: v6, name, vrid: 52, unicast: None, check: None }, Node::Other);
    }

    #[test]
    fn every_statement_has_a_comment() {
        let check = Some("/bin/true".to_owned());
        let unicast = Some((ip("10.0.0.5"), ip("10.0.0.6")));
        let vips = vec![(ip("10.0.0.3"), 24)];
        let answers =
            Answers { interface: "eth0".into(), vips, name: "VI_1".into(), vrid: 52, unicast, check };
        let text = file(&answers, Node::This);
        let lines: Vec<&str> = text.lines().collect();
        for pair in lines.windows(2) {
            let is_statement = pair[1].starts_with("    ") && !pair[1].trim_start().starts_with(['#', '}']);
            if is_statement && !pair[1].starts_with("        ") && pair[1].trim() != "rise 2" {
                assert!(pair[0].trim_start().starts_with('#'), "{} has no comment:\n{text}", pair[1]);
            }
        }
    }
}
