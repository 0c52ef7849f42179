//! A mail server that writes down what it gets.

use std::{
    fs::OpenOptions,
    io::{BufRead, BufReader, ErrorKind, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{JoinHandle, sleep},
    time::Duration,
};

use anyhow::{Context, Result};
use vipd_tests::Node;

const LOOK: Duration = Duration::from_millis(20);
/// For a client between two lines.
const PATIENCE: Duration = Duration::from_secs(10);

/// Each letter becomes a line of a file: `mail BODY: SUBJECT`. The server ends when it is dropped.
#[derive(Debug)]
pub struct MailSink {
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<Result<()>>>>,
}

impl MailSink {
    pub fn start(node: &Node, at: SocketAddr, told: PathBuf) -> Result<Self> {
        let ends = Arc::new(AtomicBool::new(false));
        let is_over = ends.clone();
        let listener = node.ns().run(|| TcpListener::bind(at))?.with_context(|| format!("listen on {at}"))?;
        listener.set_nonblocking(true)?;
        let thread = node.ns().spawn("mail", move || -> Result<()> {
            while !is_over.load(Ordering::Relaxed) {
                match listener.accept() {
                    // A client that breaks off has sent nothing.
                    Ok((stream, _)) => _ = converse(&stream, &told),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => sleep(LOOK),
                    Err(error) => return Err(error.into()),
                }
            }
            Ok(())
        })?;
        Ok(Self { ends, thread: Some(thread) })
    }
}

impl Drop for MailSink {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        match self.thread.take().map(JoinHandle::join) {
            None | Some(Ok(Ok(Ok(())))) => {}
            ended => eprintln!("a mail server: {ended:?}"),
        }
    }
}

/// As RFC 5321 4.1.1 has it, without extensions.
fn converse(mut stream: &TcpStream, told: &PathBuf) -> Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    stream.write_all(b"220 ready\r\n")?;
    while let Some(line) = lines.next().transpose()? {
        match line.split_whitespace().next() {
            Some("DATA") => {
                stream.write_all(b"354 go on\r\n")?;
                let letter: Vec<String> =
                    lines.by_ref().map_while(Result::ok).take_while(|line| line != ".").collect();
                let mut file = OpenOptions::new().append(true).create(true).open(told)?;
                file.write_all(format!("{}\n", in_one_line(&letter)).as_bytes())?;
                stream.write_all(b"250 well\r\n")?;
            }
            Some("QUIT") => return Ok(stream.write_all(b"221 bye\r\n")?),
            _ => stream.write_all(b"250 well\r\n")?,
        }
    }
    Ok(())
}

/// The subject may be on several lines.
fn in_one_line(letter: &[String]) -> String {
    let end = letter.iter().position(String::is_empty).unwrap_or(letter.len());
    let (head, body) = letter.split_at(end);
    let mut subject = String::new();
    let mut is_subject = false;
    for line in head {
        is_subject = line.starts_with("Subject: ") || is_subject && line.starts_with([' ', '\t']);
        if is_subject {
            subject.push_str(line.strip_prefix("Subject:").unwrap_or(line));
        }
    }
    let body: Vec<&str> = body.iter().map(|line| line.trim()).filter(|line| !line.is_empty()).collect();
    let subject: Vec<&str> = subject.split_whitespace().collect();
    format!("mail {}: {}", body.join(" "), subject.join(" "))
}
