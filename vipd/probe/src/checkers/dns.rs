//! DNS_CHECK: one query over UDP.

use tokio::{net::UdpSocket, time::timeout};
use vipd_balance::ProbePeer;

use super::Words;
use crate::{
    dns::{DnsAnswer, query},
    fault::{ProbeFault, seconds},
    net,
};

pub(super) async fn check(
    peer: &ProbePeer,
    name: &str,
    record: u16,
    expect: Option<&str>,
) -> Result<Words, ProbeFault> {
    let id = fastrand::u16(..);
    let request =
        query(id, name, record).map_err(|why| ProbeFault::not_sent(format!("name {name:?}: {why}")))?;
    let socket = net::datagram(peer)?;
    socket.send(&request).await.map_err(|error| ProbeFault::of_io(&error))?;
    match timeout(peer.connect_timeout, answer(&socket, id, record, expect)).await {
        Ok(answered) => answered,
        Err(_) => Err(ProbeFault::failed(format!("no answer within {}", seconds(peer.connect_timeout)))),
    }
}

/// Waits for an answer with this id. Others are skipped: anybody may send them.
async fn answer(socket: &UdpSocket, id: u16, record: u16, expect: Option<&str>) -> Result<Words, ProbeFault> {
    let mut buffer = [0; ANSWER_MOST];
    loop {
        let length = socket.recv(&mut buffer).await.map_err(|error| ProbeFault::of_io(&error))?;
        let Some(answer) = DnsAnswer::new(&buffer[..length], id) else { continue };
        if answer.code() != 0 {
            return Err(ProbeFault::failed(format!("the answer is {}", code_name(answer.code()))));
        }
        let Some(expect) = expect else {
            return Ok(format!("NOERROR, {} records", answer.answers()).into());
        };
        let records = match answer.records(record) {
            Ok(records) => records,
            Err(why) => return Err(ProbeFault::failed(format!("the answer is malformed: {why}"))),
        };
        if let Some(found) = records.iter().find(|record| record.has(expect)) {
            return Ok(format!("NOERROR, {found}").into());
        }
        let shown: Vec<_> = records.iter().take(SHOWN_MOST).map(ToString::to_string).collect();
        let cut = if answer.is_truncated() { "; the answer is truncated" } else { "" };
        return Err(ProbeFault::failed(format!("no record is {expect:?}, but {:?}{cut}", shown)));
    }
}

/// RFC 1035 4.1.1, RFC 2136 2.2.
fn code_name(code: u8) -> String {
    match code {
        1 => "FORMERR".to_owned(),
        2 => "SERVFAIL".to_owned(),
        3 => "NXDOMAIN".to_owned(),
        4 => "NOTIMP".to_owned(),
        5 => "REFUSED".to_owned(),
        other => format!("RCODE {other}"),
    }
}

/// Octets of an answer that are read. The query has no EDNS, so servers send 512 at most.
const ANSWER_MOST: usize = 4096;
/// Records that a failure tells.
const SHOWN_MOST: usize = 4;
