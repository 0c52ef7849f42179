//! What the configuration says of how vipd runs, and what it shows.

use std::collections::BTreeMap;

use super::{
    grammar::Value,
    model::{Config, Instance, Statement},
    statement::{find, number, text},
};

impl Instance {
    /// Whether its VIPs are shown as addresses of their interfaces while it is master (`vip_visible`).
    pub fn is_visible(&self) -> bool {
        find(&self.statements, "vip_visible").is_some_and(Statement::is_on)
    }
}

/// Where the program that answers for VIPs runs on an interface.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum XdpMode {
    /// In the driver where that sees every frame, else at tc ingress.
    #[default]
    Auto,
    /// In the driver, or not at all.
    Native,
    /// At tc ingress.
    Tc,
}

impl XdpMode {
    /// The words of `xdp_mode`, and of `vipd run --xdp-mode`.
    pub const NAMES: &[&str] = &["auto", "native", "tc"];

    /// What one of them means.
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "auto" => Some(Self::Auto),
            "native" => Some(Self::Native),
            "tc" => Some(Self::Tc),
            _ => None,
        }
    }
}

/// `xdp_mode` of every interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct XdpModes {
    of: BTreeMap<String, XdpMode>,
    others: XdpMode,
}

impl XdpModes {
    /// What the configuration says; `otherwise` holds for the interfaces that it says nothing of.
    pub fn of(config: &Config, otherwise: XdpMode) -> Self {
        let mut modes = Self { of: BTreeMap::new(), others: otherwise };
        for line in config.statements.iter().filter(|line| line.keyword == "xdp_mode") {
            let Some(Value::Word(word)) = line.values.first() else { continue };
            let mode = XdpMode::parse(word).unwrap_or_default();
            if line.values.len() == 1 {
                modes.others = mode;
            }
            modes.of.extend((1..line.values.len()).map(|at| (text(&line.values, at).to_owned(), mode)));
        }
        modes
    }

    pub fn of_interface(&self, name: &str) -> XdpMode {
        self.of.get(name).copied().unwrap_or(self.others)
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
