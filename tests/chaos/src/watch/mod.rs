//! What is seen of a cluster from outside, by its own stamps: nothing here asks a daemon.

pub mod client;
pub mod owners;
pub mod stalls;

use anyhow::Result;

use crate::{
    clock::Time,
    cluster::Cluster,
    fault::NodeIndex,
    watch::{client::Client, owners::Oracle, stalls::Monitor},
};

/// All that watches a cluster.
#[derive(Debug)]
pub struct Watch {
    oracle: Oracle,
    client: Client,
    monitor: Monitor,
}

/// What was seen, in order of time.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// For each family of the setup.
    pub questions: Vec<Vec<Question>>,
    /// The same.
    pub requests: Vec<Vec<Request>>,
    /// Adverts as they left each node, whoever got them.
    pub adverts: Vec<Advert>,
    /// When the machine kept processes of vipd's own priority, or frames, from where they should have been.
    pub stalls: Vec<Stall>,
}

/// An ARP request or a solicitation for a VIP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Question {
    pub sent: Time,
    /// The last of the answers; `sent` without any.
    pub answered: Time,
    /// A bit for each node that answered.
    pub owners: u8,
}

/// What a client asked of the service on a VIP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    pub sent: Time,
    pub served: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Advert {
    pub at: Time,
    pub node: NodeIndex,
    pub family: usize,
    pub priority: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stall {
    pub from: Time,
    pub to: Time,
}

impl Watch {
    pub fn start(cluster: &Cluster) -> Result<Self> {
        let monitor = Monitor::start(cluster.clock)?;
        Ok(Self { oracle: Oracle::start(cluster)?, client: Client::start(cluster)?, monitor })
    }

    pub fn stop(self) -> Result<Seen> {
        let requests = self.client.stop()?;
        let (questions, adverts, late) = self.oracle.stop()?;
        let mut stalls = self.monitor.stop()?;
        stalls.extend(late);
        stalls.sort();
        Ok(Seen { questions, requests, adverts, stalls })
    }
}
