//! Keywords that keepalived has dropped, and ignores wherever they stand in files that were copied for years.

/// What to do about such a keyword; `None`: it is none of them.
pub fn advice(name: &str) -> Option<&'static str> {
    OBSOLETE.iter().find(|(obsolete, _)| *obsolete == name).map(|(_, advice)| *advice)
}

pub const OBSOLETE: &[(&str, &str)] = &[
    ("lvs_id", "the keyword of today is `router_id`"),
    ("nat_mask", "a VIP has its mask in its own line, as in `10.0.0.3/24`"),
    ("net_mask", "a VIP has its mask in its own line, as in `10.0.0.3/24`"),
    ("nb_get_retry", "the keyword of today is `retry`"),
];
