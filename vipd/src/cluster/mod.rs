//! What the nodes of a cluster tell each other for `vipd cluster` and the status page (`cluster_report`; off unless given).
//!
//! A node sends a small datagram every few seconds, to the multicast group of its adverts or to its unicast peers, and hears those of
//! the others. Nothing depends on it: the election has no import of this room, reports are never answered, and a wrong one is
//! counted and forgotten.
//!
//! [`wire`] is the format, [`key`] the signature, [`segment`] says where reports go and come from, [`nodes`] what is believed, [`refusals`] what is told of the rest, and
//! [`status`] what becomes of it; [`view`] is the whole as it is shown. [`task`] does it, with the sockets of [`socket`].

mod key;
mod nodes;
mod refusals;
mod segment;
mod socket;
mod status;
mod task;
mod view;
mod wire;

pub use segment::{Destination, ReportPeer, Segment};
pub use status::without_output;
pub use task::{Cluster, ReportPlan, Reporter, new};
pub use view::{ClusterView, RouterView, masters, name as node_name, problems};
