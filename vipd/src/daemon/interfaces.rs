//! Looks up the interfaces that a configuration names, as they are now.

use std::{error::Error, fmt, path::Path};

use anyhow::{Context, Result, ensure};

use super::{
    desired::Found,
    router::{HeartbeatPort, IngressPoint, fit, interfaces},
};
use crate::{
    host::{Host, LinkError, LinkState},
    tracking::LinkDelays,
};
use vipd_config::{Config, Instance, XdpMode, XdpModes};

/// Most VLAN tags in a frame that the XDP program reads.
const MAX_TAGS: u32 = 2;

/// A look at the interfaces of a configuration.
#[derive(Clone, Copy, Debug)]
pub struct LookUp<'a> {
    /// Where the configuration is, for messages.
    pub path: &'a Path,
    pub modes: &'a XdpModes,
    pub host: &'a Host,
    pub delays: &'a LinkDelays,
}

/// Instances whose interfaces are missing, or cannot be used: a line for each.
#[derive(Debug)]
pub struct RefusedInterfaces(Vec<String>);

impl RefusedInterfaces {
    /// `2 errors`.
    pub fn count(&self) -> String {
        match self.0.len() {
            1 => "1 error".to_owned(),
            count => format!("{count} errors"),
        }
    }
}

impl fmt::Display for RefusedInterfaces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

impl Error for RefusedInterfaces {}

impl LookUp<'_> {
    /// The interfaces of every instance. One that `may_be_missing`, or be unfit, is waited for: its instances are in FAULT.
    pub async fn all(&self, config: &Config, may_be_missing: &dyn Fn(&str) -> bool) -> Result<Vec<Found>> {
        let (mut all, mut refused) = (Vec::new(), Vec::new());
        for instance in &config.instances {
            match self.instance(instance, may_be_missing).await {
                Ok(found) => all.push(found),
                Err(error) => {
                    let place = format!("{}:{}", self.path.display(), instance.line);
                    refused.push(format!("{place}: instance {}: {error:#}", instance.name));
                }
            }
        }
        if refused.is_empty() { Ok(all) } else { Err(RefusedInterfaces(refused).into()) }
    }

    async fn instance(&self, spec: &Instance, may_be_missing: &dyn Fn(&str) -> bool) -> Result<Found> {
        let mut links = Vec::new();
        for name in interfaces(spec) {
            links.push(match self.interface(name).await {
                Ok((state, wire)) => {
                    // One that may be missing may come as it cannot be used: it is refused until it is another way.
                    let fit = fit(spec, &state);
                    fit.or_else(|refused| if may_be_missing(name) { Ok(()) } else { Err(refused) })?;
                    (state, wire)
                }
                Err(error) if may_be_missing(name) => {
                    tracing::warn!(
                        instance = spec.name,
                        interface = name,
                        "waits for the interface: {error:#}"
                    );
                    absent(name)
                }
                Err(error) => return Err(error),
            });
        }
        let mut heartbeats = Vec::new();
        for name in spec.heartbeat_links.iter().map(|link| link.interface.as_str()) {
            let found = self.interface(name).await;
            let (state, wire) = found.unwrap_or_else(|error| {
                // Nothing depends on it: it is followed when it comes.
                let error = format!("{error:#}");
                tracing::warn!(
                    instance = spec.name,
                    interface = name,
                    error,
                    "a heartbeat link does not exist"
                );
                absent(name)
            });
            heartbeats.push(HeartbeatPort::new(state, wire));
        }
        Ok(Found { links, heartbeats })
    }

    async fn interface(&self, name: &str) -> Result<(LinkState, IngressPoint)> {
        let state = self.host.link(name).await?;
        let wire = match self.modes.of_interface(name) {
            XdpMode::Native => self.wire_below(&state).await?,
            // tc sees frames on the interface itself.
            XdpMode::Auto | XdpMode::Tc => {
                IngressPoint { interface: name.to_owned(), ifindex: state.ifindex, vlan: 0 }
            }
        };
        Ok((self.delays.settled(state), wire))
    }

    /// Follows a VLAN interface down to the one whose driver its frames come in by.
    async fn wire_below(&self, state: &LinkState) -> Result<IngressPoint> {
        let mut wire = IngressPoint { interface: state.name.clone(), ifindex: state.ifindex, vlan: 0 };
        let mut vlan = state.vlan;
        let mut tags = 0;
        while let Some(tag) = vlan {
            ensure!(tags < MAX_TAGS, "{} has more than {MAX_TAGS} VLAN tags", state.name);
            let parent: Result<LinkState, LinkError> = self.host.link_by_index(tag.parent).await;
            let parent = parent.with_context(|| format!("the interface below {}", wire.interface))?;
            // The inner tag is found first, and stands in the lower bits.
            wire.vlan |= u32::from(tag.id) << (12 * tags);
            tags += 1;
            (wire.interface, wire.ifindex, vlan) = (parent.name, parent.ifindex, parent.vlan);
        }
        Ok(wire)
    }
}

fn absent(name: &str) -> (LinkState, IngressPoint) {
    (LinkState::absent(name), IngressPoint { interface: name.to_owned(), ifindex: 0, vlan: 0 })
}
