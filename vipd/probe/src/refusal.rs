//! What cannot be probed, said when the configuration is read and not when the probe is due.

use libc::IFNAMSIZ;
use tokio_rustls::rustls::pki_types::ServerName;
use vipd_balance::{ProbePeer, ProbeSpec, TlsSettings};

use crate::{checkers::http_refusal, dns, pattern::AnswerPattern};

/// Why a probe could never be run, in lower case; `None`: it can. A probe that is given to the prober all the same is reported as not sent.
pub fn refusal(spec: &ProbeSpec) -> Option<String> {
    if let Some(why) = spec.peer().and_then(of_peer) {
        return Some(why);
    }
    match spec {
        ProbeSpec::Tcp { .. } | ProbeSpec::Ping { .. } | ProbeSpec::File { .. } => None,
        ProbeSpec::Udp { reply_octets: (least, most), .. } => {
            (least > most).then(|| format!("min_reply_length {least} is above max_reply_length {most}"))
        }
        ProbeSpec::Http { peer, tls, urls, .. } => {
            let of_url = urls.iter().find_map(|url| {
                http_refusal(peer, url).or_else(|| url.regex.as_deref().and_then(of_pattern))
            });
            let none = urls.is_empty().then(|| "there is no url".to_owned());
            none.or(of_url).or_else(|| tls.as_ref().and_then(of_tls))
        }
        ProbeSpec::Smtp { helo, .. } => {
            let wrong = helo.is_empty() || helo.contains(|c: char| c.is_control() || c.is_whitespace());
            wrong.then(|| format!("helo_name {helo:?} is no name"))
        }
        ProbeSpec::Dns { name, record, .. } => {
            let why = dns::query(0, name, *record).err()?;
            Some(format!("name {name:?}: {why}"))
        }
        ProbeSpec::Text { udp, tls, send, expect, .. } => {
            if *udp && tls.is_some() {
                return Some("there is no TLS over UDP".to_owned());
            }
            if *udp && send.len() > DATAGRAM_MOST {
                return Some(format!("a datagram has no room for {} octets", send.len()));
            }
            tls.as_ref().and_then(of_tls).or_else(|| expect.as_deref().and_then(of_pattern))
        }
        ProbeSpec::Misc { words, .. } => words.is_empty().then(|| "there is no command".to_owned()),
        // Its outcome comes from the session.
        ProbeSpec::Bfd { .. } => None,
    }
}

fn of_peer(peer: &ProbePeer) -> Option<String> {
    let ProbePeer { to, from, interface, .. } = peer;
    if let Some(from) = from
        && from.is_ipv4() != to.is_ipv4()
    {
        return Some(format!("bindto {from} and {} are not of one family", to.ip()));
    }
    let interface = interface.as_deref()?;
    let wrong = interface.is_empty() || interface.len() >= IFNAMSIZ || interface.contains(['\0', '/']);
    wrong.then(|| format!("bind_if {interface:?} is no name of an interface"))
}

fn of_tls(tls: &TlsSettings) -> Option<String> {
    let name = tls.server_name.as_deref()?;
    ServerName::try_from(name).is_err().then(|| format!("{name:?} is no server name"))
}

fn of_pattern(pattern: &str) -> Option<String> {
    AnswerPattern::new(pattern).err().map(|fault| fault.to_string())
}

/// Most octets of a UDP datagram over IPv4.
const DATAGRAM_MOST: usize = 65_507;
