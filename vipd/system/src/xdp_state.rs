//! What the kernel says of an interface's XDP program.

/// The XDP program on a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct XdpState {
    /// In the stack rather than in the driver.
    pub generic: bool,
    /// The kernel's id of the program.
    pub program_id: u32,
}
