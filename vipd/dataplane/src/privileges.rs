//! Which capabilities this process lacks for loading and attaching a program.

use std::fs;

/// The capabilities that loading takes and that the effective set lacks; all of them if `/proc` does not show the set.
pub fn missing_capabilities() -> Vec<&'static str> {
    let status = fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
    missing(effective(&status))
}

/// The effective set of a `/proc/PID/status`, a bit for each capability.
fn effective(status: &str) -> u64 {
    let set = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    set.and_then(|set| u64::from_str_radix(set.trim(), 16).ok()).unwrap_or(0)
}

fn missing(effective: u64) -> Vec<&'static str> {
    let has = |number: u32| effective & (1 << number) != 0;
    let lacks = |(_, number, in_sys_admin): &&(&str, u32, bool)| {
        !(has(*number) || *in_sys_admin && has(CAP_SYS_ADMIN))
    };
    NEEDED.iter().filter(lacks).map(|(name, ..)| *name).collect()
}

/// Name, number in linux/capability.h, and whether CAP_SYS_ADMIN includes it.
const NEEDED: [(&str, u32, bool); 3] =
    [("CAP_NET_ADMIN", 12, false), ("CAP_PERFMON", 38, true), ("CAP_BPF", 39, true)];
const CAP_SYS_ADMIN: u32 = 21;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named() {
        let status = |set: &str| format!("Name:\tvipd\nCapPrm:\tffffffffffffffff\nCapEff:\t{set}\n");
        for (set, expected) in [
            ("000001ffffffffff", &[][..]),
            ("0000000000000000", &["CAP_NET_ADMIN", "CAP_PERFMON", "CAP_BPF"]),
            // CAP_NET_ADMIN and CAP_BPF.
            ("0000008000001000", &["CAP_PERFMON"]),
            // CAP_SYS_ADMIN, which is not CAP_NET_ADMIN.
            ("0000000000200000", &["CAP_NET_ADMIN"]),
        ] {
            assert_eq!(missing(effective(&status(set))), expected, "{set}");
        }
        assert_eq!(missing(effective("")).len(), NEEDED.len());
    }
}
