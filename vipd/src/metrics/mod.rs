//! The daemon's metrics for Prometheus, in the OpenMetrics text format over HTTP.
//!
//! A scrape is a [`Command::Status`] in the queue of the control socket's requests, answered on the main thread: the engine
//! thread does no more for it than for `vipd status`. [`families`] lists the metrics, [`text`] writes them, [`http`] serves
//! them, [`listen`] has the socket.

mod families;
mod http;
mod listen;
#[cfg(test)]
mod tests;
mod text;

pub use listen::{Endpoint, Listen};
