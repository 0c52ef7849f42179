//! Runs the probes of load balancing, and reports their outcomes. What these mean is judged elsewhere, by [`vipd_balance::Judge`].
//!
//! ```text
//!            set_probes, set_pause                          ProbeReport
//!  daemon ------------------------> thread `vipd-probe` ------------------> daemon --> Judge
//!                                   Schedule --> a task for each run
//! ```
//!
//! One thread has an event loop of its own, and a task for each run. Nothing in it waits for a file, a name or a lock, so a target that
//! hangs delays no other's verdict. Everything is bounded: sockets, commands and kept answers by [`ProberSettings`], a run by
//! [`run_limit`], the octets of an answer by each checker. A probe that finds no room is reported as
//! [`NotSent`](vipd_balance::ProbeOutcome::NotSent), which is no failure.
//!
//! The crate resolves no names: a probe's peer is an address, and DNS_CHECK asks the server that it checks. It starts no process: the daemon's
//! runner of commands comes through [`RunScript`].
//!
//! | probe | passes | limits |
//! |---|---|---|
//! | TCP_CHECK | the handshake ends within `connect_timeout` | |
//! | HTTP_GET, SSL_GET | status, MD5 of the body and regular expression of every URL | header 16 KiB, 256 lines; body 1 MiB if matched, 64 MiB if digested, else 1 MiB is read; 4,096 pieces below 512 octets |
//! | SMTP_CHECK | banner 220, `HELO` 250 | 100 lines of 1,024 octets a reply |
//! | DNS_CHECK | an answer with the query's id and RCODE 0; with `expect` one of its records or fields is that text | 4,096 octets |
//! | UDP_CHECK | an answer that fits; without `require_reply` no ICMP error within `connect_timeout` | |
//! | PING_CHECK | the echo reply comes within `connect_timeout` | |
//! | TEXT_CHECK | the answer so far matches, over UDP the first datagram | 16 KiB |
//! | MISC_CHECK | by the judge: the exit code | |
//! | FILE_CHECK | by the judge: the number in the file | 128 octets |
//!
//! # Departures from keepalived
//!
//! - `connect_timeout` (5 s unless given) is for each read, as keepalived has it, and the whole run has a limit too: [`run_limit`].
//! - A body ends where HTTP says: chunks are put together before they are digested, and a body that ends too soon is a failure.
//! - A regular expression is matched against the first 1 MiB, and a longer body fails. What PCRE2 has and the regex crate has not is refused
//!   when the configuration is read: [`lower_regex`].
//! - TLS is 1.2 or 1.3, of rustls: servers of TLS 1.1 or with static RSA only fail. Certificates are not verified, unless `verify` is given.
//! - PING_CHECK takes a raw socket where `ping_group_range` forbids others, and does not change it.
//! - EPERM and a lack of ports, descriptors or memory are no verdict.

#![warn(missing_docs)]

mod checkers;
mod context;
mod dns;
mod fault;
mod files;
mod limits;
mod net;
mod pattern;
mod prober;
mod refusal;
mod script;
#[cfg(test)]
mod tests;
mod turns;

pub use checkers::run_limit;
pub use pattern::{PatternFault, lower_regex};
pub use prober::{ProbeReport, Prober, ProberLoad, ProberSettings};
pub use refusal::refusal;
pub use script::{ProbeScript, RunScript, ScriptEnd, ScriptFuture};
