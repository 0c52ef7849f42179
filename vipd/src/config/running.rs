//! What the configuration says of how vipd runs, and what it shows.

use super::{
    model::{Config, Instance, Statement},
    statement::{find, number},
};

impl Instance {
    /// Whether its VIPs are shown as addresses of their interfaces while it is master (`vip_visible`).
    pub fn is_visible(&self) -> bool {
        find(&self.statements, "vip_visible").is_some_and(Statement::is_on)
    }
}

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
