//! `vipd capture`: adverts, ARP and Neighbor Discovery with the verdict that the program gave, as lines, JSON or a pcapng file.

mod filter;
mod packet;
mod pcapng;
#[cfg(test)]
mod samples;

use std::{
    fs::File,
    io::{self, BufWriter, Write},
    net::IpAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context;
use serde::Serialize;
use vipd_common::abi::{Counters, InstanceCounters};

use self::{
    filter::CaptureFilter,
    packet::{Decoded, Packet, decode},
};
use super::{Exit, fail, not_answered, shown};
use crate::{
    control::{
        self, Request, Response,
        capture::{Batch, CapturedVerdict, Direction, ShownFrame, hex},
        model::Status,
        status::find,
    },
    events::time_us,
};

/// What is captured, and how it is shown.
#[derive(Debug, Default, clap::Args)]
pub struct CaptureOptions {
    /// Show only adverts of this instance and what is about its VIPs; or only what is from, to or about an address
    #[arg(value_name = "NAME|IP")]
    wanted: Option<String>,
    /// Write the frames to this file instead, as pcapng, for Wireshark and tshark; `-` is standard output
    #[arg(short, long, value_name = "FILE", conflicts_with = "json")]
    write: Option<PathBuf>,
    /// Print each frame as one JSON object on a line
    #[arg(long)]
    json: bool,
    /// End after this many frames
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// End after this time
    #[arg(short, long, value_name = "SECONDS", value_parser = seconds)]
    duration: Option<Duration>,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().filter(|seconds| *seconds > 0.0).map(Duration::try_from_secs_f64);
    seconds.and_then(Result::ok).ok_or_else(|| "a number of seconds above 0, such as 10 or 0.5".to_owned())
}

/// Captures until enough is captured or the reader has seen enough.
pub fn capture(socket: &Path, options: &CaptureOptions) -> Exit {
    let filter =
        match options.wanted.as_deref().map_or(Ok(CaptureFilter::All), |wanted| filter_of(socket, wanted)) {
            Ok(filter) => filter,
            Err(exit) => return exit,
        };
    let mut capture = match Capture::new(options, filter) {
        Ok(capture) => capture,
        Err(error) => return fail(&error),
    };
    let ended = control::follow(socket, &Request::Capture, |response| match response {
        Response::Captured(batch) => capture.take(&batch),
        _ => Ok(()),
    });
    match ended {
        Ok(Ok(())) => fail(&anyhow::anyhow!("vipd has ended, and the capture with it{}", capture.summary())),
        Ok(Err(_)) if capture.is_done => {
            super::journal::complain(&format!("vipd: the capture has ended{}", capture.summary()));
            Exit::Success
        }
        Ok(Err(error)) => shown(Err(error.into())),
        Err(error) => not_answered(error),
    }
}

/// An instance of that name; else an address, whether or not it is a VIP.
fn filter_of(socket: &Path, wanted: &str) -> Result<CaptureFilter, Exit> {
    let status: Box<Status> = match control::request(socket, &Request::Status).map_err(not_answered)? {
        Response::Status(status) => status,
        _ => return Err(fail(&anyhow::anyhow!("vipd has answered another question"))),
    };
    let named = status.instances.iter().find(|i| i.name == wanted);
    match (named, wanted.parse::<IpAddr>()) {
        (Some(instance), _) => Ok(CaptureFilter::of_instance(instance)),
        (None, Ok(address)) => Ok(CaptureFilter::Address(address)),
        (None, Err(_)) => match find::find(&status, wanted) {
            Err(unknown) => Err(super::unknown(&unknown.into())),
            Ok(_) => Ok(CaptureFilter::All),
        },
    }
}

/// Where the frames go.
enum CaptureOutput {
    Lines,
    Json,
    File(pcapng::PcapngWriter<BufWriter<Box<dyn Write>>>),
}

/// A capture under way.
struct Capture {
    filter: CaptureFilter,
    output: CaptureOutput,
    count: Option<u64>,
    duration: Option<Duration>,
    /// By the daemon's clock, since 1970.
    began_ns: Option<u64>,
    shown: u64,
    lost: u64,
    is_done: bool,
}

/// A frame as `--json` prints it.
#[derive(Serialize)]
struct Shown<'f> {
    time_unix_ns: u64,
    interface: &'f str,
    direction: Direction,
    verdict: CapturedVerdict,
    reason: Option<&'f str>,
    meaning: Option<&'static str>,
    length: u32,
    #[serde(flatten)]
    decoded: &'f Decoded,
    octets: String,
}

impl Capture {
    fn new(options: &CaptureOptions, filter: CaptureFilter) -> anyhow::Result<Self> {
        let output = match &options.write {
            None if options.json => CaptureOutput::Json,
            None => CaptureOutput::Lines,
            Some(path) => {
                let file: Box<dyn Write> = if path.as_os_str() == "-" {
                    Box::new(io::stdout())
                } else {
                    Box::new(File::create(path).with_context(|| format!("create {}", path.display()))?)
                };
                let mut writer = pcapng::PcapngWriter::new(BufWriter::new(file))?;
                writer.flush()?;
                CaptureOutput::File(writer)
            }
        };
        let (count, duration) = (options.count, options.duration);
        Ok(Self { filter, output, count, duration, began_ns: None, shown: 0, lost: 0, is_done: false })
    }

    /// Shows what is to be shown of a batch; an error of kind `Interrupted` when that is enough.
    fn take(&mut self, batch: &Batch) -> io::Result<()> {
        let out = &mut io::stdout().lock();
        if batch.lost > 0 {
            self.lost += batch.lost;
            match self.output {
                CaptureOutput::Lines => writeln!(out, "({} frames lost)", batch.lost)?,
                CaptureOutput::Json => writeln!(out, "{}", serde_json::json!({ "lost": batch.lost }))?,
                // Told at the end, and when it happens to whoever watches.
                CaptureOutput::File(_) => {
                    super::journal::complain(&format!("vipd: {} frames lost", batch.lost))
                }
            }
        }
        for frame in &batch.frames {
            let Some(decoded) = decode(&frame.octets) else { continue };
            if !self.filter.shows(&decoded, &frame.interface) {
                continue;
            }
            self.show(out, frame, &decoded)?;
            self.shown += 1;
            if self.count == Some(self.shown) {
                return self.end(out);
            }
        }
        let began_ns = *self.began_ns.get_or_insert(batch.time_unix_ns);
        let elapsed = Duration::from_nanos(batch.time_unix_ns.saturating_sub(began_ns));
        if self.duration.is_some_and(|duration| elapsed >= duration) {
            return self.end(out);
        }
        self.flush(out)
    }

    fn show(&mut self, out: &mut impl Write, frame: &ShownFrame, decoded: &Decoded) -> io::Result<()> {
        match &mut self.output {
            CaptureOutput::Lines => writeln!(out, "{}", line(frame, decoded)),
            CaptureOutput::Json => writeln!(out, "{}", serde_json::to_string(&Shown::of(frame, decoded))?),
            CaptureOutput::File(writer) => writer.add(frame, &words(frame)),
        }
    }

    fn flush(&mut self, out: &mut impl Write) -> io::Result<()> {
        match &mut self.output {
            CaptureOutput::File(writer) => writer.flush(),
            _ => out.flush(),
        }
    }

    fn end(&mut self, out: &mut impl Write) -> io::Result<()> {
        self.flush(out)?;
        self.is_done = true;
        Err(io::ErrorKind::Interrupted.into())
    }

    fn summary(&self) -> String {
        format!(": {} frames, {} lost", self.shown, self.lost)
    }
}

impl<'f> Shown<'f> {
    fn of(frame: &'f ShownFrame, decoded: &'f Decoded) -> Self {
        Self {
            time_unix_ns: frame.time_unix_ns,
            interface: &frame.interface,
            direction: frame.direction,
            verdict: frame.verdict,
            reason: frame.reason.as_deref(),
            meaning: frame.reason.as_deref().and_then(meaning),
            length: frame.length,
            decoded,
            octets: hex::encode(&frame.octets),
        }
    }
}

/// What the counter of that name counts; `None` if the name says it.
fn meaning(reason: &str) -> Option<&'static str> {
    let of_all = Counters::NAMES.iter().zip(Counters::MEANINGS);
    let mut all = of_all.chain(InstanceCounters::NAMES.iter().zip(InstanceCounters::MEANINGS));
    let (_, meaning) = all.find(|(name, _)| **name == reason)?;
    Some(meaning.trim()).filter(|meaning| !meaning.is_empty())
}

/// The verdict in words, with the counter that says why.
fn words(frame: &ShownFrame) -> String {
    let reason = frame.reason.as_deref();
    let is_answer = matches!(reason, Some("arp_replies" | "nd_replies"));
    let words = match (frame.direction, frame.verdict) {
        (Direction::Out, _) if is_answer => "the program's answer",
        (Direction::Out, _) => "sent on by the program",
        (Direction::In, CapturedVerdict::Dropped) => "dropped",
        (Direction::In, CapturedVerdict::Passed) => "passed",
        (Direction::In, CapturedVerdict::Sent) if is_answer => "answered",
        (Direction::In, CapturedVerdict::Sent) => "sent on",
    };
    match reason {
        Some(reason) if frame.direction == Direction::In => format!("{words} ({reason})"),
        _ => words.to_owned(),
    }
}

/// `TIME INTERFACE [vlan ID] in|out PACKET: VERDICT (REASON)`.
fn line(frame: &ShownFrame, decoded: &Decoded) -> String {
    let vlans: String = decoded.vlans.iter().map(|id| format!(" vlan {id}")).collect();
    let direction = match frame.direction {
        Direction::In => "in ",
        Direction::Out => "out",
    };
    let octets = if decoded.packet == Packet::Other {
        format!(", {}", hex::encode(&frame.octets[..frame.octets.len().min(64)]))
    } else {
        String::new()
    };
    let time = time_us(frame.time_unix_ns / 1_000);
    format!("{time} {}{vlans} {direction} {decoded}{octets}: {}", frame.interface, words(frame))
}

#[cfg(test)]
mod tests;
