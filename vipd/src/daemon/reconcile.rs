//! What is there becomes what is desired, in the one safe order. Start, reload, another interface and the repair of what
//! somebody else has removed are the same steps.
//!
//! The order is what I4 rests on, that the kernel never answers for a VIP by itself: while a local route of a VIP stands, the
//! program is in front of it, and its table has the VIP.
//!
//! 1. **Numbers.** What goes on keeps its slots in the maps; the records of what is new are written before anything leads there.
//! 2. **Local routes of former VIPs go**, before the table loses them: after it, the kernel would answer for them. If they
//!    cannot be removed, their VIPs stay in the table.
//! 3. **The tables are swapped.** Not after the program is attached: where it takes the place of another version's, an empty
//!    table would let the kernel answer.
//! 4. **The program is attached** where it is not. An interface that refuses it is as gone, so steps 2 and 3 are done again.
//! 5. **Leases of another version** count when its program is replaced everywhere, for until then it may have revoked them. The
//!    program is detached where no VIP is any more, and records that nothing leads to are cleared.
//! 6. **The host**: sysctls, filters of NICs, and last the local routes of VIPs that are owned here or about to be. A lease that
//!    stands at the start makes its instance a master here, so that its VIPs stay local.
//! 7. **Groups and sockets**, for adverts and for whatever the host now has.
//!
//! Then the caller tells the election. Taking all of it down is the reverse: while a route stands, the program stands.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use anyhow::{Context, Result};
use tokio::time::{Duration, Instant};

use super::{
    attach::{self, Attachments, Lost},
    carry_over::CarryOver,
    clock,
    desired::Desired,
    host_state::{Applied, HostState},
    messages::{AttachmentModes, DesiredHostState, DesiredHostStates},
    numbering,
    others_before::{OthersBefore, Precedence},
    outcome::{Changes, OnRefusal, Outcome, Steps},
    router::{Router, address, record, vip_entries},
    sockets::Sockets,
};
use crate::{
    coordinator::InstanceId,
    dataplane::{BfdPlane, Contents, Dataplane, Events, FrameRing, Pages},
    denial,
    host::{
        Host, LinkChange, Problems, Repairs,
        multicast::{self, Memberships},
    },
};
use vipd_common::abi::LINES;
use vipd_config::XdpModes;

/// Wait before the host is asked again to do what it has refused.
const HOST_RETRY: Duration = Duration::from_secs(1);
const STILL_ATTACHED: &str = "XDP is still attached to an interface without VIPs";

/// What vipd has made on this host, and what of it is desired.
#[derive(Debug)]
pub struct Installed {
    host: Host,
    dataplane: Dataplane,
    carry_over: CarryOver,
    attachments: Attachments,
    others_before: OthersBefore,
    /// Interfaces where others leave the program nothing, and why.
    blind: BTreeMap<u32, String>,
    /// With the groups that were joined.
    memberships: Option<(Memberships, BTreeSet<(u32, IpAddr)>)>,
    host_state: HostState,
    /// In force. `None`: nothing yet, and what is there is a predecessor's.
    desired: Option<Desired>,
    /// Taken over from another version's vipd, whose program still serves it.
    unattached: Option<Desired>,
    /// What the sockets of the engine thread were opened for.
    opened: Option<BTreeSet<(u32, Option<IpAddr>)>>,
    /// What the tables hold.
    tables: Option<Contents>,
    /// Something was refused when they were filled last.
    tables_unsure: bool,
    /// Local routes of VIPs may stand that the tables do not have.
    routes_unsure: bool,
    /// When the host is to be asked again.
    retry_at: Option<Instant>,
    /// What it has refused.
    refusal: Option<String>,
    /// What somebody else had removed and was put back since the last look.
    repairs: Repairs,
    /// What of the pins and memberships could not be put back at the last look.
    unkept: Option<String>,
}

/// Who is master here, which decides how the host is.
#[derive(Clone, Copy, Debug)]
pub enum Masters<'a> {
    /// Those whose lease stands: no election runs yet.
    Inherited,
    /// Those of the election.
    Elected(&'a DesiredHostStates),
}

impl Installed {
    /// Nothing is made yet; what an earlier vipd has left stands.
    pub fn new(host: Host, dataplane: Dataplane) -> Result<Self> {
        let carry_over = CarryOver::new(dataplane.predecessors()?);
        Ok(Self {
            host,
            dataplane,
            carry_over,
            attachments: Attachments::default(),
            others_before: OthersBefore::default(),
            blind: BTreeMap::new(),
            memberships: None,
            host_state: HostState::default(),
            desired: None,
            unattached: None,
            opened: None,
            tables: None,
            tables_unsure: false,
            routes_unsure: true,
            retry_at: None,
            refusal: None,
            repairs: Repairs::default(),
            unkept: None,
        })
    }

    /// The virtual routers in force, in the order of the configuration.
    pub fn routers(&self) -> &[Router] {
        self.desired.as_ref().map_or(&[], Desired::routers)
    }

    /// What is in force.
    pub fn desired(&self) -> Option<&Desired> {
        self.desired.as_ref()
    }

    /// To look at interfaces.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// What the election works with.
    pub fn pages(&self) -> &Pages {
        self.dataplane.pages()
    }

    /// How the program is attached, by the index of the interface.
    pub fn attachment_modes(&self) -> &AttachmentModes {
        self.attachments.modes()
    }

    /// When [`Self::apply`] is wanted again: the host has refused something.
    pub fn retry_at(&self) -> Option<Instant> {
        self.retry_at
    }

    /// Makes sure that the program can be attached where it is not, before anything is changed.
    ///
    /// # Errors
    ///
    /// An interface with VIPs refuses it: all is as it was.
    pub async fn prepare(&mut self, desired: &Desired, modes: &XdpModes) -> Result<()> {
        let failed =
            self.attachments.attach(desired.routers(), modes, &mut self.dataplane, &mut self.host).await;
        for (ifindex, error) in failed {
            if desired.serves(ifindex) {
                let used = self.desired.as_ref().map(Desired::wires).unwrap_or_default();
                if let Err(error) = self.attachments.detach_others(&used, &mut self.dataplane) {
                    tracing::warn!(error = format!("{error:#}"), "{STILL_ATTACHED}");
                }
                return Err(error);
            }
        }
        Ok(())
    }

    /// Those in force that are not in what is desired: to be handed over first.
    pub fn leaving(&self, desired: &Desired) -> Vec<&Router> {
        let kept = numbering::pair(self.routers(), desired.routers());
        self.routers().iter().filter(|router| !kept.contains(&Some(router.id()))).collect()
    }

    /// Brings what is there to what is desired. Idempotent: with what is in force already, it puts back what is missing.
    ///
    /// # Errors
    ///
    /// The first refusal, if it is to stop there.
    pub async fn reconcile(
        &mut self,
        mut desired: Desired,
        modes: &XdpModes,
        masters: Masters<'_>,
        on_refusal: OnRefusal,
    ) -> Result<Outcome> {
        let mut steps = Steps::new(on_refusal);
        steps.outcome.lost = self.find_lost().await;
        attach::note_lost(&steps.outcome.lost, &mut steps.outcome.repairs);
        let kept = self.number(&mut desired, &mut steps)?;
        loop {
            self.swap_tables(&desired, &mut steps).await?;
            self.carry_over.begin(desired.routers(), self.dataplane.pages());
            steps.end("tables");
            if !self.attach(&mut desired, modes, &mut steps).await? {
                break;
            }
        }
        self.retire(&desired, &mut steps)?;
        steps.end("attach");
        steps.outcome.changes = Changes::of(self.routers(), desired.routers(), &kept);
        self.host_state.plan(desired.plan());
        self.desired = Some(desired);
        self.change_host(masters, &mut steps).await?;
        steps.end("host");
        self.open(&mut steps)?;
        steps.end("sockets");
        Ok(steps.outcome)
    }

    /// Step 1. Returns who goes on.
    fn number(&self, desired: &mut Desired, steps: &mut Steps) -> Result<Vec<Option<InstanceId>>> {
        let pages = self.dataplane.pages();
        let Some(before) = &self.desired else {
            self.adopt(desired)?;
            return Ok(vec![None; desired.routers().len()]);
        };
        let kept = numbering::pair(before.routers(), desired.routers());
        numbering::keep(before.routers(), desired.routers_mut(), &kept)?;
        for (router, _) in desired.routers().iter().zip(&kept).filter(|(_, kept)| kept.is_none()) {
            pages.leases().release(router.lease().slot());
            steps.note(pages.forget_counters(router.id().slot()))?;
            pages.instances().write(router.id().slot(), &record(router));
        }
        Ok(kept)
    }

    /// Numbers what nobody runs yet; returns which of them a predecessor had.
    fn adopt(&self, desired: &mut Desired) -> Result<Vec<bool>> {
        let pages = self.dataplane.pages();
        let known = numbering::adopt(desired.routers_mut(), pages.instances(), pages.leases())?;
        for router in desired.routers() {
            pages.instances().write(router.id().slot(), &record(router));
        }
        Ok(known)
    }

    /// Steps 2 and 3.
    async fn swap_tables(&mut self, desired: &Desired, steps: &mut Steps) -> Result<()> {
        let mut contents = desired.tables();
        let is_filled = !self.tables_unsure && self.tables.as_ref() == Some(&contents);
        if is_filled && !self.routes_unsure {
            return Ok(());
        }
        self.routes_unsure = false;
        if let Err(error) = self.host.remove_stale(&desired.plan()).await {
            steps.note::<()>(Err(error.context("remove routes of former VIPs")))?;
            contents.keep(self.tables.as_ref().map(|tables| tables.vips.clone()).unwrap_or_default());
            self.routes_unsure = true;
        } else if is_filled {
            return Ok(());
        } else if self.tables.is_none() && self.dataplane.holds(&contents).unwrap_or(false) {
            // By a predecessor: a swap waits for the kernel.
            self.tables = Some(contents);
            return Ok(());
        }
        self.tables_unsure = true;
        if steps.note(self.dataplane.replace_tables(&contents))?.is_some() {
            (self.tables, self.tables_unsure) = (Some(contents), false);
        }
        Ok(())
    }

    /// Step 4. Returns whether an interface has refused, which is as gone from then on.
    async fn attach(&mut self, desired: &mut Desired, modes: &XdpModes, steps: &mut Steps) -> Result<bool> {
        let attachments = &mut self.attachments;
        let failed = attachments.attach(desired.routers(), modes, &mut self.dataplane, &mut self.host).await;
        let refused = !failed.is_empty();
        for (ifindex, error) in failed {
            if steps.on_refusal == OnRefusal::Stop && desired.serves(ifindex) {
                return Err(error);
            }
            let error = self.attachments.why_unattached(ifindex, &error);
            tracing::error!(error, "an interface cannot be used");
            desired.refuse(ifindex, &error);
            steps.outcome.is_unattached = true;
        }
        Ok(refused)
    }

    /// Step 5.
    fn retire(&mut self, desired: &Desired, steps: &mut Steps) -> Result<()> {
        if let Err(error) = self.attachments.detach_others(&desired.wires(), &mut self.dataplane) {
            if steps.on_refusal == OnRefusal::Stop {
                return Err(error);
            }
            tracing::warn!(error = format!("{error:#}"), "{STILL_ATTACHED}");
        }
        steps.note(self.carry_over.finish(self.dataplane.pages()))?;
        for router in self.routers().iter().filter(|router| desired.router(router.id()).is_none()) {
            self.dataplane.pages().instances().clear(router.id().slot());
        }
        Ok(())
    }

    /// Step 6.
    async fn change_host(&mut self, masters: Masters<'_>, steps: &mut Steps) -> Result<()> {
        let states = match masters {
            Masters::Elected(states) => states.clone(),
            Masters::Inherited => inherited(self.routers(), self.dataplane.pages()),
        };
        let mut applied = self.host_state.apply(&mut self.host, &states).await;
        steps.outcome.repairs.append(std::mem::take(&mut applied.repairs));
        steps.outcome.host_states = states;
        if steps.on_refusal == OnRefusal::Stop {
            std::mem::replace(&mut applied.vips, Ok(()))?;
        }
        self.note_applied(applied);
        Ok(())
    }

    /// Step 7.
    fn open(&mut self, steps: &mut Steps) -> Result<()> {
        let Some(desired) = &self.desired else { return Ok(()) };
        let groups = desired.groups();
        if self.memberships.as_ref().map(|(_, joined)| joined) != Some(&groups) {
            let joined = Memberships::join(groups.iter().copied())
                .map_err(denial::of_raw_socket)
                .context("join the multicast groups of adverts and VIPs");
            if let Some(joined) = steps.note(joined)? {
                self.memberships = Some((joined, groups));
            }
        }
        let needs = desired.sockets();
        if self.opened.as_ref() != Some(&needs)
            && let Some(sockets) = steps.note(Sockets::open(desired.routers()))?
        {
            (self.opened, steps.outcome.sockets) = (Some(needs), Some(sockets));
        }
        Ok(())
    }

    /// Prepares everything for a takeover from a vipd that runs, without a change that it could notice: groups are joined and sockets
    /// opened, and maps that nobody uses yet are filled.
    ///
    /// # Errors
    ///
    /// What was made goes with this process, but for the maps: see [`Self::withdraw`].
    pub fn prepare_takeover(&mut self, desired: &mut Desired) -> Result<Sockets> {
        if self.dataplane.is_fresh() {
            self.adopt(desired)?;
            let contents = desired.tables();
            self.dataplane.replace_tables(&contents)?;
            self.tables = Some(contents);
        }
        let groups = desired.groups();
        let joined = Memberships::join(groups.iter().copied())
            .map_err(denial::of_raw_socket)
            .context("join the multicast groups of adverts and VIPs")?;
        self.memberships = Some((joined, groups));
        let sockets = Sockets::open(desired.routers())?;
        self.opened = Some(desired.sockets());
        Ok(sockets)
    }

    /// Takes over what the vipd before has left a moment ago, for the election to begin with: those of its routers that are still
    /// desired, which its tables and its program serve on. Of another version's vipd only the masters: until
    /// [`Self::follow_takeover`] nothing is heard by this version's program. Returns how the host is for each.
    ///
    /// Everything else is for [`Self::reconcile`], while the election goes on.
    pub fn take_over(&mut self, mut desired: Desired) -> Result<DesiredHostStates> {
        if self.dataplane.is_fresh() {
            self.carry_over.begin(desired.routers(), self.dataplane.pages());
            self.unattached = Some(desired.clone());
            let pages = self.dataplane.pages();
            desired = desired.only(|router| is_owner(router, pages));
        } else {
            let known = self.adopt(&mut desired)?;
            let mut known = known.into_iter();
            let goes_on: BTreeSet<InstanceId> =
                desired.routers().iter().filter(|_| known.next() == Some(true)).map(Router::id).collect();
            // One of a sync group with a new member would be master without it.
            let is_whole = |router: &Router| {
                let members = desired.routers().iter().filter(|member| member.lease() == router.lease());
                members.map(Router::id).all(|id| goes_on.contains(&id))
            };
            let whole: BTreeSet<InstanceId> =
                desired.routers().iter().filter(|router| is_whole(router)).map(Router::id).collect();
            let pages = self.dataplane.pages();
            for router in desired.routers().iter().filter(|router| !whole.contains(&router.id())) {
                pages.leases().release(router.lease().slot());
                pages.instances().clear(router.id().slot());
            }
            desired = desired.only(|router| whole.contains(&router.id()));
        }
        let states = inherited(desired.routers(), self.dataplane.pages());
        self.desired = Some(desired);
        Ok(states)
    }

    /// Has this version's program take the place of another version's, while its last lease lasts.
    pub async fn follow_takeover(&mut self, modes: &XdpModes) -> Result<()> {
        let Some(mut desired) = self.unattached.take() else { return Ok(()) };
        let mut steps = Steps::new(OnRefusal::GoOn);
        self.swap_tables(&desired, &mut steps).await?;
        self.carry_over.release_revoked(self.dataplane.pages());
        self.attach(&mut desired, modes, &mut steps).await?;
        self.retire(&desired, &mut steps)?;
        for problem in steps.outcome.problems {
            tracing::error!(problem, "a part of the takeover was refused; vipd tries again");
        }
        Ok(())
    }

    /// Takes note of the tables of the vipd before, which has ended, and of how the host was before it.
    pub fn refresh(&mut self) -> Result<()> {
        self.host.recall()?;
        if self.dataplane.is_fresh() { Ok(()) } else { self.dataplane.refresh() }
    }

    /// The events of the program from now on; nobody else may read them any more.
    pub fn events(&self) -> Result<Events> {
        self.dataplane.events()
    }

    /// The captured frames from now on; nobody else may read them any more.
    pub fn frames(&self) -> Result<FrameRing> {
        self.dataplane.frames()
    }

    /// The sessions of BFD in the program; they have one user.
    pub fn bfd(&self) -> Result<BfdPlane> {
        self.dataplane.bfd()
    }

    /// What tells the place of the pins from any other.
    pub fn place_of_pins(&self) -> Result<String> {
        self.dataplane.place()
    }

    /// Removes maps that were made for a takeover that does not come.
    pub fn withdraw(&self) {
        self.dataplane.withdraw();
    }

    /// Takes note of a link of ours: its MAC goes into the table of VIPs, its addresses into routes, and its subnets decide
    /// which unicast peers are on the link. To be followed by [`Self::apply`].
    ///
    /// # Errors
    ///
    /// The tables are as they were before.
    pub async fn follow(&mut self, change: &LinkChange) -> Result<()> {
        let Some(mut desired) = self.desired.take() else { return Ok(()) };
        let before = (desired.macs(), desired.peers());
        desired.follow(change);
        let now = (desired.macs(), desired.peers());
        if now.0 != before.0 {
            tracing::info!("a MAC changed: the program answers with the new one");
        }
        let mut steps = Steps::new(OnRefusal::Stop);
        let swapped = if now == before { Ok(()) } else { self.swap_tables(&desired, &mut steps).await };
        // The kernel has dropped the routes that went out on the link, or came from its address.
        self.host_state.plan(desired.plan());
        self.desired = Some(desired);
        swapped
    }

    /// Whether a change is one of an interface in use, for VIPs or by a virtual route.
    pub fn concerns(&self, change: &LinkChange) -> bool {
        self.host_state.concerns(change)
    }

    /// Brings the host in line with what is desired of it now.
    pub async fn apply(&mut self, states: &DesiredHostStates) {
        let applied = self.host_state.apply(&mut self.host, states).await;
        self.note_applied(applied);
    }

    fn note_applied(&mut self, mut applied: Applied) {
        let repairs = std::mem::take(&mut applied.repairs);
        if !applied.is_new {
            self.repairs.append(repairs);
        }
        let refusal = applied.error().map(|error| format!("{error:#}"));
        self.retry_at = refusal.as_ref().map(|_| Instant::now() + HOST_RETRY);
        if let Some(error) = refusal.as_ref().filter(|_| refusal != self.refusal) {
            tracing::error!(
                "the host's routes, rules or settings could not be changed; vipd tries again: {error}"
            );
        }
        self.refusal = refusal;
    }

    /// Looks at all that was made on the host, and puts back what somebody else has removed or changed: what has never been in place is
    /// none of it. `states` are those of the election now: nothing is put back that it does not want any more.
    pub async fn look(&mut self, states: &DesiredHostStates) -> Repairs {
        // What is not done yet is no repair.
        self.apply(states).await;
        self.host_state.look_again();
        self.apply(states).await;
        let mut repairs = std::mem::take(&mut self.repairs);
        let mut problems = Problems::default();
        problems.note(self.keep_memberships(&mut repairs));
        problems.note(self.dataplane.keep_pins().map(|pinned| repairs.note_all("pin", pinned)));
        self.unkept = problems.into_result().err().map(|error| format!("{error:#}"));
        repairs
    }

    fn keep_memberships(&mut self, repairs: &mut Repairs) -> Result<()> {
        let Some((_, groups)) = &self.memberships else { return Ok(()) };
        let missing = multicast::missing(groups).context("look at the multicast groups")?;
        if missing.is_empty() {
            return Ok(());
        }
        let groups = groups.clone();
        let join = || {
            Memberships::join(groups.iter().copied())
                .map_err(denial::of_raw_socket)
                .context("join the multicast groups of adverts and VIPs")
        };
        // Not a moment without those that are not missing.
        self.memberships = Some((join()?, groups.clone()));
        let mut still = multicast::missing(&groups).unwrap_or_default();
        if !still.is_empty() {
            // An interface without IPv6 for a moment has forgotten them; then the end of the former sockets, which did not know, is the
            // end of the new membership too.
            self.memberships = None;
            self.memberships = Some((join()?, groups.clone()));
            still = multicast::missing(&groups).unwrap_or_default();
        }
        let name = |(ifindex, group): (u32, IpAddr)| format!("membership of {group} on interface {ifindex}");
        repairs.note_all("membership", missing.into_iter().filter(|group| !still.contains(group)).map(name));
        Ok(())
    }

    /// What could not be made or put back on the host.
    pub fn problem(&self) -> Option<String> {
        let problems = [&self.refusal, &self.unkept].into_iter().flatten().chain(self.blind.values());
        let problems: Vec<_> = problems.cloned().collect();
        (!problems.is_empty()).then(|| problems.join("; "))
    }

    /// Whether the VIPs of these instances could be served is to be tried by each [`Self::apply`].
    pub fn try_to_serve(&mut self, keys: BTreeSet<u16>) {
        self.host_state.try_to_serve(keys);
    }

    /// Looks whether the program is where it was attached; [`Self::reconcile`] attaches it again where it is not.
    pub async fn find_lost(&mut self) -> Vec<Lost> {
        self.attachments.find_lost(&mut self.dataplane, &self.host).await
    }

    /// Looks at programs of others that come before vipd's, and puts vipd's before them where it can.
    pub async fn look_before(&mut self, now: Instant) -> Precedence {
        let Self { others_before, attachments, dataplane, host, .. } = self;
        let found = others_before.look(attachments.modes(), dataplane, host, now).await;
        self.blind.clone_from(&found.blind);
        found
    }

    /// The instances whose VIPs this host cannot serve, and why.
    pub fn refused(&self) -> BTreeMap<u16, String> {
        let mut refused = self.host.refused();
        for (ifindex, why) in &self.blind {
            let is_there = |router: &&Router| router.present().any(|link| link.wire().ifindex == *ifindex);
            for router in self.routers().iter().filter(is_there) {
                refused.entry(router.id().0).or_insert_with(|| why.clone());
            }
        }
        refused
    }

    /// Attaches it where it is not for what is in force, and changes nothing else; returns the interfaces that refuse it.
    pub async fn attach_again(&mut self, modes: &XdpModes) -> Vec<u32> {
        let Some(desired) = &self.desired else { return Vec::new() };
        let Self { attachments, dataplane, host, .. } = self;
        let failed = attachments.attach(desired.routers(), modes, dataplane, host).await;
        for (ifindex, error) in &failed {
            let error = attachments.why_unattached(*ifindex, error);
            tracing::error!(error, "an interface cannot be used");
        }
        failed.into_iter().map(|(ifindex, _)| ifindex).collect()
    }

    /// Those that have it again, each once, with its name and how it is attached.
    pub fn take_found(&mut self) -> Vec<(u32, String, &'static str)> {
        self.attachments.take_found()
    }

    /// The interfaces where native XDP serves.
    pub fn native_interfaces(&self) -> BTreeSet<String> {
        self.attachments.native(self.routers())
    }

    /// Turns the stripping of VLAN tags off again if somebody has turned it on; returns whether somebody had.
    pub fn keep_rx_vlan_off(&mut self, interface: &str) -> Result<bool> {
        self.host.check_rx_vlan(interface)
    }

    /// Whether another node is heard as the master of an instance, on any of its lines.
    pub fn hears_master(&self, instance: InstanceId) -> bool {
        let Some(router) = self.desired.as_ref().and_then(|desired| desired.router(instance)) else {
            return false;
        };
        let interval = router.spec().advert_interval;
        let patience = router.settings().master_down_interval(interval);
        let instances = self.pages().instances();
        let heard = (0..LINES).map(|line| instances.line_heard(router.id().slot(), line)).max();
        heard.is_some_and(|heard| clock::now().saturating_since(heard) < patience)
    }

    /// The requests about each VIP that were answered, on all interfaces that it is on.
    pub fn answers(&self, router: &Router) -> BTreeMap<IpAddr, u64> {
        let mut answers = BTreeMap::new();
        for (key, _) in vip_entries(router) {
            *answers.entry(address(key.address)).or_default() += self.dataplane.replies(&key);
        }
        answers
    }

    /// Takes everything down: while a route stands, the program stands in front of it.
    pub async fn remove(mut self) -> Result<()> {
        self.host.remove_all().await.context("undo routes, rules and settings")?;
        self.dataplane.remove().context("detach XDP")
    }
}

/// Whether its lease stands.
fn is_owner(router: &Router, pages: &Pages) -> bool {
    pages.leases().read(router.lease().slot()) > clock::now()
}

/// Each instance whose lease stands is a master: the mastership of the vipd before this one goes on, and its VIPs stay local. An
/// address owner waits for nobody.
fn inherited(routers: &[Router], pages: &Pages) -> DesiredHostStates {
    let state = |router: &Router| DesiredHostState {
        master: is_owner(router, pages),
        takes_over: router.spec().priority.is_owner(),
        masters_heard: 0,
    };
    routers.iter().map(|router| (router.id(), state(router))).collect()
}
