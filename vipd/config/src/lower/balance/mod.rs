//! Load balancing: `virtual_server`, `virtual_server_group`, `SSL`, and what `global_defs` says about them.
//!
//! Everything is held beside the words that it was read from, so each finding has its place. A service that is wrong is left out; with
//! an error nobody uses the rest either, but where all of it is ignored the errors are warnings.

mod check;
mod context;
mod faults;
mod global;
mod group;
mod http;
mod peer;
mod placed;
mod service;
mod target;

use std::{
    collections::{HashMap, HashSet},
    net::IpAddr,
};

use vipd_balance::{BalanceConfig, ServiceAddress};

use crate::{
    model::{instance::Instance, tracking::TrackedFile},
    schema::statement::{Statement, find},
    source::Outside,
    syntax::{diagnostic::Code, parser::SyntaxNode, report::Report},
};
use context::{ADDRESSES_MAX, BalanceContext, TlsCommon};
use faults::PlacedService;
pub use global::settings;
use placed::at_the_top;

/// The services of a file; `statements`: those of the top level, which were read from `tree`.
pub fn services(
    tree: &[SyntaxNode],
    statements: &[Statement],
    global: &[Statement],
    (instances, files): (&[Instance], &[TrackedFile]),
    outside: &dyn Outside,
    report: &mut Report,
) -> BalanceConfig {
    let mail = find(global, "smtp_alert_checker").or_else(|| find(global, "smtp_alert"));
    let is_about = |statement: &&Statement| BLOCKS.contains(&statement.keyword);
    let is_ignored = statements.iter().filter(is_about).any(|statement| !statement.served);
    if is_ignored {
        report.ignored(true);
    }
    let mut context = BalanceContext {
        files,
        groups: HashMap::new(),
        grouped: HashSet::new(),
        ordinals: HashMap::new(),
        tls: TlsCommon::default(),
        mail: mail.map(Statement::is_on),
        addresses_left: ADDRESSES_MAX,
        outside,
        report,
    };
    for ssl in at_the_top(tree, statements, "SSL") {
        context.tls(ssl);
    }
    for group in at_the_top(tree, statements, "virtual_server_group") {
        context.group(group);
    }
    let placed: Vec<_> =
        at_the_top(tree, statements, "virtual_server").filter_map(|server| context.service(server)).collect();
    let init_notices = find(global, "rs_init_notifies").is_some();
    if let Some(first) = placed.first().filter(|_| !is_ignored && outside.lacks_ipvs()) {
        let hint = "load balancing is the kernel's: run one with IPVS (CONFIG_IP_VS), or `vipd run --allow-unsupported=virtual_server`, \
                    which serves everything else";
        let message = "this machine's kernel has no IPVS, and no module for it: vipd will not start";
        context.report.warning(Code::NotSupported, first.head.at(), message, hint);
    }
    placed.iter().for_each(|service| suspended(service, instances, context.report));
    let config = faults::checked(placed, init_notices, context.report);
    if is_ignored {
        report.ignored(false);
    }
    config
}

/// `ha_suspend` follows the lease of the address.
fn suspended(service: &PlacedService<'_>, instances: &[Instance], report: &mut Report) {
    let is_vip = |address: IpAddr| {
        let mut vips = instances.iter().flat_map(|instance| instance.vips.iter().chain(&instance.excluded));
        vips.any(|vip| vip.address == address)
    };
    let addresses: Vec<IpAddr> =
        service.server.addresses.iter().filter_map(ServiceAddress::address).collect();
    // Of a firewall mark it is an error.
    let has_none = !addresses.is_empty() && !addresses.into_iter().any(is_vip);
    if let Some(placed) = service.block.find("ha_suspend").filter(|_| has_none) {
        let message = "`ha_suspend` has no effect: no `vrrp_instance` has an address of this service";
        let hint = "put the address into a `virtual_ipaddress`, or remove this";
        report.warning(Code::NoEffect, placed.at(), message, hint);
    }
}

/// The blocks of load balancing.
const BLOCKS: [&str; 3] = ["virtual_server", "virtual_server_group", "SSL"];
