//! From the validated configuration and the interfaces as they are, to what each part of the daemon is told.

use std::{
    collections::HashSet,
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

use anyhow::{Context, Result};
use vipd_common::{
    Family, Version,
    abi::{
        ADDRESS_DIGEST_MASK, InstanceKey, MAX_INSTANCES, VipEntry, VipKey, address_digest, auth_type, mapped,
    },
    wire::eth::MacAddr,
};

use crate::{
    config::{self, Auth},
    dataplane::{Identity, InstancePage, LeasePage},
    host::{LinkState, Plan, PlannedInstance, PlannedLink},
    time::nanos,
    vrrp::{GarpTiming, LeasePolicy, Settings},
};

/// One virtual router: its configuration, its interface as last seen, and its slot in the maps.
#[derive(Clone, Debug)]
pub struct Router {
    pub spec: config::Instance,
    pub settings: Settings,
    pub ifindex: u32,
    pub mac: MacAddr,
    pub up: bool,
    pub address: Option<IpAddr>,
    /// Slot of `INSTANCES`; its group's slot of `LEASES` has the same number while there are no sync groups.
    pub slot: u32,
}

impl Router {
    /// A virtual router on `link`. Its slot is not known yet.
    pub fn new(spec: config::Instance, link: &LinkState) -> Self {
        let settings = settings(&spec);
        let address = primary_address(&spec, link);
        Self { settings, ifindex: link.ifindex, mac: link.mac, up: link.up, address, slot: 0, spec }
    }

    pub fn group(&self) -> u32 {
        self.slot
    }

    /// Its key in the host's plan.
    pub fn host_key(&self) -> u16 {
        u16::try_from(self.slot).expect("slots are below MAX_INSTANCES, 1024")
    }

    /// All its VIPs, those in adverts first.
    pub fn vips(&self) -> impl Iterator<Item = IpAddr> {
        self.spec.vips.iter().chain(&self.spec.excluded).map(|vip| vip.address)
    }

    pub fn key(&self) -> InstanceKey {
        InstanceKey {
            ifindex: self.ifindex,
            vlan: 0,
            family: self.spec.family as u8,
            vrid: self.spec.vrid.get(),
            reserved: [0; 2],
        }
    }

    pub fn auth_data(&self) -> Option<[u8; 8]> {
        match self.spec.auth {
            Auth::None => None,
            Auth::Pass(data) => Some(data),
        }
    }

    /// The entries of the VIP table.
    pub fn table(&self) -> impl Iterator<Item = (VipKey, VipEntry)> {
        let entry = VipEntry { group: self.group(), instance: self.slot, mac: self.mac.0, reserved: [0; 2] };
        self.vips().map(move |vip| (VipKey { ifindex: self.ifindex, vlan: 0, address: octets(vip) }, entry))
    }

    /// What XDP checks adverts against, for a router that takes no part yet.
    pub fn identity(&self) -> Identity {
        let interval = self.spec.advert_interval;
        let digest = self.spec.vips.iter().fold(0u64, |sum, vip| match vip.address {
            IpAddr::V4(v4) => sum.wrapping_add(address_digest(u32::from_ne_bytes(v4.octets()))),
            IpAddr::V6(_) => sum,
        });
        Identity {
            key: self.key(),
            group: self.group(),
            primary: self.address.map_or([0; 16], octets),
            destination: octets(self.spec.group),
            auth_type: if self.auth_data().is_some() { auth_type::SIMPLE_TEXT } else { auth_type::NONE },
            auth_data: self.auth_data().unwrap_or_default(),
            lease_ns: nanos(self.settings.lease_length()),
            stale_after_ns: nanos(interval + interval / 2),
            address_list_digest: digest & ADDRESS_DIGEST_MASK,
            interval_cs: centiseconds(interval),
            priority: self.spec.priority.get(),
            version: self.spec.version as u8,
        }
    }
}

/// 16 octets as the maps have them.
pub fn octets(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(v4) => mapped(v4.octets()),
        IpAddr::V6(v6) => v6.octets(),
    }
}

/// The address that 16 octets of a map stand for.
pub fn address(octets: [u8; 16]) -> IpAddr {
    IpAddr::from(octets).to_canonical()
}

pub fn centiseconds(interval: Duration) -> u32 {
    u32::try_from(interval.as_millis() / 10).unwrap_or(u32::MAX)
}

/// The address that adverts are sent from: the configured one, or the interface's first that is no VIP.
///
/// RFC 9568 1.7: the primary address is one that is chosen from the interface's real addresses.
pub fn primary_address(spec: &config::Instance, link: &LinkState) -> Option<IpAddr> {
    if spec.source.is_some() {
        return spec.source;
    }
    let vips: HashSet<IpAddr> = spec.vips.iter().chain(&spec.excluded).map(|vip| vip.address).collect();
    let candidates = link.addresses.iter().filter(|candidate| match spec.family {
        Family::V4 => matches!(candidate.address, IpAddr::V4(v4) if v4 != Ipv4Addr::UNSPECIFIED),
        Family::V6 => matches!(candidate.address, IpAddr::V6(v6) if v6.is_unicast_link_local()),
    });
    candidates
        .filter(|candidate| spec.priority.is_owner() || !vips.contains(&candidate.address))
        .min_by_key(|candidate| candidate.secondary)
        .map(|candidate| candidate.address)
}

/// What the host is asked to make for all of them.
pub fn plan(routers: &[Router]) -> Plan {
    let instance = |router: &Router| PlannedInstance {
        key: router.host_key(),
        links: vec![PlannedLink {
            ifindex: router.ifindex,
            interface: router.spec.interface.clone(),
            source_v4: router.address.and_then(|address| match address {
                IpAddr::V4(v4) => Some(v4),
                IpAddr::V6(_) => None,
            }),
            source_v6: None,
            vips: router.vips().collect(),
        }],
        virtual_mac: None,
        routes: Vec::new(),
        rules: Vec::new(),
    };
    Plan { instances: routers.iter().map(instance).collect() }
}

/// Gives each router a slot, keeping the one that a predecessor on this node had for the same virtual router, so that
/// its lease goes on; the leases of all other slots are released.
pub fn assign_slots(routers: &mut [Router], instances: &InstancePage, leases: &LeasePage) -> Result<()> {
    let keys: Vec<InstanceKey> = (0..MAX_INSTANCES).map(|slot| instances.key(slot)).collect();
    let mut taken = HashSet::new();
    let mut without = Vec::new();
    for (i, router) in routers.iter_mut().enumerate() {
        let key = router.key();
        match (0..MAX_INSTANCES).zip(&keys).find(|(_, stored)| **stored == key) {
            Some((slot, _)) => {
                router.slot = slot;
                taken.insert(slot);
            }
            None => without.push(i),
        }
    }
    let mut free = (0..MAX_INSTANCES).filter(|slot| !taken.contains(slot)).collect::<Vec<_>>().into_iter();
    for i in without {
        routers[i].slot = free.next().with_context(|| format!("more than {MAX_INSTANCES} instances"))?;
        taken.insert(routers[i].slot);
        leases.release(routers[i].group());
    }
    for slot in free {
        leases.release(slot);
    }
    Ok(())
}

fn settings(spec: &config::Instance) -> Settings {
    Settings {
        version: spec.version,
        family: spec.family,
        vrid: spec.vrid,
        priority: spec.priority,
        advert_interval: spec.advert_interval,
        down_timer_adverts: spec.down_timer_adverts,
        preempt: spec.preempt,
        preempt_delay: spec.preempt_delay,
        lease: match spec.lease {
            config::LeasePolicy::Overlap => LeasePolicy::Overlap,
            config::LeasePolicy::Strict => LeasePolicy::Strict,
        },
        garp: GarpTiming {
            repeat: spec.garp.repeat,
            delay: spec.garp.delay,
            refresh: spec.garp.refresh,
            refresh_repeat: spec.garp.refresh_repeat,
            lower_prio_repeat: spec.garp.lower_prio_repeat,
            lower_prio_delay: spec.garp.lower_prio_delay,
        },
        lower_prio_no_advert: spec.lower_prio_no_advert,
        checksum: spec.checksum,
    }
}

/// v3 intervals shorter than this need real-time scheduling to be kept on a busy host.
pub fn is_short(spec: &config::Instance) -> bool {
    spec.version == Version::V3 && spec.advert_interval < Duration::from_millis(50)
}
