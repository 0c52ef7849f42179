//! The daemon's metrics for Prometheus, as text over HTTP: OpenMetrics, or the classic format.
//!
//! A scrape is a [`Command::Status`] in the queue of the control socket's requests, answered on the main thread: the engine
//! thread does no more for it than for `vipd status`. [`families`] lists the metrics, [`process`] those of the process itself, [`text`]
//! writes both in a [`format`](self::format), [`http`] serves them and the status [`page`], [`listen`] has the socket.

mod families;
mod format;
mod http;
mod listen;
mod page;
mod process;
#[cfg(test)]
mod tests;
mod text;

pub use listen::{Endpoint, Listen};
