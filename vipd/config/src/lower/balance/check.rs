//! The checks of a real server, as uses of probes.

use std::time::Duration;

use vipd_balance::{CheckWeight, ProbeSpec, ProbeUse};

use super::{
    context::BalanceContext,
    peer::CheckScope,
    placed::{PlacedBlock, PlacedStatement},
};
use crate::{
    lower::notify,
    model::command::Account,
    schema::{keyword::Block, octets, value::Value},
    syntax::{diagnostic::Code, report::fit},
};

/// The block that a keyword of a check opens; `None`: it is no check.
pub fn block_of(keyword: &str) -> Option<Block> {
    Some(match keyword {
        "TCP_CHECK" => Block::TcpCheck,
        "HTTP_GET" | "SSL_GET" => Block::HttpGet,
        "MISC_CHECK" => Block::MiscCheck,
        "SMTP_CHECK" => Block::SmtpCheck,
        "DNS_CHECK" => Block::DnsCheck,
        "PING_CHECK" => Block::PingCheck,
        "UDP_CHECK" => Block::UdpCheck,
        "FILE_CHECK" => Block::FileCheck,
        "TEXT_CHECK" => Block::TextCheck,
        "BFD_CHECK" => Block::BfdCheck,
        _ => return None,
    })
}

impl<'b> BalanceContext<'b> {
    /// One check of the file is one use, or several: of each `host` of SMTP_CHECK, and of each server name of SSL_GET.
    pub fn check(&mut self, scope: &CheckScope<'b, '_>) -> Vec<ProbeUse> {
        match scope.head.statement.keyword {
            "TCP_CHECK" => {
                let peer = self.peer(scope, None, None);
                peer.map(|peer| scope.uses(ProbeSpec::Tcp { peer }, false)).into_iter().collect()
            }
            "PING_CHECK" => {
                let peer = self.peer(scope, None, Some(0));
                peer.map(|peer| scope.uses(ProbeSpec::Ping { peer }, false)).into_iter().collect()
            }
            "HTTP_GET" => self.http(scope, false),
            "SSL_GET" => self.http(scope, true),
            "SMTP_CHECK" => self.smtp(scope),
            "DNS_CHECK" => self.dns(scope).into_iter().collect(),
            "UDP_CHECK" => self.udp(scope).into_iter().collect(),
            "TEXT_CHECK" => self.text(scope).into_iter().collect(),
            "MISC_CHECK" => misc(scope).into_iter().collect(),
            "FILE_CHECK" => self.file(scope).into_iter().collect(),
            "BFD_CHECK" => {
                let session = scope.check.find("name").and_then(|name| name.text()).map(str::to_owned);
                session.map(|session| scope.uses(ProbeSpec::Bfd { session }, false)).into_iter().collect()
            }
            _ => Vec::new(),
        }
    }

    fn smtp(&mut self, scope: &CheckScope<'b, '_>) -> Vec<ProbeUse> {
        let Some(helo) = scope.check.find("helo_name").and_then(|name| name.text()) else {
            return Vec::new();
        };
        let hosts: Vec<_> =
            scope.check.all("host").map(|host| (host, host.inside(Some(Block::SmtpHost)))).collect();
        let hosts: Vec<Option<(PlacedStatement<'b>, &PlacedBlock<'b>)>> = match hosts.as_slice() {
            [] => vec![None],
            hosts => hosts.iter().map(|(host, inside)| Some((*host, inside))).collect(),
        };
        let mut uses = Vec::new();
        for host in hosts {
            let Some(peer) = self.peer(scope, host, Some(SMTP)) else { return Vec::new() };
            uses.push(scope.uses(ProbeSpec::Smtp { peer, helo: helo.to_owned() }, false));
        }
        uses
    }

    fn dns(&mut self, scope: &CheckScope<'b, '_>) -> Option<ProbeUse> {
        let peer = self.peer(scope, None, Some(DNS))?;
        let record = scope.check.find("type")?.choice()?;
        let text = |means: &str| scope.check.find(means).and_then(|placed| placed.text()).map(str::to_owned);
        let record = RECORDS.iter().find(|(name, _)| *name == record).map(|(_, number)| *number)?;
        let probe = ProbeSpec::Dns { peer, name: text("name")?, record, expect: text("expect") };
        Some(scope.uses(probe, true))
    }

    fn udp(&mut self, scope: &CheckScope<'b, '_>) -> Option<ProbeUse> {
        let peer = self.peer(scope, None, None)?;
        let octets = |placed: PlacedStatement<'b>| {
            let words = placed.statement.values.iter();
            let pattern = |value: &Value| match value {
                Value::Text(text) => octets::pattern(text),
                _ => None,
            };
            words.filter_map(pattern).flatten().collect::<Vec<_>>()
        };
        let payload = scope.check.find("payload").map(octets).unwrap_or_default();
        let payload = payload.into_iter().map(|(octet, _)| octet).collect();
        let reply = scope.check.find("require_reply").map(octets);
        let length = |means: &str| scope.check.find(means).and_then(|placed| placed.port());
        let reply_octets =
            (length("min_reply_length").unwrap_or(0), length("max_reply_length").unwrap_or(255));
        for means in ["min_reply_length", "max_reply_length"] {
            if let Some(placed) = scope.check.given(means).filter(|_| reply.is_none()) {
                self.ignored(placed, "there is no `require_reply`", "write `require_reply`, or remove it");
            }
        }
        if let Some(placed) = scope.check.given("max_reply_length").or(scope.check.given("min_reply_length"))
            && reply_octets.0 > reply_octets.1
        {
            let (min, max) = reply_octets;
            let message = format!("max_reply_length {max} is below min_reply_length {min}");
            self.report.error_hint(Code::Conflict, placed.value_at(0), message, "no reply is both");
            return None;
        }
        Some(scope.uses(ProbeSpec::Udp { peer, payload, reply, reply_octets }, false))
    }

    fn text(&mut self, scope: &CheckScope<'b, '_>) -> Option<ProbeUse> {
        let peer = self.peer(scope, None, None)?;
        let protocol = scope.check.find("protocol").and_then(|placed| placed.choice());
        let is_tls = protocol == Some("TLS");
        for means in ["sni_name", "verify"] {
            if let Some(placed) = scope.check.given(means).filter(|_| !is_tls) {
                self.ignored(placed, "the check is without TLS", "write `protocol TLS`, or remove it");
            }
        }
        let text = |means: &str| scope.check.find(means).and_then(|placed| placed.text()).map(str::to_owned);
        let tls = is_tls.then(|| self.tls_of(&scope.check, text("sni_name")));
        let send = match scope.check.find("send") {
            Some(send) => match octets::escaped(send.text()?) {
                Ok(octets) => octets,
                Err(escape) => {
                    let message = format!("unknown escape `{}`", fit(&escape));
                    let hint = "known are \\r, \\n, \\t, \\\\ and \\x with two hexadecimal digits";
                    self.report.error_hint(Code::BadValue, send.value_at(0), message, hint);
                    return None;
                }
            },
            None => Vec::new(),
        };
        let udp = protocol == Some("UDP");
        if udp && send.is_empty() {
            let message = "`TEXT_CHECK` over UDP sends nothing".to_owned();
            self.report.error_hint(Code::MissingKeyword, scope.head.at(), message, "write `send`");
            return None;
        }
        Some(scope.uses(ProbeSpec::Text { peer, udp, tls, send, expect: text("expect") }, false))
    }

    fn file(&mut self, scope: &CheckScope<'b, '_>) -> Option<ProbeUse> {
        let name = scope.check.find("track_file")?.text()?;
        // Of one that is not there it is said already.
        let file = self.files.iter().find(|file| file.name == name)?;
        let own = scope
            .check
            .find("weight")
            .and_then(|placed| Some((placed.signed()?, placed.statement.has("reverse"))));
        // As keepalived: 0 is none.
        let (weight, reverse) =
            own.filter(|(weight, _)| *weight != 0).unwrap_or((file.weight.value, file.weight.reverse));
        let mut uses = scope.uses(ProbeSpec::File { path: file.path.clone() }, false);
        uses.weight = CheckWeight::File { weight, reverse };
        Some(uses)
    }
}

fn misc(scope: &CheckScope<'_, '_>) -> Option<ProbeUse> {
    let command = notify::command(scope.check.find("misc_path")?.statement)?;
    let user = scope.check.find("user").and_then(|user| notify::account(user.statement));
    let account = user.map(|Account { user, group }| (user, group));
    // As keepalived: the period of the virtual server, also where the check has its own.
    let timeout = scope.check.find("misc_timeout").or_else(|| scope.service.find("delay_loop"));
    let timeout = timeout.and_then(|timeout| timeout.seconds()).unwrap_or(Duration::from_secs(60));
    let mut uses = scope.uses(ProbeSpec::Misc { words: command.words, account, timeout }, false);
    if scope.check.is_on("misc_dynamic") {
        uses.weight = CheckWeight::ExitCode;
    }
    Some(uses)
}

const SMTP: u16 = 25;
const DNS: u16 = 53;
/// RFC 1035 3.2.2, RFC 3596 2.1.
const RECORDS: &[(&str, u16)] =
    &[("A", 1), ("NS", 2), ("CNAME", 5), ("SOA", 6), ("MX", 15), ("TXT", 16), ("AAAA", 28)];
