//! SMTP_CHECK: banner 220, HELO 250, QUIT.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, BufReader},
    time::timeout,
};
use vipd_balance::ProbePeer;

use super::Words;
use crate::{
    fault::ProbeFault,
    net::{self, within},
};

pub(super) async fn check(peer: &ProbePeer, helo: &str) -> Result<Words, ProbeFault> {
    let limit = peer.connect_timeout;
    let mut stream = BufReader::with_capacity(LINE_MOST, net::connect_to_read(peer).await?);
    let banner = reply(&mut stream, peer, "banner").await?;
    expect(&banner, b"220", "banner")?;
    within(limit, stream.get_mut().write_all(format!("HELO {helo}\r\n").as_bytes())).await?;
    let hello = reply(&mut stream, peer, "answer to HELO").await?;
    expect(&hello, b"250", "answer to HELO")?;
    within(limit, stream.get_mut().write_all(b"QUIT\r\n")).await?;
    // Read so that the server sees an orderly end, and not judged.
    let _ = timeout(FAREWELL, reply(&mut stream, peer, "answer to QUIT")).await;
    Ok(shown(&hello).into())
}

/// The last line of a reply. RFC 5321 4.2.1: all but the last have a hyphen after the code.
async fn reply(
    stream: &mut BufReader<tokio::net::TcpStream>,
    peer: &ProbePeer,
    what: &str,
) -> Result<Vec<u8>, ProbeFault> {
    for _ in 0..LINES_MOST {
        let mut line = Vec::new();
        loop {
            let octet = within(peer.connect_timeout, stream.read_u8()).await;
            match octet {
                Ok(b'\n') => break,
                Ok(octet) if line.len() < LINE_MOST => line.push(octet),
                Ok(_) => {
                    return Err(ProbeFault::failed(format!(
                        "{what}: a line is longer than {LINE_MOST} octets"
                    )));
                }
                Err(ProbeFault::Failed(why)) => return Err(ProbeFault::failed(format!("{what}: {why}"))),
                Err(fault) => return Err(fault),
            }
        }
        if line.get(3) != Some(&b'-') {
            return Ok(line);
        }
    }
    Err(ProbeFault::failed(format!("{what}: more than {LINES_MOST} lines")))
}

fn expect(line: &[u8], code: &[u8], what: &str) -> Result<(), ProbeFault> {
    if line.starts_with(code) {
        return Ok(());
    }
    let code = String::from_utf8_lossy(code);
    Err(ProbeFault::failed(format!("{what}: {:?}, expected {code}", shown(line))))
}

/// The start of a line, printable.
fn shown(line: &[u8]) -> String {
    let start = &line[..line.len().min(SHOWN_MOST)];
    String::from_utf8_lossy(start).chars().filter(|c| !c.is_control()).collect()
}

/// Time for the answer to QUIT.
const FAREWELL: Duration = Duration::from_secs(1);
/// Most octets of a line.
const LINE_MOST: usize = 1024;
/// Most lines of a reply.
const LINES_MOST: usize = 100;
/// Most octets of a line that are told.
const SHOWN_MOST: usize = 80;
