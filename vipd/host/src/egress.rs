//! Where packets to an address leave, and which address of this host they come from: what the routes say at the moment.

use std::{io, net::IpAddr};

use crate::{
    netlink::{address_family, family, full_length},
    routes::ip,
};
use rtnetlink::{
    packet_core::{NLM_F_REQUEST, NetlinkMessage, NetlinkPayload},
    packet_route::{
        RouteNetlinkMessage,
        route::{RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType},
    },
    sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE},
};

/// The way to an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Egress {
    /// The interface that packets leave by.
    pub ifindex: u32,
    /// The address that they come from.
    pub source: IpAddr,
}

/// Asks the kernel for routes. A question is answered within the call: nothing is waited for.
#[derive(Debug)]
pub struct EgressLookup {
    socket: Socket,
    sequence: u32,
}

impl EgressLookup {
    /// In the network namespace of the calling thread.
    ///
    /// # Errors
    ///
    /// The kernel's, which has no room for another socket.
    pub fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        Ok(Self { socket, sequence: 0 })
    }

    /// The way from `source` to an address, by the interface `ifindex`; where they are not given, the routes choose.
    ///
    /// # Errors
    ///
    /// There is no route, or `source` is no address of this host.
    pub fn find(
        &mut self,
        address: IpAddr,
        source: Option<IpAddr>,
        ifindex: Option<u32>,
    ) -> io::Result<Egress> {
        let mut question = RouteMessage::default();
        question.header = RouteHeader {
            address_family: address_family(family(address)),
            destination_prefix_length: full_length(family(address)),
            source_prefix_length: source.map_or(0, |source| full_length(family(source))),
            // A question has nothing else.
            protocol: RouteProtocol::Unspec,
            scope: RouteScope::Universe,
            table: 0,
            kind: RouteType::Unspec,
            ..question.header
        };
        question.attributes.push(RouteAttribute::Destination(address.into()));
        question.attributes.extend(source.map(|source| RouteAttribute::Source(source.into())));
        question.attributes.extend(ifindex.map(RouteAttribute::Oif));
        let route = self.ask(question).map_err(|error| match error.raw_os_error() {
            // What IPv4 says of a source that is none of this host's.
            Some(libc::EINVAL) if source.is_some() => io::ErrorKind::AddrNotAvailable.into(),
            _ => error,
        })?;
        let (mut oif, mut preferred) = (None, None);
        for attribute in &route.attributes {
            match attribute {
                RouteAttribute::Oif(index) => oif = Some(*index),
                RouteAttribute::PrefSource(address) => preferred = ip(address),
                _ => {}
            }
        }
        let found = oif.zip(source.or(preferred)).map(|(ifindex, source)| Egress { ifindex, source });
        found.ok_or_else(|| io::ErrorKind::NetworkUnreachable.into())
    }

    fn ask(&mut self, question: RouteMessage) -> io::Result<RouteMessage> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut message = NetlinkMessage::from(RouteNetlinkMessage::GetRoute(question));
        message.header.flags = NLM_F_REQUEST;
        message.header.sequence_number = self.sequence;
        message.finalize();
        let mut datagram = vec![0; message.buffer_len()];
        message.serialize(&mut datagram);
        self.socket.send(&datagram, 0)?;
        loop {
            let mut answer = Vec::with_capacity(ANSWER);
            match self.socket.recv(&mut answer, 0) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                received => received?,
            };
            let answer = NetlinkMessage::<RouteNetlinkMessage>::deserialize(&answer)
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
            if answer.header.sequence_number != self.sequence {
                continue;
            }
            return match answer.payload {
                NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewRoute(route)) => Ok(route),
                NetlinkPayload::Error(error) => Err(error.to_io()),
                _ => Err(io::ErrorKind::InvalidData.into()),
            };
        }
    }
}

/// Octets of an answer.
const ANSWER: usize = 4_096;
