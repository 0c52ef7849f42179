//! What a guest's kernel says, judged.

/// How the kernel begins to say that it is broken: `WARN_ON`, `BUG_ON`, an oops, a hung task, a memory error.
const COMPLAINTS: [&str; 9] = [
    "WARNING: ",
    "BUG: ",
    "kernel BUG at",
    "Oops: ",
    "general protection fault",
    "Kernel panic",
    "INFO: task ",
    "refcount_t: ",
    "unregister_netdevice: waiting",
];

/// Said of a processor that got no time. A guest without hardware virtualisation on a busy machine gets little.
const STARVED: [&str; 2] = ["soft lockup", "workqueue lockup"];

/// The lines of a console that are complaints.
pub fn complaints(console: &str) -> Vec<String> {
    let complains = |line: &&str| COMPLAINTS.iter().any(|word| line.contains(word));
    let starved = |line: &&str| STARVED.iter().any(|word| line.contains(word));
    let lines = console.lines().filter(complains).filter(|line| !starved(line));
    lines.map(|line| line.trim().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_complaints_from_remarks() {
        for (line, expect) in [
            ("[    7.1] WARNING: CPU: 1 PID: 77 at net/core/dev.c:1 f+0x1/0x2", true),
            ("[    7.1] BUG: kernel NULL pointer dereference, address: 0000000000000008", true),
            ("[    7.1] Oops: 0002 [#1] PREEMPT SMP NOPTI", true),
            ("[   99.0] INFO: task vipd:77 blocked for more than 120 seconds.", true),
            ("[   99.0] unregister_netdevice: waiting for eth0 to become free. Usage count = 1", true),
            ("[   40.0] watchdog: BUG: soft lockup - CPU#0 stuck for 22s! [vipd:77]", false),
            ("[   40.0] rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:", false),
            ("[    0.1] Spectre V2 : User space: Vulnerable", false),
            ("[    1.0] bridge: filtering via arp/ip/ip6tables is no longer available by default.", false),
        ] {
            let found = complaints(line);
            assert_eq!(!found.is_empty(), expect, "{line}: {found:?}");
        }
    }
}
