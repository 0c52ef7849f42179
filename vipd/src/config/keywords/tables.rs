//! The rows of the top level, and what the rows of all blocks are made with.
//!
//! Facts about keepalived's language are in its manual page; supported rows come first.

use super::{Block, Form, Keyword, Status};
use crate::config::{model::LeasePolicy, settings::Spanned};

pub const ROOT: &[Keyword] = &[
    block("global_defs", Block::GlobalDefs),
    block("vrrp_instance", Block::Instance),
    later_block("vrrp_script", TRACK),
    later_block("vrrp_track_process", TRACK),
    later_block("track_file", TRACK),
    later_block("vrrp_track_file", TRACK),
    later_block("vrrp_sync_group", REMOVE),
    later_block("track_group", REMOVE),
    later_block("bfd_instance", TRACK),
    later_block("virtual_server", LVS),
    later_block("virtual_server_group", LVS),
    later_block("real_server", LVS),
    later_block("SSL", LVS),
    later_block("static_ipaddress", STATIC),
    later_block("static_routes", STATIC),
    later_block("static_rules", STATIC),
    later_block("garp_group", REMOVE),
    later_block("interface_up_down_delays", REMOVE),
    later_block("linkbeat_interfaces", REMOVE),
    later("linkbeat_use_polling", REMOVE),
    later("net_namespace", REMOVE),
    later("net_namespace_ipvs", REMOVE),
    later("namespace_with_ipsets", REMOVE),
    later("instance", REMOVE),
    later("use_pid_dir", REMOVE),
    no_effect("child_wait_time", 1, "vipd has no child processes to wait for"),
];

pub const fn block(name: &'static str, block: Block) -> Keyword {
    Keyword { name, means: name, block: true, default: None, status: Status::Supported(Form::Block(block)) }
}

pub const fn value(name: &'static str, default: Option<&'static str>, form: Form) -> Keyword {
    Keyword { name, means: name, block: false, default, status: Status::Supported(form) }
}

pub const fn no_effect(name: &'static str, values: usize, reason: &'static str) -> Keyword {
    Keyword { name, means: name, block: false, default: None, status: Status::NoEffect { reason, values } }
}

pub const fn later(name: &'static str, advice: &'static str) -> Keyword {
    Keyword { name, means: name, block: false, default: None, status: Status::NotYet(advice) }
}

pub const fn later_block(name: &'static str, advice: &'static str) -> Keyword {
    Keyword { name, means: name, block: true, default: None, status: Status::NotYet(advice) }
}

/// Sets what `means` sets.
pub const fn synonym(name: &'static str, means: &'static str, form: Form) -> Keyword {
    Keyword { name, means, block: false, default: None, status: Status::Supported(form) }
}

pub const fn refused(name: &'static str, reason: &'static str) -> Keyword {
    Keyword { name, means: name, block: false, default: None, status: Status::Refused(reason) }
}

pub fn lease(word: Spanned<&str>) -> Spanned<LeasePolicy> {
    let value = if word.value == "strict" { LeasePolicy::Strict } else { LeasePolicy::Overlap };
    Spanned { value, span: word.span }
}

pub const LEASES: &[&str] = &["strict", "overlap"];
pub const DAY_S: u32 = 86_400;

pub const REMOVE: &str = "remove it, or stay with keepalived on this machine until vipd has it";
pub const LVS: &str = "leave load balancing to a keepalived of its own, without vrrp_instance";
pub const MAIL: &str = "remove it: vipd sends no mail yet";
pub const SCRIPT: &str = "remove it: vipd runs no scripts yet";
pub const STATIC: &str = "configure it with the system's network tools";
pub const TRACK: &str = "remove it: vipd does no tracking yet";

pub const NO_INTERFACE: &str = "vipd makes no interface of its own";
pub const NO_ADDRESS: &str = "vipd puts no address on the interface";
pub const SCHEDULING: &str = "vipd always asks for real-time scheduling and locked memory";
