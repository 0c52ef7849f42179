//! The kernel, and the configuration with what it names.

use super::*;

#[test]
fn the_machine() {
    check(
        idle,
        &[
            (
                "5.10",
                |f| f.machine.release = "5.10.0-1".to_owned(),
                &["kernel: problem: Linux 5.10.0-1 is older than 6.1"],
            ),
            ("6.1", |f| f.machine.release = "6.1-rc1".to_owned(), &[]),
            (
                "no bpffs",
                |f| f.machine.bpffs = false,
                &["kernel: problem: no BPF file system at /sys/fs/bpf"],
            ),
            (
                "a bpffs for everybody",
                |f| f.machine.bpffs_shared = Some(0o1777),
                &[
                    "kernel: warning: every user may create files in the BPF file system at /sys/fs/bpf (mode 1777), also under the \
                     names of vipd's pins",
                ],
            ),
            (
                "no capability",
                |f| f.machine.capabilities = 0,
                &[
                    "kernel: problem: missing CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF, CAP_PERFMON",
                    "kernel: warning: missing CAP_SYS_NICE, CAP_IPC_LOCK: adverts may be late under load",
                    "kernel: warning: RLIMIT_MEMLOCK is 8388608 octets: too little to lock memory",
                    "kernel: warning: real-time scheduling is not permitted",
                ],
            ),
            (
                "a kernel that refuses the program",
                |f| {
                    f.machine.programs = Programs::Refused {
                        what: "Linux 6.1.0 refuses vipd_xdp".to_owned(),
                        fix: "boot another".to_owned(),
                    };
                },
                &["kernel: problem: Linux 6.1.0 refuses vipd_xdp"],
            ),
            // CAP_SYS_ADMIN is as much as CAP_BPF and CAP_PERFMON.
            ("CAP_SYS_ADMIN", |f| f.machine.capabilities = !(3 << 38), &[]),
            (
                "CAP_SYS_NICE is not needed for a limit that allows it",
                |f| (f.machine.capabilities, f.machine.rtprio) = (!(1 << 23), 60),
                &["kernel: warning: missing CAP_SYS_NICE: adverts may be late under load"],
            ),
            (
                "no JIT",
                |f| f.machine.jit = Some(0),
                &["kernel: warning: BPF programs are interpreted: each packet costs several times as much"],
            ),
            ("another namespace", |f| f.machine.jit = None, &[]),
            (
                "a slow clock",
                |f| f.machine.clocksource = Some("hpet".to_owned()),
                &["kernel: warning: the clock source is hpet: reading the clock is slow or coarse"],
            ),
            (
                "short intervals on a server's kernel",
                |f| {
                    f.machine.version = "#1 SMP".to_owned();
                    f.configuration = parse(&CONFIG.replace(
                        "authentication {\nauth_type PASS\nauth_pass x\n}",
                        "version 3\nadvert_int 0.02",
                    ));
                },
                &["kernel: warning: adverts every 20 ms on a kernel that is not preemptible"],
            ),
        ],
    );
}

#[test]
fn the_file_and_what_it_names() {
    check(
        idle,
        &[
            (
                "an error",
                |f| f.configuration = parse(&CONFIG.replace("51", "512")),
                &["configuration: problem: k.conf:3:19: virtual_router_id `512` is out of range: 1 to 255"],
            ),
            (
                "a warning",
                |f| f.configuration = parse(&CONFIG.replace("auth_pass x", "auth_pass verylong1")),
                &["configuration: warning: no errors, 1 warning"],
            ),
            (
                "a script",
                |f| {
                    f.broken = vec![Broken { name: "vrrp_script chk".to_owned(), problem: "gone".to_owned() }]
                },
                &["configuration: problem: vrrp_script chk cannot be run: gone"],
            ),
            (
                "keepalived",
                |f| f.keepalived = vec![keepalived(Some(true))],
                &[
                    "configuration: problem: keepalived runs here too (pid 5), with the virtual routers of /k.conf",
                ],
            ),
            ("keepalived for load balancing", |f| f.keepalived = vec![keepalived(Some(false))], &[]),
            (
                "a keepalived of which nothing is known",
                |f| f.keepalived = vec![keepalived(None)],
                &["configuration: warning: keepalived runs here (pid 5), and /k.conf cannot be read"],
            ),
            (
                "an arbiter",
                |f| f.arbiters = vec![arbiter("fault", 1, &[None, Some("no answer within the timeout")])],
                &["arbiter gw: warning: ping 10.0.1.1: no answer within the timeout"],
            ),
            (
                "an arbiter that is not reached",
                |f| f.arbiters = vec![arbiter("fault", 2, &[None, Some("late")])],
                &[
                    "arbiter gw: warning: ping 10.0.1.1: late",
                    "arbiter gw: problem: 1 of 2 targets answer, 2 are needed: this node considers itself isolated",
                ],
            ),
            (
                "one without consequences",
                |f| f.arbiters = vec![arbiter("none", 1, &[Some("late")])],
                &[
                    "arbiter gw: warning: ping 10.0.1.0: late",
                    "arbiter gw: warning: 0 of 1 targets answer, 1 are needed: this node considers itself isolated",
                ],
            ),
        ],
    );
}

fn keepalived(vrrp: Option<bool>) -> Keepalived {
    Keepalived { pid: 5, config: "/k.conf".into(), vrrp }
}

/// With a target for each problem, or for each that answers.
fn arbiter(action: &str, quorum: usize, problems: &[Option<&str>]) -> ArbiterStatus {
    let target = |(i, problem): (usize, &Option<&str>)| TargetStatus {
        target: format!("10.0.1.{i}"),
        kind: "ping".to_owned(),
        answers: Some(problem.is_none()),
        rtt_us: None,
        problem: problem.map(str::to_owned),
        answered_ms_ago: None,
        questions: 1,
        answered: 0,
    };
    ArbiterStatus {
        name: "gw".to_owned(),
        reached: None,
        quorum,
        isolated_action: action.to_owned(),
        interval_ms: 1000,
        timeout_ms: 1000,
        targets: problems.iter().enumerate().map(target).collect(),
    }
}

#[test]
fn what_the_kernel_says_to_the_program() {
    let of_program = |facts: &Facts| {
        let findings = judge(facts).into_iter().filter(|finding| finding.check == "program");
        findings.map(|finding| format!("{}: {}", finding.level, finding.what)).collect::<Vec<_>>()
    };
    let mut facts = idle();
    assert_eq!(
        of_program(&facts),
        ["ok: the kernel loads vipd_xdp: its verifier walked 175000 instructions"]
    );
    facts.machine.programs = Programs::Loaded(vec![Verified { program: "vipd_xdp", instructions: None }]);
    assert_eq!(of_program(&facts), ["ok: the kernel loads vipd_xdp"]);
    facts.machine.programs = Programs::Untried("this command runs without CAP_BPF".to_owned());
    assert_eq!(
        of_program(&facts),
        ["skipped: not tested whether the kernel loads vipd's programs: this command runs without CAP_BPF"]
    );
}
