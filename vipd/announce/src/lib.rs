//! Sends adverts, probes, gratuitous ARP and unsolicited Neighbor Advertisements. The only module with packet sockets and raw sockets
//! that send.
//!
//! It receives nothing and reads no clock: the engine thread says when to send, and the refusal of a socket comes back as an error.

mod advert;
mod announced_address;
mod frame;
mod packet;
mod probe;
mod question;
mod queue;
mod unicast;

pub use advert::{AdvertSpec, advert_frame, advert_packet};
pub use announced_address::{AnnouncedAddress, Frame};
pub use packet::PacketSocket;
pub use probe::{HostProbeSpec, frame_to_group, probe_packet};
pub use question::Question;
pub use queue::{AnnounceQueue, Batch, Pace};
pub use unicast::{Departure, UnicastSocket};
