mod model;
pub use model::*;
use std::time::Duration;
#[derive(Debug)] pub struct Failure; impl std::fmt::Display for Failure { fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result { Ok(()) } } impl std::error::Error for Failure {}
pub struct Loaded { pub config: Config, pub warnings: Vec<String> }
pub fn load(p: &std::path::Path) -> Result<Loaded, Failure> {
    let t = std::fs::read_to_string(p).map_err(|_| Failure)?;
    let mut i = Instance { name: "VI_1".into(), interface: "eth0".into(), vrid: vipd_common::Vrid::new(51).unwrap(), version: vipd_common::Version::V2, family: vipd_common::Family::V4, priority: vipd_common::Priority::new(100), wanted: WantedState::Backup, advert_interval: Duration::from_secs(1), down_timer_adverts: 3, auth: Auth::None, vips: vec![], excluded: vec![], preempt: true, preempt_delay: Duration::ZERO, source: None, group: "224.0.0.18".parse().unwrap(), garp: Garp { repeat: 5, delay: Some(Duration::from_secs(5)), refresh: None, refresh_repeat: 1, lower_prio_delay: Some(Duration::from_secs(5)), lower_prio_repeat: 5, interval: Duration::ZERO }, checksum: vipd_common::types::ChecksumForm::PseudoHeader, lower_prio_no_advert: false, lease: LeasePolicy::Overlap, line: 1 };
    for l in t.lines() { let w: Vec<&str> = l.split_whitespace().collect(); match &w[..] {
        ["priority", p] => i.priority = vipd_common::Priority::new(p.parse().unwrap()),
        ["advert_int", p] => i.advert_interval = Duration::from_millis((p.parse::<f64>().unwrap() * 1000.0).round() as u64),
        ["vrrp_version", "3"] => i.version = vipd_common::Version::V3,
        ["lease", "strict"] => i.lease = LeasePolicy::Strict,
        ["nopreempt"] => i.preempt = false,
        ["auth_pass", p] => { let mut d = [0; 8]; d[..p.len()].copy_from_slice(p.as_bytes()); i.auth = Auth::Pass(d) }
        [a, ..] => if let Ok(ip) = a.split('/').next().unwrap().parse() { i.vips.push(Vip { address: ip, prefix_len: 32 }) },
        _ => {} } }
    Ok(Loaded { config: Config { router_id: None, instances: vec![i] }, warnings: vec![] })
}
