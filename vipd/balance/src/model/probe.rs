//! Probes. Content, peer and expectation identify a probe: equal probes are sent once for all their users.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

/// Identity of a probe while it is wanted. None is given twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProbeId(pub(crate) u64);

impl fmt::Display for ProbeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "probe {}", self.0)
    }
}

/// Where a probe goes, and from where.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ProbePeer {
    /// `connect_ip`, `connect_port`; the target's unless given. The port of a ping is 0.
    pub to: SocketAddr,
    /// `bindto`.
    pub from: Option<IpAddr>,
    /// `bind_port`, 1 to 65,535.
    pub from_port: Option<u16>,
    /// `bind_if`: needed with link-local addresses.
    pub interface: Option<String>,
    /// `fwmark` of the probe's packets; 0: none.
    pub mark: u32,
    /// `connect_timeout`, 1 us to 4,294 s; 5 s unless given. For each read, as keepalived has it.
    pub connect_timeout: Duration,
    /// vipd's `total_timeout`: for the whole run.
    pub total_timeout: Option<Duration>,
}

impl ProbePeer {
    /// A peer with keepalived's defaults.
    pub const fn new(to: SocketAddr) -> Self {
        Self {
            to,
            from: None,
            from_port: None,
            interface: None,
            mark: 0,
            connect_timeout: Duration::from_secs(5),
            total_timeout: None,
        }
    }
}

/// `http_protocol`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum HttpProtocol {
    /// `1.0`.
    #[default]
    V1_0,
    /// `1.0C`: with `Connection: close`.
    V1_0Close,
    /// `1.1`.
    V1_1,
}

/// TLS of SSL_GET and TEXT_CHECK.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct TlsSettings {
    /// Server name indication, `enable_sni` and `sni_name`.
    pub server_name: Option<String>,
    /// `certificate` and `key` of the `SSL` block, by their paths.
    pub client_certificate: Option<(String, String)>,
    /// vipd's `verify`: the file of certification authorities, empty for the system's; `None`: no verification, as keepalived.
    pub verify: Option<String>,
}

/// One `url` of HTTP_GET.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HttpUrl {
    /// `path`.
    pub path: String,
    /// `virtualhost`, the nearest one; `None`: address and port.
    pub host: Option<String>,
    /// `status_code`: ranges of 100 to 599, both ends included; 200 to 299 unless given.
    pub status: Vec<(u16, u16)>,
    /// `digest`: MD5 of the body.
    pub digest: Option<[u8; 16]>,
    /// `regex`, with the options that change its meaning written in front as PCRE2 has it.
    pub regex: Option<String>,
    /// `regex_no_match`: the body must not match.
    pub regex_no_match: bool,
    /// `regex_min_offset`, `regex_max_offset`: where in the body a match may start, in octets.
    pub regex_offsets: (u32, Option<u32>),
}

impl HttpUrl {
    /// A URL of which any 2xx answer will do.
    pub fn new(path: &str) -> Self {
        Self {
            path: path.to_owned(),
            host: None,
            status: vec![(200, 299)],
            digest: None,
            regex: None,
            regex_no_match: false,
            regex_offsets: (0, None),
        }
    }
}

/// A probe: its content, its peer and its expectation. Its users have intervals and retries.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ProbeSpec {
    /// TCP_CHECK: a handshake.
    Tcp {
        /// Where to.
        peer: ProbePeer,
    },
    /// HTTP_GET and SSL_GET. A run gets all URLs, one after the other, and fails with the first that fails. keepalived gets one URL
    /// in each period.
    Http {
        /// Where to.
        peer: ProbePeer,
        /// SSL_GET.
        tls: Option<TlsSettings>,
        /// `http_protocol`.
        protocol: HttpProtocol,
        /// HEAD in place of GET: ldirectord's `httpmethod`.
        head: bool,
        /// At least one.
        urls: Vec<HttpUrl>,
    },
    /// SMTP_CHECK: banner, HELO, QUIT.
    Smtp {
        /// Where to.
        peer: ProbePeer,
        /// `helo_name`.
        helo: String,
    },
    /// DNS_CHECK: one query.
    Dns {
        /// Where to.
        peer: ProbePeer,
        /// `name`; `.` unless given.
        name: String,
        /// `type`, by its number; 6 (SOA) unless given.
        record: u16,
        /// vipd's `expect`: text that one of the records has; `None`: any answer without error.
        expect: Option<String>,
    },
    /// UDP_CHECK.
    Udp {
        /// Where to.
        peer: ProbePeer,
        /// `payload`; empty: random octets.
        payload: Vec<u8>,
        /// `require_reply`, as pairs of octet and mask; `None`: silence is success.
        reply: Option<Vec<(u8, u8)>>,
        /// `min_reply_length`, `max_reply_length`, in octets.
        reply_octets: (u16, u16),
    },
    /// PING_CHECK: one ICMP echo.
    Ping {
        /// Where to; the port is 0.
        peer: ProbePeer,
    },
    /// vipd's TEXT_CHECK: connect, send, match what comes.
    Text {
        /// Where to.
        peer: ProbePeer,
        /// Over UDP.
        udp: bool,
        /// Over TLS.
        tls: Option<TlsSettings>,
        /// The octets to send.
        send: Vec<u8>,
        /// The regular expression that the answer must match; `None`: any answer.
        expect: Option<String>,
    },
    /// MISC_CHECK: a command; exit code 0 is success.
    Misc {
        /// `misc_path` and its arguments.
        words: Vec<String>,
        /// User and group; `None`: as `script_user` says.
        account: Option<(String, Option<String>)>,
        /// `misc_timeout`; the `delay_loop` of the virtual server unless given.
        timeout: Duration,
    },
    /// FILE_CHECK: the number in a file. Its outcome comes when it changes.
    File {
        /// Path of the `track_file`.
        path: String,
    },
    /// BFD_CHECK: a session. Its outcome comes when it changes.
    Bfd {
        /// Name of the `bfd_instance`.
        session: String,
    },
}

impl ProbeSpec {
    /// TCP_CHECK of `to`.
    pub const fn tcp(to: SocketAddr) -> Self {
        Self::Tcp { peer: ProbePeer::new(to) }
    }

    /// keepalived's keyword.
    pub const fn keyword(&self) -> &'static str {
        match self {
            Self::Tcp { .. } => "TCP_CHECK",
            Self::Http { tls: None, .. } => "HTTP_GET",
            Self::Http { tls: Some(_), .. } => "SSL_GET",
            Self::Smtp { .. } => "SMTP_CHECK",
            Self::Dns { .. } => "DNS_CHECK",
            Self::Udp { .. } => "UDP_CHECK",
            Self::Ping { .. } => "PING_CHECK",
            Self::Text { .. } => "TEXT_CHECK",
            Self::Misc { .. } => "MISC_CHECK",
            Self::File { .. } => "FILE_CHECK",
            Self::Bfd { .. } => "BFD_CHECK",
        }
    }

    /// Where it goes; `None` for commands, files and sessions.
    pub const fn peer(&self) -> Option<&ProbePeer> {
        match self {
            Self::Tcp { peer }
            | Self::Http { peer, .. }
            | Self::Smtp { peer, .. }
            | Self::Dns { peer, .. }
            | Self::Udp { peer, .. }
            | Self::Ping { peer }
            | Self::Text { peer, .. } => Some(peer),
            Self::Misc { .. } | Self::File { .. } | Self::Bfd { .. } => None,
        }
    }

    /// Whether it is sent by a schedule; the others report by themselves.
    pub const fn is_scheduled(&self) -> bool {
        !matches!(self, Self::File { .. } | Self::Bfd { .. })
    }

    /// Whether its period is counted from the start of a run, as that of MISC_CHECK, and not from its end.
    pub const fn counts_from_start(&self) -> bool {
        matches!(self, Self::Misc { .. })
    }
}

impl fmt::Display for ProbeSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.keyword())?;
        match self {
            Self::Misc { words, .. } => write!(f, " {}", words.join(" ")),
            Self::File { path } => write!(f, " {path}"),
            Self::Bfd { session } => write!(f, " {session}"),
            Self::Ping { peer } => write!(f, " {}", peer.to.ip()),
            Self::Http { peer, urls, .. } => {
                write!(f, " {}{}", peer.to, urls.first().map_or("", |url| url.path.as_str()))
            }
            Self::Tcp { peer }
            | Self::Smtp { peer, .. }
            | Self::Dns { peer, .. }
            | Self::Udp { peer, .. }
            | Self::Text { peer, .. } => write!(f, " {}", peer.to),
        }
    }
}
