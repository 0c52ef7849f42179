//! What leaves this host: adverts at once, announcements in bursts that wait for adverts, questions about VIPs.

use std::{collections::BTreeMap, io, mem, sync::Arc};

use vipd_common::{Priority, types::ChecksumForm};

use super::{
    super::{
        router::{Router, pace},
        sockets::{Sent, Sockets},
    },
    instance::EngineInstance,
};
use crate::{
    announce::{AnnounceQueue, AnnouncedAddress, Question},
    coordinator::InstanceId,
    time::Instant,
};

/// The sockets, and the announcements that wait for their time.
#[derive(Debug)]
pub struct Wire {
    sockets: Sockets,
    announcements: AnnounceQueue,
}

impl Wire {
    /// Nothing waits yet.
    pub fn new(sockets: Sockets) -> Self {
        Self { sockets, announcements: AnnounceQueue::default() }
    }

    /// Takes other sockets into use; returns those of before.
    pub fn replace_sockets(&mut self, sockets: Sockets) -> Sockets {
        mem::replace(&mut self.sockets, sockets)
    }

    /// When [`Self::send_announcements`] has something to send.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.announcements.poll_timeout()
    }

    /// Sends one advert; says by which ways it has not left.
    pub fn advertise(
        &mut self,
        router: &Router,
        priority: Priority,
        checksum: ChecksumForm,
    ) -> io::Result<Sent> {
        self.sockets.advertise(router, priority, checksum)
    }

    /// Has all addresses of an instance announced so often: when the turn is over, for an advert that is due does not wait for
    /// another router's announcements.
    pub fn announce(&mut self, instance: &EngineInstance, repeat: u8, now: Instant) {
        let addresses = Arc::clone(instance.announced());
        self.push(instance, addresses, repeat, now);
    }

    /// Has some of them announced once.
    pub fn announce_some<'a>(
        &mut self,
        instance: &EngineInstance,
        addresses: impl Iterator<Item = &'a AnnouncedAddress>,
        now: Instant,
    ) {
        self.push(instance, addresses.copied().collect(), 1, now);
    }

    fn push(
        &mut self,
        instance: &EngineInstance,
        addresses: Arc<[AnnouncedAddress]>,
        repeat: u8,
        now: Instant,
    ) {
        let router = instance.router();
        self.announcements.push(router.id().0.into(), addresses, repeat, pace(router), now);
    }

    /// Whether a burst of the instance is under way.
    pub fn is_announcing(&self, id: InstanceId) -> bool {
        self.announcements.is_announcing(id.0.into())
    }

    /// Drops what is left of a burst.
    pub fn cancel_announce(&mut self, id: InstanceId) {
        self.announcements.cancel(id.0.into());
    }

    /// Sends the announcements that are due.
    pub fn send_announcements(&mut self, instances: &BTreeMap<InstanceId, EngineInstance>, now: Instant) {
        for batch in self.announcements.next_batch(now) {
            let id = u16::try_from(batch.key).ok();
            let Some(instance) = id.and_then(|id| instances.get(&InstanceId(id))) else { continue };
            if let (sent, Some(error)) = self.sockets.announce(&batch) {
                // Announcements are repeated, and every client asks again by itself.
                let of = batch.frames.len();
                tracing::debug!(instance = instance.name(), sent, of, %error, "not all announced");
            }
        }
    }

    /// Asks the wire for those of an instance's VIPs that are at these places.
    pub fn ask(&self, instance: &EngineInstance, places: &[usize]) {
        let mut questions: BTreeMap<u32, Vec<Question>> = BTreeMap::new();
        for announced in places.iter().map(|place| &instance.announced()[*place]) {
            questions.entry(announced.ifindex).or_default().push(Question::about(announced));
        }
        for (ifindex, questions) in questions {
            if let Some(error) = self.sockets.ask(ifindex, &questions) {
                tracing::debug!(instance = instance.name(), %error, "a VIP was not asked for");
            }
        }
    }
}
