//! The kernel, and the configuration with what it names.

use std::collections::BTreeSet;

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
                    f.machine.programs = ProgramSupport::Refused {
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
                "a time namespace",
                |f| {
                    let by = std::time::Duration::from_secs(1000);
                    f.machine.clock = Some(Err(ClockDiffers { by, ahead: true }));
                },
                &[
                    "kernel: problem: this command is in a time namespace: its boot-time clock is not that of BPF programs, by 1000.000 s",
                ],
            ),
            ("clocks that are not compared", |f| f.machine.clock = None, &[]),
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
                "keepalived with the same virtual router",
                |f| f.speakers = vec![keepalived(Some(&[("eth0", 51), ("eth0", 52)]))],
                &[
                    "configuration: problem: keepalived (pid 5) runs here too, and has VRID 51 on eth0 (/k.conf)",
                ],
            ),
            (
                "keepalived with others",
                |f| f.speakers = vec![keepalived(Some(&[("eth1", 51), ("eth0", 52)]))],
                &[],
            ),
            ("keepalived for load balancing", |f| f.speakers = vec![keepalived(Some(&[]))], &[]),
            ("keepalived without VRRP", |f| f.idle_keepalived = vec![5], &[]),
            (
                "a keepalived of which nothing is known",
                |f| f.speakers = vec![keepalived(None)],
                &[
                    "configuration: warning: keepalived (pid 5) speaks VRRP here too, for virtual routers that are not known (/k.conf)",
                ],
            ),
            (
                "a process that is not seen",
                |f| {
                    f.speakers = vec![Speaker { pid: None, config: None, ..keepalived(None) }];
                },
                &[
                    "configuration: warning: a process that is not seen from here (in another container?) speaks VRRP here too, for \
                     virtual routers that are not known",
                ],
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

fn keepalived(routers: Option<&[(&str, u8)]>) -> Speaker {
    let router = |(interface, vrid): &(&str, u8)| VirtualRouter {
        interface: (*interface).to_owned(),
        vrid: *vrid,
        is_v6: false,
    };
    Speaker {
        pid: Some(5),
        name: "keepalived".to_owned(),
        config: Some("/k.conf".into()),
        routers: routers.map(|routers| routers.iter().map(router).collect()),
    }
}

#[test]
fn what_a_vipd_has_left() {
    const LEFT: &str = "vipd: problem: a vipd that does not run any more has left 2 routes, 1 program: this host does not answer for \
                        these VIPs, whoever serves them now";
    fn leave(facts: &mut Facts) {
        let left = |kind| Leftover::new(kind, "that", "this");
        let kinds = [LeftoverKind::Program, LeftoverKind::Route, LeftoverKind::File, LeftoverKind::Route];
        facts.leftovers = Ok(kinds.map(left).to_vec());
    }
    fn beside(facts: &mut Facts, pid: Option<u32>) {
        let speaker = Speaker { pid, name: "vipd".to_owned(), config: None, routers: Some(BTreeSet::new()) };
        facts.speakers = vec![speaker];
        leave(facts);
    }
    check(
        idle,
        &[
            ("routes and a program", leave, &[LEFT]),
            (
                "a file alone",
                |f| f.leftovers = Ok(vec![Leftover::new(LeftoverKind::File, "that", "this")]),
                &[],
            ),
            ("another runtime directory", |f| beside(f, Some(7)), &[]),
            ("a container", |f| beside(f, None), &[]),
            ("not looked at", |f| f.leftovers = Err("no right".to_owned()), &[]),
        ],
    );
    check(running, &[("a vipd that runs", leave, &[])]);
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
    facts.machine.programs =
        ProgramSupport::Loaded(vec![Verified { program: "vipd_xdp", instructions: None }]);
    assert_eq!(of_program(&facts), ["ok: the kernel loads vipd_xdp"]);
    facts.machine.programs = ProgramSupport::Untried("this command runs without CAP_BPF".to_owned());
    assert_eq!(
        of_program(&facts),
        ["skipped: not tested whether the kernel loads vipd's programs: this command runs without CAP_BPF"]
    );
}

#[test]
fn services_that_listen_on_each_address() {
    fn serve(facts: &mut Facts, addresses: &[&str]) {
        facts.listeners = addresses.iter().map(|address| ("UDP", ip(address), 53)).collect();
    }
    const MISSED: &str =
        "VI_1: warning: what serves UDP 53 listens on each address of the host, and not on the VIP 10.0.0.3";
    check(
        idle,
        &[
            ("as BIND does", |f| serve(f, &["127.0.0.1", "10.0.0.5"]), &[MISSED]),
            ("on the VIP too", |f| serve(f, &["127.0.0.1", "10.0.0.5", "10.0.0.3"]), &[]),
            ("on all", |f| serve(f, &["127.0.0.1", "10.0.0.5", "0.0.0.0"]), &[]),
            ("on all, of both families", |f| serve(f, &["127.0.0.1", "10.0.0.5", "::"]), &[]),
            ("on one address", |f| serve(f, &["10.0.0.5"]), &[]),
            ("on loopback", |f| serve(f, &["127.0.0.1"]), &[]),
            (
                "a VIP that is shown",
                |f| {
                    f.configuration = parse(&CONFIG.replace("interface eth0", "interface eth0\nvip_visible"));
                    serve(f, &["127.0.0.1", "10.0.0.5"]);
                },
                &[],
            ),
        ],
    );
}

/// As the running vipd has seen it.
#[test]
fn what_others_change_on_the_host() {
    fn repair(ago_ms: u64) -> RepairStatus {
        RepairStatus { kind: "route".to_owned(), what: "route local 10.0.0.3/32".to_owned(), ago_ms }
    }
    fn status(facts: &mut Facts) -> &mut Status {
        facts.running.as_mut().unwrap()
    }
    check(
        running,
        &[
            ("more than an hour ago", |f| status(f).latest_repairs = vec![repair(3_600_000)], &[]),
            (
                "just now",
                |f| status(f).latest_repairs = vec![repair(9_000), repair(4_200)],
                &[
                    "host: warning: another program removes or changes what vipd needs on this host: in the last hour vipd has put back something 2 times, last route local 10.0.0.3/32 4 s ago",
                ],
            ),
            (
                "a refusal",
                |f| status(f).host_problem = Some("route local 10.0.0.3/32: Permission denied".to_owned()),
                &[
                    "host: problem: the host refuses what vipd needs on it: route local 10.0.0.3/32: Permission denied",
                ],
            ),
            (
                "something that vipd leaves as it is",
                |f| {
                    status(f).host_warnings = vec![HostWarning {
                        about: "eth0".to_owned(),
                        what: "before vipd's program comes the tc program with id 7".to_owned(),
                        ..HostWarning::default()
                    }]
                },
                &["eth0: warning: before vipd's program comes the tc program with id 7"],
            ),
            (
                "a file in the place of the runtime directory",
                |f| f.runtime_dir = Err("/run/vipd is no directory".to_owned()),
                &[
                    "vipd: problem: /run/vipd is no directory: a vipd that runs cannot be asked, reloaded or stopped there",
                ],
            ),
        ],
    );
}
