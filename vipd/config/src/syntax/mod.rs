//! Words to a tree of statements, and what is said about both.

pub mod brackets;
pub mod diagnostic;
pub mod lexer;
pub mod parser;
pub mod report;
pub mod span;
