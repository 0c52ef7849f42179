//! The configuration as the daemon uses it: every value is valid, and none is left to be defaulted.
//!
//! Plain values. No statement, no word and no keyword of the language is here.

pub mod address;
pub mod arbiter;
pub mod bfd;
pub mod command;
pub mod config;
pub mod dump;
pub mod fence;
pub mod garp;
pub mod group;
pub mod instance;
pub mod key;
pub mod listen;
pub mod lvs;
pub mod mail;
pub mod notify;
pub mod probe;
pub mod route;
pub mod startup;
pub mod tracking;
pub mod weighing;
pub mod weight;
pub mod xdp;
