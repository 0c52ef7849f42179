//! What vipd's probes carry behind the control packet of Seamless BFD (RFC 7880, RFC 7881), whose Length does not cover it.
//!
//! The interval and the multiplier of the sender are the packet's own Desired Min TX and Detect Mult. The discriminator of a node is made of
//! its address ([`discriminator`]), so nobody has to learn it. A reflector returns all of the block unchanged, with the sender's clock in it.
//!
//! ```text
//!  0       4         5       6         7      8            12        20
//!  | magic | version | flags | routers | tag  | generation | clock   | routers x 4 octets | tag
//! ```

use core::net::IpAddr;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::{
    Malformed, View,
    bfd::{Control, MANDATORY},
};

/// Octets of the block without its routers and its tag.
pub const BLOCK: usize = size_of::<Block>();
/// Octets of one router.
pub const ROUTER: usize = size_of::<Router>();
/// Routers that one probe lists: all that one family has on one link.
pub const MAX_ROUTERS: usize = 255;
/// Octets of a probe's UDP payload with so many routers and no tag.
pub const MAX_PAYLOAD: usize = MANDATORY + BLOCK + MAX_ROUTERS * ROUTER;
// Any link of IPv6 takes it (RFC 8200 5), with a tag of 16 octets.
const _: () = assert!(MAX_PAYLOAD + 16 + super::udp::HEADER + super::ipv6::HEADER <= 1280);
/// The port that probes are sent from (RFC 5881 4: 49152 to 65535) and answered to.
pub const PORT_SOURCE: u16 = 49_784;
/// What marks a packet as one of vipd's.
pub const MAGIC: [u8; 4] = *b"vipd";
/// Of the block.
pub const VERSION: u8 = 1;

/// Bits of [`Block::flags`].
pub mod flag {
    /// The sender takes over early from a node that does not answer.
    pub const TAKES_OVER: u8 = 1;
    /// The sender is on its way out: its silence is not its death.
    pub const LEAVING: u8 = 1 << 1;
    /// All of them.
    pub const ALL: u8 = 3;
}

/// Bits of [`Router::flags`].
pub mod router_flag {
    /// The sender is a backup of this router, or its master.
    pub const PARTICIPATES: u8 = 1;
    /// The sender owns its addresses.
    pub const OWNER: u8 = 1 << 1;
    /// The sender has outbid the master, and the claim stands.
    pub const CLAIM: u8 = 1 << 2;
}

/// The view of a block up to its routers.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
pub struct Block {
    magic: [u8; 4],
    version: u8,
    flags: u8,
    routers: u8,
    tag_length: u8,
    generation: [u8; 4],
    clock: [u8; 8],
}

impl View for Block {}

impl Block {
    /// Whether it is a block of vipd's, of whatever version.
    #[inline(always)]
    pub fn is_ours(&self) -> bool {
        self.magic == MAGIC
    }

    #[inline(always)]
    pub fn version(&self) -> u8 {
        self.version
    }

    /// Of [`flag`].
    #[inline(always)]
    pub fn flags(&self) -> u8 {
        self.flags & flag::ALL
    }

    /// Routers that follow.
    #[inline(always)]
    pub fn routers(&self) -> u8 {
        self.routers
    }

    /// Octets of the tag behind the routers; no version of vipd sends one yet.
    #[inline(always)]
    pub fn tag_length(&self) -> u8 {
        self.tag_length
    }

    /// Another one than before if anything of the block but the clock is another.
    #[inline(always)]
    pub fn generation(&self) -> u32 {
        u32::from_be_bytes(self.generation)
    }

    /// The sender's clock when it sent the probe, in nanoseconds.
    #[inline(always)]
    pub fn clock_ns(&self) -> u64 {
        u64::from_be_bytes(self.clock)
    }

    /// Octets of a UDP payload that has the packet, this block, its routers and its tag, and nothing else.
    #[inline(always)]
    pub fn payload_length(&self) -> usize {
        MANDATORY + BLOCK + usize::from(self.routers) * ROUTER + usize::from(self.tag_length)
    }
}

/// One virtual router of the sender.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned,
)]
pub struct Router {
    /// 4 or 6.
    pub family: u8,
    pub vrid: u8,
    /// What the sender is compared as.
    pub priority: u8,
    /// Of [`router_flag`].
    pub flags: u8,
}

impl View for Router {}

/// The block of a probe that is to be sent, but for its routers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repr {
    /// Of [`flag`].
    pub flags: u8,
    /// Routers that follow.
    pub routers: u8,
    pub generation: u32,
    pub clock_ns: u64,
}

impl Repr {
    pub fn emit(&self, buffer: &mut [u8; BLOCK]) {
        *buffer = zerocopy::transmute!(Block {
            magic: MAGIC,
            version: VERSION,
            flags: self.flags,
            routers: self.routers,
            tag_length: 0,
            generation: self.generation.to_be_bytes(),
            clock: self.clock_ns.to_be_bytes(),
        });
    }
}

/// The checked view of a probe or an answer: all of a UDP payload.
#[derive(Clone, Copy, Debug)]
pub struct Probe<'a> {
    pub control: &'a Control,
    pub block: &'a Block,
    routers: &'a [u8],
}

impl<'a> Probe<'a> {
    /// The view of `payload`.
    ///
    /// # Errors
    ///
    /// Those of [`Control::new_checked`]; [`Malformed::Type`] of a packet that is not vipd's; [`Malformed::Version`] of a block of another
    /// version; [`Malformed::Length`].
    pub fn new_checked(payload: &'a [u8]) -> Result<Self, Malformed> {
        let (control, packet) = Control::new_checked(payload)?;
        let (block, rest) = Block::new_prefix(&payload[MANDATORY..])?;
        if !block.is_ours() {
            return Err(Malformed::Type);
        }
        if block.version() != VERSION {
            return Err(Malformed::Version);
        }
        // A packet with an authentication section is longer than the place where the block begins.
        if packet.len() != MANDATORY || payload.len() != block.payload_length() {
            return Err(Malformed::Length);
        }
        Ok(Self { control, block, routers: &rest[..usize::from(block.routers()) * ROUTER] })
    }

    /// The routers of the sender, in its order.
    pub fn routers(&self) -> impl Iterator<Item = Router> + 'a {
        let (routers, _) = self.routers.as_chunks::<ROUTER>();
        routers.iter().map(|[family, vrid, priority, flags]| Router {
            family: *family,
            vrid: *vrid,
            priority: *priority,
            flags: *flags,
        })
    }
}

/// The BFD discriminator of the node with this address: an IPv4 address as it is (RFC 7880 4.1), of an IPv6 address the sum of its words
/// modulo 2. Never 0.
pub fn discriminator(address: IpAddr) -> u32 {
    let folded = match address {
        IpAddr::V4(address) => address.to_bits(),
        IpAddr::V6(address) => {
            let bits = address.to_bits();
            (bits ^ bits >> 32 ^ bits >> 64 ^ bits >> 96) as u32
        }
    };
    folded.max(1)
}
