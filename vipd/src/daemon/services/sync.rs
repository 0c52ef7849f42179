//! `lvs_sync_daemon`: which sync daemons of the kernel run, by the role of this node. Pure.

use std::{
    collections::BTreeSet,
    num::{NonZeroU8, NonZeroU16},
};

use vipd_config::ConnectionSync;
use vipd_ipvs::{IpvsStep, IpvsTimeouts, KernelName, SyncDaemon, SyncRole};

/// What is wanted of IPVS besides services.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WantedIpvs {
    /// `lvs_timeouts`; 0: as it is.
    pub timeouts: IpvsTimeouts,
    /// The sync daemons that are to run.
    pub daemons: Vec<SyncDaemon>,
    /// Sync daemons are vipd's to stop, too.
    pub owns_daemons: bool,
}

/// The daemons that are to run while the instances `masters` are master: by the instance one of them, without one both.
pub fn daemons(sync: &ConnectionSync, masters: &BTreeSet<String>) -> Vec<SyncDaemon> {
    let roles: &[SyncRole] = match &sync.instance {
        None => &[SyncRole::Master, SyncRole::Backup],
        Some(instance) if masters.contains(instance) => &[SyncRole::Master],
        Some(_) => &[SyncRole::Backup],
    };
    let daemon = |role: &SyncRole| {
        // A name that the kernel cannot have is no interface, and the configuration was checked.
        let interface = KernelName::new(&sync.interface)?;
        let mut daemon = SyncDaemon::new(*role, interface, sync.id);
        daemon.max_length = sync.octets_max.and_then(NonZeroU16::new);
        daemon.port = sync.port.and_then(NonZeroU16::new);
        daemon.ttl = sync.ttl.and_then(NonZeroU8::new);
        daemon.group = sync.group;
        Some(daemon)
    };
    roles.iter().filter_map(daemon).collect()
}

/// The steps from the daemons that run to those that are wanted. What is to go goes first, as with keepalived: the new master has taken what the
/// old one sent.
pub fn steps(present: &[SyncDaemon], wanted: &WantedIpvs) -> Vec<IpvsStep> {
    let is_wanted = |there: &SyncDaemon| wanted.daemons.iter().any(|wanted| there.meets(wanted));
    let is_there = |wanted: &SyncDaemon| present.iter().any(|there| there.meets(wanted));
    let takes_place = |there: &SyncDaemon| wanted.daemons.iter().any(|wanted| wanted.role == there.role);
    let goes = |there: &&SyncDaemon| !is_wanted(there) && (wanted.owns_daemons || takes_place(there));
    let stops = present.iter().filter(goes).map(|there| IpvsStep::StopDaemon(there.role));
    let starts = wanted.daemons.iter().filter(|wanted| !is_there(wanted)).cloned().map(IpvsStep::StartDaemon);
    stops.chain(starts).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sync(instance: Option<&str>) -> ConnectionSync {
        ConnectionSync {
            interface: "eth1".into(),
            instance: instance.map(str::to_owned),
            id: 51,
            octets_max: Some(1400),
            port: None,
            ttl: None,
            group: None,
        }
    }

    #[test]
    fn the_role_decides_which_daemon_runs() {
        let roles = |instance, masters: &[&str]| {
            let masters = masters.iter().map(|name| (*name).to_owned()).collect();
            let daemons = daemons(&sync(instance), &masters);
            assert!(daemons.iter().all(|daemon| daemon.sync_id == 51
                && daemon.interface.as_str() == "eth1"
                && daemon.max_length == NonZeroU16::new(1400)));
            daemons.iter().map(|daemon| daemon.role).collect::<Vec<_>>()
        };
        assert_eq!(roles(None, &[]), [SyncRole::Master, SyncRole::Backup]);
        assert_eq!(roles(Some("VI_1"), &["VI_2"]), [SyncRole::Backup]);
        assert_eq!(roles(Some("VI_1"), &["VI_1", "VI_2"]), [SyncRole::Master]);
    }

    #[test]
    fn the_old_role_stops_before_the_new_one_starts_and_nothing_else_is_touched() {
        let of =
            |role| daemons(&sync(None), &BTreeSet::new()).into_iter().find(|it| it.role == role).unwrap();
        let (master, backup) = (of(SyncRole::Master), of(SyncRole::Backup));
        let wanted = |daemons: &[&SyncDaemon], owns_daemons| WantedIpvs {
            daemons: daemons.iter().map(|daemon| (*daemon).clone()).collect(),
            owns_daemons,
            ..WantedIpvs::default()
        };
        let start = |daemon: &SyncDaemon| IpvsStep::StartDaemon(daemon.clone());
        let mut other = backup.clone();
        other.sync_id = 9;
        for (present, wanted, expect) in [
            (vec![], wanted(&[], true), vec![]),
            (vec![backup.clone()], wanted(&[&backup], true), vec![]),
            (
                vec![backup.clone()],
                wanted(&[&master], true),
                vec![IpvsStep::StopDaemon(SyncRole::Backup), start(&master)],
            ),
            (
                vec![other.clone()],
                wanted(&[&backup], false),
                vec![IpvsStep::StopDaemon(SyncRole::Backup), start(&backup)],
            ),
            (vec![backup.clone()], wanted(&[], true), vec![IpvsStep::StopDaemon(SyncRole::Backup)]),
            // An operator's, while vipd has none.
            (vec![backup.clone()], wanted(&[], false), vec![]),
        ] {
            assert_eq!(steps(&present, &wanted), expect, "{present:?} {wanted:?}");
        }
    }
}
