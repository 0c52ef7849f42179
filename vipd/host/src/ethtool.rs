//! The `ethtool` requests that vipd needs (linux/ethtool.h, by ioctl).

use std::{
    fs, io, mem,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
    ptr,
    thread::available_parallelism,
};

/// Reads the flags of `ETHTOOL_GFLAGS`.
pub(super) fn flags(interface: &str) -> io::Result<u32> {
    let mut value = [ETHTOOL_GFLAGS, 0];
    request(interface, &mut value)?;
    Ok(value[1])
}

/// Sets the flags of `ETHTOOL_SFLAGS`.
pub(super) fn set_flags(interface: &str, flags: u32) -> io::Result<()> {
    request(interface, &mut [ETHTOOL_SFLAGS, flags])
}

/// A virtio NIC without a transmit queue of its own for each processor: with XDP they share the others' queues, behind a lock
/// (`virtnet_xdp_set` in drivers/net/virtio_net.c, which says so in the kernel's log only).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SharedQueues {
    /// Pairs of queues in use.
    pub used: u32,
    /// Pairs that the hypervisor gives.
    pub given: u32,
    pub processors: u32,
}

impl SharedQueues {
    /// Looks at a NIC; `None`: XDP has queues of its own there, or nothing is known. `attached`: a native XDP program runs on it.
    pub fn of(interface: &str, attached: bool) -> Option<Self> {
        if driver(interface)? != "virtio_net" {
            return None;
        }
        // struct ethtool_channels: command, four maxima, then the same four in use: rx, tx, other, combined.
        let mut channels = [0_u32; 9];
        channels[0] = ETHTOOL_GCHANNELS;
        request(interface, &mut channels).ok()?;
        // The kernel counts the possible processors.
        let processors = possible_processors()?;
        Self { used: channels[8], given: channels[4], processors }.if_shared(attached)
    }

    fn if_shared(self, attached: bool) -> Option<Self> {
        let shared = if attached {
            // XDP's own queues, one for each processor, are among those in use.
            self.used <= self.processors
        } else {
            self.used + self.processors > self.given
        };
        shared.then_some(self)
    }

    /// What it is and what it costs.
    pub fn what(self) -> String {
        let Self { used, given, processors } = self;
        format!(
            "virtio_net has {given} pairs of queues, {used} in use, for {processors} processors: frames from XDP wait for a lock on a \
             shared queue"
        )
    }

    /// What gives XDP queues of its own.
    pub fn remedy(self, interface: &str) -> String {
        let Self { used, given, processors } = self;
        if given > processors {
            let fewer = given - processors;
            format!(
                "stop vipd, `ethtool -L {interface} combined {fewer}`, start vipd; or `xdp_mode tc {interface}`"
            )
        } else {
            let pairs = used + processors;
            format!(
                "give the NIC {pairs} pairs of queues in the hypervisor (qemu: `queues={pairs}`, libvirt: `<driver queues='{pairs}'/>`), or \
                 `xdp_mode tc {interface}`"
            )
        }
    }
}

/// The name of an interface's driver. Not from /sys, which may show another network namespace.
fn driver(interface: &str) -> Option<String> {
    // struct ethtool_drvinfo: command, then the driver's name in 32 octets, and more.
    let mut info = [0_u32; 49];
    info[0] = ETHTOOL_GDRVINFO;
    request(interface, &mut info).ok()?;
    let name: Vec<u8> = info[1..9].iter().flat_map(|word| word.to_ne_bytes()).collect();
    let length = name.iter().position(|&octet| octet == 0)?;
    String::from_utf8(name[..length].to_vec()).ok()
}

fn possible_processors() -> Option<u32> {
    let text = fs::read_to_string("/sys/devices/system/cpu/possible").ok();
    let last = text.and_then(|text| text.trim().rsplit([',', '-']).next()?.parse::<u32>().ok());
    last.map(|last| last + 1).or_else(|| u32::try_from(available_parallelism().ok()?.get()).ok())
}

/// One request; its structure begins with the command.
fn request(interface: &str, structure: &mut [u32]) -> io::Result<()> {
    // SAFETY: socket() takes no pointers.
    let fd = unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor was just made and nobody else has it.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    // SAFETY: all zero is a valid `ifreq`.
    let mut request: libc::ifreq = unsafe { mem::zeroed() };
    if interface.len() >= request.ifr_name.len() {
        return Err(io::Error::from_raw_os_error(libc::ENODEV));
    }
    for (to, from) in request.ifr_name.iter_mut().zip(interface.bytes()) {
        *to = from.cast_signed();
    }
    request.ifr_ifru.ifru_data = structure.as_mut_ptr().cast();
    // SAFETY: `request` and the structure it points to live through the call. The kernel writes no more than the structure of
    // the command, and each caller gives one of that size.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), SIOCETHTOOL, ptr::from_mut(&mut request)) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

// linux/sockios.h and linux/ethtool.h.
const SIOCETHTOOL: libc::Ioctl = 0x8946;
const ETHTOOL_GDRVINFO: u32 = 0x3;
const ETHTOOL_GFLAGS: u32 = 0x25;
const ETHTOOL_SFLAGS: u32 = 0x26;
const ETHTOOL_GCHANNELS: u32 = 0x3c;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queues_are_shared_when_there_are_too_few() {
        let shared =
            |used, given, attached| SharedQueues { used, given, processors: 2 }.if_shared(attached).is_some();
        for (used, given, attached, expected) in [
            (1, 1, false, true),
            (2, 2, false, true),
            (2, 3, false, true),
            (1, 3, false, false),
            (2, 4, false, false),
            (1, 1, true, true),
            (2, 3, true, true),
            // One of its own, and two of XDP's.
            (3, 3, true, false),
            (4, 4, true, false),
        ] {
            assert_eq!(shared(used, given, attached), expected, "{used} of {given}, attached: {attached}");
        }
    }

    #[test]
    fn a_driver_has_a_name() {
        assert_eq!(driver("no-such-if"), None);
        // What is not a NIC has no driver, or says its kind.
        assert_ne!(driver("lo").as_deref(), Some("virtio_net"));
    }

    #[test]
    fn the_remedy_is_one_that_can_be_had() {
        let remedy = |used, given| SharedQueues { used, given, processors: 2 }.remedy("eth0");
        assert!(remedy(1, 1).contains("`queues=3`"));
        assert!(remedy(2, 3).contains("ethtool -L eth0 combined 1"));
    }
}
