//! Sending through a ring that the kernel shares (`PACKET_TX_RING`): frames whose buffer holds the Ethernet header alone, and all the
//! rest in pages apart.

use std::{
    io,
    os::fd::AsRawFd,
    ptr,
    sync::atomic::{AtomicU32, Ordering},
};

use anyhow::{Result, ensure};

use super::packet::PacketSocket;

/// Frames that the ring holds.
pub const SLOTS: usize = 64;
const SLOT: usize = 2048;
/// `sizeof(struct tpacket2_hdr)`, aligned: what stands before a frame.
const HEADER: usize = 32;
const TPACKET_V2: libc::c_int = 1;

/// A packet socket with a ring.
#[derive(Debug)]
pub struct RingSender {
    socket: PacketSocket,
    memory: *mut u8,
}

// SAFETY: the memory is the sender's own, and is reached through `&mut self` only.
unsafe impl Send for RingSender {}

impl RingSender {
    pub fn open(ifname: &str) -> Result<Self> {
        let socket = PacketSocket::open(ifname, 0)?;
        let set = |option, value: *const libc::c_void, length: usize| -> Result<()> {
            // SAFETY: the value is as long as is said, and outlives the call.
            let result = unsafe {
                let length = length as libc::socklen_t;
                libc::setsockopt(socket.as_raw_fd(), libc::SOL_PACKET, option, value, length)
            };
            ensure!(result == 0, "option {option} of a packet socket: {}", io::Error::last_os_error());
            Ok(())
        };
        let version = TPACKET_V2;
        set(libc::PACKET_VERSION, (&raw const version).cast(), size_of_val(&version))?;
        // A frame that cannot be sent is lost, and does not stop the others.
        let lossy: libc::c_int = 1;
        set(libc::PACKET_LOSS, (&raw const lossy).cast(), size_of_val(&lossy))?;
        let ring = libc::tpacket_req {
            tp_block_size: (SLOT * SLOTS) as u32,
            tp_block_nr: 1,
            tp_frame_size: SLOT as u32,
            tp_frame_nr: SLOTS as u32,
        };
        set(libc::PACKET_TX_RING, (&raw const ring).cast(), size_of_val(&ring))?;
        let (protection, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED);
        // SAFETY: a new mapping of the ring, of its length.
        let memory =
            unsafe { libc::mmap(ptr::null_mut(), SLOT * SLOTS, protection, flags, socket.as_raw_fd(), 0) };
        ensure!(memory != libc::MAP_FAILED, "mmap: {}", io::Error::last_os_error());
        Ok(Self { socket, memory: memory.cast() })
    }

    /// Sends frames, at most [`SLOTS`], which the receiver must have done with before the next are sent: it reads them where they are.
    pub fn send_all(&mut self, frames: &[Vec<u8>]) -> Result<()> {
        ensure!(frames.len() <= SLOTS, "{} frames", frames.len());
        // The kernel takes slots in turn: those that are not needed have a frame that nobody takes.
        for slot in 0..SLOTS {
            let nothing = [&[0x02, 0, 0, 0, 0, 0xee][..], &[0; 8]].concat();
            let frame = frames.get(slot).unwrap_or(&nothing);
            ensure!(frame.len() <= SLOT - HEADER, "a frame of {} octets", frame.len());
            // SAFETY: within the mapping, which the kernel reads only when the status says that there is a frame.
            unsafe {
                let at = self.memory.add(slot * SLOT);
                ptr::copy_nonoverlapping(frame.as_ptr(), at.add(HEADER), frame.len());
                at.add(size_of::<u32>()).cast::<u32>().write(frame.len() as u32);
                let status = AtomicU32::from_ptr(at.cast());
                status.store(libc::TP_STATUS_SEND_REQUEST, Ordering::Release);
            }
        }
        // SAFETY: the kernel takes no buffer, but the ring.
        let sent = unsafe { libc::send(self.socket.as_raw_fd(), ptr::null(), 0, 0) };
        ensure!(sent >= 0, "send: {}", io::Error::last_os_error());
        Ok(())
    }
}

impl Drop for RingSender {
    fn drop(&mut self) {
        // SAFETY: the mapping is this one's.
        unsafe { libc::munmap(self.memory.cast(), SLOT * SLOTS) };
    }
}
