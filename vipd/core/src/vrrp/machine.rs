//! The election state machine of one virtual router (RFC 9568 6.4).
//!
//! A state owns its timers and its address, so neither a timer of another state nor a backup without an address can
//! be expressed. All of it is plain data: a step computes the next state from the present one.

mod backup;
mod claim;
mod master;
mod one_way;
mod snapshot;
mod state;
mod waiting;

use std::{collections::VecDeque, net::IpAddr};

use vipd_common::{Family, Priority, Version, types::ChecksumForm};

pub use self::snapshot::{Counters, Snapshot};
use self::{
    backup::Backup,
    master::Master,
    state::{Leaving, Next, Out, State},
};
use super::{Action, Advert, Event, InstanceId, Rank, Reason, Settings, StateName};
use crate::time::Instant;

/// Most actions that one event causes.
pub const MAX_ACTIONS: usize = 8;

/// Of how many other routers the last advert is kept, besides the one heard last.
const SOURCES: usize = 8;

/// One virtual router.
///
/// A router that hears nobody becomes the master after its master-down interval:
///
/// ```
/// use std::{collections::VecDeque, time::Duration};
///
/// use vipd_common::{Family, Priority, Version, Vrid, types::ChecksumForm};
/// use vipd_core::{
///     time::Instant,
///     vrrp::{Action, Event, GarpTiming, InstanceId, LeasePolicy, Machine, Settings, StateName},
/// };
///
/// let settings = Settings {
///     version: Version::V3,
///     family: Family::V4,
///     vrid: Vrid::new(51).expect("1 to 255"),
///     priority: Priority::new(100),
///     advert_interval: Duration::from_secs(1),
///     down_timer_adverts: 3,
///     preempt: true,
///     preempt_delay: Duration::ZERO,
///     lease: LeasePolicy::Overlap,
///     garp: GarpTiming::default(),
///     lower_prio_no_advert: false,
///     checksum: ChecksumForm::PseudoHeader,
///     fence: false,
///     shared: None,
/// };
/// let mut machine = Machine::new(InstanceId(0), settings);
/// let (mut now, mut actions) = (Instant::from_nanos(0), VecDeque::new());
///
/// machine.handle(Event::Ready { address: [10, 0, 0, 5].into() }, now, &mut actions);
/// assert_eq!(machine.state(), StateName::Backup);
///
/// // 3 intervals and the skew time of (256 - 100) / 256 of an interval.
/// now = machine.deadline().expect("a backup waits");
/// assert_eq!(now.as_nanos(), 3_609_375_000);
/// machine.handle(Event::Timeout, now, &mut actions);
/// assert_eq!(machine.state(), StateName::Master);
/// assert!(actions.iter().any(|action| matches!(action, Action::Advertise { .. })));
/// ```
#[derive(Clone, Debug)]
pub struct Machine {
    id: InstanceId,
    settings: Settings,
    state: State,
    since: Instant,
    /// The form adverts are sent in.
    checksum: ChecksumForm,
    /// The advert that [`Event::Heard`] repeats, kept whatever the state: XDP reports only what changed.
    last_heard: Option<Advert>,
    /// The last of each other source, oldest first: at most [`SOURCES`].
    heard_before: Vec<Advert>,
    published: Rank,
    /// What a master that has outbid another advertises instead of its own priority, if that is lower.
    claim: Option<Priority>,
    /// What the master was heard to be compared as, beside its adverts.
    master_rank: Option<Priority>,
    /// A peer is heard that does not hear this router (RFC 2328's 1-Way): as if Preempt_Mode were False.
    one_way: bool,
    last_reason: Option<Reason>,
    counters: Counters,
}

impl Machine {
    /// A router that waits for its interface. XDP is taken to know [`Rank::ABSENT`] of it.
    pub fn new(id: InstanceId, settings: Settings) -> Self {
        Self {
            id,
            checksum: settings.checksum,
            settings,
            state: State::Init { inherited: None },
            since: Instant::default(),
            last_heard: None,
            heard_before: Vec::new(),
            published: Rank::ABSENT,
            claim: None,
            master_rank: None,
            one_way: false,
            last_reason: None,
            counters: Counters::default(),
        }
    }

    /// Takes one event at `now` and appends what is to be done to `out`: at most [`MAX_ACTIONS`].
    pub fn handle(&mut self, event: Event, now: Instant, out: &mut VecDeque<Action>) {
        let mut out = Out { id: self.id, queue: out };
        if let State::Master(master) = self.state
            && now >= master.lease_until
        {
            // DEVIATION 6.4.3: a master that was frozen steps down before anything else, and sends nothing: somebody
            // may have taken over, and its adverts are still to be read.
            let next = self.step_down(
                Backup::new(&self.settings, master.address, now),
                Reason::LeaseLapsed,
                &mut out,
            );
            self.enter(next, now, &mut out);
        }
        if let Event::Advert { advert, .. } = event {
            self.note(&advert, &mut out);
        }
        match event {
            Event::Priority { priority } => self.set_priority(priority, now, &mut out),
            Event::Settings { settings } => self.set_settings(settings, now, &mut out),
            Event::MasterRank { priority } => self.master_rank = Some(priority),
            Event::Claim { reason, until } => self.make_claim(reason, until, now, &mut out),
            Event::Assert { announce } => self.assert_mastership(announce, &mut out),
            Event::Settle { yields } => self.settle(yields, now, &mut out),
            Event::OneWay { one_way } => self.set_one_way(one_way, now),
            Event::GiveWay => self.give_way(now, &mut out),
            _ => {
                let next = self.step(event, now, &mut out);
                self.enter(next, now, &mut out);
            }
        }
        self.check_invariants();
    }

    /// When [`Event::Timeout`] is next wanted.
    pub fn deadline(&self) -> Option<Instant> {
        match self.state {
            State::Init { .. } | State::Fault | State::Stopped => None,
            State::Backup(backup) => Some(backup.down_at),
            State::Master(master) => Some(master.deadline()),
            State::Leaving(leaving) => Some(leaving.until),
        }
    }

    /// The lease of a master, which covers its sync group too, ends then.
    pub fn know_lease(&mut self, until: Instant) {
        if let State::Master(master) = &mut self.state {
            master.lease_until = until;
        }
    }

    /// The current state.
    pub fn state(&self) -> StateName {
        self.state.name()
    }

    /// Whether this is a master that has said goodbye.
    pub fn is_leaving(&self) -> bool {
        matches!(self.state, State::Leaving(_))
    }

    /// Whether this is a master that is to hand over, and stays if nobody takes over.
    pub fn is_yielding(&self) -> bool {
        matches!(self.state, State::Master(Master { yielding: true, .. }))
    }

    /// Whether it has not begun, and a predecessor on this node left a lease to it.
    pub fn inherits(&self) -> bool {
        matches!(self.state, State::Init { inherited: Some(_) })
    }

    /// Whether it has ended for good.
    pub fn is_stopped(&self) -> bool {
        self.state == State::Stopped
    }

    /// When the lease of a master ends, by what it knows.
    pub fn lease_until(&self) -> Option<Instant> {
        match self.state {
            State::Master(master) => Some(master.lease_until),
            State::Leaving(leaving) => Some(leaving.until),
            State::Init { .. } | State::Fault | State::Backup(_) | State::Stopped => None,
        }
    }

    /// The transition table: every state and every event.
    fn step(&mut self, event: Event, now: Instant, out: &mut Out<'_>) -> Next {
        match (self.state, event) {
            // Not by a table: see `set_priority`, `set_settings`, `claim` and `one_way`.
            (
                state,
                Event::Priority { .. }
                | Event::Settings { .. }
                | Event::MasterRank { .. }
                | Event::Claim { .. }
                | Event::Assert { .. }
                | Event::Settle { .. }
                | Event::OneWay { .. }
                | Event::GiveWay,
            ) => Next::stay(state),
            (State::Init { .. }, Event::Inherited { lease_until }) => {
                Next::stay(State::Init { inherited: Some(lease_until) })
            }
            (State::Init { inherited: Some(lease_until) }, Event::Ready { address }) if now < lease_until => {
                // DEVIATION 6.4.1: no Initialize for a router that everyone takes for the master, and rightly: whoever
                // had taken over would have had XDP revoke the lease.
                let master = Master::inherited(&self.settings, address, lease_until, now);
                Next::to(State::Master(master), Reason::Inherited)
            }
            (State::Init { inherited: Some(_) }, Event::Ready { address }) => {
                // It has run out.
                out.release();
                self.start(address, now, out)
            }
            (State::Init { inherited: Some(_) }, Event::LeaseLost | Event::Synced) => {
                out.release();
                Next::stay(State::Init { inherited: None })
            }
            (State::Init { inherited: Some(_) }, Event::Fault { reason }) => {
                out.release();
                Next::to(State::Fault, Reason::Fault(reason))
            }
            (State::Init { inherited: Some(_) }, Event::Shutdown) => {
                out.release();
                Next::to(State::Stopped, Reason::Shutdown)
            }
            (State::Init { inherited: None } | State::Fault, Event::Ready { address }) => {
                self.start(address, now, out)
            }
            (State::Init { inherited: None }, Event::Fault { reason }) => {
                Next::to(State::Fault, Reason::Fault(reason))
            }
            (state @ State::Fault, Event::Fault { reason }) => {
                self.last_reason = Some(Reason::Fault(reason));
                Next::stay(state)
            }
            (State::Init { inherited: None } | State::Fault, Event::Shutdown) => {
                Next::to(State::Stopped, Reason::Shutdown)
            }
            (state @ State::Stopped, Event::Ready { .. } | Event::Fault { .. } | Event::Shutdown) => {
                Next::stay(state)
            }
            (
                // Only a router that has not begun inherits.
                state @ (State::Fault
                | State::Backup(_)
                | State::Master(_)
                | State::Leaving(_)
                | State::Stopped),
                Event::Inherited { .. },
            ) => Next::stay(state),
            (
                // RFC 9568 6.4.1: no advert is processed in Initialize. No lease is held and no timer runs either.
                state @ (State::Init { .. } | State::Fault | State::Stopped),
                Event::Advert { .. }
                | Event::LeaseLost
                | Event::Synced
                | Event::AdvertSent { .. }
                | Event::AdvertFailed
                | Event::Timeout,
            ) => Next::stay(state),
            // Whoever is a backup soon is to know who was heard lately.
            (state @ (State::Init { .. } | State::Fault | State::Stopped), Event::Heard { at }) => {
                if let Some(advert) = self.last_heard.as_mut().filter(|advert| at > advert.received_at) {
                    advert.received_at = at;
                }
                Next::stay(state)
            }

            (State::Backup(backup), Event::Advert { advert, revoked: _ }) => {
                Next::stay(State::Backup(self.heed(backup, &advert)))
            }
            (State::Backup(backup), Event::Heard { at }) => {
                Next::stay(State::Backup(self.hear_again(backup, at)))
            }
            (State::Backup(backup), Event::Timeout) if now >= backup.down_at => {
                match backup.reprieve(&self.settings, now) {
                    Some(backup) => Next::stay(State::Backup(backup)),
                    // RFC 9568 6.4.2: Active_Down_Timer fires.
                    None => self.become_master(backup.address, backup.on_expiry, now, out),
                }
            }
            (State::Backup(backup), Event::Ready { address }) => {
                Next::stay(State::Backup(Backup { address, ..backup }))
            }
            (State::Backup(_), Event::Fault { reason }) => Next::to(State::Fault, Reason::Fault(reason)),
            // RFC 9568 6.4.2: Shutdown: cancel the timer; no packet.
            (State::Backup(_), Event::Shutdown) => Next::to(State::Stopped, Reason::Shutdown),
            (
                // Results that come after the mastership they belong to.
                state @ State::Backup(_),
                Event::LeaseLost
                | Event::Synced
                | Event::AdvertSent { .. }
                | Event::AdvertFailed
                | Event::Timeout,
            ) => Next::stay(state),

            (State::Master(master), Event::Advert { advert, revoked }) => {
                self.hear_rival(master, &advert, revoked, now, out)
            }
            (State::Master(master), Event::Timeout) => Next::stay(State::Master(self.tick(master, now, out))),
            (State::Master(master), Event::AdvertSent { at, lease_until }) => {
                Next::stay(State::Master(Master { lease_until, last_sent: Some(at), ..master }))
            }
            (State::Master(master), Event::AdvertFailed) => match master.last_sent {
                // The lease is not renewed: if this lasts it lapses.
                Some(_) => Next::stay(State::Master(master)),
                // Nobody knows of us.
                None => {
                    self.step_down(Backup::new(&self.settings, master.address, now), Reason::SendFailed, out)
                }
            },
            // DEVIATION 6.4.3: whoever revoked the lease is served by now; its adverts will be heard as a backup.
            (State::Master(master), Event::LeaseLost | Event::Synced) => {
                let reason = match event {
                    _ if master.yielding => Reason::HandedOver,
                    Event::LeaseLost => Reason::LeaseRevoked,
                    _ => Reason::Group,
                };
                self.step_down(Backup::new(&self.settings, master.address, now), reason, out)
            }
            // XDP reports each advert to a live master.
            (state @ State::Master(_), Event::Heard { .. }) => Next::stay(state),
            (State::Master(master), Event::Ready { address }) => {
                Next::stay(State::Master(Master { address, ..master }))
            }
            (State::Master(_), Event::Fault { reason }) => {
                // Nothing is gained by answering until a successor is heard: what answers is not well. Before the goodbye:
                // a process that is held up after it would answer beside its successor.
                out.release();
                if reason.adverts_leave() {
                    // Of a link that is down no goodbye, unless another line carries it.
                    self.say_goodbye(out);
                }
                Next::to(State::Fault, Reason::Fault(reason))
            }
            (State::Master(master), Event::Shutdown) => self.leave(master, now, out),
            (State::Master(master), Event::HandOver) if !self.settings.priority.is_owner() => {
                // DEVIATION 6.4.3: a goodbye of one that may advertise again. The lease is not shortened, since the
                // mastership goes on if nobody takes over.
                self.claim = None;
                let state = State::Master(master.yielding(&self.settings, now));
                self.publish(&state, out);
                self.say_goodbye(out);
                Next::stay(state)
            }
            (state, Event::HandOver) => Next::stay(state),

            (state @ State::Leaving(leaving), Event::Advert { advert, revoked }) => {
                let successor = advert.source != leaving.address && !advert.priority.is_leaving();
                if successor || revoked {
                    out.release();
                    Next::to(State::Stopped, Reason::HandedOver).with_master(&advert)
                } else {
                    Next::stay(state)
                }
            }
            // It has said goodbye, and does not leave its successor a gap.
            (state @ State::Leaving(_), Event::Fault { reason }) if reason.adverts_leave() => {
                Next::stay(state)
            }
            (State::Leaving(_), Event::Fault { reason }) => {
                out.release();
                Next::to(State::Stopped, Reason::Fault(reason))
            }
            (State::Leaving(_), Event::LeaseLost | Event::Synced) => {
                out.release();
                Next::to(State::Stopped, Reason::HandedOver)
            }
            (State::Leaving(leaving), Event::Timeout) if now >= leaving.until => {
                out.release();
                Next::to(State::Stopped, Reason::NoSuccessor)
            }
            (State::Leaving(leaving), Event::Ready { address }) => {
                Next::stay(State::Leaving(Leaving { address, ..leaving }))
            }
            (
                // A goodbye that could not be sent is not sent again: the backups' timers see to the rest.
                state @ State::Leaving(_),
                Event::Heard { .. }
                | Event::AdvertSent { .. }
                | Event::AdvertFailed
                | Event::Shutdown
                | Event::Timeout,
            ) => Next::stay(state),
        }
    }

    /// RFC 9568 6.4.1: Startup.
    fn start(&mut self, address: IpAddr, now: Instant, out: &mut Out<'_>) -> Next {
        if self.settings.priority.is_owner() {
            self.become_master(address, Reason::Owner, now, out)
        } else {
            Next::to(State::Backup(Backup::new(&self.settings, address, now)), Reason::Started)
        }
    }

    /// RFC 9568 6.4.2: the advert goes first, so that a former master has heard it when we begin to answer, and when the
    /// announcements arrive. The lease comes with it.
    fn become_master(&mut self, address: IpAddr, reason: Reason, now: Instant, out: &mut Out<'_>) -> Next {
        let state = State::Master(Master::new(&self.settings, address, now));
        // Before the lease: XDP must know whom we yield to. A backup's rank is a master's, so only an owner that
        // starts has anything to publish.
        self.publish(&state, out);
        self.advertise(out);
        out.announce(self.settings.garp.master_repeat);
        self.counters.became_master += 1;
        Next::to(state, reason)
    }

    /// Ends mastership: silence first, then `backup`.
    fn step_down(&self, backup: Backup, reason: Reason, out: &mut Out<'_>) -> Next {
        out.release();
        Next::to(State::Backup(backup), reason)
    }

    /// Planned handover: say goodbye, but answer until the successor is heard.
    fn leave(&mut self, master: Master, now: Instant, out: &mut Out<'_>) -> Next {
        // DEVIATION 6.4.3: the RFC stops at once, which leaves a gap of the successor's skew time.
        let until = master.lease_until.min(now + self.settings.leaving_bound());
        let state = State::Leaving(Leaving { address: master.address, until });
        out.push(|instance| Action::Shorten { instance, until });
        self.publish(&state, out);
        out.push(|instance| Action::CancelAnnounce { instance });
        self.say_goodbye(out);
        Next::stay(state)
    }

    fn say_goodbye(&self, out: &mut Out<'_>) {
        let (priority, checksum) = (Priority::LEAVING, self.checksum);
        out.push(|instance| Action::Advertise { instance, priority, checksum, renew_for: None });
    }

    /// What is tracked has changed the priority.
    fn set_priority(&mut self, priority: Priority, now: Instant, out: &mut Out<'_>) {
        let fixed = |priority: Priority| priority.is_owner() || priority.is_leaving();
        if fixed(self.settings.priority) || fixed(priority) || priority == self.settings.priority {
            return;
        }
        let before = std::mem::replace(&mut self.settings.priority, priority);
        let heeded = self.heeded();
        match &mut self.state {
            State::Backup(backup) => *backup = backup.with_priority(&heeded, before, now),
            // It says nothing until it has waited.
            State::Master(Master { yielding: true, .. }) => {}
            State::Master(master) => {
                let mut master = *master;
                let state = State::Master(master);
                // Before the advert: who answers it must be compared with the new one.
                self.publish(&state, out);
                self.advertise_at_once(&mut master, now, out);
                self.state = State::Master(master);
            }
            State::Init { .. } | State::Fault | State::Leaving(_) | State::Stopped => {}
        }
        let state = self.state;
        self.publish(&state, out);
    }

    /// The configuration has changed.
    fn set_settings(&mut self, settings: Settings, now: Instant, out: &mut Out<'_>) {
        let before = std::mem::replace(&mut self.settings, settings);
        if settings == before {
            return;
        }
        if self.checksum == before.checksum {
            self.checksum = settings.checksum;
        }
        match self.state {
            State::Backup(backup) if settings.priority.is_owner() && settings.shared.is_some() => {
                // When the others of its sync group have been told as well.
                let backup = backup.with_settings(&settings, &before, now);
                self.state = State::Backup(Backup { down_at: now, on_expiry: Reason::Owner, ..backup });
            }
            State::Backup(backup) if settings.priority.is_owner() => {
                let next = self.become_master(backup.address, Reason::Owner, now, out);
                return self.enter(next, now, out);
            }
            State::Backup(backup) => {
                let [settings, before] = [settings, before].map(|settings| self.heeding(settings));
                self.state = State::Backup(backup.with_settings(&settings, &before, now))
            }
            State::Master(master) => {
                // Before the advert, as with the priority. The lease has its new length by it, and the backups know.
                let master = Master { yielding: false, ..master };
                self.publish(&State::Master(master), out);
                self.advertise(out);
                let next_advert = now + settings.advert_interval;
                self.state = State::Master(Master { next_advert, ..master });
            }
            State::Init { .. } | State::Fault | State::Leaving(_) | State::Stopped => {}
        }
        let state = self.state;
        self.publish(&state, out);
    }

    /// A master's timers.
    fn tick(&mut self, mut master: Master, now: Instant, out: &mut Out<'_>) -> Master {
        if let Some(late) = master.take_advert_due(self.settings.advert_interval, now) {
            if std::mem::take(&mut master.yielding) {
                // Nobody has taken over. Before the advert: who answers it must be compared with us.
                self.publish(&State::Master(master), out);
            }
            // RFC 9568 6.4.3: Adver_Timer fires.
            self.counters.advert_lateness_max = self.counters.advert_lateness_max.max(late);
            self.advertise(out);
        } else if master.take_trailing_advert_due(&self.settings, now) {
            self.counters.immediate_adverts += 1;
            self.advertise(out);
        }
        out.announce(master.take_announce_due(&self.settings, now));
        master
    }

    /// RFC 9568 6.4.3: an advert is received by a master. Preempt_Mode plays no part.
    fn hear_rival(
        &mut self,
        mut master: Master,
        advert: &Advert,
        revoked: bool,
        now: Instant,
        out: &mut Out<'_>,
    ) -> Next {
        let better = advert.beats(&self.standing(), master.address);
        // A revocation from before we acquired the lease is of another mastership.
        let revoked = revoked && advert.received_at >= self.since;
        let void = advert.is_void(&self.settings, master.address);
        if void && !revoked {
            // Above all no advert in answer to our own: the RFC's text would have us answer each at once, for ever.
            return Next::stay(State::Master(master));
        }
        self.counters.rivals_heard += 1;

        if master.yielding {
            if advert.priority.is_leaving() && !revoked {
                return Next::stay(State::Master(master));
            }
            // Whoever speaks is the successor.
            let backup = Backup::new(&self.settings, master.address, advert.received_at);
            let backup = backup.hear(&self.heeded(), advert);
            return self.step_down(backup, Reason::HandedOver, out).with_master(advert);
        }
        if revoked || better {
            if better && !void {
                // DEVIATION 6.4.3: one last advert tells the winner that it had a rival, so that it announces again.
                // Not to a router that we beat: it would yield to it.
                self.advertise_last(out);
            }
            let reason = if better { Reason::BetterMaster } else { Reason::Superseded };
            let backup = Backup::new(&self.settings, master.address, advert.received_at);
            return self.step_down(backup.hear(&self.heeded(), advert), reason, out);
        }

        if !advert.priority.is_leaving() && master.rival.may_tell(&self.settings, now) {
            out.push(|instance| Action::LowerHeard { instance });
        }
        // The last word must be ours, in the switches and in the hosts' caches too.
        let repeat = master.rival.announce(&self.settings, now);
        if advert.priority.is_leaving() {
            // RFC 9568 6.4.3: Priority is zero: send an advert, Adver_Timer := Advertisement_Interval. The timer is
            // left alone if the rate limit forbids the advert, or a flood of goodbyes would silence us.
            if self.advertise_at_once(&mut master, now, out) {
                master.next_advert = now + self.settings.advert_interval;
            }
        } else if !self.settings.lower_prio_no_advert {
            // RFC 9568 6.4.3: lower priority, or equal and a lower address: send an advert at once. Adver_Timer is
            // not restarted, so the period stands.
            // DEVIATION RFC 3768 6.4.3: v2 discards silently; keepalived answers, and so do we.
            self.advertise_at_once(&mut master, now, out);
        }
        out.announce(repeat);
        Next::stay(State::Master(master))
    }

    fn advertise_at_once(&mut self, master: &mut Master, now: Instant, out: &mut Out<'_>) -> bool {
        let allowed = master.rival.may_advertise(&self.settings, now);
        if allowed {
            self.counters.immediate_adverts += 1;
            self.advertise(out);
        } else {
            self.counters.immediate_adverts_suppressed += 1;
        }
        allowed
    }

    /// A backup's advert record was stamped again at `at`.
    fn hear_again(&mut self, backup: Backup, at: Instant) -> Backup {
        let heeded = self.heeded();
        match &mut self.last_heard {
            Some(advert) if at > advert.received_at && at >= backup.began => {
                advert.received_at = at;
                backup.hear(&heeded, advert)
            }
            Some(_) | None => backup,
        }
    }

    /// What is kept of an advert in any state.
    fn note(&mut self, advert: &Advert, out: &mut Out<'_>) {
        if self.state.address() == Some(advert.source) {
            self.counters.own_source_heard += 1;
            return;
        }
        if let Some(before) = self.last_heard.replace(*advert).filter(|before| before.source != advert.source)
        {
            self.heard_before.retain(|other| ![before.source, advert.source].contains(&other.source));
            if self.heard_before.len() == SOURCES {
                self.heard_before.remove(0);
            }
            self.heard_before.push(before);
        }
        let has_forms = self.settings.version == Version::V3 && self.settings.family == Family::V4;
        if has_forms
            && advert.checksum == ChecksumForm::MessageOnly
            && self.checksum != ChecksumForm::MessageOnly
        {
            // RFC 9568 5.2.8 is message-only. What we send by default is what keepalived and FRR demand.
            self.checksum = ChecksumForm::MessageOnly;
            out.push(|instance| Action::Mirroring { instance, checksum: ChecksumForm::MessageOnly });
        }
    }

    fn advertise(&self, out: &mut Out<'_>) {
        let (priority, checksum) = (self.standing().priority, self.checksum);
        let renew_for = Some(self.settings.lease_length());
        out.push(|instance| Action::Advertise { instance, priority, checksum, renew_for });
    }

    fn advertise_last(&self, out: &mut Out<'_>) {
        let (priority, checksum) = (self.standing().priority, self.checksum);
        out.push(|instance| Action::Advertise { instance, priority, checksum, renew_for: None });
    }

    fn enter(&mut self, next: Next, now: Instant, out: &mut Out<'_>) {
        let from = self.state.name();
        if !matches!(next.state, State::Master(_)) {
            self.claim = None;
        }
        self.publish(&next.state, out);
        self.state = next.state;
        if let Some(reason) = next.reason {
            self.since = now;
            self.last_reason = Some(reason);
            self.counters.released_master += u64::from(from == StateName::Master);
            let master = next.master.or(match self.state {
                State::Backup(backup) => backup.master.map(|peer| (peer.address, peer.priority)),
                State::Master(master) => Some((master.address, self.standing().priority)),
                State::Init { .. } | State::Fault | State::Leaving(_) | State::Stopped => None,
            });
            let to = self.state.name();
            out.push(|instance| Action::Transition { instance, from, to, reason, master });
        }
    }

    /// Tells XDP the rank of `state` unless it knows.
    fn publish(&mut self, state: &State, out: &mut Out<'_>) {
        let rank = state.rank(&self.standing());
        if rank != self.published {
            self.published = rank;
            out.push(|instance| Action::Publish { instance, rank });
        }
    }

    fn check_invariants(&self) {
        debug_assert_eq!(
            self.published,
            self.state.rank(&self.standing()),
            "XDP knows another rank than ours"
        );
        debug_assert_eq!(self.published.participating, self.state.address().is_some());
        debug_assert_eq!(self.published.participating && self.published.priority.is_leaving(), {
            self.is_leaving() || self.is_yielding()
        });
        debug_assert!(self.claim.is_none() || self.state() == StateName::Master, "only a master has claimed");
        if let State::Backup(backup) = self.state {
            debug_assert!(backup.preempt_at.is_none() || self.settings.preempts());
            debug_assert!(
                self.settings.version == Version::V3 || backup.interval == self.settings.advert_interval
            );
        }
    }
}
