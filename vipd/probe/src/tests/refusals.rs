//! What is refused when the configuration is read.

use vipd_balance::{HttpProtocol, HttpUrl, TlsSettings};

use super::*;
use crate::refusal;

#[test]
fn what_can_never_be_run_is_refused() {
    let to = SocketAddr::from(([127, 0, 0, 1], 80));
    let peer = || ProbePeer::new(to);
    let http = |url: HttpUrl| ProbeSpec::Http {
        peer: peer(),
        tls: None,
        protocol: HttpProtocol::V1_1,
        head: false,
        urls: vec![url],
    };
    let text = |udp, tls: Option<TlsSettings>, expect: &str| ProbeSpec::Text {
        peer: peer(),
        udp,
        tls,
        send: vec![],
        expect: Some(expect.to_owned()),
    };
    let dns = |name: &str| ProbeSpec::Dns { peer: peer(), name: name.to_owned(), record: 6, expect: None };
    let smtp = |helo: &str| ProbeSpec::Smtp { peer: peer(), helo: helo.to_owned() };
    let named =
        |name: &str| Some(TlsSettings { server_name: Some(name.to_owned()), ..TlsSettings::default() });
    let misc = |words: &[&str]| ProbeSpec::Misc {
        words: words.iter().map(|word| (*word).to_owned()).collect(),
        account: None,
        timeout: Duration::from_secs(1),
    };
    for (spec, expect) in [
        (ProbeSpec::tcp(to), None),
        (http(HttpUrl::new("/a?b=%20")), None),
        (http(HttpUrl::new("a")), Some("path \"a\" does not start with /")),
        (http(HttpUrl::new("/a b")), Some("path \"/a b\" with virtualhost None: invalid uri character")),
        (
            http(HttpUrl { host: Some("a\r\nb".to_owned()), ..HttpUrl::new("/") }),
            Some("path \"/\" with virtualhost Some(\"a\\r\\nb\"): failed to parse header value"),
        ),
        (
            http(HttpUrl { regex: Some("(".to_owned()), ..HttpUrl::new("/") }),
            Some("regex \"(\": unclosed group, at character 1"),
        ),
        (dns("."), None),
        (dns("a..b"), Some("name \"a..b\": a label is empty")),
        (smtp("lb.example"), None),
        (smtp("a\r\nDATA"), Some("helo_name \"a\\r\\nDATA\" is no name")),
        (text(false, named("www.example"), "a"), None),
        (text(false, named("-"), "a"), Some("\"-\" is no server name")),
        (text(true, named("a"), "a"), Some("there is no TLS over UDP")),
        (text(true, None, "["), Some("regex \"[\": unclosed character class, at character 1")),
        (misc(&["a"]), None),
        (misc(&[]), Some("there is no command")),
        (ProbeSpec::Bfd { session: "a".to_owned() }, None),
        (
            ProbeSpec::Udp { peer: peer(), payload: vec![], reply: None, reply_octets: (2, 1) },
            Some("min_reply_length 2 is above max_reply_length 1"),
        ),
        (
            ProbeSpec::Tcp { peer: ProbePeer { from: Some("::1".parse().unwrap()), ..peer() } },
            Some("bindto ::1 and 127.0.0.1 are not of one family"),
        ),
        (
            ProbeSpec::Tcp { peer: ProbePeer { interface: Some("a/b".to_owned()), ..peer() } },
            Some("bind_if \"a/b\" is no name of an interface"),
        ),
    ] {
        assert_eq!(refusal(&spec).as_deref(), expect, "{spec:?}");
    }
}

#[tokio::test]
async fn what_is_refused_is_not_sent() {
    let (to, mut peer) = (serve(|_| async {}).await, None);
    let url = HttpUrl { regex: Some("(?=a)".to_owned()), ..HttpUrl::new("/") };
    let peer = peer.get_or_insert(impatient(to)).clone();
    let spec =
        ProbeSpec::Http { peer, tls: None, protocol: HttpProtocol::V1_0, head: false, urls: vec![url] };
    let got = outcome(&spec).await;
    assert!(got.starts_with("not sent: regex \"(?=a)\": look-around"), "{got}");
}
