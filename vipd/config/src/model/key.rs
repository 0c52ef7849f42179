//! A secret that nodes share.

use std::fmt;

/// `cluster_report_key`: at least [`ReportKey::MIN`] octets.
#[derive(Clone, PartialEq, Eq)]
pub struct ReportKey(String);

impl ReportKey {
    /// A shorter one could be guessed from a report.
    pub const MIN: usize = 16;

    /// `None`: it is shorter than [`Self::MIN`].
    pub fn new(key: &str) -> Option<Self> {
        (key.len() >= Self::MIN).then(|| Self(key.to_owned()))
    }

    /// The key itself.
    pub fn reveal(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl fmt::Debug for ReportKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ReportKey(****)")
    }
}
