//! BFD control packets (RFC 5880 4.1), which Seamless BFD uses as well (RFC 7880 6): the mandatory section, and where it ends.

use core::fmt;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::{Malformed, View};

/// Octets of the mandatory section.
pub const MANDATORY: usize = size_of::<Control>();
/// The least Length of a packet with an authentication section (RFC 5880 6.8.6).
pub const LEAST_AUTHENTICATED: usize = 26;
/// RFC 5881 4: single hop.
pub const PORT_CONTROL: u16 = 3784;
/// RFC 5881 4: echo.
pub const PORT_ECHO: u16 = 3785;
/// RFC 5883 5: multihop.
pub const PORT_MULTIHOP: u16 = 4784;
/// RFC 7881 4: the port of a reflector.
pub const PORT_SEAMLESS: u16 = 7784;
/// RFC 5881 5: what a packet is sent with, and over a single hop must arrive with.
pub const HOP_LIMIT: u8 = 255;

/// State of a session as it is on the wire (RFC 5880 4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum SessionState {
    AdminDown = 0,
    Down = 1,
    Init = 2,
    Up = 3,
}

impl SessionState {
    /// The state in the two lowest bits of `bits`.
    #[inline(always)]
    pub const fn from_bits(bits: u8) -> Self {
        match bits & 3 {
            0 => Self::AdminDown,
            1 => Self::Down,
            2 => Self::Init,
            _ => Self::Up,
        }
    }
}

impl fmt::Display for SessionState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AdminDown => "AdminDown",
            Self::Down => "Down",
            Self::Init => "Init",
            Self::Up => "Up",
        })
    }
}

/// Why a session went down (RFC 5880 4.1), as a number of five bits: a number that has no name is shown as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Diagnostic(u8);

impl Diagnostic {
    pub const NONE: Self = Self(0);
    pub const DETECTION_TIME_EXPIRED: Self = Self(1);
    pub const ECHO_FAILED: Self = Self(2);
    pub const NEIGHBOR_SIGNALED_DOWN: Self = Self(3);
    pub const FORWARDING_PLANE_RESET: Self = Self(4);
    pub const PATH_DOWN: Self = Self(5);
    pub const CONCATENATED_PATH_DOWN: Self = Self(6);
    pub const ADMINISTRATIVELY_DOWN: Self = Self(7);
    pub const REVERSE_CONCATENATED_PATH_DOWN: Self = Self(8);

    /// The five lowest bits of `number`.
    #[inline(always)]
    pub const fn new(number: u8) -> Self {
        Self(number & DIAGNOSTIC)
    }

    #[inline(always)]
    pub const fn number(self) -> u8 {
        self.0
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = match *self {
            Self::NONE => "no diagnostic",
            Self::DETECTION_TIME_EXPIRED => "detection time expired",
            Self::ECHO_FAILED => "echo function failed",
            Self::NEIGHBOR_SIGNALED_DOWN => "neighbor signaled session down",
            Self::FORWARDING_PLANE_RESET => "forwarding plane reset",
            Self::PATH_DOWN => "path down",
            Self::CONCATENATED_PATH_DOWN => "concatenated path down",
            Self::ADMINISTRATIVELY_DOWN => "administratively down",
            Self::REVERSE_CONCATENATED_PATH_DOWN => "reverse concatenated path down",
            Self(number) => return write!(f, "diagnostic {number}"),
        };
        f.write_str(words)
    }
}

/// Bits of the second octet, below the state.
pub mod flag {
    /// P: the sender waits for a packet with `FINAL`.
    pub const POLL: u8 = 1 << 5;
    /// F: the answer to `POLL`.
    pub const FINAL: u8 = 1 << 4;
    /// C: the sender's BFD survives its control plane.
    pub const CONTROL_PLANE_INDEPENDENT: u8 = 1 << 3;
    /// A: an authentication section follows.
    pub const AUTHENTICATION: u8 = 1 << 2;
    /// D: demand mode; in S-BFD, a packet of an initiator.
    pub const DEMAND: u8 = 1 << 1;
    /// M: reserved, must be 0.
    pub const MULTIPOINT: u8 = 1;
    /// All of them.
    pub const ALL: u8 = 0x3f;
}

/// The view of the mandatory section.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
pub struct Control {
    version_diagnostic: u8,
    state_flags: u8,
    multiplier: u8,
    length: u8,
    my_discriminator: [u8; 4],
    your_discriminator: [u8; 4],
    desired_min_tx: [u8; 4],
    required_min_rx: [u8; 4],
    required_min_echo_rx: [u8; 4],
}

impl View for Control {}

impl Control {
    /// The view of the packet that `payload`, that of a UDP datagram, begins with, and all of the packet. The payload may be longer.
    ///
    /// # Errors
    ///
    /// By the first rules of RFC 5880 6.8.6, in their order: [`Malformed::Truncated`], [`Malformed::Version`], [`Malformed::Length`],
    /// [`Malformed::Multiplier`], [`Malformed::Multipoint`], [`Malformed::Discriminator`] if that of the sender is 0.
    pub fn new_checked(payload: &[u8]) -> Result<(&Self, &[u8]), Malformed> {
        let (control, _) = Self::new_prefix(payload)?;
        control.check(payload.len())?;
        Ok((control, &payload[..usize::from(control.length())]))
    }

    /// The first rules of RFC 5880 6.8.6, in their order, for a packet in a UDP payload of so many octets, which has the mandatory section.
    ///
    /// # Errors
    ///
    /// [`Malformed::Version`], [`Malformed::Length`], [`Malformed::Multiplier`], [`Malformed::Multipoint`], [`Malformed::Discriminator`].
    #[inline(always)]
    pub fn check(&self, payload: usize) -> Result<(), Malformed> {
        if !self.has_known_version() {
            return Err(Malformed::Version);
        }
        if !self.has_valid_length(payload) {
            return Err(Malformed::Length);
        }
        if self.multiplier() == 0 {
            return Err(Malformed::Multiplier);
        }
        if self.has(flag::MULTIPOINT) {
            return Err(Malformed::Multipoint);
        }
        if self.my_discriminator() == 0 {
            return Err(Malformed::Discriminator);
        }
        Ok(())
    }

    /// Whether this can be a packet to the session whose discriminator is `local`: it names it, or none in a state that need not know it.
    #[inline(always)]
    pub fn is_to(&self, local: u32) -> bool {
        match self.your_discriminator() {
            0 => matches!(self.state(), SessionState::Down | SessionState::AdminDown),
            yours => yours == local,
        }
    }

    /// The view of a copy.
    #[inline(always)]
    pub fn of(octets: &[u8; MANDATORY]) -> &Self {
        zerocopy::transmute_ref!(octets)
    }

    /// Whether it is of the version that there is.
    #[inline(always)]
    pub fn has_known_version(&self) -> bool {
        self.version() == VERSION
    }

    #[inline(always)]
    pub fn version(&self) -> u8 {
        self.version_diagnostic >> 5
    }

    #[inline(always)]
    pub fn diagnostic(&self) -> Diagnostic {
        Diagnostic::new(self.version_diagnostic)
    }

    #[inline(always)]
    pub fn state(&self) -> SessionState {
        SessionState::from_bits(self.state_flags >> 6)
    }

    /// Whether all of `flags`, of [`flag`], are set.
    #[inline(always)]
    pub fn has(&self, flags: u8) -> bool {
        self.state_flags & flags == flags
    }

    /// Detect Mult.
    #[inline(always)]
    pub fn multiplier(&self) -> u8 {
        self.multiplier
    }

    /// Octets of the packet, by its own account.
    #[inline(always)]
    pub fn length(&self) -> u8 {
        self.length
    }

    /// Whether that account fits into a UDP payload of so many octets, and covers what its flags announce (RFC 5880 6.8.6).
    #[inline(always)]
    pub fn has_valid_length(&self, payload: usize) -> bool {
        let least = if self.has(flag::AUTHENTICATION) { LEAST_AUTHENTICATED } else { MANDATORY };
        let length = usize::from(self.length);
        length >= least && length <= payload
    }

    #[inline(always)]
    pub fn my_discriminator(&self) -> u32 {
        u32::from_be_bytes(self.my_discriminator)
    }

    #[inline(always)]
    pub fn your_discriminator(&self) -> u32 {
        u32::from_be_bytes(self.your_discriminator)
    }

    /// In microseconds.
    #[inline(always)]
    pub fn desired_min_tx_us(&self) -> u32 {
        u32::from_be_bytes(self.desired_min_tx)
    }

    /// In microseconds; 0: the sender wants no periodic packets.
    #[inline(always)]
    pub fn required_min_rx_us(&self) -> u32 {
        u32::from_be_bytes(self.required_min_rx)
    }

    /// The packet that a reflector answers this one with (RFC 7880 7.2.2): discriminators swapped, D cleared, F for P.
    #[inline(always)]
    pub fn reflected(&self, state: SessionState) -> Self {
        let kept = self.state_flags & (flag::ALL & !(flag::DEMAND | flag::POLL | flag::FINAL));
        let answers_poll = if self.has(flag::POLL) { flag::FINAL } else { 0 };
        Self {
            state_flags: (state as u8) << 6 | kept | answers_poll,
            my_discriminator: self.your_discriminator,
            your_discriminator: self.my_discriminator,
            ..*self
        }
    }

    /// The first two octets, which are all that [`reflected`](Self::reflected) changes of a checksum.
    #[inline(always)]
    pub fn first_word(&self) -> u16 {
        u16::from_be_bytes([self.version_diagnostic, self.state_flags])
    }

    /// In microseconds; 0: the sender wants no echo.
    #[inline(always)]
    pub fn required_min_echo_rx_us(&self) -> u32 {
        u32::from_be_bytes(self.required_min_echo_rx)
    }
}

/// The mandatory section of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repr {
    pub diagnostic: Diagnostic,
    pub state: SessionState,
    /// Of [`flag`].
    pub flags: u8,
    /// Detect Mult, 1 to 255.
    pub multiplier: u8,
    /// Octets after the mandatory section that belong to the packet: its authentication section.
    pub authentication_length: u8,
    pub my_discriminator: u32,
    pub your_discriminator: u32,
    pub desired_min_tx_us: u32,
    pub required_min_rx_us: u32,
    pub required_min_echo_rx_us: u32,
}

impl Repr {
    /// Reads a packet.
    pub fn parse(control: &Control) -> Self {
        Self {
            diagnostic: control.diagnostic(),
            state: control.state(),
            flags: control.state_flags & flag::ALL,
            multiplier: control.multiplier(),
            authentication_length: control.length.saturating_sub(MANDATORY as u8),
            my_discriminator: control.my_discriminator(),
            your_discriminator: control.your_discriminator(),
            desired_min_tx_us: control.desired_min_tx_us(),
            required_min_rx_us: control.required_min_rx_us(),
            required_min_echo_rx_us: control.required_min_echo_rx_us(),
        }
    }

    /// The octets of the mandatory section.
    #[inline(always)]
    pub fn control(&self) -> Control {
        Control {
            version_diagnostic: VERSION << 5 | self.diagnostic.number(),
            state_flags: (self.state as u8) << 6 | self.flags & flag::ALL,
            multiplier: self.multiplier,
            length: (MANDATORY as u8).saturating_add(self.authentication_length),
            my_discriminator: self.my_discriminator.to_be_bytes(),
            your_discriminator: self.your_discriminator.to_be_bytes(),
            desired_min_tx: self.desired_min_tx_us.to_be_bytes(),
            required_min_rx: self.required_min_rx_us.to_be_bytes(),
            required_min_echo_rx: self.required_min_echo_rx_us.to_be_bytes(),
        }
    }

    pub fn emit(&self, buffer: &mut [u8; MANDATORY]) {
        *buffer = zerocopy::transmute!(self.control());
    }
}

/// RFC 5880 4.1.
pub const VERSION: u8 = 1;
const DIAGNOSTIC: u8 = 0x1f;
