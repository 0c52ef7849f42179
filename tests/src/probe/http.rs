//! A client that keeps requesting a page, whatever happens: a new request each period, none waiting for another.

use std::{
    collections::BTreeMap,
    io::{self, ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::Result;

use crate::Netns;

/// A running client; dropping it stops it.
#[derive(Debug)]
pub struct HttpProber {
    requests: Arc<Mutex<Vec<Request>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<()>>>,
}

/// One request that has come to its end.
#[derive(Debug, Clone)]
pub struct Request {
    pub started: Instant,
    pub ended: Instant,
    /// Reset once by the server's end, then tried again at once.
    pub retried: bool,
    /// The body without white space around it, or why there was none before the deadline.
    pub answer: Result<String, String>,
}

/// What a span of time looked like to the client.
#[derive(Debug, Clone, Default)]
pub struct Summary {
    pub requests: usize,
    pub lost: usize,
    pub retried: usize,
    /// The longest time between two successful answers.
    pub longest_gap: Duration,
    /// Requests by the body that answered them.
    pub served_by: BTreeMap<String, usize>,
}

impl HttpProber {
    /// Requests `/` from `server` each `period`, giving up on a request after `deadline`.
    pub fn start(ns: &Netns, server: SocketAddr, period: Duration, deadline: Duration) -> Result<Self> {
        let requests = Arc::new(Mutex::new(Vec::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let thread = ns.spawn("http-prober", {
            let (requests, stop) = (requests.clone(), stop.clone());
            move || keep_requesting(server, period, deadline, &requests, &stop)
        })?;
        Ok(Self { requests, stop, thread: Some(thread) })
    }

    /// Requests that have ended so far, in the order of their ends.
    pub fn requests(&self) -> Vec<Request> {
        self.lock().clone()
    }

    /// Stops requesting and waits for what is under way.
    pub fn stop(mut self) -> Vec<Request> {
        self.finish();
        self.requests()
    }

    /// When a server first answered a request that was started after `after`.
    pub fn first_answer_by(&self, body: &str, after: Instant) -> Option<Instant> {
        let requests = self.lock();
        let answers = requests.iter().filter(|r| r.started >= after && r.answer.as_deref() == Ok(body));
        answers.map(|r| r.ended).min()
    }

    fn finish(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Request>> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for HttpProber {
    fn drop(&mut self) {
        self.finish();
    }
}

/// Sums up the requests started in a span of time. The gap counts answers that arrived in the span, from the last
/// one before it to its end.
pub fn summarise(requests: &[Request], from: Instant, to: Instant) -> Summary {
    let mut summary = Summary::default();
    for request in requests.iter().filter(|r| from <= r.started && r.started < to) {
        summary.requests += 1;
        summary.retried += usize::from(request.retried);
        match &request.answer {
            Ok(body) => *summary.served_by.entry(body.clone()).or_default() += 1,
            Err(_) => summary.lost += 1,
        }
    }
    let mut answered: Vec<_> = requests.iter().filter(|r| r.answer.is_ok()).map(|r| r.ended).collect();
    answered.sort();
    let before = answered.iter().rev().find(|&&t| t < from).copied().unwrap_or(from);
    let mut points = vec![before];
    points.extend(answered.iter().filter(|&&t| from <= t && t < to));
    points.push(to);
    let gaps = points.windows(2).map(|w| w[1].saturating_duration_since(w[0]));
    summary.longest_gap = gaps.max().unwrap_or_default();
    summary
}

fn keep_requesting(
    server: SocketAddr,
    period: Duration,
    deadline: Duration,
    requests: &Arc<Mutex<Vec<Request>>>,
    stop: &AtomicBool,
) {
    let mut next = Instant::now();
    let mut under_way: Vec<JoinHandle<()>> = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        under_way.retain(|t| !t.is_finished());
        // Threads inherit the namespace of the thread that starts them. No more than one for each period of the
        // deadline is ever alive.
        let started = thread::Builder::new().name("http-request".to_owned()).stack_size(128 << 10).spawn({
            let requests = requests.clone();
            move || {
                let request = request(server, deadline);
                requests.lock().unwrap_or_else(PoisonError::into_inner).push(request);
            }
        });
        under_way.extend(started);
        next = (next + period).max(Instant::now());
        thread::sleep(next.saturating_duration_since(Instant::now()));
    }
    for thread in under_way {
        let _ = thread.join();
    }
}

fn request(server: SocketAddr, deadline: Duration) -> Request {
    let started = Instant::now();
    let end = started + deadline;
    let mut retried = false;
    let mut result = get(server, end);
    if result.as_ref().is_err_and(|e| e.kind() == ErrorKind::ConnectionReset) {
        retried = true;
        result = get(server, end);
    }
    let answer = result.map_err(|e| e.to_string());
    Request { started, ended: Instant::now(), retried, answer }
}

fn get(server: SocketAddr, end: Instant) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&server, left(end)?)?;
    stream.set_write_timeout(Some(left(end)?))?;
    stream.write_all(format!("GET / HTTP/1.0\r\nHost: {server}\r\n\r\n").as_bytes())?;
    let mut text = Vec::new();
    let mut buffer = [0; 1024];
    loop {
        stream.set_read_timeout(Some(left(end)?))?;
        match stream.read(&mut buffer)? {
            0 => break,
            n => text.extend_from_slice(&buffer[..n]),
        }
    }
    let text = String::from_utf8_lossy(&text);
    match text.split_once("\r\n\r\n") {
        Some((head, body)) if head.contains(" 200 ") => Ok(body.trim().to_owned()),
        // A connection that closes before an answer is what a reset looks like to a reader that came late.
        None if text.is_empty() => {
            Err(io::Error::new(ErrorKind::ConnectionReset, "closed without an answer"))
        }
        _ => Err(io::Error::other(format!("an odd answer: {text:?}"))),
    }
}

fn left(end: Instant) -> io::Result<Duration> {
    let left = end.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(ErrorKind::TimedOut.into()) } else { Ok(left) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_counts_what_started_and_measures_between_answers() {
        let zero = Instant::now();
        let at = |ms| zero + Duration::from_millis(ms);
        let row = |started, ended, retried, answer: Result<&str, &str>| Request {
            started: at(started),
            ended: at(ended),
            retried,
            answer: answer.map(str::to_owned).map_err(str::to_owned),
        };
        let requests = [
            row(80, 90, false, Ok("lb01")),
            row(100, 110, false, Ok("lb01")),
            row(120, 700, false, Err("timed out")),
            row(140, 450, true, Ok("lb02")),
            row(480, 490, false, Ok("lb02")),
            row(600, 610, false, Ok("lb02")),
        ];
        let summary = summarise(&requests, at(100), at(500));
        assert_eq!((summary.requests, summary.lost, summary.retried), (4, 1, 1));
        assert_eq!(summary.longest_gap, Duration::from_millis(340));
        assert_eq!(summary.served_by, BTreeMap::from([("lb01".to_owned(), 1), ("lb02".to_owned(), 2)]));
        // A gap that is still open at the end counts.
        assert_eq!(summarise(&requests, at(600), at(5000)).longest_gap, Duration::from_millis(4390));
    }
}
