//! Many requests to rtnetlink in few system calls: the takeover of thousands of VIPs waits for their routes.
//!
//! The kernel handles the messages of a datagram in their order, within the system call that sends it. Only the last one asks for an
//! acknowledgement: the kernel answers a refused message in any case (`net/netlink/af_netlink.c`, `netlink_rcv_skb`).

use std::io;

use anyhow::{Context, Result};
use rtnetlink::{
    packet_core::{NLM_F_ACK, NetlinkMessage, NetlinkPayload},
    packet_route::RouteNetlinkMessage,
    sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE},
};

/// Messages a datagram. If all of them are refused, their answers still fit the socket's buffer, which has room for some 160 at the
/// kernel's default of 212,992 octets.
const MESSAGES: usize = 64;
/// Octets of an answer: the header, the error, the header of the message that it is about. Extended acknowledgements are off.
const ANSWER: usize = 512;

/// A socket of its own, whose answers nobody else takes.
#[derive(Debug)]
pub(super) struct BatchSocket {
    socket: Socket,
    sequence: u32,
}

impl BatchSocket {
    /// In the network namespace of the calling thread.
    ///
    /// # Errors
    ///
    /// The kernel's, which has no room for another socket.
    pub fn open() -> Result<Self> {
        let open = || {
            let mut socket = Socket::new(NETLINK_ROUTE)?;
            socket.bind_auto()?;
            socket.connect(&SocketAddr::new(0, 0))?;
            // An answer repeats only the header of the message.
            socket.set_cap_ack(true)?;
            Ok::<_, io::Error>(socket)
        };
        Ok(Self { socket: open().context("open a socket for routes")?, sequence: 0 })
    }

    /// Sends all requests in their order; returns those that the kernel refused, by their places, and why.
    ///
    /// # Errors
    ///
    /// The socket's. Which requests were handled is not known then.
    pub async fn send(
        &mut self,
        requests: impl IntoIterator<Item = NetlinkMessage<RouteNetlinkMessage>>,
    ) -> Result<Vec<(usize, rtnetlink::Error)>> {
        let mut refused = Vec::new();
        let mut requests = requests.into_iter().peekable();
        let mut sent = 0;
        while requests.peek().is_some() {
            let datagram: Vec<_> = requests.by_ref().take(MESSAGES).collect();
            let count = datagram.len();
            self.exchange(datagram, sent, &mut refused).context("routes")?;
            sent += count;
            // The other tasks of this thread have had to wait for the kernel.
            tokio::task::yield_now().await;
        }
        Ok(refused)
    }

    fn exchange(
        &mut self,
        mut messages: Vec<NetlinkMessage<RouteNetlinkMessage>>,
        first: usize,
        refused: &mut Vec<(usize, rtnetlink::Error)>,
    ) -> io::Result<()> {
        let before = self.sequence;
        if let Some(last) = messages.last_mut() {
            last.header.flags |= NLM_F_ACK;
        }
        let mut datagram = Vec::new();
        for message in &mut messages {
            self.sequence = self.sequence.wrapping_add(1);
            message.header.sequence_number = self.sequence;
            message.finalize();
            let at = datagram.len();
            datagram.resize(at + message.buffer_len().next_multiple_of(4), 0);
            message.serialize(&mut datagram[at..]);
        }
        self.socket.send(&datagram, 0)?;
        loop {
            let mut answer = Vec::with_capacity(ANSWER);
            match self.socket.recv(&mut answer, 0) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                received => received?,
            };
            let answer = NetlinkMessage::<RouteNetlinkMessage>::deserialize(&answer)
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
            let number = answer.header.sequence_number.wrapping_sub(before);
            // What is left of an exchange that broke off is of no interest.
            let Some(place) =
                usize::try_from(number).ok().filter(|number| (1..=messages.len()).contains(number))
            else {
                continue;
            };
            if let NetlinkPayload::Error(error) = answer.payload
                && error.code.is_some()
            {
                refused.push((first + place - 1, rtnetlink::Error::NetlinkError(error)));
            }
            if place == messages.len() {
                return Ok(());
            }
        }
    }
}
