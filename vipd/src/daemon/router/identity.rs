//! What makes a virtual router the same one in two configurations.

use vipd_common::Family;

/// Interface, address family and VRID: what a virtual router is on the wire.
///
/// Its name in the configuration may change, and unicast instances may share a VRID.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RouterIdentity {
    interface: String,
    is_v6: bool,
    vrid: u8,
}

impl RouterIdentity {
    /// The identity of a configured instance.
    pub fn of(spec: &vipd_config::Instance) -> Self {
        Self { interface: spec.interface.clone(), is_v6: spec.family == Family::V6, vrid: spec.vrid.get() }
    }
}
