//! One `vrrp_track_process`: how many processes there are of a kind, from the kernel's process events.
//!
//! The kernel sends them only in the first network namespace, and to root; elsewhere vipd reads `/proc` twice a second.

use std::{
    collections::HashSet,
    fs::{self, File},
    io::{self, Read},
    time::Duration,
};

use netlink_sys::{AsyncSocket, AsyncSocketExt, SocketAddr, TokioSocket, protocols::NETLINK_CONNECTOR};
use tokio::time::{Instant, sleep, sleep_until};
use vipd_config::{ParamMatch, TrackedProcess};

use super::{NewsContent, result::Health};
use crate::resources::is_shortage;

/// Wait between two reads of `/proc` without events.
const POLL: Duration = Duration::from_millis(500);
/// Octets of a command line that are compared. A process may have megabytes of it.
const COMMAND: u64 = 64 << 10;
/// Octets that the kernel keeps of a name (TASK_COMM_LEN without the NUL).
const COMM_LEN: usize = 15;

/// Watches for ever.
pub async fn watch(process: TrackedProcess, tell: impl Fn(NewsContent)) {
    // Before it listens: the first look, whose absence would count as no process at all.
    let mut running = loop {
        match scan(&process) {
            Ok(pids) => break RunningProcesses { process: &process, pids, again_at: None },
            Err(_) => sleep(POLL).await,
        }
    };
    let mut events = ProcessEvents::listen().inspect_err(|error| {
        tracing::warn!(process = process.name, %error, "no process events: vipd reads /proc twice a second");
    });
    // What came in before it listened.
    running.look();
    let (mut told, mut wanted, mut at) = (None, Health::Unknown, Instant::now());
    let mut counted = None;
    loop {
        let count = running.pids.len();
        if counted.replace(count) != Some(count) {
            tell(NewsContent::Count(count));
        }
        let health = judge(&process, count);
        if health != wanted {
            wanted = health;
            let delay = match (told, health) {
                // The first is told at once.
                (None, _) => Duration::ZERO,
                (Some(_), Health::Well) => process.fork_delay,
                (Some(_), _) => process.terminate_delay,
            };
            at = Instant::now() + delay;
        }
        let waits = told != Some(wanted);
        tokio::select! {
            () = sleep_until(at), if waits => {
                tracing::info!(
                    target: "vipd::event",
                    event = "tracked_process",
                    process = process.name,
                    count,
                    well = wanted == Health::Well,
                    "processes"
                );
                told = Some(wanted);
                tell(NewsContent::Health(wanted));
            }
            () = sleep_until(running.again_at.unwrap_or(at)), if running.again_at.is_some() => running.look(),
            changed = next(&mut events) => match changed {
                Ok(event) => running.note(event),
                Err(error) => {
                    tracing::warn!(process = process.name, %error, "process events ended: vipd reads /proc twice a second");
                    events = Err(error);
                }
            }
        }
    }
}

/// The processes of the kind that run, as far as is known.
struct RunningProcesses<'a> {
    process: &'a TrackedProcess,
    pids: HashSet<u32>,
    /// The host was short of something: what is known stands, and all are looked at again then.
    again_at: Option<Instant>,
}

impl RunningProcesses<'_> {
    /// Looks at all processes.
    fn look(&mut self) {
        match scan(self.process) {
            Ok(found) => (self.pids, self.again_at) = (found, None),
            Err(_) => self.again_at = Some(Instant::now() + POLL),
        }
    }

    fn note(&mut self, event: ProcessEvent) {
        match event {
            ProcessEvent::Exited(pid) => _ = self.pids.remove(&pid),
            ProcessEvent::Changed(pid) => match is(self.process, pid) {
                Ok(true) => _ = self.pids.insert(pid),
                Ok(false) => _ = self.pids.remove(&pid),
                Err(_) => self.again_at = Some(Instant::now() + POLL),
            },
            ProcessEvent::Missed => self.look(),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ProcessEvent {
    /// A process has started, or runs another program.
    Changed(u32),
    Exited(u32),
    /// Events were lost.
    Missed,
}

async fn next(events: &mut io::Result<ProcessEvents>) -> io::Result<ProcessEvent> {
    match events {
        Ok(events) => events.next().await,
        Err(_) => {
            sleep(POLL).await;
            Ok(ProcessEvent::Missed)
        }
    }
}

/// # Errors
///
/// A shortage of the host, such as descriptors: no process has ended.
fn scan(process: &TrackedProcess) -> io::Result<HashSet<u32>> {
    let pids = fs::read_dir("/proc")?.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let mut found = HashSet::new();
    for pid in pids {
        if is(process, pid)? {
            found.insert(pid);
        }
    }
    Ok(found)
}

/// The first octets of a file of a process; none if the process is gone.
fn read(path: &str, limit: u64) -> io::Result<Vec<u8>> {
    let mut octets = Vec::new();
    match File::open(path).and_then(|file| file.take(limit).read_to_end(&mut octets)) {
        Err(error) if is_shortage(&error) => Err(error),
        Err(_) => Ok(Vec::new()),
        Ok(_) => Ok(octets),
    }
}

fn judge(process: &TrackedProcess, count: usize) -> Health {
    let count = u32::try_from(count).unwrap_or(u32::MAX);
    let enough = count >= process.quorum && process.quorum_max.is_none_or(|max| count <= max);
    if enough { Health::Well } else { Health::Unwell }
}

/// Whether the process is one of these, and lives.
fn is(process: &TrackedProcess, pid: u32) -> io::Result<bool> {
    let stat = read(&format!("/proc/{pid}/stat"), COMMAND)?;
    let Ok(stat) = std::str::from_utf8(&stat) else { return Ok(false) };
    // `PID (NAME) STATE ...`, where NAME may hold anything.
    let Some((name, rest)) = stat.rsplit_once(')') else { return Ok(false) };
    let name = name.split_once('(').map_or("", |(_, name)| name);
    if matches!(rest.trim_start().chars().next(), None | Some('Z' | 'X')) {
        return Ok(false);
    }
    if !process.full_command {
        let own = process.words[0].rsplit('/').next().unwrap_or_default();
        return Ok(name == cut(own));
    }
    let line = read(&format!("/proc/{pid}/cmdline"), COMMAND)?;
    let arguments: Vec<_> = line.strip_suffix(&[0]).unwrap_or(&line).split(|octet| *octet == 0).collect();
    Ok(is_command(process, &arguments))
}

fn is_command(process: &TrackedProcess, arguments: &[&[u8]]) -> bool {
    let given: Vec<&[u8]> = process.words.iter().map(String::as_bytes).collect();
    match (process.param_match, given.split_last()) {
        (ParamMatch::Exact, _) => given == arguments,
        (ParamMatch::Initial, _) => arguments.starts_with(&given),
        // The last one need only begin like this.
        (ParamMatch::Partial, Some((last, first))) => {
            arguments.starts_with(first) && arguments.get(first.len()).is_some_and(|a| a.starts_with(last))
        }
        (ParamMatch::Partial, None) => false,
    }
}

fn cut(name: &str) -> &str {
    let end = (0..=COMM_LEN.min(name.len())).rev().find(|end| name.is_char_boundary(*end));
    &name[..end.unwrap_or(0)]
}

/// The kernel's process events (`linux/cn_proc.h`).
struct ProcessEvents {
    socket: TokioSocket,
    buffer: Vec<u8>,
}

impl ProcessEvents {
    fn listen() -> io::Result<Self> {
        let mut socket = TokioSocket::new(NETLINK_CONNECTOR)?;
        socket.socket_mut().bind(&SocketAddr::new(0, CN_IDX_PROC))?;
        socket.socket_mut().send_to(&subscription(), &SocketAddr::new(0, 0), 0)?;
        Ok(Self { socket, buffer: Vec::with_capacity(BUFFER) })
    }

    async fn next(&mut self) -> io::Result<ProcessEvent> {
        loop {
            self.buffer.clear();
            match self.socket.recv_from(&mut self.buffer).await {
                // Only the kernel is believed.
                Ok(sender) if sender.port_number() == 0 => {
                    if let Some(event) = parse(&self.buffer) {
                        return Ok(event);
                    }
                }
                Ok(_) => {}
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => return Ok(ProcessEvent::Missed),
                Err(error) => return Err(error),
            }
        }
    }
}

/// `nlmsghdr`, `cn_msg` and the operation PROC_CN_MCAST_LISTEN.
fn subscription() -> Vec<u8> {
    let length = u32::try_from(HEADERS + 4).unwrap_or(0);
    let mut message = Vec::new();
    message.extend(length.to_ne_bytes());
    message.extend(NLMSG_DONE.to_ne_bytes());
    message.extend([0; 10]);
    for word in [CN_IDX_PROC, CN_VAL_PROC, 0, 0] {
        message.extend(word.to_ne_bytes());
    }
    message.extend(4u16.to_ne_bytes());
    message.extend([0; 2]);
    message.extend(PROC_CN_MCAST_LISTEN.to_ne_bytes());
    message
}

/// The event of a message, if it concerns a process and not a thread.
fn parse(message: &[u8]) -> Option<ProcessEvent> {
    let event = message.get(HEADERS..)?;
    let word = |at: usize| Some(u32::from_ne_bytes(event.get(at..at + 4)?.try_into().ok()?));
    // `what`, `cpu` and `timestamp_ns`, and then what the event is about.
    let about = |nth: usize| word(16 + 4 * nth);
    match word(0)? {
        PROC_EVENT_FORK => (about(2)? == about(3)?).then(|| about(3).map(ProcessEvent::Changed))?,
        PROC_EVENT_EXEC | PROC_EVENT_COMM => {
            (about(0)? == about(1)?).then(|| about(1).map(ProcessEvent::Changed))?
        }
        PROC_EVENT_EXIT => (about(0)? == about(1)?).then(|| about(1).map(ProcessEvent::Exited))?,
        _ => None,
    }
}

const BUFFER: usize = 4_096;
/// Octets of `nlmsghdr` and `cn_msg`.
const HEADERS: usize = 16 + 20;
const NLMSG_DONE: u16 = 3;
const CN_IDX_PROC: u32 = 1;
const CN_VAL_PROC: u32 = 1;
const PROC_CN_MCAST_LISTEN: u32 = 1;
const PROC_EVENT_FORK: u32 = 1;
const PROC_EVENT_EXEC: u32 = 2;
const PROC_EVENT_COMM: u32 = 0x200;
const PROC_EVENT_EXIT: u32 = 0x8000_0000;

#[cfg(test)]
mod tests {
    use super::*;

    fn process(words: &[&str], full_command: bool, param_match: ParamMatch) -> TrackedProcess {
        TrackedProcess {
            words: words.iter().map(|word| (*word).to_owned()).collect(),
            full_command,
            param_match,
            ..TrackedProcess::default()
        }
    }

    #[test]
    fn commands_are_compared_with_their_parameters() {
        let line = [&b"java"[..], b"-jar", b"/opt/a b.jar"];
        for (words, param_match, is) in [
            (&["java", "-jar", "/opt/a b.jar"][..], ParamMatch::Exact, true),
            (&["java", "-jar"], ParamMatch::Exact, false),
            (&["java", "-jar"], ParamMatch::Initial, true),
            (&["java", "-j"], ParamMatch::Initial, false),
            (&["java", "-j"], ParamMatch::Partial, true),
            (&["java", "-jar", "/opt/"], ParamMatch::Partial, true),
            (&["perl"], ParamMatch::Initial, false),
        ] {
            assert_eq!(
                is_command(&process(words, true, param_match), &line),
                is,
                "{words:?} {param_match:?}"
            );
        }
    }

    #[test]
    fn this_process_is_found_by_its_name() {
        let pid = std::process::id();
        let comm = fs::read_to_string("/proc/self/comm").unwrap();
        // Of a test it is its thread's, but that of the process stands in its own entry.
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap();
        assert!(is(&process(&[name.trim()], false, ParamMatch::Exact), pid).unwrap(), "{name} {comm}");
        assert!(!is(&process(&["no-such-name"], false, ParamMatch::Exact), pid).unwrap());
        assert_eq!(cut("a-name-that-is-longer"), "a-name-that-is-");
    }

    #[test]
    fn quorums() {
        let of = |quorum, quorum_max| TrackedProcess { quorum, quorum_max, ..TrackedProcess::default() };
        for (quorum, max, count, health) in [
            (1, None, 0, Health::Unwell),
            (1, None, 5, Health::Well),
            (2, Some(3), 4, Health::Unwell),
            (2, Some(3), 3, Health::Well),
            (0, Some(0), 0, Health::Well),
            (0, Some(0), 1, Health::Unwell),
        ] {
            assert_eq!(judge(&of(quorum, max), count), health, "{quorum} {max:?} {count}");
        }
    }

    #[test]
    fn events_are_of_processes() {
        let message = |what: u32, about: &[u32]| {
            let mut message = vec![0; HEADERS];
            message.extend(what.to_ne_bytes());
            message.extend([0; 12]);
            about.iter().for_each(|word| message.extend(word.to_ne_bytes()));
            message
        };
        assert_eq!(parse(&message(PROC_EVENT_FORK, &[1, 1, 7, 7])), Some(ProcessEvent::Changed(7)));
        assert_eq!(parse(&message(PROC_EVENT_FORK, &[1, 1, 8, 7])), None, "a thread");
        assert_eq!(parse(&message(PROC_EVENT_EXEC, &[7, 7])), Some(ProcessEvent::Changed(7)));
        assert_eq!(parse(&message(PROC_EVENT_EXIT, &[7, 7, 0, 17])), Some(ProcessEvent::Exited(7)));
        assert_eq!(parse(&message(0, &[0])), None);
        assert_eq!(parse(&[0; 20]), None);
    }

    /// The kernel's own events, where it sends them.
    #[tokio::test]
    async fn the_kernel_tells_of_processes() {
        let mut events = match ProcessEvents::listen() {
            Ok(events) => events,
            Err(error) => return vipd_tests::skip(format_args!("no process events: {error}")),
        };
        let mut child = tokio::process::Command::new("/bin/true").spawn().unwrap();
        let pid = child.id().unwrap();
        for wanted in [ProcessEvent::Changed(pid), ProcessEvent::Exited(pid)] {
            let told = async { while events.next().await.unwrap() != wanted {} };
            tokio::time::timeout(Duration::from_secs(60), told).await.unwrap();
        }
        child.wait().await.unwrap();
    }
}
