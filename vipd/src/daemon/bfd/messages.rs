//! What the main thread and the thread of BFD tell each other: values and channel ends.

use std::collections::BTreeMap;

use tokio::sync::oneshot;
use vipd_config::BfdInstance;

use crate::control::model::BfdSessionStatus;

/// What the main thread asks of the thread of BFD.
#[derive(Debug)]
pub enum BfdMessage {
    /// Another configuration.
    Configure(BfdWanted),
    /// The program hears other interfaces.
    Heard(HeardInterfaces),
    Status(oneshot::Sender<Vec<BfdSessionStatus>>),
    /// Tell every neighbor AdminDown, and end; answered when that is done.
    Stop(oneshot::Sender<()>),
    /// End, and leave every session to the next vipd.
    Leave,
}

/// The sessions of a configuration, and the interfaces that the program hears.
#[derive(Clone, Debug)]
pub struct BfdWanted {
    pub sessions: Vec<BfdInstance>,
    pub heard: HeardInterfaces,
}

/// By the index of an interface, where the program sees its frames: the index of the interface that it is attached to, and the VLAN
/// there, as in `abi::VipKey::vlan`.
pub type HeardInterfaces = BTreeMap<u32, (u32, u32)>;
