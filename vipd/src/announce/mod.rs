//! Frames out: adverts and gratuitous ARP, on packet sockets. The only module that knows those.
//!
//! It receives nothing and keeps no time: the driver says when, and what the socket refuses comes back as an error.

mod frames;
mod queue;
mod socket;

pub use frames::{AdvertSpec, advert_frame, gratuitous_arp};
pub use queue::AnnounceQueue;
pub use socket::PacketSocket;
