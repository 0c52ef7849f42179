//! The lines and fields that exporters read, as keepalived 2.2 has them, and where they go.

mod checkers;
mod place;
mod text;

use vipd_config::{Config, Nothing, Unsupported, parse};

use crate::control::model::{InstanceStatus, MasterStatus, Status, TrackedStatus};

const FILE: &str = "
global_defs {
    router_id lb01
    notification_email {
        root@example.net
    }
    smtp_server 192.0.2.25
    smtp_alert
}
vrrp_script chk {
    script \"/usr/bin/chk -q 'a b'\"
    interval 2
    weight -60
    fall 3
}
track_file load {
    file /run/load
}
vrrp_track_process nginx {
    process nginx
    quorum 2
    fork_delay 0.5
}
vrrp_instance VI_1 {
    state MASTER
    interface eth0
    virtual_router_id 51
    priority 150
    advert_int 2
    authentication {
        auth_type PASS
        auth_pass s3cr3t
    }
    virtual_ipaddress {
        10.0.0.3
        10.0.0.4/24 dev eth1
    }
    virtual_ipaddress_excluded {
        2001:db8::3
    }
    virtual_routes {
        10.1.0.0/16 via 10.0.0.1
    }
    track_script {
        chk
    }
    track_interface {
        eth2 weight -10
    }
    track_file {
        load
    }
    track_process {
        nginx weight 7 reverse
    }
    notify_master \"/usr/bin/up now\"
    notify /usr/bin/any
}
vrrp_instance VI_6 {
    interface eth0
    virtual_router_id 6
    version 3
    advert_int 0.5
    nopreempt
    smtp_alert off
    unicast_peer {
        fe80::2
    }
    virtual_ipaddress {
        fe80::6
    }
}
vrrp_sync_group G {
    group {
        VI_1
        VI_6
    }
    sync_group_tracking_weight
}
";

fn config() -> Config {
    let loaded = parse("k.conf".as_ref(), FILE, &Nothing, Unsupported::Ignored).unwrap();
    loaded.config
}

/// VI_1 is master, VI_6 backup.
fn status() -> Status {
    let ip = |text: &str| text.parse().unwrap();
    let master = instance("VI_1", 51, 2);
    let master = InstanceStatus {
        state: "MASTER".to_owned(),
        priority: 157,
        advert_interval_ms: 2_000,
        master_advert_interval_ms: 2_000,
        address: Some(ip("192.0.2.1")),
        master: Some(MasterStatus { address: ip("192.0.2.1"), priority: 157 }),
        skew_time_us: 773_437,
        ..master
    };
    let backup = InstanceStatus {
        state: "BACKUP".to_owned(),
        address: Some(ip("fe80::1")),
        master: Some(MasterStatus { address: ip("fe80::2"), priority: 200 }),
        master_down_in_ms: Some(1_000),
        ..instance("VI_6", 6, 3)
    };
    let tracked = |keyword: &str, name: &str, well, value| TrackedStatus {
        keyword: keyword.to_owned(),
        name: name.to_owned(),
        well,
        value,
        ..TrackedStatus::default()
    };
    Status {
        instances: vec![master, backup],
        tracked: vec![
            tracked("vrrp_script", "chk", Some(true), None),
            tracked("track_file", "load", None, Some(7)),
            tracked("vrrp_track_process", "nginx", Some(false), None),
        ],
        ..Status::default()
    }
}

/// All counters differ.
fn instance(name: &str, vrid: u8, version: u8) -> InstanceStatus {
    let discards = [
        ("packet_length_errors", 9),
        ("ip_ttl_errors", 10),
        ("invalid_type", 11),
        ("interval_mismatch", 12),
        ("interval_zero", 100),
        ("addr_count_zero", 200),
        ("invalid_auth_type", 14),
        ("auth_type_mismatch", 15),
        ("auth_failures", 16),
        ("own_source", 1_000),
    ];
    InstanceStatus {
        name: name.to_owned(),
        since_unix_ms: 1_673_674_892_348,
        in_state_ms: 10_000,
        interface: "eth0".to_owned(),
        vrid,
        version,
        accept: true,
        priority: 100,
        handed_over: false,
        advert_interval_ms: 500,
        master_advert_interval_ms: 250,
        skew_time_us: 152_343,
        adverts_sent: 2,
        adverts_received: 1,
        priority_zero_sent: 6,
        priority_zero_received: 5,
        send_errors: 1_000,
        became_master: 3,
        released_master: 4,
        leases_revoked: 1_000,
        split_brain: false,
        split_brains: 1_000,
        address_conflicts: 1_000,
        mismatches: Vec::new(),
        address_list_differs: 13,
        discards: discards.into_iter().map(|(reason, count)| (reason.to_owned(), count)).collect(),
        ..InstanceStatus::default()
    }
}
