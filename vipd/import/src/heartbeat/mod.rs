//! heartbeat's files: who is in the cluster, and which resources move together.

pub(crate) mod authkeys;
pub(crate) mod ha_cf;
pub(crate) mod haresources;
