//! Facts from `/proc`: processes and multicast groups.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::PathBuf,
};

/// A process, as long as it lives.
#[derive(Debug)]
pub struct Process {
    dir: PathBuf,
}

impl Process {
    /// `None`: this one.
    pub fn of(id: Option<u32>) -> Self {
        Self { dir: id.map_or("/proc/self".into(), |id| format!("/proc/{id}").into()) }
    }

    pub fn all() -> impl Iterator<Item = Self> {
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        let ids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        ids.map(|id| Self::of(Some(id)))
    }

    pub fn id(&self) -> u32 {
        let name = self.dir.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        name.parse().unwrap_or_else(|_| std::process::id())
    }

    /// Ids of the BPF maps that it has open.
    pub fn maps(&self) -> Vec<u32> {
        let open = self.open().filter(|(_, target)| target.as_os_str() == "anon_inode:bpf-map");
        let id = |descriptor: String| {
            let info = fs::read_to_string(self.dir.join("fdinfo").join(descriptor)).ok()?;
            info.lines().find_map(|line| line.strip_prefix("map_id:"))?.trim().parse().ok()
        };
        open.filter_map(|(descriptor, _)| id(descriptor)).collect()
    }

    /// Inodes of its sockets.
    pub fn sockets(&self) -> impl Iterator<Item = u64> {
        self.open().filter_map(|(_, target)| {
            target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
        })
    }

    /// The state of each of its threads, a letter each as `ps` shows it.
    pub fn thread_states(&self) -> Vec<char> {
        let threads = fs::read_dir(self.dir.join("task")).into_iter().flatten().flatten();
        let state = |thread: fs::DirEntry| {
            let stat = fs::read_to_string(thread.path().join("stat")).ok()?;
            // The name before it may have anything in it.
            stat.rsplit_once(')')?.1.trim_start().chars().next()
        };
        threads.filter_map(state).collect()
    }

    /// Its working directory.
    pub fn directory(&self) -> Option<PathBuf> {
        fs::read_link(self.dir.join("cwd")).ok()
    }

    /// Whether a path may lead it elsewhere than this process.
    pub fn sees_other_files(&self) -> bool {
        let mounts = |process: &Self| fs::read_link(process.dir.join("ns/mnt")).ok();
        let its = mounts(self);
        its.is_none() || its != mounts(&Self::of(None))
    }

    /// What its descriptors are of.
    fn open(&self) -> impl Iterator<Item = (String, PathBuf)> {
        let entries = fs::read_dir(self.dir.join("fd")).into_iter().flatten().flatten();
        entries.filter_map(|entry| {
            Some((entry.file_name().into_string().ok()?, fs::read_link(entry.path()).ok()?))
        })
    }

    pub fn name(&self) -> Option<String> {
        Some(fs::read_to_string(self.dir.join("comm")).ok()?.trim_end().to_owned())
    }

    pub fn arguments(&self) -> Vec<String> {
        let line = fs::read(self.dir.join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).into_owned();
        line.split_terminator('\0').map(str::to_owned).collect()
    }

    pub fn namespace(&self) -> Option<PathBuf> {
        fs::read_link(self.dir.join("ns/net")).ok()
    }

    pub fn parent(&self) -> Option<Self> {
        let id = self.status("PPid:")?.parse().ok()?;
        Some(Self::of(Some(id)))
    }

    /// Its effective capabilities, a bit for each.
    pub fn capabilities(&self) -> u64 {
        self.status("CapEff:").and_then(|set| u64::from_str_radix(&set, 16).ok()).unwrap_or(0)
    }

    /// One of its soft limits; `None`: there is none.
    pub fn limit(&self, name: &str) -> Option<u64> {
        limit(&fs::read_to_string(self.dir.join("limits")).unwrap_or_default(), name)
    }

    fn status(&self, key: &str) -> Option<String> {
        let status = fs::read_to_string(self.dir.join("status")).ok()?;
        Some(status.lines().find_map(|line| line.strip_prefix(key))?.trim().to_owned())
    }
}

fn limit(limits: &str, name: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Multicast groups with their interfaces, of this network namespace.
pub fn groups() -> Vec<(String, IpAddr)> {
    let read = |file| fs::read_to_string(file).unwrap_or_default();
    let mut groups = groups_v4(&read("/proc/net/igmp"));
    groups.extend(groups_v6(&read("/proc/net/igmp6")));
    groups
}

/// Where this network namespace listens, by TCP and UDP.
pub fn listeners() -> Vec<(&'static str, IpAddr, u16)> {
    // TCP that listens, and UDP that is connected to nobody.
    let tables = [("TCP", "tcp", "0A"), ("TCP", "tcp6", "0A"), ("UDP", "udp", "07"), ("UDP", "udp6", "07")];
    let read = |(protocol, file, state)| {
        let table = fs::read_to_string(format!("/proc/net/{file}")).unwrap_or_default();
        let found: Vec<_> =
            sockets_of(&table, state).into_iter().map(|(address, port)| (protocol, address, port)).collect();
        found
    };
    tables.into_iter().flat_map(read).collect()
}

/// `SL: ADDRESS:PORT REMOTE STATE ...`, an address in words of this machine's byte order.
fn sockets_of(table: &str, state: &str) -> Vec<(IpAddr, u16)> {
    let socket = |line: &str| {
        let mut words = line.split_whitespace().skip(1);
        let (address, port) = words.next()?.split_once(':')?;
        if words.nth(1)? != state {
            return None;
        }
        let word = |at: usize| u32::from_str_radix(address.get(at..at + 8)?, 16).ok();
        let address = if address.len() == 8 {
            Ipv4Addr::from(word(0)?.to_ne_bytes()).into()
        } else {
            let words = [word(0)?, word(8)?, word(16)?, word(24)?];
            let mut octets = [0; 16];
            for (to, from) in octets.chunks_exact_mut(4).zip(words) {
                to.copy_from_slice(&from.to_ne_bytes());
            }
            Ipv6Addr::from(octets).into()
        };
        Some((address, u16::from_str_radix(port, 16).ok()?))
    };
    table.lines().skip(1).filter_map(socket).collect()
}

/// A line for each interface, and an indented one for each group on it, whose address is a number of this machine's byte order.
fn groups_v4(text: &str) -> Vec<(String, IpAddr)> {
    let mut groups = Vec::new();
    let mut interface = "";
    for line in text.lines().skip(1) {
        let mut words = line.split_whitespace();
        if !line.starts_with(char::is_whitespace) {
            interface = words.nth(1).unwrap_or_default().trim_end_matches(':');
        } else if let Some(number) = words.next().and_then(|word| u32::from_str_radix(word, 16).ok()) {
            groups.push((interface.to_owned(), Ipv4Addr::from(number.to_ne_bytes()).into()));
        }
    }
    groups
}

/// `INDEX INTERFACE GROUP ...`.
fn groups_v6(text: &str) -> Vec<(String, IpAddr)> {
    let group = |line: &str| {
        let mut words = line.split_whitespace().skip(1);
        let interface = words.next()?.to_owned();
        let group = u128::from_str_radix(words.next()?, 16).ok()?;
        Some((interface, Ipv6Addr::from(group).into()))
    };
    text.lines().filter_map(group).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As Linux 6.18 shows them, little-endian.
    #[test]
    fn groups_are_read() {
        let igmp = "Idx\tDevice    : Count Querier\tGroup    Users Timer\tReporter\n\
                    1\tlo        :     1      V3\n\t\t\t\t010000E0     1 0:00000000\t\t0\n\
                    12\teth0      :     2      V3\n\t\t\t\t120000E0     1 0:00000000\t\t0\n\t\t\t\t010000E0     1 0:00000000\t\t0\n";
        let igmp6 = "1    lo              ff020000000000000000000000000001     1 0000000C 0\n\
                     12   eth0            ff020000000000000000000000000012     1 00000004 0\n";
        let all: Vec<String> = [groups_v4(igmp), groups_v6(igmp6)]
            .concat()
            .into_iter()
            .map(|(interface, group)| format!("{interface} {group}"))
            .collect();
        assert_eq!(all, ["lo 224.0.0.1", "eth0 224.0.0.18", "eth0 224.0.0.1", "lo ff02::1", "eth0 ff02::12"]);
    }

    #[test]
    fn listeners_are_read() {
        let tcp = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   \
                   0: 0100007F:0035 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1\n   \
                   1: 0500000A:0016 6400000A:D431 01 00000000:00000000 02:00000000 00000000     0        0 4712 2\n";
        assert_eq!(sockets_of(tcp, "0A"), [("127.0.0.1".parse().unwrap(), 53)]);
        let tcp6 = "  sl  local_address                         remote_address                        st\n   \
                    0: B80D0120000000000000000003000000:0050 00000000000000000000000000000000:0000 0A 0\n";
        assert_eq!(sockets_of(tcp6, "0A"), [("2001:db8::3".parse().unwrap(), 80)]);
    }

    #[test]
    fn limits_are_read() {
        let limits = "Limit                     Soft Limit           Hard Limit           Units     \n\
                      Max locked memory         8388608              8388608              bytes     \n\
                      Max realtime priority     0                    0                    \n\
                      Max cpu time              unlimited            unlimited            seconds   \n";
        assert_eq!(limit(limits, "Max locked memory"), Some(8_388_608));
        assert_eq!(limit(limits, "Max realtime priority"), Some(0));
        assert_eq!(limit(limits, "Max cpu time"), None);
    }

    #[test]
    fn this_process_is_found() {
        let own = Process::of(None);
        assert_eq!(own.id(), std::process::id());
        assert!(
            Process::all().any(|process| process.id() == own.id() && process.arguments() == own.arguments())
        );
        assert_eq!(
            own.parent().map(|parent| parent.id()),
            Some(nix::unistd::getppid().as_raw().unsigned_abs())
        );
    }
}
