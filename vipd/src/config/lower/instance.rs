//! One `vrrp_instance`: its statements first, then what they mean together.

use std::{collections::HashMap, net::IpAddr, time::Duration};

use vipd_common::{Family, Priority, Version, Vrid, types::ChecksumForm};

use crate::config::{
    diagnostic::{Sink, Span},
    keywords::{AuthKey, Block, InstanceKey, Key},
    model::{Auth, Instance, LeasePolicy, Vip, WantedState},
    parser::Node,
    values,
};

use super::{
    DEFAULT_GROUP, File,
    addresses::{self, Address},
    statement::{Shared, Statement, classify, warn_repeat},
};

/// The instance, if enough of it is right. What is wrong is reported.
pub fn lower(node: &Node, file: &mut File<'_, '_>) -> Option<Instance> {
    let name = name(node, file);
    let place = match &name {
        Some(name) => format!("vrrp_instance {name}"),
        None => "vrrp_instance".to_owned(),
    };
    let mut draft = Draft::default();
    for node in node.body.iter().flat_map(|body| &body.nodes) {
        match classify(file.sink, Block::Instance, &place, node) {
            Some(Key::Instance(key)) => draft.read(key, node, file),
            Some(Key::Root(_) | Key::Global(_) | Key::Auth(_)) | None => {}
        }
    }
    draft.finish(name, &place, node.keyword.span, file)
}

fn name(node: &Node, file: &mut File<'_, '_>) -> Option<String> {
    let mut statement = Statement::new(file.sink, Block::Root, node);
    let name = statement.text("a name");
    statement.finish();
    let (name, token) = (name?, node.args.first()?);
    match file.names.get(&name) {
        Some(first) => {
            let message = format!("a vrrp_instance `{name}` stands in line {first} already");
            file.sink.error(token.span, message);
        }
        None => {
            file.names.insert(name.clone(), token.span.line);
        }
    }
    Some(name)
}

/// What the statements of a block say, each valid by itself.
#[derive(Default)]
struct Draft {
    wanted: Option<WantedState>,
    interface: Option<String>,
    vrid: Option<Vrid>,
    vrid_span: Option<Span>,
    priority: Option<Priority>,
    advert_interval: Option<(Duration, Span)>,
    version: Option<Version>,
    auth: Option<(Auth, Span)>,
    vips: Vec<Address>,
    excluded: Vec<Address>,
    /// Where `nopreempt` stands, unless `preempt` came after it.
    nopreempt: Option<Span>,
    preempt_delay: Option<(Duration, Span)>,
    source: Option<IpAddr>,
    shared: Shared,
    /// Keywords seen, valid or not, with their lines.
    seen: HashMap<Key, u32>,
}

impl Draft {
    fn read(&mut self, key: InstanceKey, node: &Node, file: &mut File<'_, '_>) {
        // Address lists add up.
        if !matches!(key, InstanceKey::VirtualIpaddress | InstanceKey::VirtualIpaddressExcluded) {
            warn_repeat(file.sink, &mut self.seen, Key::Instance(key), node);
        }
        self.seen.insert(Key::Instance(key), node.keyword.span.line);
        let span = node.keyword.span;
        let mut statement = Statement::new(file.sink, Block::Instance, node);
        match key {
            InstanceKey::State => {
                let wanted = statement.value("MASTER or BACKUP", |word| match word {
                    "MASTER" => Ok(WantedState::Master),
                    "BACKUP" => Ok(WantedState::Backup),
                    _ => Err("is neither MASTER nor BACKUP".to_owned()),
                });
                self.wanted = wanted.or(self.wanted);
            }
            InstanceKey::Interface => {
                let interface = statement.value("an interface name", values::interface);
                self.interface = interface.or(self.interface.take());
            }
            InstanceKey::VirtualRouterId => {
                let vrid = statement.value("1 to 255", |word| values::octet(word, 1));
                self.vrid_span = node.args.first().map(|token| token.span);
                self.vrid = vrid.and_then(Vrid::new).or(self.vrid);
            }
            InstanceKey::Priority => {
                let priority = statement.value("1 to 255", |word| values::octet(word, 1));
                self.priority = priority.map(Priority::new).or(self.priority);
            }
            InstanceKey::AdvertInt => {
                // What is in range depends on the version, which may follow.
                let interval = statement.value("seconds", |word| values::seconds(word, 255));
                let at = node.args.first().map_or(span, |token| token.span);
                self.advert_interval = interval.map(|interval| (interval, at)).or(self.advert_interval);
            }
            InstanceKey::Version => self.version = statement.version().or(self.version),
            InstanceKey::Authentication => {
                let auth = authentication(node, statement.sink);
                self.auth = auth.map(|auth| (auth, span)).or(self.auth);
            }
            InstanceKey::Nopreempt => self.nopreempt = Some(span),
            InstanceKey::Preempt => self.nopreempt = None,
            InstanceKey::PreemptDelay => {
                let delay = statement.value("seconds, 0 to 1000", |word| values::seconds(word, 1000));
                self.preempt_delay = delay.map(|delay| (delay, span)).or(self.preempt_delay);
            }
            InstanceKey::McastSrcIp => {
                let source = statement.value("an IPv4 address", values::unicast);
                self.source = source.map(IpAddr::V4).or(self.source);
            }
            InstanceKey::Accept => {
                if statement.flag() == Some(false) {
                    statement.sink.error(span, "`accept` switched off is not supported yet");
                }
            }
            InstanceKey::Shared(key) => self.shared.apply(key, &mut statement),
            InstanceKey::VirtualIpaddress | InstanceKey::VirtualIpaddressExcluded => {}
        }
        statement.finish();
        match key {
            InstanceKey::VirtualIpaddress => addresses::lower(node, &mut self.vips, file),
            InstanceKey::VirtualIpaddressExcluded => addresses::lower(node, &mut self.excluded, file),
            _ => {}
        }
    }

    fn finish(
        mut self,
        name: Option<String>,
        place: &str,
        span: Span,
        file: &mut File<'_, '_>,
    ) -> Option<Instance> {
        for (key, word) in
            [(InstanceKey::Interface, "interface"), (InstanceKey::VirtualRouterId, "virtual_router_id")]
        {
            if !self.seen.contains_key(&Key::Instance(key)) {
                file.sink.error(span, format!("{place} has no `{word}`"));
            }
        }
        self.check_addresses(place, span, file.sink);
        self.check_preemption(file.sink);
        let wanted = self.wanted.unwrap_or(WantedState::Backup);
        let priority = match (self.priority, wanted) {
            (Some(priority), _) => priority,
            // As keepalived; a priority that is there but wrong makes no owner.
            (None, WantedState::Master) => Priority::OWNER,
            (None, WantedState::Backup) => Priority::DEFAULT,
        };
        if priority.is_owner()
            && let Some(span) = self.nopreempt.take()
        {
            file.sink.warning(span, "`nopreempt` is dropped: priority 255 owns its addresses");
        }
        let version = self.version.or(file.globals.version).unwrap_or(Version::V2);
        let advert_interval = self.advert_interval(version, file.sink);
        let auth = self.auth(version, file.sink);
        // Every address is IPv4 so far.
        let family = Family::V4;
        let (interface, vrid) = (self.interface?, self.vrid?);
        let router = (interface.clone(), family, vrid);
        match file.routers.get(&router) {
            Some(first) => {
                let message = format!("virtual_router_id {vrid} on {interface} is taken in line {first}");
                file.sink.error(self.vrid_span.unwrap_or(span), message);
            }
            None => {
                file.routers.insert(router, self.vrid_span.unwrap_or(span).line);
            }
        }
        let globals = &file.globals;
        let (own, all) = (&self.shared, &globals.shared);
        let as_v2 = own.checksum_as_v2.or(all.checksum_as_v2).unwrap_or(false);
        let plain =
            |list: Vec<Address>| -> Vec<Vip> { list.into_iter().map(|address| address.vip).collect() };
        Some(Instance {
            name: name?,
            interface,
            vrid,
            version,
            family,
            priority,
            wanted,
            advert_interval,
            down_timer_adverts: own.down_timer_adverts.or(all.down_timer_adverts).unwrap_or(3),
            auth,
            preempt: self.nopreempt.is_none(),
            preempt_delay: self.preempt_delay.map_or(Duration::ZERO, |(delay, _)| delay),
            source: self.source,
            group: IpAddr::V4(globals.group.unwrap_or(DEFAULT_GROUP)),
            garp: globals.garp(own),
            checksum: match version {
                Version::V3 if !as_v2 => ChecksumForm::PseudoHeader,
                Version::V2 | Version::V3 => ChecksumForm::MessageOnly,
            },
            lower_prio_no_advert: own.lower_prio_no_advert.or(all.lower_prio_no_advert).unwrap_or(false),
            lease: own.lease.or(all.lease).unwrap_or(LeasePolicy::Overlap),
            vips: plain(self.vips),
            excluded: plain(self.excluded),
            line: span.line,
        })
    }

    fn check_addresses(&self, place: &str, span: Span, sink: &mut Sink<'_>) {
        if !self.seen.contains_key(&Key::Instance(InstanceKey::VirtualIpaddress)) {
            sink.error(span, format!("{place} has no `virtual_ipaddress`"));
        } else if self.vips.is_empty() {
            sink.error(span, format!("{place} has no usable address in `virtual_ipaddress`"));
        }
        // The count field of an advert is one octet (RFC 9568 5.2.5).
        if let Some(first) = self.vips.get(255) {
            let message = format!("{} addresses, an advert carries at most 255", self.vips.len());
            sink.error_hint(first.span, message, "move the rest to virtual_ipaddress_excluded");
        }
        let Some(own) = &self.interface else { return };
        for dev in self.vips.iter().chain(&self.excluded).filter_map(|address| address.dev.as_ref()) {
            if dev.text != *own {
                let quoted = sink.quote(dev);
                let message = format!("an address on {quoted}, not on `{own}`, is not supported yet");
                sink.error(dev.span, message);
            }
        }
    }

    fn check_preemption(&mut self, sink: &mut Sink<'_>) {
        if self.wanted == Some(WantedState::Master) {
            let why = "is dropped: it needs `state BACKUP`";
            if let Some(span) = self.nopreempt.take() {
                sink.warning(span, format!("`nopreempt` {why}"));
            }
            if let Some((_, span)) = self.preempt_delay.take() {
                sink.warning(span, format!("`preempt_delay` {why}"));
            }
        }
        if self.nopreempt.is_some()
            && let Some((_, span)) = self.preempt_delay.take()
        {
            sink.warning(span, "`preempt_delay` is dropped: `nopreempt` never preempts");
        }
    }

    fn advert_interval(&self, version: Version, sink: &mut Sink<'_>) -> Duration {
        let Some((interval, span)) = self.advert_interval else { return Duration::from_secs(1) };
        match version {
            Version::V2 if interval.subsec_nanos() != 0 => {
                let message = "`advert_int`: version 2 knows whole seconds only";
                sink.error_hint(span, message, "a fraction of a second needs `version 3`");
            }
            Version::V2 if interval.is_zero() => {
                sink.error(span, "`advert_int`: out of range, 1 to 255 with version 2");
            }
            Version::V3
                if !(Duration::from_millis(10)..=Duration::from_millis(40_950)).contains(&interval) =>
            {
                sink.error(span, "`advert_int`: out of range, 0.01 to 40.95 with version 3");
            }
            Version::V3 if interval.subsec_nanos() % 10_000_000 != 0 => {
                sink.error(span, "`advert_int`: no multiple of 0.01, the unit of version 3");
            }
            Version::V2 | Version::V3 => {}
        }
        interval
    }

    fn auth(&self, version: Version, sink: &mut Sink<'_>) -> Auth {
        match (version, self.auth) {
            (Version::V2, Some((auth, _))) => auth,
            (Version::V3, Some((_, span))) => {
                sink.warning(span, "`authentication` is dropped: version 3 has none");
                Auth::None
            }
            (_, None) => Auth::None,
        }
    }
}

fn authentication(node: &Node, sink: &mut Sink<'_>) -> Option<Auth> {
    let (mut kind, mut pass) = (false, None);
    let mut seen = HashMap::new();
    for node in node.body.iter().flat_map(|body| &body.nodes) {
        let Some(Key::Auth(key)) = classify(sink, Block::Authentication, "authentication", node) else {
            continue;
        };
        warn_repeat(sink, &mut seen, Key::Auth(key), node);
        let mut statement = Statement::new(sink, Block::Authentication, node);
        match key {
            AuthKey::Type => kind = auth_type(&mut statement),
            AuthKey::Pass => pass = auth_pass(&mut statement).or(pass),
        }
        statement.finish();
    }
    for (key, word) in [(AuthKey::Type, "auth_type PASS"), (AuthKey::Pass, "auth_pass")] {
        if !seen.contains_key(&Key::Auth(key)) {
            sink.error(node.keyword.span, format!("`authentication` has no `{word}`"));
        }
    }
    pass.filter(|_| kind)
}

/// True if it is PASS.
fn auth_type(statement: &mut Statement<'_, '_, '_>) -> bool {
    let Some(token) = statement.word("PASS") else { return false };
    match token.text.as_str() {
        "PASS" => return true,
        "AH" => {
            let advice = "leave authentication out: RFC 9568 has none, for it kept nobody out; or use PASS";
            statement.sink.error_hint(token.span, "`auth_type` AH is not supported", advice);
        }
        _ => statement.complain(token, "is not PASS"),
    }
    false
}

fn auth_pass(statement: &mut Statement<'_, '_, '_>) -> Option<Auth> {
    let token = statement.word("a password of up to 8 bytes")?;
    let bytes = token.text.as_bytes();
    if bytes.is_empty() {
        statement.sink.error(token.span, "`auth_pass` is empty");
        return None;
    }
    // RFC 2338 5.3.10: eight octets, padded with zeros.
    if bytes.len() > 8 {
        statement.sink.warning(token.span, "`auth_pass` is cut to its first 8 bytes");
    }
    let mut padded = [0; 8];
    for (to, from) in padded.iter_mut().zip(bytes) {
        *to = *from;
    }
    Some(Auth::Pass(padded))
}
