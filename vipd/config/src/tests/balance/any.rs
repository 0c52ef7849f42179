//! Any statements of load balancing, in any order and however wrong.

use proptest::prelude::*;

use super::{parse_served, parse_unserved, with};
use crate::{
    Config, print,
    schema::{
        keyword::{Block, Inside, Support},
        table::rows,
    },
};

use crate::tests::table::sample;

const NUMBERS: &[&str] = &["0", "1", "7", "80", "255", "65535", "4294967295", "-1", "0.5", "x", ""];
const WORDS: &[&str] = &[
    "sh",
    "mh",
    "wlc",
    "DR",
    "NAT",
    "TUN",
    "TUN type gue port 7 csum",
    "TUN type gre remcsum",
    "TCP",
    "UDP",
    "10.7.7.7",
    "10.7.7.8 80",
    "2001:db8::8",
    "fe80::1",
    "255.0.255.0",
    "64",
    "on",
    "off",
    "/x",
    "inet6",
    "200-299",
    "0aff",
    "xx",
    "\"a\\r\\n\"",
    "\\q",
    "caseless",
    "firstline",
    "f",
    "A",
    "1.1",
];

/// A line with a keyword of the block, its own words or others; blocks within blocks.
fn line(block: Block, depth: u32) -> BoxedStrategy<String> {
    let rows = rows(block);
    let index = 0..rows.len();
    (index, prop::sample::select(NUMBERS), prop::sample::select(WORDS), 0..4u8)
        .prop_flat_map(move |(at, number, word, kind)| {
            let row = &rows[at];
            let takes = match row.status {
                Support::Grammar { takes, .. }
                | Support::NoEffect { takes, .. }
                | Support::Dropped { takes, .. } => takes,
                _ => &[],
            };
            let head = match kind {
                0 => format!("{} {number}", row.name),
                1 => format!("{} {word}", row.name),
                _ => format!("{}{}", row.name, sample(takes).replace("VI_1", "f")),
            };
            match row.status {
                Support::Grammar { inside: Inside::Statements(inside), .. } if depth > 0 => {
                    prop::collection::vec(line(inside, depth - 1), 0..6)
                        .prop_map(move |lines| format!("{head} {{\n{}\n}}", lines.join("\n")))
                        .boxed()
                }
                _ if row.block => Just(format!("{head} {{\n}}")).boxed(),
                _ => Just(head).boxed(),
            }
        })
        .boxed()
}

fn file() -> impl Strategy<Value = String> {
    let head = prop::sample::select(vec![
        "10.7.7.7 80",
        "10.7.7.7",
        "2001:db8::7 80",
        "fwmark 7",
        "group G",
        "group H",
        "group I",
        "10.7.7.9 80",
    ]);
    let server =
        (head, prop::collection::vec(line(Block::VirtualServer, 3), 0..12)).prop_map(|(head, lines)| {
            format!("virtual_server {head} {{\n{}\nreal_server 10.7.7.8 80 {{\n}}\n}}\n", lines.join("\n"))
        });
    let ssl = prop::collection::vec(line(Block::Ssl, 0), 0..3)
        .prop_map(|lines| format!("SSL {{\n{}\n}}\n", lines.join("\n")));
    let groups = "virtual_server_group G {\n10.7.7.0/29 80\n10.7.7.9-12 81\n}\nvirtual_server_group H {\nfwmark 7\nfwmark 8 inet6\n}\n\
        virtual_server_group I {\n10.7.7.7 80\n2001:db8::7-9 80\n}\ntrack_file f {\nfile /f\n}\n";
    (prop::collection::vec(server, 1..4), ssl)
        .prop_map(move |(servers, ssl)| servers.concat() + &ssl + groups + &with(""))
}

fn without_lines(mut config: Config) -> Config {
    config.instances.iter_mut().for_each(|instance| instance.line = 0);
    config
}

proptest! {
    /// What is lowered is the same whether it is served, if it is right; and what is printed says the same.
    #[test]
    fn services_are_lowered_or_reported(text in file()) {
        let (ignored, served) = (parse_unserved(&text), parse_served(&text));
        if let (Ok(ignored), Ok(served)) = (&ignored, &served) {
            prop_assert_eq!(&ignored.config, &served.config);
        }
        if let Ok(loaded) = ignored {
            let printed = print(&loaded.config, &loaded.origins);
            let again = parse_unserved(&printed);
            let again = again.map_err(|failure| TestCaseError::fail(format!("{printed}\n{failure}")))?;
            prop_assert_eq!(without_lines(again.config), without_lines(loaded.config), "{}", printed);
        }
    }
}

/// Or the property above would look at nothing.
#[test]
fn some_of_them_are_right() {
    use proptest::{strategy::ValueTree, test_runner::TestRunner};
    let mut runner = TestRunner::deterministic();
    let mut servers = [0; 2];
    for _ in 0..60 {
        let text = file().new_tree(&mut runner).unwrap().current();
        if let Ok(loaded) = parse_unserved(&text) {
            servers[0] += 1;
            servers[1] += loaded.config.balance.servers().len();
        }
    }
    assert!(servers[0] > 20 && servers[1] > 20, "{servers:?}");
}
