//! `vipd events`.

use std::{io, path::Path, thread, time::Duration};

use clap::Args;

use super::{
    Exit, ask, not_answered, shown,
    when::{Since, When},
};
use crate::{
    control::{
        self, ClientError, Request, Response,
        events::{EventFilter, NAMES, render},
        status::{StatusView, find::nearest},
    },
    daemon::{clock, journal},
};

/// Which events.
#[derive(Debug, Args)]
pub struct EventChoice {
    /// Keep printing new events, over restarts of vipd too
    #[arg(short, long)]
    follow: bool,
    /// Print each event as one JSON object on a line
    #[arg(long)]
    json: bool,
    /// Only events of this time or later: 10m, 1h30m, 2d, today, yesterday, 2026-11-29, 2026-11-29T10:00 (UTC); or only events
    /// after this number
    #[arg(long, value_name = "TIME|SEQ")]
    since: Option<Since>,
    /// Only events before this time
    #[arg(long, value_name = "TIME", conflicts_with = "follow")]
    until: Option<When>,
    /// Only events of this name, such as state_changed
    #[arg(long, value_name = "NAME", value_parser = name)]
    event: Option<String>,
    /// Only events of this instance
    instance: Option<String>,
}

/// While followed events have stopped, how often vipd is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// The name of an event.
fn name(text: &str) -> Result<String, String> {
    if NAMES.contains(&text) {
        return Ok(text.to_owned());
    }
    let hint = nearest(text, NAMES.iter().copied()).map(|name| format!("; did you mean {name}?"));
    Err(format!("no event is called that{}", hint.unwrap_or_default()))
}

/// Prints the events that were chosen.
pub fn events(socket: &Path, choice: EventChoice) -> Exit {
    let EventChoice { follow, json, since, until, event, instance } = choice;
    if let Some(Err(exit)) = instance.as_deref().map(|name| is_known(socket, name)) {
        return exit;
    }
    let now = clock::unix_ms();
    let (since, since_unix_ms) = match since {
        Some(Since::Number(number)) => (Some(number), None),
        Some(Since::Time(when)) => (None, Some(when.unix_ms(now))),
        None => (None, None),
    };
    let until_unix_ms = until.map(|until| until.unix_ms(now));
    let wanted = EventFilter { since, instance, event, since_unix_ms, until_unix_ms };
    if follow {
        return follow_on(socket, wanted, json);
    }
    ask(socket, &Request::Events { wanted, follow: false }, |response| match response {
        Response::Events(batch) => Ok(render(&mut io::stdout().lock(), &batch, json)?),
        _ => Ok(()),
    })
}

/// Whether there is an instance of that name, or was one since the events that are kept began.
fn is_known(socket: &Path, name: &str) -> Result<(), Exit> {
    let ask = |request: &Request| control::request(socket, request).map_err(not_answered);
    let Response::Status(status) = ask(&Request::Status)? else { return Ok(()) };
    let view = StatusView { instances: vec![name.to_owned()], long: false, width: None };
    let Err(unknown) = view.select(*status) else { return Ok(()) };
    let wanted = EventFilter { instance: Some(name.to_owned()), ..EventFilter::default() };
    match ask(&Request::Events { wanted, follow: false })? {
        Response::Events(batch) if batch.events.is_empty() => Err(super::unknown(&unknown.into())),
        _ => Ok(()),
    }
}

/// Follows the events until this program is ended. When vipd goes it says so, and goes on when vipd is back.
fn follow_on(socket: &Path, mut wanted: EventFilter, json: bool) -> Exit {
    // The time and the number of the last event that was printed.
    let mut last: Option<(u64, u64)> = None;
    // vipd has answered, and is gone since.
    let (mut has_answered, mut is_gone) = (false, false);
    loop {
        let request = Request::Events { wanted: wanted.clone(), follow: true };
        let followed = control::follow(socket, &request, |response| {
            let Response::Events(mut batch) = response else { return Ok(()) };
            has_answered = true;
            if std::mem::take(&mut is_gone) {
                journal::complain("vipd: vipd is back");
            }
            batch.events.retain(|record| last.is_none_or(|last| (record.time_unix_ms, record.seq) > last));
            if let Some(record) = batch.events.last() {
                last = Some((record.time_unix_ms, record.seq));
            }
            render(&mut io::stdout().lock(), &batch, json)
        });
        match followed {
            Ok(Err(error)) => return shown(Err(error.into())),
            Err(error @ ClientError::Refused(_)) => return not_answered(error),
            Err(error) if !has_answered => return not_answered(error),
            _ => {}
        }
        if !is_gone {
            is_gone = true;
            journal::complain("vipd: vipd has gone; its events go on when it is back");
        }
        if let Some((time, _)) = last {
            // It may count from the beginning again, so that its numbers say nothing.
            wanted = EventFilter { since: None, since_unix_ms: Some(time), ..wanted };
        }
        thread::sleep(LOOK_EVERY);
    }
}
