//! The client: asks one thing after another on one socket, and sends steps in batches.

use std::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    io,
};

use crate::{
    attributes::{AttributeList, MalformedReply},
    destination::{DestinationView, IpvsDestination},
    error::{Existing, IpvsError, StepRefusal, StepResult},
    info::IpvsInfo,
    message::{
        CHANGE, CONTROLLER, DUMP, FAMILY, GET, IpvsCommand, IpvsRequest, ReplyFrame, ReplyFrames, family_id,
        family_request,
    },
    service::{ServiceView, VirtualService, VirtualServiceKey},
    socket::{KernelChannel, NetlinkSocket},
    stats::{StatsView, TrafficStats},
    step::{IpvsStep, Unfit, service_key},
    sync_daemon::{SyncDaemon, SyncDaemonView},
    table::{IpvsTable, ServedDestination, ServedService},
    timeouts::IpvsTimeouts,
};

/// Most steps that are sent before their answers are read. The answers wait in the socket's buffer, 208 KiB by default, where each
/// takes less than 2 KiB.
pub const IN_FLIGHT: usize = 32;

/// How often the table is read until nobody has changed it meanwhile.
const READS: usize = 5;

/// A client of the kernel's IPVS. Every call blocks until the kernel has answered, 10 s for each answer at most.
///
/// ```no_run
/// use vipd_ipvs::{IpvsClient, IpvsStep};
///
/// let mut client = IpvsClient::open()?;
/// let table = client.read_table()?;
/// // Everything but the first service.
/// let steps: Vec<_> =
///     table.services.iter().skip(1).map(|served| IpvsStep::DeleteService(served.service.key)).collect();
/// for (step, result) in steps.iter().zip(client.apply(&steps)?) {
///     if let Err(refusal) = result {
///         eprintln!("cannot {step}: {refusal}");
///     }
/// }
/// # Ok::<(), vipd_ipvs::IpvsError>(())
/// ```
#[derive(Debug)]
pub struct IpvsClient<C = NetlinkSocket> {
    channel: C,
    /// The id that the kernel gave the family when the module was loaded.
    family: u16,
    sequence: u32,
    buffer: Vec<u8>,
}

impl IpvsClient {
    /// Opens a socket in the network namespace of this thread, and looks the family up. The kernel loads the module `ip_vs` for that
    /// if it may.
    ///
    /// # Errors
    ///
    /// [`IpvsError::NoIpvs`], [`IpvsError::Socket`]
    pub fn open() -> Result<Self, IpvsError> {
        Self::over(NetlinkSocket::open()?)
    }
}

impl<C: KernelChannel> IpvsClient<C> {
    /// A client over a channel.
    ///
    /// # Errors
    ///
    /// As [`IpvsClient::open`]
    pub fn over(channel: C) -> Result<Self, IpvsError> {
        let mut client = Self { channel, family: 0, sequence: 0, buffer: Vec::new() };
        client.family = client.resolve(FAMILY)?.ok_or(IpvsError::NoIpvs)?;
        Ok(client)
    }

    /// Version and size of the connection table.
    ///
    /// # Errors
    ///
    /// [`IpvsError`]
    pub fn info(&mut self) -> Result<IpvsInfo, IpvsError> {
        let request = IpvsRequest::new(IpvsCommand::GetInfo, Vec::new());
        let found =
            self.ask("read the version of IPVS", request, GET, IpvsCommand::SetInfo, IpvsInfo::parse)?;
        Ok(found.into_iter().next().ok_or(MalformedReply::Empty)?)
    }

    /// The timeouts of connections.
    ///
    /// # Errors
    ///
    /// [`IpvsError`]
    pub fn timeouts(&mut self) -> Result<IpvsTimeouts, IpvsError> {
        let request = IpvsRequest::new(IpvsCommand::GetConfig, Vec::new());
        let act = "read the timeouts of IPVS";
        let found = self.ask(act, request, GET, IpvsCommand::SetConfig, IpvsTimeouts::parse)?;
        Ok(found.into_iter().next().ok_or(MalformedReply::Empty)?)
    }

    /// The sync daemons that run.
    ///
    /// # Errors
    ///
    /// [`IpvsError`]
    pub fn daemons(&mut self) -> Result<Vec<SyncDaemon>, IpvsError> {
        let request = IpvsRequest::new(IpvsCommand::GetDaemon, Vec::new());
        self.ask("read the sync daemons of IPVS", request, DUMP, IpvsCommand::NewDaemon, |attributes| {
            SyncDaemon::parse(&SyncDaemonView::new_checked(nested(attributes, IpvsRequest::DAEMON)?)?)
        })
    }

    /// One service, without its destinations; `None`: there is none.
    ///
    /// # Errors
    ///
    /// [`IpvsError`]
    pub fn service(&mut self, key: &VirtualServiceKey) -> Result<Option<ServedService>, IpvsError> {
        let request = IpvsRequest::new(IpvsCommand::GetService, vec![service_key(key)]);
        match self.ask("read a service of IPVS", request, GET, IpvsCommand::NewService, read_service) {
            Err(IpvsError::Refused { source, .. }) if source.raw_os_error() == Some(libc::ESRCH) => Ok(None),
            found => Ok(Some(found?.into_iter().next().ok_or(MalformedReply::Empty)?)),
        }
    }

    /// All services, without their destinations.
    ///
    /// While others change the table, the kernel may leave a service out or give it twice.
    ///
    /// # Errors
    ///
    /// [`IpvsError`]
    pub fn services(&mut self) -> Result<Vec<ServedService>, IpvsError> {
        let request = IpvsRequest::new(IpvsCommand::GetService, Vec::new());
        self.ask("read the services of IPVS", request, DUMP, IpvsCommand::NewService, read_service)
    }

    /// The destinations of a service, the latest first. The kernel does not say whether there is such a service: one that is
    /// missing has none.
    ///
    /// # Errors
    ///
    /// [`IpvsError`]
    pub fn destinations(&mut self, service: &VirtualServiceKey) -> Result<Vec<ServedDestination>, IpvsError> {
        let family = service.family();
        let request = IpvsRequest::new(IpvsCommand::GetDest, vec![service_key(service)]);
        self.ask("read the destinations of a service", request, DUMP, IpvsCommand::NewDest, |attributes| {
            let view = DestinationView::new_checked(nested(attributes, IpvsRequest::DEST)?)?;
            Ok(ServedDestination {
                destination: IpvsDestination::parse(&view, family)?,
                connections: view.connections(),
                stats: view.stats().as_ref().map(TrafficStats::parse).unwrap_or_default(),
            })
        })
    }

    /// Everything: all services with their destinations, timeouts, sync daemons.
    ///
    /// The kernel has no way to read it at one moment. So the services are read again at the end, and all of it again if others
    /// have made or removed one meanwhile.
    ///
    /// # Errors
    ///
    /// [`IpvsError`]; [`IpvsError::Changing`] after five attempts.
    pub fn read_table(&mut self) -> Result<IpvsTable, IpvsError> {
        for _ in 0..READS {
            let mut services = self.services()?;
            let mut are_unique = true;
            for served in &mut services {
                served.destinations = self.destinations(&served.service.key)?;
                let keys: BTreeSet<_> = served.destinations.iter().map(|it| it.destination.key).collect();
                are_unique &= keys.len() == served.destinations.len();
            }
            let (before, after) = (keys(&services), keys(&self.services()?));
            are_unique &= before.len() == services.len();
            if are_unique && before == after {
                return Ok(IpvsTable { services, timeouts: self.timeouts()?, daemons: self.daemons()? });
            }
        }
        Err(IpvsError::Changing)
    }

    /// Applies steps in order, and says of each what came of it. A step that is refused does not stop those after it.
    ///
    /// At most [`IN_FLIGHT`] steps are on their way at any time. If the kernel says that something is there already, the client reads
    /// what is there after these: [`StepResult::AlreadyThere`], [`StepRefusal::Exists`] or [`StepRefusal::Vanished`].
    ///
    /// # Errors
    ///
    /// [`IpvsError`], after which nobody knows which steps were applied.
    pub fn apply(&mut self, steps: &[IpvsStep]) -> Result<Vec<Result<StepResult, StepRefusal>>, IpvsError> {
        let mut results = Vec::with_capacity(steps.len());
        for batch in steps.chunks(IN_FLIGHT) {
            let errnos = self.exchange(batch)?;
            // The kernel says ENOENT of an id that no family has, too.
            if errnos.contains(&Ok(libc::ENOENT)) {
                self.check_family()?;
            }
            let mut destinations = BTreeMap::new();
            for (step, errno) in batch.iter().zip(errnos) {
                results.push(match errno {
                    Err(unfit) => Err(unfit.into()),
                    Ok(0) => Ok(StepResult::Done),
                    Ok(libc::EPERM) => return Err(IpvsError::NotPermitted),
                    Ok(libc::EEXIST) => self.compare_existing(step, &mut destinations)?,
                    Ok(errno) => Err(refusal(step, errno)),
                });
            }
        }
        Ok(results)
    }

    /// Sends a batch and reads its answers: an error number for each step, 0 for success; the fault of a step that was not sent.
    fn exchange(&mut self, batch: &[IpvsStep]) -> Result<Vec<Result<i32, Unfit>>, IpvsError> {
        let mut errnos: Vec<Result<i32, _>> = Vec::with_capacity(batch.len());
        let mut waiting = Vec::with_capacity(batch.len());
        let mut datagram = Vec::new();
        for (index, step) in batch.iter().enumerate() {
            errnos.push(step.request().map(|request| {
                let sequence = self.next_sequence();
                datagram.extend(request.message(self.family, CHANGE, sequence));
                waiting.push((sequence, index));
                0
            }));
        }
        if waiting.is_empty() {
            return Ok(errnos);
        }
        self.channel.send(&datagram)?;
        while !waiting.is_empty() {
            self.channel.receive(&mut self.buffer)?;
            for frame in ReplyFrames::new(&self.buffer) {
                // What belongs to no step is a late answer to an earlier request.
                if let ReplyFrame::End { sequence, errno } = frame?
                    && let Some(place) = waiting.iter().position(|(waiting, _)| *waiting == sequence)
                {
                    let (_, index) = waiting.swap_remove(place);
                    errnos[index] = Ok(errno);
                }
            }
        }
        Ok(errnos)
    }

    /// What is there where the step was to make something. Destinations of a service are read once for a batch.
    fn compare_existing(
        &mut self,
        step: &IpvsStep,
        read: &mut BTreeMap<VirtualServiceKey, Vec<ServedDestination>>,
    ) -> Result<Result<StepResult, StepRefusal>, IpvsError> {
        let found = match step {
            IpvsStep::NewService(wanted) => self.service(&wanted.key)?.map(|served| {
                let is_wanted = served.service == *wanted;
                (Existing::Service(served.service), is_wanted)
            }),
            IpvsStep::NewDestination { service, destination: wanted } => {
                let destinations = match read.entry(*service) {
                    Entry::Occupied(entry) => entry.into_mut(),
                    Entry::Vacant(entry) => entry.insert(self.destinations(service)?),
                };
                let found = destinations.iter().find(|served| served.destination.key == wanted.key);
                found.map(|served| (Existing::Destination(served.destination), served.destination == *wanted))
            }
            IpvsStep::StartDaemon(wanted) => {
                let found = self.daemons()?.into_iter().find(|daemon| daemon.role == wanted.role);
                found.map(|daemon| {
                    let is_wanted = daemon.meets(wanted);
                    (Existing::Daemon(daemon), is_wanted)
                })
            }
            other => return Ok(Err(refusal(other, libc::EEXIST))),
        };
        Ok(match found {
            Some((_, true)) => Ok(StepResult::AlreadyThere),
            Some((existing, false)) => Err(StepRefusal::Exists(Box::new(existing))),
            None => Err(StepRefusal::Vanished),
        })
    }

    /// Looks the family up again.
    fn check_family(&mut self) -> Result<(), IpvsError> {
        let before = self.family;
        self.family = self.resolve(FAMILY)?.ok_or(IpvsError::NoIpvs)?;
        if self.family == before { Ok(()) } else { Err(IpvsError::Reloaded) }
    }

    /// The id of a family of generic netlink; `None`: the kernel has none of this name.
    fn resolve(&mut self, name: &str) -> Result<Option<u16>, IpvsError> {
        let sequence = self.next_sequence();
        self.channel.send(&family_request(name, sequence))?;
        let mut found = None;
        let errno = self.receive(sequence, |family, _, attributes| {
            if family == CONTROLLER {
                found = Some(family_id(attributes)?);
            }
            Ok(())
        })?;
        match errno {
            0 => Ok(Some(found.ok_or(MalformedReply::Empty)?)),
            libc::ENOENT => Ok(None),
            errno => Err(IpvsError::Refused {
                act: "look up the family of IPVS",
                source: io::Error::from_raw_os_error(errno),
            }),
        }
    }

    /// Asks for objects, and reads each of them.
    fn ask<T>(
        &mut self,
        act: &'static str,
        request: IpvsRequest,
        flags: u16,
        expected: IpvsCommand,
        read: impl Fn(AttributeList<'_>) -> Result<T, MalformedReply>,
    ) -> Result<Vec<T>, IpvsError> {
        let (sequence, own_family) = (self.next_sequence(), self.family);
        self.channel.send(&request.message(own_family, flags, sequence))?;
        let mut found = Vec::new();
        let errno = self.receive(sequence, |family, command, attributes| {
            if family != own_family || command != expected as u8 {
                return Err(MalformedReply::Command(command));
            }
            found.push(read(attributes)?);
            Ok(())
        })?;
        match errno {
            0 => Ok(found),
            libc::EPERM => Err(IpvsError::NotPermitted),
            errno => {
                if errno == libc::ENOENT {
                    self.check_family()?;
                }
                Err(IpvsError::Refused { act, source: io::Error::from_raw_os_error(errno) })
            }
        }
    }

    /// Reads the answer to one request to its end, and returns the kernel's error number. An object that is malformed is reported when
    /// the rest is read, as the socket has one dump at a time.
    fn receive(
        &mut self,
        request: u32,
        mut each: impl FnMut(u16, u8, AttributeList<'_>) -> Result<(), MalformedReply>,
    ) -> Result<i32, IpvsError> {
        let mut outcome = Ok(());
        loop {
            self.channel.receive(&mut self.buffer)?;
            for frame in ReplyFrames::new(&self.buffer) {
                match frame? {
                    ReplyFrame::End { sequence, errno } if sequence == request => {
                        return outcome.map(|()| errno).map_err(Into::into);
                    }
                    ReplyFrame::Object { sequence, family, command, multipart, attributes }
                        if sequence == request =>
                    {
                        outcome = outcome.and_then(|()| each(family, command, attributes));
                        if !multipart {
                            return outcome.map(|()| 0).map_err(Into::into);
                        }
                    }
                    // A late answer to an earlier request.
                    _ => {}
                }
            }
        }
    }

    const fn next_sequence(&mut self) -> u32 {
        self.sequence = self.sequence.wrapping_add(1);
        self.sequence
    }
}

fn keys(services: &[ServedService]) -> BTreeSet<VirtualServiceKey> {
    services.iter().map(|served| served.service.key).collect()
}

/// The octets of the nest that an answer is to have.
fn nested(attributes: AttributeList<'_>, number: u16) -> Result<&[u8], MalformedReply> {
    attributes.find(number).ok_or(MalformedReply::Missing { nest: "an answer", attribute: number })
}

fn read_service(attributes: AttributeList<'_>) -> Result<ServedService, MalformedReply> {
    let view = ServiceView::new_checked(nested(attributes, IpvsRequest::SERVICE)?)?;
    let stats: Option<StatsView> = view.stats();
    Ok(ServedService {
        service: VirtualService::parse(&view)?,
        stats: stats.as_ref().map(TrafficStats::parse).unwrap_or_default(),
        destinations: Vec::new(),
    })
}

/// What an error number means for a step.
fn refusal(step: &IpvsStep, errno: i32) -> StepRefusal {
    match (step, errno) {
        (IpvsStep::NewService(service) | IpvsStep::SetService(service), libc::ENOENT) => {
            StepRefusal::NoModule {
                scheduler: service.scheduler.clone(),
                persistence_engine: service.persistence_engine.clone(),
            }
        }
        (IpvsStep::SetDestination { .. } | IpvsStep::DeleteDestination { .. }, libc::ENOENT) => {
            StepRefusal::NoDestination
        }
        (IpvsStep::StopDaemon(_), libc::ESRCH) => StepRefusal::NotRunning,
        (
            IpvsStep::SetService(_)
            | IpvsStep::DeleteService(_)
            | IpvsStep::NewDestination { .. }
            | IpvsStep::SetDestination { .. }
            | IpvsStep::DeleteDestination { .. }
            | IpvsStep::Zero(Some(_)),
            libc::ESRCH,
        ) => StepRefusal::NoService,
        (IpvsStep::StartDaemon(daemon), libc::ENODEV) => StepRefusal::NoInterface(daemon.interface.clone()),
        (_, errno) => StepRefusal::Kernel(io::Error::from_raw_os_error(errno)),
    }
}

#[cfg(test)]
mod tests;
