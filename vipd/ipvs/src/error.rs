//! What can go wrong: with the conversation as a whole, and with one step.

use std::{fmt, io};

use crate::{
    attributes::{KernelName, MalformedReply},
    destination::IpvsDestination,
    service::VirtualService,
    step::Unfit,
    sync_daemon::SyncDaemon,
};

/// Why the kernel could not be asked, or its answer not be understood. Some of the steps that were on their way may have been
/// applied: read the table. After [`Self::TimedOut`], [`Self::Socket`] and [`Self::Malformed`] open another client for that, as
/// answers may still wait in the socket.
#[derive(Debug, thiserror::Error)]
pub enum IpvsError {
    /// The kernel does not have the family: the module is neither there nor could it be loaded.
    #[error(
        "no IPVS in this kernel: load the module (modprobe ip_vs), or run a kernel with CONFIG_IP_VS; in a container, load it on the \
         host"
    )]
    NoIpvs,
    /// Every command needs the capability, reading too, in the first user namespace (`GENL_ADMIN_PERM`).
    #[error("IPVS needs CAP_NET_ADMIN in the first user namespace")]
    NotPermitted,
    /// The module was unloaded and loaded again. Its table was empty in between; the client has the new id.
    #[error("the module ip_vs was loaded again: the table is empty")]
    Reloaded,
    /// Others changed the table each time it was read.
    #[error("others keep changing the IPVS table")]
    Changing,
    /// The kernel refused to be read.
    #[error("cannot {act}")]
    Refused {
        /// What was asked for.
        act: &'static str,
        /// The kernel's error number.
        source: io::Error,
    },
    /// The answer has not come within 10 s.
    #[error("the kernel has not answered within 10 s")]
    TimedOut,
    /// A call on the socket failed; `ENOBUFS`: answers were lost.
    #[error("netlink socket: cannot {act}")]
    Socket {
        /// What was tried.
        act: &'static str,
        /// Why not.
        source: io::Error,
    },
    /// The answer is none that this version understands.
    #[error("the kernel's answer cannot be read")]
    Malformed(#[from] MalformedReply),
}

/// What came of a step that was not refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StepResult {
    /// The kernel did it.
    Done,
    /// What was to be made was there already, with everything as asked for. The kernel did nothing.
    AlreadyThere,
}

/// What the kernel has where something was to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Existing {
    /// A service with this key.
    Service(VirtualService),
    /// A destination with this key.
    Destination(IpvsDestination),
    /// A sync daemon of this role.
    Daemon(SyncDaemon),
}

/// Why the kernel did not apply a step, or why the step was not sent.
#[derive(Debug, thiserror::Error)]
pub enum StepRefusal {
    /// It was not sent.
    #[error(transparent)]
    Unfit(#[from] Unfit),
    /// EEXIST: what is there differs from what was to be made, and stays as it is.
    #[error("it is there already, and differs")]
    Exists(Box<Existing>),
    /// EEXIST, and when the client read what was there, others had removed it.
    #[error("it was there already, and is gone since")]
    Vanished,
    /// ESRCH: there is no such service.
    #[error("no such service")]
    NoService,
    /// ENOENT: the service has no such destination.
    #[error("no such destination")]
    NoDestination,
    /// ENOENT: the kernel has no such scheduler, or no such persistence engine.
    #[error("no such scheduler or persistence engine: {}", modules(.scheduler, .persistence_engine.as_ref()))]
    NoModule {
        /// What was asked for.
        scheduler: KernelName<15>,
        /// What was asked for.
        persistence_engine: Option<KernelName<16>>,
    },
    /// ESRCH: no sync daemon of this role runs.
    #[error("it does not run")]
    NotRunning,
    /// ENODEV: there is no such interface.
    #[error("no interface {0}")]
    NoInterface(KernelName<15>),
    /// Another error.
    #[error(transparent)]
    Kernel(io::Error),
}

/// The modules that are missing, for an administrator.
fn modules(scheduler: &KernelName<15>, engine: Option<&KernelName<16>>) -> impl fmt::Display {
    fmt::from_fn(move |f| {
        write!(f, "try modprobe ip_vs_{scheduler}")?;
        engine.map_or(Ok(()), |engine| write!(f, " and modprobe ip_vs_pe_{engine}"))
    })
}
