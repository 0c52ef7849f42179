//! The keywords: rows by block, what may follow each, and how its words are read.
//!
//! One table drives parsing, checks, hints and `docs/reference/config.md`.

pub mod command;
pub mod form;
pub mod grammar;
pub mod keyword;
pub mod mend;
pub mod obsolete;
pub mod octets;
mod rows;
pub mod statement;
pub mod table;
pub mod value;
pub mod words;
