//! One change of the table, and the request that asks for it.

use std::{fmt, net::IpAddr};

use netlink_packet_core::DefaultNla;

use crate::{
    attributes::nest,
    destination::{DestinationKey, IpvsDestination},
    message::{IpvsCommand, IpvsRequest},
    service::{VirtualService, VirtualServiceKey},
    sync_daemon::{SyncDaemon, SyncRole},
    timeouts::IpvsTimeouts,
};

/// One change of what the kernel has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IpvsStep {
    /// Makes a service, without destinations.
    NewService(VirtualService),
    /// Changes everything of a service but its key. Its destinations and connections stay.
    SetService(VirtualService),
    /// Removes a service with its destinations.
    DeleteService(VirtualServiceKey),
    /// Adds a destination, at the front of the service's list.
    ///
    /// One that was removed comes back with its connections as long as some are left, and with the new fields.
    NewDestination {
        /// The service.
        service: VirtualServiceKey,
        /// The destination.
        destination: IpvsDestination,
    },
    /// Changes everything of a destination but its key.
    SetDestination {
        /// The service.
        service: VirtualServiceKey,
        /// The destination.
        destination: IpvsDestination,
    },
    /// Removes a destination. The kernel keeps its connections and drops their packets; with the sysctl `expire_nodest_conn` it ends
    /// them.
    DeleteDestination {
        /// The service.
        service: VirtualServiceKey,
        /// The destination.
        destination: DestinationKey,
    },
    /// Sets the statistics of a service and its destinations to 0; `None`: all of them.
    Zero(Option<VirtualServiceKey>),
    /// Removes every service of the network namespace, whoever made it.
    Flush,
    /// Sets timeouts of connections.
    SetTimeouts(IpvsTimeouts),
    /// Starts a sync daemon.
    StartDaemon(SyncDaemon),
    /// Stops a sync daemon. The kernel waits for its threads.
    StopDaemon(SyncRole),
}

/// Why a step is not sent: the kernel would refuse it without saying why, or read it as something else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// An IPv4 mask in an IPv6 service or the other way round.
    #[error("the persistence mask is of another address family than the service")]
    MaskFamily,
    /// Of a service of IPv6.
    #[error("the persistence prefix length is {0}, not 1 to 128")]
    MaskLength(u8),
    /// Of a service or of connections.
    #[error("the timeout is {seconds} s, above {max_s} s")]
    Timeout {
        /// What was asked for.
        seconds: u32,
        /// The most there can be.
        max_s: u32,
    },
    /// Of a destination.
    #[error("the weight is {0}, above 2147483647")]
    Weight(u32),
    /// Of a destination.
    #[error("the lower threshold {lower} is above the upper one, {upper}")]
    Thresholds {
        /// The lower one.
        lower: u32,
        /// The upper one.
        upper: u32,
    },
    /// Only a tunnel leads to the other address family.
    #[error("the destination is of another address family than the service, which only a tunnel allows")]
    Families,
    /// Of a sync daemon.
    #[error("{0} is no multicast group")]
    Group(IpAddr),
    /// Of a sync daemon.
    #[error("the maximum length of sync messages is {length}, not {least} to {most}")]
    SyncLength {
        /// What was asked for.
        length: u16,
        /// The least there can be.
        least: u16,
        /// The most there can be.
        most: u16,
    },
}

impl IpvsStep {
    /// The request of the step.
    ///
    /// # Errors
    ///
    /// What of the step the kernel could not take.
    pub fn request(&self) -> Result<IpvsRequest, Unfit> {
        let (command, attributes) = match self {
            Self::NewService(service) => (IpvsCommand::NewService, whole_service(service)?),
            Self::SetService(service) => (IpvsCommand::SetService, whole_service(service)?),
            Self::DeleteService(key) => (IpvsCommand::DelService, vec![service_key(key)]),
            Self::NewDestination { service, destination } => {
                (IpvsCommand::NewDest, whole_destination(service, destination)?)
            }
            Self::SetDestination { service, destination } => {
                (IpvsCommand::SetDest, whole_destination(service, destination)?)
            }
            Self::DeleteDestination { service, destination } => (
                IpvsCommand::DelDest,
                vec![service_key(service), nest(IpvsRequest::DEST, &destination.attributes())],
            ),
            Self::Zero(service) => (IpvsCommand::Zero, service.iter().map(service_key).collect()),
            Self::Flush => (IpvsCommand::Flush, Vec::new()),
            Self::SetTimeouts(timeouts) => {
                timeouts.check()?;
                (IpvsCommand::SetConfig, timeouts.attributes())
            }
            Self::StartDaemon(daemon) => {
                daemon.check()?;
                (IpvsCommand::NewDaemon, vec![nest(IpvsRequest::DAEMON, &daemon.attributes())])
            }
            Self::StopDaemon(role) => {
                (IpvsCommand::DelDaemon, vec![nest(IpvsRequest::DAEMON, &role.attributes())])
            }
        };
        Ok(IpvsRequest::new(command, attributes))
    }
}

/// The attribute that names a service in a request.
pub(crate) fn service_key(key: &VirtualServiceKey) -> DefaultNla {
    nest(IpvsRequest::SERVICE, &key.attributes())
}

fn whole_service(service: &VirtualService) -> Result<Vec<DefaultNla>, Unfit> {
    service.check()?;
    Ok(vec![nest(IpvsRequest::SERVICE, &service.attributes())])
}

fn whole_destination(
    service: &VirtualServiceKey,
    destination: &IpvsDestination,
) -> Result<Vec<DefaultNla>, Unfit> {
    destination.check(service.family())?;
    Ok(vec![service_key(service), nest(IpvsRequest::DEST, &destination.attributes())])
}

impl fmt::Display for IpvsStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NewService(service) => write!(f, "add service {}", service.key),
            Self::SetService(service) => write!(f, "change service {}", service.key),
            Self::DeleteService(key) => write!(f, "delete service {key}"),
            Self::NewDestination { service, destination } => {
                write!(f, "add destination {} to service {service}", destination.key)
            }
            Self::SetDestination { service, destination } => {
                write!(f, "change destination {} of service {service}", destination.key)
            }
            Self::DeleteDestination { service, destination } => {
                write!(f, "delete destination {destination} of service {service}")
            }
            Self::Zero(Some(service)) => write!(f, "zero the statistics of service {service}"),
            Self::Zero(None) => f.write_str("zero all statistics"),
            Self::Flush => f.write_str("delete all services"),
            Self::SetTimeouts(_) => f.write_str("set the timeouts"),
            Self::StartDaemon(daemon) => {
                write!(f, "start the {} sync daemon on {}", daemon.role, daemon.interface)
            }
            Self::StopDaemon(role) => write!(f, "stop the {role} sync daemon"),
        }
    }
}
