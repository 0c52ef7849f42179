//! Map ABI.
