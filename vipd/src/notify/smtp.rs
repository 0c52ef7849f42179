//! Sends one message to the mail server, with bounds on the server: octets of a line, lines and octets of a reply, time for a reply,
//! and time in all.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use lettre::{
    Message,
    transport::smtp::{
        client::{AsyncSmtpConnection, AsyncTokioStream},
        extension::ClientId,
    },
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::{Instant, Sleep, sleep, timeout},
};

/// Octets of a line of a reply. RFC 5321 4.5.3.1.5 has 512.
const LINE: usize = 1024;
/// Lines of a reply; the longest is the list of extensions.
const LINES: usize = 128;
/// Octets of a reply.
const REPLY: usize = 16 * 1024;
/// A session may last as long as so many replies at the limit of their time.
const REPLIES: u32 = 4;
/// A session may always last this long.
const SESSION: Duration = Duration::from_secs(60);

/// A mail server, and vipd's own name for it.
#[derive(Debug)]
pub struct Server {
    /// A name or an address.
    pub host: String,
    pub port: u16,
    pub helo: ClientId,
    /// Time for the connection, and for each reply.
    pub limit: Duration,
}

/// Why a message is not sent.
#[derive(Debug, thiserror::Error)]
pub enum MailUnsent {
    #[error("the mail server cannot be reached: {0}")]
    Unreachable(io::Error),
    #[error("no connection to the mail server within {} s", .0.as_secs_f32())]
    Unconnected(Duration),
    #[error("{0}")]
    Refused(String),
    #[error("the mail server did not accept the message within {} s", .0.as_secs_f32())]
    Unfinished(Duration),
}

impl Server {
    /// Sends one message.
    ///
    /// # Errors
    ///
    /// The server cannot be reached, refuses the message, or exceeds a bound.
    pub async fn send(&self, message: &Message) -> Result<(), MailUnsent> {
        let session = (self.limit * REPLIES).max(SESSION);
        timeout(session, self.session(message)).await.map_err(|_| MailUnsent::Unfinished(session))?
    }

    async fn session(&self, message: &Message) -> Result<(), MailUnsent> {
        let connected = timeout(self.limit, TcpStream::connect((self.host.as_str(), self.port))).await;
        let stream =
            connected.map_err(|_| MailUnsent::Unconnected(self.limit))?.map_err(MailUnsent::Unreachable)?;
        let bounded = Box::new(Bounded::new(stream, self.limit));
        let refused = |error: lettre::transport::smtp::Error| MailUnsent::Refused(describe(&error));
        let mut connection =
            AsyncSmtpConnection::connect_with_transport(bounded, &self.helo).await.map_err(refused)?;
        connection.send(message.envelope(), &message.formatted()).await.map_err(refused)?;
        // The letter is with the server, whatever it says to this.
        let _ = connection.quit().await;
        Ok(())
    }
}

/// The chain of causes, with the server's words.
fn describe(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    crate::printable(&text)
}

/// A connection that fails when the server sends too much, or nothing for too long. Each write starts a new reply.
#[derive(Debug)]
struct Bounded<S> {
    stream: S,
    limit: Duration,
    /// Deadline of the reply.
    deadline: Pin<Box<Sleep>>,
    /// Octets of the current line.
    line: usize,
    /// Lines and octets of the current reply.
    lines: usize,
    octets: usize,
}

impl<S> Bounded<S> {
    fn new(stream: S, limit: Duration) -> Self {
        Self { stream, limit, deadline: Box::pin(sleep(limit)), line: 0, lines: 0, octets: 0 }
    }

    /// Counts what the server has sent.
    fn count(&mut self, said: &[u8]) -> io::Result<()> {
        for octet in said {
            self.octets += 1;
            self.line += 1;
            if self.line > LINE {
                return Err(too_much(format!("a line of its reply is longer than {LINE} octets")));
            }
            if *octet == b'\n' {
                (self.line, self.lines) = (0, self.lines + 1);
            }
        }
        if self.lines > LINES || self.octets > REPLY {
            return Err(too_much(format!("its reply is longer than {LINES} lines or {REPLY} octets")));
        }
        Ok(())
    }

    /// Fails when the time for the reply is over.
    fn check_deadline(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        match self.deadline.as_mut().poll(context) {
            Poll::Ready(()) => {
                let text = format!("the mail server did not answer within {} s", self.limit.as_secs_f32());
                Err(io::Error::new(io::ErrorKind::TimedOut, text))
            }
            Poll::Pending => Ok(()),
        }
    }
}

fn too_much(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("connection to the mail server closed: {what}"))
}

impl<S: AsyncRead + Unpin> AsyncRead for Bounded<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check_deadline(context)?;
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        Poll::Ready(self.count(&buffer.filled()[before..]))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Bounded<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.check_deadline(context)?;
        let written = ready!(Pin::new(&mut self.stream).poll_write(context, buffer))?;
        let deadline = Instant::now() + self.limit;
        self.deadline.as_mut().reset(deadline);
        (self.line, self.lines, self.octets) = (0, 0, 0);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

impl AsyncTokioStream for Bounded<TcpStream> {
    fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.stream.peer_addr()
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
        net::TcpListener,
        task::{LocalSet, spawn_local},
    };

    use super::*;

    fn letter() -> Message {
        let message = Message::builder().from("a@example.net".parse().unwrap());
        message.to("b@example.net".parse().unwrap()).body("text".to_owned()).unwrap()
    }

    /// What a session with a server comes to that says `greeting`, then `again` as often as it is taken, and how many octets of
    /// it were taken at most.
    async fn talk(greeting: &'static [u8], again: &'static [u8]) -> (Result<(), MailUnsent>, usize) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Server {
            host: "127.0.0.1".into(),
            port: listener.local_addr().unwrap().port(),
            helo: ClientId::Domain("test".into()),
            limit: Duration::from_secs(2),
        };
        let talking = spawn_local(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut sent = greeting.len();
            stream.write_all(greeting).await.unwrap();
            while !again.is_empty() && stream.write_all(again).await.is_ok() {
                sent += again.len();
            }
            // Until the client has gone.
            let _ = BufReader::new(&mut stream).read_until(0, &mut Vec::new()).await;
            sent
        });
        let result = server.send(&letter()).await;
        (result, talking.await.unwrap())
    }

    fn run<T>(future: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        LocalSet::new().block_on(&runtime, future)
    }

    /// An endless line took 9 GB in 34 s.
    #[test]
    fn an_endless_line_is_given_up() {
        let (result, sent) = run(talk(b"220 ", &[b'x'; 65536]));
        let error = result.unwrap_err().to_string();
        assert!(error.contains("longer than 1024 octets"), "{error}");
        // The rest is in the buffers of the kernel.
        assert!(sent < 64 << 20, "{sent}");
    }

    #[test]
    fn an_endless_reply_is_given_up() {
        let (result, _) = run(talk(b"220-hello\r\n", b"220-and more\r\n"));
        let error = result.unwrap_err().to_string();
        assert!(error.contains("longer than 128 lines"), "{error}");
    }

    /// A server that said nothing blocked all mail for ever.
    #[test]
    fn a_silent_server_is_given_up() {
        let (result, _) = run(talk(b"", b""));
        let error = result.unwrap_err().to_string();
        assert!(error.contains("not answer within 2 s"), "{error}");
    }

    #[test]
    fn a_server_that_falls_silent_is_given_up() {
        let (result, _) = run(talk(b"220 hello\r\n", b""));
        let error = result.unwrap_err().to_string();
        assert!(error.contains("not answer within 2 s"), "{error}");
    }

    /// What a server says is in the log, without control characters and not at length.
    #[test]
    fn what_a_server_says_forges_no_line_of_the_log() {
        let (result, _) = run(talk(b"554 go away\x1b[2J\rforged line\r\n", b""));
        let error = result.unwrap_err().to_string();
        assert!(error.contains("go away") && !error.contains(char::is_control), "{error:?}");
    }
}
