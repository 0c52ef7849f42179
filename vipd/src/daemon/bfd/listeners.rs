//! The sockets on the ports of BFD: open where the program does not hear all of a session, each for a family and a port.

use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
};

use vipd_common::wire::bfd::{PORT_CONTROL, PORT_MULTIHOP};

use super::{
    datagrams::{BfdDatagram, BfdDatagrams},
    filter::Sources,
    messages::HeardInterfaces,
    peer::BfdPeer,
    way,
};

/// IPv4 or not, and the port.
type Place = (bool, u16);

/// What a datagram is known by: the neighbor, our address, the port, and the interface unless the session is over several hops.
type Ends = (IpAddr, IpAddr, u16, u32);

/// See the module.
#[derive(Debug, Default)]
pub struct BfdListeners {
    sockets: BTreeMap<Place, BfdDatagrams>,
    /// Why there is no socket where one is wanted.
    refused: BTreeMap<Place, String>,
    /// The slots of the sessions.
    sessions: HashMap<Ends, u32>,
}

impl BfdListeners {
    /// Opens the sockets that are needed, closes the others, and has each let through what its sessions want.
    pub fn follow<'p>(&mut self, peers: impl Iterator<Item = &'p BfdPeer>, heard: &HeardInterfaces) {
        let mut wanted: BTreeMap<Place, Sources> = BTreeMap::new();
        self.sessions.clear();
        for peer in peers.filter(|peer| hears_by_socket(peer, heard)) {
            let Some(ends) = ends(peer) else { continue };
            self.sessions.insert(ends, peer.slot());
            let least = peer.spec().min_hop_limit;
            let of_socket = wanted.entry((ends.0.is_ipv4(), ends.2)).or_default();
            of_socket.entry(ends.0).and_modify(|known| *known = least.min(*known)).or_insert(least);
        }
        self.sockets.retain(|place, _| wanted.contains_key(place));
        self.refused.retain(|place, _| wanted.contains_key(place));
        for (place, sources) in wanted {
            let done = match self.sockets.get_mut(&place) {
                Some(socket) => socket.restrict(sources),
                None => BfdDatagrams::open(place.0, place.1, sources)
                    .map(|socket| _ = self.sockets.insert(place, socket)),
            };
            let Err(error) = done else {
                self.refused.remove(&place);
                continue;
            };
            let problem = format!("UDP port {} cannot be listened on: {error}", place.1);
            if self.refused.insert(place, problem.clone()) != Some(problem) {
                tracing::error!(port = place.1, %error, "BFD packets on interfaces without vipd's program are not heard");
            }
        }
    }

    /// What waits in each socket, up to `most` datagrams, with the slots of their sessions. Returns whether there may be more.
    pub fn read(&mut self, most: usize, mut take: impl FnMut(u32, &BfdDatagram)) -> bool {
        let mut more = false;
        for ((_, port), socket) in &mut self.sockets {
            let mut left = most;
            while left > 0 {
                let Some(datagram) = socket.next() else { break };
                left -= 1;
                let ifindex = if *port == PORT_MULTIHOP { 0 } else { datagram.ifindex };
                let ends = (datagram.source, datagram.destination, *port, ifindex);
                if let Some(slot) = self.sessions.get(&ends) {
                    take(*slot, &datagram);
                }
            }
            more |= left == 0;
        }
        more
    }

    /// Why a session is not heard by the socket that it needs.
    pub fn problem(&self, peer: &BfdPeer, heard: &HeardInterfaces) -> Option<&String> {
        let (neighbor, _, port, _) = ends(peer).filter(|_| hears_by_socket(peer, heard))?;
        self.refused.get(&(neighbor.is_ipv4(), port))
    }

    /// Waits until one of the sockets may have a datagram; never without sockets. May be dropped while it waits.
    pub async fn any_readable(&self) {
        let readable = |place: Place| async move {
            match self.sockets.get(&place) {
                Some(socket) if socket.readable().await.is_ok() => {}
                _ => std::future::pending().await,
            }
        };
        let [one, two, three, four] = PLACES;
        tokio::select! {
            () = readable(one) => {}
            () = readable(two) => {}
            () = readable(three) => {}
            () = readable(four) => {}
        }
    }
}

/// Packets over several hops may come in anywhere.
pub fn hears_by_socket(peer: &BfdPeer, heard: &HeardInterfaces) -> bool {
    let is_heard = |ifindex| heard.contains_key(&ifindex);
    peer.spec().multihop || peer.egress().is_some_and(|egress| !is_heard(egress.ifindex))
}

fn ends(peer: &BfdPeer) -> Option<Ends> {
    let (spec, egress) = (peer.spec(), peer.egress()?);
    let ifindex = if spec.multihop { 0 } else { egress.ifindex };
    Some((spec.neighbor, egress.source, way::destination_port(spec), ifindex))
}

const PLACES: [Place; 4] =
    [(true, PORT_CONTROL), (false, PORT_CONTROL), (true, PORT_MULTIHOP), (false, PORT_MULTIHOP)];

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, UdpSocket};

    use super::*;

    const US: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
    const NEIGHBOR: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 6));

    /// Listeners with a socket for sessions over several hops or over one, which is on a port of its own, and one that sends to it.
    fn listening(port: u16) -> (BfdListeners, UdpSocket) {
        let socket = BfdDatagrams::open(true, 0, [(NEIGHBOR, 0)].into()).expect("a socket");
        let from = UdpSocket::bind((NEIGHBOR, 0)).expect("a socket");
        from.connect((US, socket.port().expect("a port"))).expect("an address");
        let listeners = BfdListeners { sockets: [((true, port), socket)].into(), ..BfdListeners::default() };
        (listeners, from)
    }

    /// A socket is not emptied at once; who is told so comes again, since nothing else may wake it.
    #[tokio::test]
    async fn what_is_left_in_a_socket_is_not_forgotten() {
        let (mut listeners, from) = listening(PORT_MULTIHOP);
        listeners.sessions.insert((NEIGHBOR, US, PORT_MULTIHOP, 0), 7);
        for _ in 0..5 {
            from.send(&[0x20; 24]).expect("sent");
        }
        let mut heard = Vec::new();
        assert!(listeners.read(3, |slot, _| heard.push(slot)), "two are left");
        assert_eq!(heard, [7; 3]);
        assert!(!listeners.read(3, |slot, _| heard.push(slot)));
        assert_eq!(heard, [7; 5]);
    }

    /// RFC 5881 3: a session over a single hop is of an interface.
    #[tokio::test]
    async fn a_datagram_of_another_interface_is_of_no_session() {
        for (port, ifindex, is_heard) in
            [(PORT_CONTROL, 1, true), (PORT_CONTROL, 2, false), (PORT_MULTIHOP, 0, true)]
        {
            let (mut listeners, from) = listening(port);
            listeners.sessions.insert((NEIGHBOR, US, port, ifindex), 7);
            from.send(&[0x20; 24]).expect("sent");
            let mut heard = false;
            listeners.read(3, |_, _| heard = true);
            assert_eq!(heard, is_heard, "port {port}, interface {ifindex}");
        }
    }
}
