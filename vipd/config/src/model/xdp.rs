//! Where the program that answers for VIPs runs.

use std::collections::BTreeMap;

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
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct XdpModes {
    /// By the names of interfaces.
    pub interfaces: BTreeMap<String, XdpMode>,
    /// Of all other interfaces; `None`: the configuration does not say, so that `vipd run --xdp-mode` decides.
    pub others: Option<XdpMode>,
}

impl XdpModes {
    /// The same where the configuration says something, else `otherwise`.
    pub fn or(&self, otherwise: XdpMode) -> Self {
        Self { others: self.others.or(Some(otherwise)), ..self.clone() }
    }

    /// The mode of one interface.
    pub fn of_interface(&self, name: &str) -> XdpMode {
        self.interfaces.get(name).copied().or(self.others).unwrap_or_default()
    }
}
