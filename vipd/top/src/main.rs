//! `vipd top`: the status, again and again, in a terminal.
//!
//! [`state`] has the last statuses and the user's choices (with [`filter`]), without a terminal or a clock; [`draw`] shows them, with
//! [`services`] and [`neighbors`] for the other views, and [`help`] explains them. This file has the terminal, keys, signals, and the requests to the daemon. Each request has a thread of its own,
//! so that a daemon that hangs delays no key.

mod columns;
mod draw;
mod filter;
mod help;
mod neighbors;
mod services;
mod state;
#[cfg(test)]
mod tests;

use std::{
    io::{self, IsTerminal},
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use clap::Parser;
use crossterm::event::{Event, EventStream};
use futures_util::StreamExt;
use ratatui::DefaultTerminal;
use tokio::{
    runtime,
    signal::unix::{SignalKind, signal},
    task::{JoinHandle, spawn_blocking},
    time::MissedTickBehavior,
};

use state::{KeyEffect, Top};
use vipd_control::{ClientError, Request, Response, request, status::interval};

/// Shows the status of a vipd again and again. `vipd top` runs this program; it is apart so that the daemon, which locks its memory,
/// contains no terminal view
#[derive(Debug, Parser)]
#[command(name = "vipd-top", version)]
struct TopArguments {
    /// Control socket of the vipd
    #[arg(long, value_name = "PATH")]
    socket: PathBuf,
    /// Time between two looks
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = interval)]
    interval: Duration,
}

fn main() -> ExitCode {
    let TopArguments { socket, interval } = TopArguments::parse();
    match run(&socket, interval) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("vipd: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Shows the status of the vipd behind `socket` until it is told to end.
///
/// # Errors
///
/// Standard output is no terminal, or one that cannot be used. A vipd that does not run is no error: `top` waits for one.
fn run(socket: &Path, interval: Duration) -> Result<()> {
    if !io::stdout().is_terminal() {
        bail!("vipd top needs a terminal; vipd status prints the same once, and with --json for programs");
    }
    let runtime = runtime::Builder::new_current_thread().enable_all().build().context("start the runtime")?;
    // A panic restores the terminal too.
    let terminal = ratatui::try_init();
    let result = match terminal {
        Ok(terminal) => runtime.block_on(watch(terminal, socket, interval)),
        Err(error) => Err(error).context("set the terminal up"),
    };
    ratatui::restore();
    // A question that is not answered is not waited for.
    runtime.shutdown_background();
    result
}

async fn watch(mut terminal: DefaultTerminal, socket: &Path, interval: Duration) -> Result<()> {
    let catch = |kind| signal(kind).context("catch signals");
    let mut terminate = catch(SignalKind::terminate())?;
    let mut interrupt = catch(SignalKind::interrupt())?;
    let mut hangup = catch(SignalKind::hangup())?;
    let mut events = EventStream::new();
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut question = None;
    let mut top = Top::default();
    loop {
        terminal.draw(|frame| draw::draw(frame, &top)).context("draw")?;
        tokio::select! {
            _ = terminate.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
            _ = hangup.recv() => return Ok(()),
            _ = ticks.tick() => match question {
                Some(_) => top.is_kept_waiting(),
                None => question = Some(ask(socket)),
            },
            answer = answered(&mut question) => {
                question = None;
                match answer? {
                    Ok(Response::Status(status)) => top.take(*status),
                    Ok(_) => top.is_in_trouble("vipd has answered another question".into()),
                    Err(error) => top.is_in_trouble(format!("{:#}", anyhow::Error::new(error))),
                }
            }
            event = events.next() => match event {
                Some(Ok(Event::Key(key))) if top.press(key) == KeyEffect::End => return Ok(()),
                // A terminal of another size is drawn anew.
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(error).context("read keys"),
                None => return Ok(()),
            },
        }
    }
}

type Question = JoinHandle<Result<Response, ClientError>>;

fn ask(socket: &Path) -> Question {
    let socket = socket.to_owned();
    spawn_blocking(move || request(&socket, &Request::Status))
}

async fn answered(question: &mut Option<Question>) -> Result<Result<Response, ClientError>> {
    match question {
        Some(question) => question.await.context("the thread that asks has ended"),
        None => std::future::pending().await,
    }
}
