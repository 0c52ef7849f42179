//! Servers of a lab that can be well, wrong or hung, and clients that hold conversations with them over minutes.

use std::{
    io::{BufRead, BufReader, ErrorKind, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU8, Ordering},
    },
    thread::{JoinHandle, sleep, spawn},
    time::Duration,
};

use anyhow::{Context, Result};
use vipd_tests::Node;

/// What a server does with what it is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Manner {
    /// `/test.html` is `ok`, every other page the server's name; a line that is no request of HTTP comes back behind the name.
    Well,
    /// Status 500; 554 of SMTP; SERVFAIL of DNS.
    Failing,
    /// Status 200, and a text that nobody expects.
    Garbled,
    /// Connections and datagrams are taken, and nothing is said.
    Hung,
}

/// What a server speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.0, and conversations by line.
    Http,
    Smtp,
    /// By UDP: an answer without records to each question.
    Dns,
    /// By UDP: each datagram comes back.
    Echo,
}

const MANNERS: [Manner; 4] = [Manner::Well, Manner::Failing, Manner::Garbled, Manner::Hung];
const LOOK: Duration = Duration::from_millis(20);

/// A server. When it is dropped it refuses connections, and those that it has end.
#[derive(Debug)]
pub struct Backend {
    manner: Arc<AtomicU8>,
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<Result<()>>>>,
}

impl Backend {
    /// A server of HTTP.
    pub fn start(node: &Node, at: SocketAddr, name: &str) -> Result<Self> {
        Self::speak(Protocol::Http, node, at, name)
    }

    pub fn speak(protocol: Protocol, node: &Node, at: SocketAddr, name: &str) -> Result<Self> {
        let (manner, ends) = (Arc::new(AtomicU8::new(0)), Arc::new(AtomicBool::new(false)));
        let shared = Shared { protocol, manner: manner.clone(), ends: ends.clone(), name: name.to_owned() };
        let what = || format!("listen on {at}");
        let thread = if matches!(protocol, Protocol::Dns | Protocol::Echo) {
            let socket = node.ns().run(|| UdpSocket::bind(at))?.with_context(what)?;
            socket.set_read_timeout(Some(LOOK))?;
            node.ns().spawn("backend", move || shared.answer_datagrams(&socket))?
        } else {
            let listener = node.ns().run(|| TcpListener::bind(at))?.with_context(what)?;
            listener.set_nonblocking(true)?;
            node.ns().spawn("backend", move || shared.accept(&listener))?
        };
        Ok(Self { manner, ends, thread: Some(thread) })
    }

    pub fn behave(&self, manner: Manner) {
        self.manner.store(manner as u8, Ordering::Relaxed);
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        match self.thread.take().map(JoinHandle::join) {
            None | Some(Ok(Ok(Ok(())))) => {}
            ended => eprintln!("a backend: {ended:?}"),
        }
    }
}

/// What the threads of a server know.
#[derive(Clone, Debug)]
struct Shared {
    protocol: Protocol,
    manner: Arc<AtomicU8>,
    ends: Arc<AtomicBool>,
    name: String,
}

impl Shared {
    fn manner(&self) -> Manner {
        MANNERS[usize::from(self.manner.load(Ordering::Relaxed)) % MANNERS.len()]
    }

    fn is_over(&self) -> bool {
        self.ends.load(Ordering::Relaxed)
    }

    fn accept(&self, listener: &TcpListener) -> Result<()> {
        while !self.is_over() {
            match listener.accept() {
                Ok((stream, _)) => {
                    let shared = self.clone();
                    // A client, or a check that is gone already. It ends with the server.
                    drop(spawn(move || shared.serve(&stream)));
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => sleep(LOOK),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Waits while the server hangs.
    fn hang(&self) {
        while self.manner() == Manner::Hung && !self.is_over() {
            sleep(LOOK);
        }
    }

    /// Answers until the client or the server ends; an error is the end of the connection.
    fn serve(&self, mut stream: &TcpStream) -> Result<()> {
        stream.set_nonblocking(false)?;
        stream.set_read_timeout(Some(LOOK * 5))?;
        let mut lines = BufReader::new(stream.try_clone()?);
        let (mut line, mut request) = (String::new(), None);
        if self.protocol == Protocol::Smtp {
            self.hang();
            stream.write_all(self.reply_of_smtp("").as_bytes())?;
        }
        loop {
            match lines.read_line(&mut line) {
                Ok(0) => return Ok(()),
                Ok(_) => {}
                Err(error) if [ErrorKind::WouldBlock, ErrorKind::TimedOut].contains(&error.kind()) => {
                    if self.is_over() {
                        return Ok(());
                    }
                    continue;
                }
                Err(error) => return Err(error.into()),
            }
            let words: Vec<&str> = line.split_whitespace().collect();
            match (words.as_slice(), &request) {
                (words, _) if self.protocol == Protocol::Smtp => {
                    stream.write_all(
                        self.reply_of_smtp(words.first().copied().unwrap_or_default()).as_bytes(),
                    )?;
                }
                ([method @ ("GET" | "HEAD"), path, ..], _) => {
                    request = Some(((*method).to_owned(), (*path).to_owned()));
                }
                ([], Some((method, path))) => {
                    self.hang();
                    return page(stream, self.manner(), method, path, &self.name);
                }
                (_, None) if self.manner() == Manner::Well => write!(stream, "{}: {line}", self.name)?,
                _ => {}
            }
            line.clear();
        }
    }

    /// The banner is the reply to nothing.
    fn reply_of_smtp(&self, word: &str) -> &'static str {
        match word {
            _ if self.manner() == Manner::Failing => "554 failing\r\n",
            "" => "220 ready\r\n",
            "QUIT" => "221 bye\r\n",
            _ => "250 well\r\n",
        }
    }

    fn answer_datagrams(&self, socket: &UdpSocket) -> Result<()> {
        let mut datagram = [0; 512];
        while !self.is_over() {
            // A refused answer of before is told here.
            let Ok((length, from)) = socket.recv_from(&mut datagram) else { continue };
            if self.manner() == Manner::Hung {
                continue;
            }
            if self.protocol == Protocol::Dns && length > 3 {
                // RFC 1035 4.1.1: a response, and its code.
                datagram[2] |= 0x80;
                datagram[3] = if self.manner() == Manner::Failing { 2 } else { 0 };
            }
            // Without a route back there is nobody to tell.
            let _ = socket.send_to(&datagram[..length], from);
        }
        Ok(())
    }
}

fn page(mut stream: &TcpStream, manner: Manner, method: &str, path: &str, name: &str) -> Result<()> {
    let (status, text) = match manner {
        Manner::Failing => ("500 Internal Server Error", "failing"),
        Manner::Garbled => ("200 OK", "something else"),
        _ if path == "/test.html" => ("200 OK", "ok"),
        _ => ("200 OK", name),
    };
    let body = if method == "HEAD" { "" } else { text };
    write!(stream, "HTTP/1.0 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", text.len())?;
    Ok(())
}

/// A connection of a client that goes on.
#[derive(Debug)]
pub struct Conversation(TcpStream);

impl Conversation {
    pub fn open(node: &Node, to: SocketAddr, limit: Duration) -> Result<Self> {
        node.ns().run(move || -> Result<Self> {
            let stream =
                TcpStream::connect_timeout(&to, limit).with_context(|| format!("connect to {to}"))?;
            stream.set_read_timeout(Some(limit))?;
            Ok(Self(stream))
        })?
    }

    /// Who answers a line; the connection is of no use any more after an error.
    pub fn say(&self, text: &str) -> Result<String> {
        let mut stream = &self.0;
        writeln!(stream, "{text}")?;
        let (mut answer, mut octet) = (String::new(), [0]);
        while octet != [b'\n'] {
            stream.read_exact(&mut octet)?;
            answer.push(char::from(octet[0]));
        }
        let (name, echo) = answer.trim_end().split_once(": ").with_context(|| answer.clone())?;
        anyhow::ensure!(echo == text, "{text:?} came back as {echo:?}");
        Ok(name.to_owned())
    }
}
