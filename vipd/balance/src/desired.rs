//! The desired table of services, and differences of two of them.

use std::collections::BTreeMap;

use crate::model::{ForwardMethod, ServiceAddress, ServiceId, ServiceSettings, TargetId};

/// A target that is to be in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DesiredTarget {
    /// 0 to 2^31 - 1; with 0 it gets no new connection.
    pub weight: u32,
    /// How packets get there.
    pub forward: ForwardMethod,
    /// Connections above which it gets no new one; 0: no limit.
    pub upper_threshold: u32,
    /// Connections below which it gets new ones again.
    pub lower_threshold: u32,
    /// It is there as the sorry server.
    pub sorry: bool,
}

/// A service that is to be in the table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DesiredService {
    /// Its addresses.
    pub addresses: Vec<ServiceAddress>,
    /// Scheduler, flags, persistence.
    pub settings: ServiceSettings,
    /// All its targets: others are to be removed.
    pub targets: BTreeMap<TargetId, DesiredTarget>,
}

impl DesiredService {
    /// Sum of the weights.
    pub fn weight(&self) -> u64 {
        self.targets.values().map(|target| u64::from(target.weight)).sum()
    }
}

/// One difference of what is desired. Applied in order, no service that serves before and after is empty in between.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DesiredChange {
    /// A service is new. It has no targets yet.
    AddService {
        /// Which.
        service: ServiceId,
        /// Its addresses.
        addresses: Vec<ServiceAddress>,
        /// Scheduler, flags, persistence.
        settings: ServiceSettings,
    },
    /// Addresses or settings of a service differ. It keeps its targets.
    SetService {
        /// Which.
        service: ServiceId,
        /// All addresses.
        addresses: Vec<ServiceAddress>,
        /// All settings.
        settings: ServiceSettings,
    },
    /// A service and its targets are to go.
    RemoveService {
        /// Which.
        service: ServiceId,
    },
    /// A target is new in the table.
    AddTarget {
        /// Of which service.
        service: ServiceId,
        /// Which.
        target: TargetId,
        /// How.
        desired: DesiredTarget,
    },
    /// A target in the table differs, most often by its weight.
    SetTarget {
        /// Of which service.
        service: ServiceId,
        /// Which.
        target: TargetId,
        /// How it is to be.
        desired: DesiredTarget,
    },
    /// A target is to go.
    RemoveTarget {
        /// Of which service.
        service: ServiceId,
        /// Which.
        target: TargetId,
    },
}

/// All that is to be in the table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DesiredTable {
    services: BTreeMap<ServiceId, DesiredService>,
}

impl DesiredTable {
    /// The services by their identity.
    pub const fn services(&self) -> &BTreeMap<ServiceId, DesiredService> {
        &self.services
    }

    /// Takes one difference over. A difference of a service that is not there changes nothing.
    pub fn apply(&mut self, change: DesiredChange) {
        match change {
            DesiredChange::AddService { service, addresses, settings } => {
                let targets = BTreeMap::new();
                self.services.insert(service, DesiredService { addresses, settings, targets });
            }
            DesiredChange::SetService { service, addresses, settings } => {
                if let Some(there) = self.services.get_mut(&service) {
                    (there.addresses, there.settings) = (addresses, settings);
                }
            }
            DesiredChange::RemoveService { service } => _ = self.services.remove(&service),
            DesiredChange::AddTarget { service, target, desired }
            | DesiredChange::SetTarget { service, target, desired } => {
                if let Some(there) = self.services.get_mut(&service) {
                    there.targets.insert(target, desired);
                }
            }
            DesiredChange::RemoveTarget { service, target } => {
                if let Some(there) = self.services.get_mut(&service) {
                    there.targets.remove(&target);
                }
            }
        }
    }
}

impl FromIterator<(ServiceId, DesiredService)> for DesiredTable {
    fn from_iter<T: IntoIterator<Item = (ServiceId, DesiredService)>>(services: T) -> Self {
        Self { services: services.into_iter().collect() }
    }
}

/// The changes from `old` to `new` of one service: more weight first, then less, then removals.
pub(crate) fn differences(
    service: &ServiceId,
    old: Option<&DesiredService>,
    new: Option<&DesiredService>,
) -> Vec<DesiredChange> {
    let service = || service.clone();
    let Some(new) = new else {
        return old.map(|_| DesiredChange::RemoveService { service: service() }).into_iter().collect();
    };
    let mut changes = Vec::new();
    let (addresses, settings) = (|| new.addresses.clone(), new.settings);
    match old {
        None => {
            changes.push(DesiredChange::AddService { service: service(), addresses: addresses(), settings });
        }
        Some(old) if old.addresses != new.addresses || old.settings != new.settings => {
            changes.push(DesiredChange::SetService { service: service(), addresses: addresses(), settings });
        }
        Some(_) => {}
    }
    let nobody = BTreeMap::new();
    let before = old.map_or(&nobody, |old| &old.targets);
    // DEVIATION: targets enter before others leave. keepalived's order empties the service for an instant.
    for raised in [true, false] {
        for (&target, &desired) in &new.targets {
            let was = before.get(&target);
            if was == Some(&desired) || (desired.weight > was.map_or(0, |was| was.weight)) != raised {
                continue;
            }
            changes.push(match was {
                None => DesiredChange::AddTarget { service: service(), target, desired },
                Some(_) => DesiredChange::SetTarget { service: service(), target, desired },
            });
        }
    }
    let gone = before.keys().filter(|target| !new.targets.contains_key(target));
    changes.extend(gone.map(|&target| DesiredChange::RemoveTarget { service: service(), target }));
    changes
}
