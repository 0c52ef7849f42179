//! Tree to model: the meaning of every supported keyword, and the checks between statements.
//!
//! Here: the file as a whole and `global_defs`, which applies wherever it stands. `lower/statement.rs` reads one
//! statement, `lower/instance.rs` one virtual router, `lower/addresses.rs` its address lists.

mod addresses;
mod instance;
mod statement;

use std::{
    collections::{HashMap, HashSet},
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

use vipd_common::{Family, Version, Vrid};

use self::statement::{Shared, Statement, classify};
use super::{
    diagnostic::Sink,
    keywords::{Block, GlobalKey, Key, RootKey},
    model::{Config, Garp},
    parser::Node,
    values,
};

/// RFC 9568 5.1.1.2.
const DEFAULT_GROUP: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 18);

/// Instances with errors are left out; the sink knows why.
pub fn lower(nodes: &[Node], sink: &mut Sink<'_>) -> Config {
    let mut globals = Globals::default();
    let mut instances = Vec::new();
    for node in nodes {
        match classify(sink, Block::Root, "", node) {
            Some(Key::Root(RootKey::GlobalDefs)) => globals.read(node, sink),
            Some(Key::Root(RootKey::VrrpInstance)) => instances.push(node),
            Some(Key::Global(_) | Key::Instance(_) | Key::Auth(_)) | None => {}
        }
    }
    let mut file = File {
        sink,
        globals,
        names: HashMap::new(),
        routers: HashMap::new(),
        addresses: HashMap::new(),
        noted: HashSet::new(),
    };
    let instances = instances.into_iter().filter_map(|node| instance::lower(node, &mut file)).collect();
    Config { router_id: file.globals.router_id, instances }
}

/// What is known of the file while its instances are read.
struct File<'s, 'a> {
    sink: &'s mut Sink<'a>,
    globals: Globals,
    /// Instance names, each with its line.
    names: HashMap<String, u32>,
    /// Virtual routers, each with its line.
    routers: HashMap<(String, Family, Vrid), u32>,
    /// Addresses, each with its line.
    addresses: HashMap<IpAddr, u32>,
    /// Address options that were noted already.
    noted: HashSet<String>,
}

/// `global_defs`: what instances start from.
#[derive(Default)]
struct Globals {
    router_id: Option<String>,
    version: Option<Version>,
    group: Option<Ipv4Addr>,
    garp_interval: Duration,
    min_garp: bool,
    shared: Shared,
    seen: HashMap<Key, u32>,
}

impl Globals {
    fn read(&mut self, node: &Node, sink: &mut Sink<'_>) {
        Statement::new(sink, Block::Root, node).finish();
        for node in node.body.iter().flat_map(|body| &body.nodes) {
            match classify(sink, Block::Global, "global_defs", node) {
                Some(Key::Global(key)) => {
                    statement::warn_repeat(sink, &mut self.seen, Key::Global(key), node);
                    self.apply(key, Statement::new(sink, Block::Global, node));
                }
                Some(Key::Root(_) | Key::Instance(_) | Key::Auth(_)) | None => {}
            }
        }
    }

    fn apply(&mut self, key: GlobalKey, mut statement: Statement<'_, '_, '_>) {
        match key {
            GlobalKey::RouterId => self.router_id = statement.text("a name").or(self.router_id.take()),
            GlobalKey::Version => self.version = statement.version().or(self.version),
            GlobalKey::McastGroup4 => {
                self.group = statement.value("a multicast address", values::multicast).or(self.group);
            }
            GlobalKey::GarpInterval => {
                let interval = statement.value("seconds", |word| values::seconds(word, 1000));
                self.garp_interval = interval.unwrap_or(self.garp_interval);
            }
            GlobalKey::MinGarp => self.min_garp = statement.flag().unwrap_or(self.min_garp),
            GlobalKey::Shared(key) => self.shared.apply(key, &mut statement),
        }
        statement.finish();
    }

    /// The gratuitous ARP settings of an instance that says `own`.
    fn garp(&self, own: &Shared) -> Garp {
        let global = &self.shared;
        // vrrp_min_garp only stands in for what is not said.
        let (repeat, delay) = if self.min_garp { (1, None) } else { (5, Some(Duration::from_secs(5))) };
        let repeat = own.garp_repeat.or(global.garp_repeat).unwrap_or(repeat);
        let delay = own.garp_delay.or(global.garp_delay).unwrap_or(delay);
        Garp {
            repeat,
            delay,
            refresh: own.garp_refresh.or(global.garp_refresh).unwrap_or(None),
            refresh_repeat: own.garp_refresh_repeat.or(global.garp_refresh_repeat).unwrap_or(1),
            lower_prio_delay: own.lower_prio_delay.or(global.lower_prio_delay).unwrap_or(delay),
            lower_prio_repeat: own.lower_prio_repeat.or(global.lower_prio_repeat).unwrap_or(repeat),
            interval: self.garp_interval,
        }
    }
}
