//! The rows, by block.

pub mod checkers;
pub mod common;
pub mod global;
pub mod groups;
pub mod instance;
pub mod lines;
pub mod lvs;
pub mod root;
pub mod tracking;
