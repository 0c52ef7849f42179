//! Watches whether the program is attached where it was: anybody with CAP_NET_ADMIN can detach it, and the kernel tells nobody.
//!
//! Without it nothing answers for the VIPs and no advert is heard, while the election would go on as a master of nothing. It is
//! attached again; where that is refused, the instances there are in FAULT with the reason, and it is tried again and again.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use super::{attach::attach, clock, driver::Message, main_loop::MainLoop};
use crate::{
    detection::Cadence,
    host::{LinkChange, LinkState},
    interface_names::name_of,
};

/// Between two looks. Each is one or two system calls for an interface.
pub const PERIOD: Duration = Duration::from_secs(1);

/// Interfaces that have lost the program, by their index.
#[derive(Debug, Default)]
pub struct Detached {
    /// Where it is not attached again yet.
    lost: BTreeMap<u32, Lost>,
    /// Somebody may do it again each time.
    told: HashMap<u32, Cadence>,
}

#[derive(Debug)]
struct Lost {
    interface: String,
    /// Somebody who does it again and again is told of now and then, and so is the end of it.
    told: bool,
}

impl MainLoop<'_> {
    /// The kernel tells of some ways to detach a program as of a change of the link.
    pub async fn check_attachment_of(&mut self, change: &LinkChange) {
        if let LinkChange::State(LinkState { ifindex, .. }) = change
            && self.attachments.contains_key(ifindex)
        {
            self.check_attachments().await;
        }
    }

    /// Looks at every interface with the program, and attaches it again where it is gone.
    pub async fn check_attachments(&mut self) {
        let mut any = false;
        for ifindex in self.attachments.keys().copied().collect::<Vec<_>>() {
            any |= self.is_lost(ifindex).await;
        }
        if any && (self.stopping || self.reload.is_some()) {
            // A handover takes seconds, in which the VIPs are answered for and adverts are heard, or nobody is heard to take over.
            self.attach_again().await;
        } else if any {
            self.want_rebuild().await;
        }
        if any {
            self.give_up_lost().await;
        }
        self.tell_of_found();
    }

    /// Whether an interface that is there has lost the program; then nobody counts on it any more.
    async fn is_lost(&mut self, ifindex: u32) -> bool {
        match self.made.dataplane.is_in_place(ifindex) {
            Ok(true) => return false,
            Ok(false) => {}
            Err(error) => {
                // It is not known to be gone.
                tracing::debug!(ifindex, error = format!("{error:#}"), "an attachment cannot be looked at");
                return false;
            }
        }
        // With an interface its program is gone, which the kernel's notice is about to say. The answer comes when a removal that
        // is under way is over.
        let Ok(link) = self.made.host.link_by_index(ifindex).await else { return false };
        let interface = link.name;
        self.made.dataplane.forget(ifindex);
        let mode = self.attachments.remove(&ifindex).map_or("", |attachment| attachment.mode.name());
        let count = self.detached.told.entry(ifindex).or_default().note(1, clock::now());
        if let Some(count) = count {
            tracing::error!(
                target: "vipd::event",
                event = "program_detached",
                interface,
                mode,
                count,
                "the program was detached by somebody else: nothing answered for the VIPs there; it is attached again"
            );
        }
        self.detached.lost.insert(ifindex, Lost { interface, told: count.is_some() });
        true
    }

    /// Attaches it for what runs, while a reload or a stop waits for successors.
    async fn attach_again(&mut self) {
        let modes = self.options.xdp_modes(&self.config);
        let Self { made, routers, attachments, .. } = self;
        let failed = attach(&mut made.dataplane, routers, &modes, &mut made.host, attachments).await;
        for (ifindex, error) in failed {
            let error = self.why_unattached(ifindex, &format!("{error:#}"));
            tracing::error!(error, "an interface is not used");
            self.wanted.again_soon();
        }
    }

    /// Has the instances of interfaces without the program in fault, if the rebuild has not come so far as to say it: nobody is
    /// master of what nothing answers for.
    async fn give_up_lost(&mut self) {
        let is_lost = |ifindex: &&u32| !self.attachments.contains_key(ifindex);
        for ifindex in self.detached.lost.keys().filter(is_lost).copied().collect::<Vec<_>>() {
            let change = LinkChange::Gone { ifindex };
            self.follow(&change);
            self.send(Message::Link(change)).await;
        }
    }

    fn tell_of_found(&mut self) {
        let Self { detached, attachments, .. } = self;
        detached.lost.retain(|ifindex, Lost { interface, told }| {
            let Some(attachment) = attachments.get(ifindex) else {
                return !matches!(name_of(*ifindex), Ok(None));
            };
            if *told {
                tracing::info!(
                    target: "vipd::event",
                    event = "program_attached",
                    interface,
                    mode = attachment.mode.name(),
                    "the program is attached again"
                );
            }
            false
        });
    }

    /// What to say of an interface where the program cannot be attached.
    pub fn why_unattached(&self, ifindex: u32, error: &str) -> String {
        match self.detached.lost.get(&ifindex) {
            Some(Lost { interface, .. }) => format!(
                "the program was detached from {interface} by somebody else, and cannot be attached again: {error}"
            ),
            None => error.to_owned(),
        }
    }
}
