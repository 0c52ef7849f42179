//! The running kernel's own refusals of the embedded program with one instruction spoiled, and error numbers that are made up.

use std::path::Path;

use super::*;
use crate::{
    pins::PinDir,
    programs::{
        Programs, TC_OBJECT, XDP_OBJECT as OBJECT, XDP_PROGRAM as PROGRAM, load_object, verified_tc,
        verified_xdp,
    },
    try_load,
};

/// `r0 = *(u64 *)(r1 + 4096)`, far outside the context, which the verifier refuses in every version.
const READ_OUTSIDE: [u8; 8] = [0x79, 0x10, 0, 0x10, 0, 0, 0, 0];

/// The embedded object with another first instruction in its XDP program.
fn spoiled(instruction: [u8; 8]) -> Vec<u8> {
    let number = |at: usize, len: usize| {
        OBJECT[at..at + len].iter().rev().fold(0, |number, octet| (number << 8) | usize::from(*octet))
    };
    // ELF64, little-endian: offset, size and number of the section headers, and which section has their names.
    let (headers, size, count, names) = (number(40, 8), number(58, 2), number(60, 2), number(62, 2));
    let offset = |section: usize| number(headers + section * size + 24, 8);
    let is_program = |section: &usize| {
        OBJECT[offset(names) + number(headers + section * size, 4)..].starts_with(b"xdp.frags\0")
    };
    let section = (0..count).find(is_program).expect("a section for the program");
    let mut object = OBJECT.to_vec();
    object[offset(section)..][..8].copy_from_slice(&instruction);
    object
}

/// A directory of its own on a BPF file system; `None`, with a word, where programs cannot be loaded.
fn pins(name: &str) -> Option<(PathBuf, PinDir)> {
    let bpffs = Path::new("/sys/fs/bpf").join(format!("vdload-{}-{name}", std::process::id()));
    let missing = missing_capabilities();
    match PinDir::open(&bpffs) {
        Ok(pins) if missing.is_empty() => Some((bpffs, pins)),
        Ok(_) => {
            eprintln!("skipped {name}: without {missing:?}");
            None
        }
        Err(error) => {
            eprintln!("skipped {name}: {error:#}");
            None
        }
    }
}

fn refused(error: anyhow::Error) -> LoadRefused {
    error.downcast::<LoadRefused>().expect("the kernel refuses it")
}

#[test]
fn a_refused_program_is_one_paragraph() {
    let Some((_, pins)) = pins("refused") else { return };
    let mut programs = Programs::of(spoiled(READ_OUTSIDE).into(), pins.clone(), false).expect("maps");
    let refused = refused(programs.xdp().map(drop).expect_err("it is spoiled"));
    drop(programs);
    pins.remove().expect("unpinned");

    let mut whole = String::new();
    let refused = refused.kept(|log| {
        whole = log.to_owned();
        Ok::<_, io::Error>("/run/vipd/verifier.log".into())
    });
    println!("{refused}");
    let release = uname().expect("uname");
    let release = release.release().to_string_lossy();
    let lines = whole.lines().count();
    for part in [
        format!("Linux {release} ("),
        format!("refuses the BPF program {PROGRAM}: its verifier"),
        "EACCES: Permission denied".to_owned(),
        "the verifier's last words: ".to_owned(),
        "invalid bpf_context access off=4096 size=8".to_owned(),
        format!("The whole log, {lines} lines, is in /run/vipd/verifier.log."),
        "Boot a kernel".to_owned(),
    ] {
        assert!(refused.to_string().contains(&part), "{refused}\nlacks {part}");
    }
    assert!(!refused.to_string().contains('\n'), "one paragraph: {refused}");
    assert!(!refused.to_string().contains("processed"), "no statistics: {refused}");
    // Printed as a chain it says nothing twice.
    assert_eq!(format!("{:#}", anyhow!(refused)).matches("invalid bpf_context").count(), 1);
    assert!(whole.contains("processed "), "the file has all of it: {whole}");
}

#[test]
fn a_program_is_tried_without_a_trace() {
    let Some((bpffs, pins)) = pins("tried") else { return };
    pins.withdraw().expect("nothing is there yet");
    let verified = try_load().expect("the running kernel loads the program");
    let walked = verified.iter().find(|verified| verified.program == PROGRAM).expect("the XDP program");
    assert!(walked.instructions.is_none_or(|walked| walked > 1_000), "{walked:?}");
    assert!(!bpffs.exists());
}

/// `--log-xdp`: what is said then takes stack, of which all functions on the way have 512 octets together.
#[test]
fn the_programs_load_with_their_log_too() {
    let Some((_, pins)) = pins("logged") else { return };
    pins.withdraw().expect("nothing is there yet");
    let mut xdp = load_object(OBJECT, None, true).expect("the maps are made");
    verified_xdp(&mut xdp).expect("the XDP program loads");
    let mut tc = load_object(TC_OBJECT, None, true).expect("the maps are made");
    verified_tc(&mut tc).expect("the tc program loads");
}

#[test]
fn a_log_that_cannot_be_kept_is_said() {
    let error = io::Error::from_raw_os_error(libc::EINVAL);
    let refused = LoadRefused::by_verifier("p", &error, &[], "R1 is bad\n".to_owned());
    let shown = refused.kept(|_| Err::<PathBuf, _>("the disk is full")).to_string();
    assert!(shown.contains("The whole log could not be kept: the disk is full. "), "{shown}");
}

#[test]
fn the_last_lines_are_the_reason_without_statistics() {
    let log = "func#0 @0\n0: R1=ctx() R10=fp0\n0: (79) r0 = *(u64 *)(r1 +4096)\ninvalid access\n\
               verification time 12 usec\nstack depth 0\nprocessed 1 insns (limit 1000000) max_states_per_insn 0\n";
    let expected = "`0: R1=ctx() R10=fp0` `0: (79) r0 = *(u64 *)(r1 +4096)` `invalid access`";
    assert_eq!(last_lines(log), expected);
    assert_eq!(last_lines("processed 0 insns\n"), "");
    let long = last_lines(&"é".repeat(1_000));
    assert_eq!(long.chars().count(), LONGEST_LINE + "`...`".len());
}

#[test]
fn each_error_number_has_a_sentence_and_a_remedy() {
    for (errno, missing, words, remedy) in [
        (libc::EPERM, &["CAP_BPF"][..], "this process runs without CAP_BPF", "AmbientCapabilities="),
        (libc::EPERM, &[], "kernel lockdown", "privileged container"),
        (libc::EACCES, &[], "security module", "dmesg"),
        (libc::ENOSYS, &[], "no bpf(2)", "CONFIG_BPF_SYSCALL"),
        (libc::ENOMEM, &[], "memory limit", "MemoryMax="),
        (libc::EINVAL, &[], "lacks what vipd uses", "Linux 6.1 or later"),
        (ENOTSUPP, &[], "lacks what vipd uses", "CONFIG_BPF_JIT"),
        (libc::EIO, &[], "EIO: I/O error", "report"),
    ] {
        let refused = LoadRefused::new("the BPF map LEASES", &io::Error::from_raw_os_error(errno), missing);
        let shown = refused.to_string();
        assert!(shown.contains("does not load the BPF map LEASES"), "{shown}");
        assert!(refused.what().contains(words) && refused.remedy().contains(remedy), "{shown}");
        assert!(refused.kept(|_| Err::<PathBuf, _>("there is no log")).log.is_none(), "{shown}");
    }
}

/// Without CAP_PERFMON it is the verifier that refuses, and the kernel is not to blame.
#[test]
fn a_missing_capability_is_named_beside_the_log() {
    let error = io::Error::from_raw_os_error(libc::EACCES);
    let refused = LoadRefused::by_verifier("p", &error, &["CAP_PERFMON"], "R1 leaks addr\n".to_owned());
    assert!(refused.remedy().starts_with("Without CAP_PERFMON the verifier accepts less"), "{refused}");
    assert!(refused.what().ends_with("the verifier's last words: `R1 leaks addr`"), "{refused}");
}

/// What Debian's User Mode Linux 6.1.176 says, which is built without BTF: neither the program nor the capabilities are to blame.
#[test]
fn a_kernel_without_btf_is_told_from_one_that_refuses_the_program() {
    let log = "Validating capture_frame() func#1...\nbtf_vmlinux is malformed\n\
               1817: (61) r1 = *(u32 *)(r7 +4)\nR7 invalid mem access 'mem_or_null'\n";
    for missing in [&[][..], &["CAP_PERFMON"]] {
        let error = io::Error::from_raw_os_error(libc::EACCES);
        let refused = LoadRefused::by_verifier("p", &error, missing, log.to_owned());
        assert!(
            refused.what().contains("the BPF program p: without BTF of its own its verifier"),
            "{refused}"
        );
        assert!(refused.remedy().starts_with("Boot a kernel with CONFIG_DEBUG_INFO_BTF=y"), "{refused}");
    }
}
