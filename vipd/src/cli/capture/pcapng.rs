//! Captured frames as a pcapng file (draft-ietf-opsawg-pcapng), as Wireshark and tshark read them.
//!
//! One section; an interface for each name and hook, described before its first frame; a packet for each frame with its direction, the
//! program's verdict as the kernel's number (`epb_verdict`), and the verdict in words as a comment. A file that ends at any block's end is
//! whole, so that a capture may be ended at any time.

use std::io::{self, Write};

use crate::control::capture::{CapturedVerdict, Direction, ShownFrame};

const SECTION: u32 = 0x0a0d_0d0a;
const BYTE_ORDER_MAGIC: u32 = 0x1a2b_3c4d;
const INTERFACE: u32 = 1;
const PACKET: u32 = 6;
const LINKTYPE_ETHERNET: u16 = 1;
/// A tag may be added to what the program captures.
const SNAPLEN: u32 = 260;

/// Options of blocks.
const COMMENT: u16 = 1;
const SHB_USERAPPL: u16 = 4;
const IF_NAME: u16 = 2;
const IF_TSRESOL: u16 = 9;
const EPB_FLAGS: u16 = 2;
const EPB_VERDICT: u16 = 7;

/// 10 to the power of -9 seconds.
const NANOSECONDS: u8 = 9;
/// Kinds of verdict in `EPB_VERDICT`: the action of a tc program, or of an XDP program.
const OF_TC: u8 = 1;
const OF_XDP: u8 = 2;

/// A file that is being written.
#[derive(Debug)]
pub struct PcapngWriter<W> {
    out: W,
    /// In the order of their numbers.
    interfaces: Vec<String>,
}

impl<W: Write> PcapngWriter<W> {
    /// Begins the file.
    pub fn new(mut out: W) -> io::Result<Self> {
        let mut body = Vec::new();
        body.extend(BYTE_ORDER_MAGIC.to_le_bytes());
        // Version 1.0, and no length of the section: it ends with the file.
        body.extend([1u16, 0].map(u16::to_le_bytes).concat());
        body.extend(u64::MAX.to_le_bytes());
        option(&mut body, SHB_USERAPPL, concat!("vipd ", env!("CARGO_PKG_VERSION")).as_bytes());
        end_options(&mut body);
        block(&mut out, SECTION, &body)?;
        Ok(Self { out, interfaces: Vec::new() })
    }

    /// Adds a frame, with a comment.
    pub fn add(&mut self, frame: &ShownFrame, comment: &str) -> io::Result<()> {
        let interface = self.interface(&frame.interface)?;
        let mut body = Vec::new();
        body.extend(interface.to_le_bytes());
        let [low, high] = [frame.time_unix_ns as u32, (frame.time_unix_ns >> 32) as u32];
        body.extend([high, low, frame.octets.len() as u32, frame.length].map(u32::to_le_bytes).concat());
        body.extend(&frame.octets);
        pad(&mut body);
        let direction: u32 = match frame.direction {
            Direction::In => 1,
            Direction::Out => 2,
        };
        option(&mut body, EPB_FLAGS, &direction.to_le_bytes());
        option(&mut body, EPB_VERDICT, &verdict(frame));
        option(&mut body, COMMENT, comment.as_bytes());
        end_options(&mut body);
        block(&mut self.out, PACKET, &body)
    }

    /// Has what was added be in the file.
    pub fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    /// The number of an interface, which is described first if it is new.
    fn interface(&mut self, name: &str) -> io::Result<u32> {
        if let Some(at) = self.interfaces.iter().position(|known| known == name) {
            return Ok(at as u32);
        }
        let mut body = Vec::new();
        body.extend([LINKTYPE_ETHERNET, 0].map(u16::to_le_bytes).concat());
        body.extend(SNAPLEN.to_le_bytes());
        option(&mut body, IF_NAME, name.as_bytes());
        option(&mut body, IF_TSRESOL, &[NANOSECONDS]);
        end_options(&mut body);
        block(&mut self.out, INTERFACE, &body)?;
        self.interfaces.push(name.to_owned());
        Ok(self.interfaces.len() as u32 - 1)
    }
}

/// What the program returned to the kernel, as the kernel numbers it.
fn verdict(frame: &ShownFrame) -> [u8; 9] {
    // linux/bpf.h (enum xdp_action) and linux/pkt_cls.h (TC_ACT_*).
    let action: i64 = match (frame.tc, frame.verdict) {
        (false, CapturedVerdict::Dropped) => 1,
        (false, CapturedVerdict::Passed) => 2,
        (false, CapturedVerdict::Sent) => 3,
        (true, CapturedVerdict::Dropped) => 2,
        (true, CapturedVerdict::Passed) => -1,
        (true, CapturedVerdict::Sent) => 7,
    };
    let mut value = [0; 9];
    value[0] = if frame.tc { OF_TC } else { OF_XDP };
    value[1..].copy_from_slice(&action.to_le_bytes());
    value
}

/// A block is made of whole words, and says its length at both ends.
fn block(out: &mut impl Write, kind: u32, body: &[u8]) -> io::Result<()> {
    let length = u32::try_from(body.len() + 12).map_err(io::Error::other)?.to_le_bytes();
    let mut whole = kind.to_le_bytes().to_vec();
    whole.extend(length);
    whole.extend(body);
    whole.extend(length);
    out.write_all(&whole)
}

/// Adds an option, cut off at 64 KiB.
fn option(body: &mut Vec<u8>, code: u16, value: &[u8]) {
    let length = u16::try_from(value.len()).unwrap_or(u16::MAX);
    body.extend([code, length].map(u16::to_le_bytes).concat());
    body.extend(&value[..length.into()]);
    pad(body);
}

fn end_options(body: &mut Vec<u8>) {
    body.extend([0; 4]);
}

fn pad(body: &mut Vec<u8>) {
    body.resize(body.len().next_multiple_of(4), 0);
}

#[cfg(test)]
mod tests {
    use super::{super::samples, *};

    /// Every block's place in the file, by its kind.
    fn blocks(file: &[u8]) -> Vec<(u32, &[u8])> {
        let word = |at: usize| u32::from_le_bytes(file[at..at + 4].try_into().unwrap());
        let (mut at, mut blocks) = (0, Vec::new());
        while at < file.len() {
            let length = word(at + 4) as usize;
            assert!(length.is_multiple_of(4) && word(at + length - 4) as usize == length);
            blocks.push((word(at), &file[at + 8..at + length - 4]));
            at += length;
        }
        blocks
    }

    /// By the draft; that tshark reads the same is seen in tests/tests/capture.rs.
    #[test]
    fn the_octets_of_a_file() {
        let mut writer = PcapngWriter::new(Vec::new()).unwrap();
        let frame = ShownFrame {
            time_unix_ns: 0x1_0000_0002,
            octets: vec![0xab; 61],
            length: 300,
            ..samples::frame()
        };
        writer.add(&frame, "why").unwrap();
        writer.add(&ShownFrame { direction: Direction::Out, tc: true, ..frame.clone() }, "").unwrap();
        writer.add(&ShownFrame { interface: "eth1".into(), ..frame }, "").unwrap();
        let file = writer.out;
        let blocks = blocks(&file);
        let kinds: Vec<u32> = blocks.iter().map(|(kind, _)| *kind).collect();
        assert_eq!(kinds, [SECTION, INTERFACE, PACKET, PACKET, INTERFACE, PACKET]);
        assert_eq!(blocks[0].1[..16], *b"\x4d\x3c\x2b\x1a\x01\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff");
        assert_eq!(blocks[1].1, *b"\x01\0\0\0\x04\x01\0\0\x02\0\x04\0eth0\x09\0\x01\0\x09\0\0\0\0\0\0\0");
        let packet = blocks[2].1;
        assert_eq!(packet[..20], *b"\0\0\0\0\x01\0\0\0\x02\0\0\0\x3d\0\0\0\x2c\x01\0\0");
        assert_eq!(packet[20..81], [0xab; 61]);
        assert_eq!(
            packet[81..],
            *b"\0\0\0\x02\0\x04\0\x01\0\0\0\x07\0\x09\0\x02\x03\0\0\0\0\0\0\0\0\0\0\x01\0\x03\0why\0\0\0\0\0"
        );
        let [.., sent] = [blocks[3].1];
        assert_eq!(sent[84..104], *b"\x02\0\x04\0\x02\0\0\0\x07\0\x09\0\x01\x07\0\0\0\0\0\0");
        assert_eq!(blocks[5].1[..4], [1, 0, 0, 0], "the second interface");
    }
}
