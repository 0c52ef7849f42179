//! What is written when a signal asks for it, and where.

/// Where dumps go, and what they look like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dumps {
    /// `state_dump_file`; `None`, also of the next two: keepalived's place.
    pub data_file: Option<String>,
    /// `stats_dump_file`.
    pub stats_file: Option<String>,
    /// `json_dump_file`.
    pub json_file: Option<String>,
    /// `json_version`, 1 or 2. 1 unless given.
    pub json_version: u8,
    /// `instance`, if `data_use_instance` wants it in the name of the first.
    pub instance: Option<String>,
}

impl Default for Dumps {
    fn default() -> Self {
        Self { data_file: None, stats_file: None, json_file: None, json_version: 1, instance: None }
    }
}
