//! HTTP_GET and SSL_GET, and what TLS needs.

use vipd_balance::{HttpProtocol, HttpUrl, ProbeSpec, ProbeUse, TlsSettings};

use super::{
    context::BalanceContext,
    peer::CheckScope,
    placed::{PlacedBlock, PlacedStatement},
};
use crate::{
    schema::{keyword::Block, octets, value::Value},
    syntax::diagnostic::Code,
};

impl<'b> BalanceContext<'b> {
    /// `SSL`.
    pub fn tls(&mut self, block: PlacedStatement<'b>) {
        let inside = block.inside(Some(Block::Ssl));
        let path = |means: &str| inside.find(means).and_then(|placed| placed.text()).map(str::to_owned);
        if let Some(authorities) = path("ca") {
            self.tls.authorities = Some(authorities);
        }
        match (path("certificate"), path("key")) {
            (Some(certificate), Some(key)) => self.tls.client_certificate = Some((certificate, key)),
            (None, None) => {}
            (certificate, _) => {
                let (has, lacks) =
                    if certificate.is_some() { ("certificate", "key") } else { ("key", "certificate") };
                let message = format!("`SSL` has a `{has}` and no `{lacks}`");
                let hint = "a client certificate and its key go together";
                let at = inside.find(has).map_or(block.at(), |placed| placed.at());
                self.report.error_hint(Code::MissingKeyword, at, message, hint);
            }
        }
    }

    /// TLS of a check.
    pub fn tls_of(&self, check: &PlacedBlock<'b>, server_name: Option<String>) -> TlsSettings {
        let verify = match check.find("verify").and_then(|placed| placed.text()) {
            None | Some("off") => None,
            Some("on") => Some(self.tls.authorities.clone().unwrap_or_default()),
            Some(path) => Some(path.to_owned()),
        };
        TlsSettings { server_name, client_certificate: self.tls.client_certificate.clone(), verify }
    }

    /// One check for each server name among its URLs: a connection has one name.
    pub fn http(&mut self, scope: &CheckScope<'b, '_>, is_tls: bool) -> Vec<ProbeUse> {
        let Some(peer) = self.peer(scope, None, None) else { return Vec::new() };
        let sends_name = self.sends_name(scope, is_tls);
        let protocol = match scope.check.find("http_protocol").and_then(|placed| placed.choice()) {
            Some("1.1") => HttpProtocol::V1_1,
            Some("1.0C" | "1.0c") => HttpProtocol::V1_0Close,
            _ => HttpProtocol::V1_0,
        };
        let head = scope.check.find("http_method").and_then(|placed| placed.choice()) == Some("HEAD");
        let mut by_name: Vec<(Option<String>, Vec<HttpUrl>)> = Vec::new();
        for url in scope.check.all("url") {
            let inside = url.inside(Some(Block::Url));
            let Some(lowered) = self.url(scope, &inside) else { return Vec::new() };
            // As keepalived: the name of the real server is not among them.
            let name = [scope.check.find("sni_name"), inside.find("virtualhost")]
                .into_iter()
                .chain([scope.check.find("virtualhost"), scope.service.find("virtualhost")])
                .flatten()
                .find_map(|placed| placed.text());
            let name = name.filter(|_| sends_name).map(str::to_owned);
            match by_name.iter_mut().find(|(known, _)| *known == name) {
                Some((_, urls)) => urls.push(lowered),
                None => by_name.push((name, vec![lowered])),
            }
        }
        let mut uses = Vec::new();
        for (name, urls) in by_name {
            let tls = is_tls.then(|| self.tls_of(&scope.check, name));
            let probe = ProbeSpec::Http { peer: peer.clone(), tls, protocol, head, urls };
            uses.push(scope.uses(probe, false));
        }
        uses
    }

    /// Whether the server's name is sent; says what is for SSL_GET alone.
    fn sends_name(&mut self, scope: &CheckScope<'b, '_>, is_tls: bool) -> bool {
        let enabled = scope.check.given("enable_sni");
        for means in ["enable_sni", "sni_name", "verify"] {
            if let Some(placed) = scope.check.given(means).filter(|_| !is_tls) {
                self.ignored(placed, "HTTP_GET is without TLS", "write SSL_GET, or remove it");
            }
        }
        if let Some(name) = scope.check.given("sni_name").filter(|_| enabled.is_none() && is_tls) {
            self.ignored(name, "it needs `enable_sni`", "write `enable_sni` too, or remove it");
        }
        is_tls && enabled.is_some()
    }

    fn url(&mut self, scope: &CheckScope<'b, '_>, inside: &PlacedBlock<'b>) -> Option<HttpUrl> {
        // Of one that is missing or cannot be read it is said already.
        let mut url = HttpUrl::new(inside.find("path")?.text()?);
        let host = inside.find("virtualhost").or_else(|| scope.nearest("virtualhost"));
        url.host = host.and_then(|placed| placed.text()).map(str::to_owned);
        if let Some(codes) = inside.find("status_code") {
            let code = |text: &str| text.parse::<u16>().ok();
            let range = |value: &Value| {
                let Value::Text(text) = value else { return None };
                let (first, last) = text.split_once('-').unwrap_or((text, text));
                Some((code(first)?, code(last)?))
            };
            let ranges: Vec<_> = codes.statement.values.iter().filter_map(range).collect();
            url.status = if ranges.is_empty() { url.status } else { ranges };
        }
        if let Some(digest) = inside.find("digest") {
            let octets = digest.text().and_then(octets::hexadecimal)?;
            url.digest = Some(<[u8; 16]>::try_from(octets.as_slice()).ok()?);
        }
        let options = inside.find("regex_options");
        match inside.find("regex") {
            Some(regex) => {
                let before = options.map_or(Some(String::new()), |options| self.regex_options(options))?;
                url.regex = Some(before + regex.text()?);
                url.regex_no_match = inside.find("regex_no_match").is_some();
                let number = |means: &str| inside.find(means).and_then(|placed| placed.number());
                url.regex_offsets = (number("regex_min_offset").unwrap_or(0), number("regex_max_offset"));
                if let (min, Some(max)) = url.regex_offsets
                    && max < min
                    && let Some(placed) = inside.find("regex_max_offset")
                {
                    let message = format!("regex_max_offset {max} is below regex_min_offset {min}");
                    self.report.error_hint(
                        Code::Conflict,
                        placed.value_at(0),
                        message,
                        "no match can start there",
                    );
                    return None;
                }
            }
            None => {
                let others = ["regex_options", "regex_no_match", "regex_min_offset", "regex_max_offset"];
                for other in others.into_iter().filter_map(|means| inside.find(means)) {
                    self.ignored(other, "there is no `regex`", "write `regex`, or remove it");
                }
            }
        }
        Some(url)
    }

    /// What stands before an expression, as PCRE2 has it.
    fn regex_options(&mut self, options: PlacedStatement<'b>) -> Option<String> {
        let (mut verbs, mut flags) = (String::new(), String::new());
        for (i, value) in options.statement.values.iter().enumerate() {
            let Value::Word(option) = value else { continue };
            match *option {
                "caseless" => flags.push('i'),
                "dotall" => flags.push('s'),
                "multiline" => flags.push('m'),
                "extended" => flags.push('x'),
                "dupnames" => flags.push('J'),
                "no_auto_capture" => flags.push('n'),
                "ungreedy" => flags.push('U'),
                "utf" => verbs += "(*UTF)",
                "ucp" => verbs += "(*UCP)",
                // These change no match.
                "auto_callout" | "never_ucp" | "never_utf" | "never_backslash_c" | "no_auto_possess"
                | "no_dotstar_anchor" | "no_start_optimize" | "use_offset_limit" => {}
                option => {
                    let message = format!("`{option}` is not supported");
                    let hint = "say it in the expression itself, as in `(?i)` or `\\z`";
                    self.report.error_hint(Code::NotSupported, options.value_at(i), message, hint);
                    return None;
                }
            }
        }
        Some(if flags.is_empty() { verbs } else { format!("{verbs}(?{flags})") })
    }
}
