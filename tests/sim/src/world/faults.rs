//! What goes wrong, and how it ends.

use super::{Again, Item, World};
use vipd_common::Priority;

use crate::{
    clock::{Clock, MICRO, MILLI},
    node::{Message, Node},
    plan::Fault,
};

/// The priority of who is to be master only when there is nobody else.
const LAST: Priority = Priority::new(1);

impl World {
    pub(super) fn begin(&mut self, fault: Fault) {
        self.note(|_| format!("fault: {fault:?}"));
        let end = self.now + fault.duration();
        let mut again = Again { life: None, was: 0 };
        match fault {
            Fault::Freeze { node: i, .. } => {
                let node = &mut self.nodes[i];
                let ran = node.can_run(self.now);
                node.frozen_until = node.frozen_until.max(end);
                if ran {
                    self.early_stopped(i);
                }
            }
            Fault::Pause { node: i, .. } => {
                let now = self.local(i);
                let node = &mut self.nodes[i];
                if node.paused.is_some() || !node.up {
                    return;
                }
                if node.can_run(self.now) {
                    self.early_stopped(i);
                }
                let node = &mut self.nodes[i];
                node.paused = Some(now);
                again.was = node.life;
            }
            Fault::Kill { node, .. } => {
                if !self.nodes[node].running {
                    return;
                }
                self.kill(node);
                again.life = Some(self.nodes[node].life);
            }
            Fault::Restart { node, .. } | Fault::Stop { node, .. } => {
                if !self.nodes[node].running {
                    return;
                }
                let vipd = self.nodes[node].is_vipd();
                let message = match fault {
                    Fault::Restart { .. } if vipd => Message::Leave,
                    _ => Message::Shutdown,
                };
                self.nodes[node].mailbox.push_back(message);
                self.asked(node, message);
                self.wake_soon(node);
                again.life = Some(self.nodes[node].life);
            }
            Fault::Reload { node, ref instances } => {
                if let Some(instances) = instances {
                    self.nodes[node].configured.clone_from(instances);
                    self.nodes[node].unread = true;
                }
                self.tell_soon(node, Message::Reload);
            }
            Fault::Remove { node, router, .. } => {
                let group = self.plan.groups[router];
                self.nodes[node].removals[group] += 1;
                self.tell_soon(node, Message::Remove { group });
            }
            Fault::Crash { node, .. } => {
                if !self.nodes[node].up {
                    return;
                }
                self.kill(node);
                let node = &mut self.nodes[node];
                (node.up, node.paused) = (false, None);
                node.forget();
                again.life = Some(node.life);
            }
            Fault::LinkDown { node, .. } => {
                self.nodes[node].link_faults += 1;
                self.link_changed(node);
            }
            Fault::Tracked { node, router, .. } => {
                self.nodes[node].track_faults[router] += 1;
                self.tracked(node, router);
            }
            Fault::Priority { node, router, priority, .. } => {
                if !self.nodes[node].has_weights(router) {
                    return;
                }
                self.nodes[node].priorities[router].push(Priority::new(priority));
                self.weighed(node, router);
            }
            Fault::HandOver { node, router, lowers, .. } => {
                for member in self.plan.members(router).filter(|_| lowers) {
                    if self.nodes[node].has_weights(member) {
                        self.nodes[node].priorities[member].push(LAST);
                        self.weighed(node, member);
                    }
                }
                self.tell_soon(node, Message::HandOver { router });
            }
            Fault::Cut { from, to, .. } => self.cuts[0][from][to] += 1,
            Fault::CutHeartbeat { from, to, .. } => self.cuts[1][from][to] += 1,
            Fault::CutArbiter { node, .. } => self.cut_arbiter(node, true),
            Fault::Reprobe { node, timing } => self.tell_soon(node, Message::Reprobe(timing)),
            Fault::Partition { side, .. } => self.part(side, true),
            Fault::Loss { share, .. } => self.losses.push(share),
            Fault::SendFails { node, .. } => self.nodes[node].send_faults += 1,
            Fault::Busy { node, at_most, .. } => self.nodes[node].busy_faults.push(at_most),
        }
        self.push(end, Item::End(fault, again));
    }

    pub(super) fn end(&mut self, fault: &Fault, again: Again) {
        self.note(|_| format!("over: {fault:?}"));
        match fault {
            Fault::Freeze { node, .. } => {
                // One that was started since runs.
                if self.nodes[*node].frozen_until == self.now {
                    self.resumed(*node);
                    self.early_resumed(*node);
                    self.wake_soon(*node);
                }
            }
            Fault::Pause { node: i, clock_stops, .. } => {
                let node = &mut self.nodes[*i];
                if let Some(local) = node.paused.take() {
                    if *clock_stops {
                        let stood = self.now - node.clock.when(local);
                        node.clock.resume(local, self.now);
                        self.clock_stood(*i, stood);
                    }
                    if *clock_stops {
                        self.linked(*i);
                    } else {
                        self.woke(*i);
                    }
                    self.early_woke(*i, *clock_stops);
                    self.wake_soon(*i);
                }
            }
            Fault::Kill { node, .. } => self.start_again(*node, again),
            Fault::Restart { node, instances, .. } => {
                let same = self.is_same(*node, again);
                if let (true, Some(instances)) = (same, instances) {
                    self.reconfigured(*node);
                    self.nodes[*node].configured.clone_from(instances);
                }
                self.start_again(*node, again);
            }
            Fault::Reload { .. } | Fault::Reprobe { .. } => {}
            Fault::Remove { node, router, .. } => {
                let group = self.plan.groups[*router];
                self.nodes[*node].removals[group] -= 1;
                self.tell_soon(*node, Message::Add { group });
            }
            Fault::Stop { node, .. } => self.start_again(*node, again),
            Fault::Crash { node: i, .. } => {
                let local = self.rng.u64(MILLI..1000 * MILLI);
                let node = &mut self.nodes[*i];
                node.up = true;
                node.clock = Clock::new(self.now, local, node.plan.ppm);
                self.start_again(*i, again);
            }
            Fault::LinkDown { node, .. } => {
                self.nodes[*node].link_faults -= 1;
                self.link_changed(*node);
            }
            Fault::Tracked { node, router, .. } => {
                self.nodes[*node].track_faults[*router] -= 1;
                self.tracked(*node, *router);
            }
            Fault::Priority { node, router, priority, .. } => {
                self.unweighed(*node, *router, Priority::new(*priority));
            }
            Fault::HandOver { node, router, lowers, .. } => {
                for member in self.plan.members(*router).filter(|_| *lowers) {
                    self.unweighed(*node, member, LAST);
                }
            }
            Fault::Cut { from, to, .. } => self.cuts[0][*from][*to] -= 1,
            Fault::CutHeartbeat { from, to, .. } => self.cuts[1][*from][*to] -= 1,
            Fault::CutArbiter { node, .. } => self.cut_arbiter(*node, false),
            Fault::Partition { side, .. } => self.part(*side, false),
            Fault::Loss { share, .. } => {
                if let Some(i) = self.losses.iter().position(|loss| loss == share) {
                    self.losses.remove(i);
                }
            }
            Fault::SendFails { node, .. } => {
                self.nodes[*node].send_faults -= 1;
                self.resumed(*node);
            }
            Fault::Busy { node, at_most, .. } => {
                let busy = &mut self.nodes[*node].busy_faults;
                if let Some(i) = busy.iter().position(|other| other == at_most) {
                    busy.remove(i);
                }
            }
        }
    }

    /// Whether the process, or the lack of one, is still what a fault left.
    fn is_same(&self, node: usize, again: Again) -> bool {
        let node = &self.nodes[node];
        // One that was asked to end is gone by now, or still at it.
        again.life.is_some_and(|life| node.life == life || node.life == life + 1 && !node.running)
    }

    fn start_again(&mut self, node: usize, again: Again) {
        if self.is_same(node, again) {
            if self.nodes[node].running {
                // It has been asked for long enough.
                self.kill(node);
            }
            self.start(node);
        }
    }

    fn link_changed(&mut self, node: usize) {
        self.linked(node);
        let Node { life, running, .. } = self.nodes[node];
        if running {
            let up = self.nodes[node].link();
            // In the order in which they happen.
            let latency = 100 * MICRO;
            self.push(self.now + latency, Item::Tell { node, life, message: Message::Link(up) });
        }
    }

    fn tracked(&mut self, node: usize, router: usize) {
        let well = self.nodes[node].track_faults[router] == 0;
        self.tell_soon(node, Message::Tracked { router, well });
    }

    fn weighed(&mut self, node: usize, router: usize) {
        let priority = self.nodes[node].priority(router);
        self.tell_soon(node, Message::Priority { router, priority });
    }

    fn unweighed(&mut self, node: usize, router: usize, priority: Priority) {
        let priorities = &mut self.nodes[node].priorities[router];
        if let Some(i) = priorities.iter().position(|other| *other == priority) {
            priorities.remove(i);
        }
        self.weighed(node, router);
    }

    /// The answer to a process that wants a master fenced: now or later, and not always what it hopes for.
    pub fn fence(&mut self, node: usize, router: usize, round: u64) {
        let soon = self.rng.u64(100 * MICRO..10 * MILLI);
        // When all faults are over it takes no time, and succeeds.
        let calm = self.plan.calm.max(self.now) + soon;
        let at = calm.min(self.now + self.rng.u64(soon..4000 * MILLI));
        let done = at == calm || self.rng.u8(..5) > 0;
        self.note(|_| format!("node {node}, router {router}: fences, question {round}"));
        self.asks_for_fence(node, router, round);
        let life = self.nodes[node].life;
        self.push(at, Item::Tell { node, life, message: Message::Fenced { router, round, done } });
    }

    fn tell_soon(&mut self, node: usize, message: Message) {
        let Node { life, running, .. } = self.nodes[node];
        if running && self.nodes[node].is_vipd() {
            self.push(self.now + 100 * MICRO, Item::Tell { node, life, message });
        }
    }

    fn part(&mut self, side: u32, cut: bool) {
        // The arbiter is with those without a bit.
        (0..self.nodes.len())
            .filter(|node| side >> node & 1 == 1)
            .for_each(|node| self.cut_arbiter(node, cut));
        for from in 0..self.nodes.len() {
            for to in 0..self.nodes.len() {
                if (side >> from & 1) != (side >> to & 1) {
                    let count = &mut self.cuts[0][from][to];
                    *count = if cut { *count + 1 } else { *count - 1 };
                }
            }
        }
    }
}
