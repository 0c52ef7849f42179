//! What `global_defs` says of how vipd runs.

use super::{
    model::Config,
    statement::{find, number},
};

impl Config {
    /// Whether interfaces may be missing when vipd starts.
    pub fn has_dynamic_interfaces(&self) -> bool {
        find(&self.statements, "dynamic_interfaces").is_some()
    }

    /// Whether every state is written to the FIFOs when a configuration was reloaded.
    pub fn writes_states_on_reload(&self) -> bool {
        find(&self.statements, "fifo_write_vrrp_states_on_reload").is_some()
    }

    /// SCHED_FIFO priority of the election, 1 to 99, if it is not vipd's own.
    pub fn real_time_priority(&self) -> Option<u8> {
        let given = number(&find(&self.statements, "vrrp_rt_priority")?.values);
        given.and_then(|given| u8::try_from(given).ok())
    }
}
