//! The checkers, a file for each.

mod dns;
mod http;
mod misc;
mod ping;
mod smtp;
mod tcp;
mod text;
mod udp;

use std::{borrow::Cow, time::Duration};

use tokio::time::timeout;
use vipd_balance::{ProbeOutcome, ProbePeer, ProbeSpec};

use crate::{
    context::ProbeContext,
    fault::{ProbeFault, seconds},
};

pub(crate) use self::http::refusal as http_refusal;

/// What a probe says of itself: `HTTP 200, 512 octets`.
type Words = Cow<'static, str>;

/// Runs a probe once, for no longer than its [`run_limit`].
pub(crate) async fn run(spec: &ProbeSpec, context: &ProbeContext) -> (ProbeOutcome, Words) {
    if let ProbeSpec::Misc { words, account, timeout } = spec {
        return Box::pin(misc::run(words, account.as_ref(), *timeout, context)).await;
    }
    let limit = run_limit(spec);
    // UDP_CHECK has a single wait, and limits it by itself.
    let slack = if matches!(spec, ProbeSpec::Udp { .. }) { Duration::from_secs(1) } else { Duration::ZERO };
    let result = match timeout(limit + slack, check(spec, context)).await {
        Ok(result) => result,
        Err(_) => Err(ProbeFault::failed(format!("the whole probe took longer than {}", seconds(limit)))),
    };
    match result {
        Ok(words) => (ProbeOutcome::Passed, words),
        Err(fault) => (
            fault.clone().into(),
            match fault {
                ProbeFault::Failed(why) | ProbeFault::NotSent(why) => why.into(),
            },
        ),
    }
}

async fn check(spec: &ProbeSpec, context: &ProbeContext) -> Result<Words, ProbeFault> {
    let _socket = context.limits.socket()?;
    // TCP_CHECK alone is a part of this future. The others are up to ten times as large, and a run of TCP_CHECK is not to carry their room.
    match spec {
        ProbeSpec::Tcp { peer } => tcp::check(peer).await,
        ProbeSpec::Http { peer, tls, protocol, head, urls } => {
            Box::pin(http::check(peer, tls.as_ref(), *protocol, *head, urls, context)).await
        }
        ProbeSpec::Smtp { peer, helo } => Box::pin(smtp::check(peer, helo)).await,
        ProbeSpec::Dns { peer, name, record, expect } => {
            Box::pin(dns::check(peer, name, *record, expect.as_deref())).await
        }
        ProbeSpec::Udp { peer, payload, reply, reply_octets } => {
            Box::pin(udp::check(peer, payload, reply.as_deref(), *reply_octets)).await
        }
        ProbeSpec::Ping { peer } => Box::pin(ping::check(peer)).await,
        ProbeSpec::Text { peer, udp, tls, send, expect } => {
            Box::pin(text::check(peer, *udp, tls.as_ref(), send, expect.as_deref(), context)).await
        }
        ProbeSpec::Misc { .. } | ProbeSpec::File { .. } | ProbeSpec::Bfd { .. } => {
            Err(ProbeFault::not_sent(format!("{} is not sent", spec.keyword())))
        }
    }
}

/// The limit of a whole run: `total_timeout`. Without it ten times the `connect_timeout`, at least 60 s, and that for each URL: a server
/// that sends an octet now and then keeps each read short, and would keep a run going for ever.
pub fn run_limit(spec: &ProbeSpec) -> Duration {
    let of = |peer: &ProbePeer, parts: usize| {
        let part = peer.connect_timeout.saturating_mul(10).max(LEAST_LIMIT);
        peer.total_timeout.unwrap_or_else(|| part.saturating_mul(u32::try_from(parts).unwrap_or(u32::MAX)))
    };
    match spec {
        ProbeSpec::Http { peer, urls, .. } => of(peer, urls.len().max(1)),
        ProbeSpec::Misc { timeout, .. } => *timeout,
        _ => spec.peer().map_or(LEAST_LIMIT, |peer| of(peer, 1)),
    }
}

const LEAST_LIMIT: Duration = Duration::from_secs(60);
