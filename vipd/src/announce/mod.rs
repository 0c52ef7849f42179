//! Frames and packets out: adverts, gratuitous ARP and unsolicited neighbour advertisements. The only module that knows
//! packet sockets and raw ones that send.
//!
//! It receives nothing and keeps no time: the driver says when, and what a socket refuses comes back as an error.

mod advert;
mod announced_address;
mod frame;
mod packet;
mod question;
mod queue;
mod unicast;

pub use advert::{AdvertSpec, advert_frame, advert_packet};
pub use announced_address::{AnnouncedAddress, Frame};
pub use packet::PacketSocket;
pub use question::Question;
pub use queue::{AnnounceQueue, Batch, Pace};
pub use unicast::{Departure, UnicastSocket};
