//! Where the program runs: in the driver (XDP), or at tc ingress of any interface with Ethernet.
//!
//! The crate is built once for each hook; feature `tc` chooses. All that differs is here: the kernel's context, how a frame
//! is lengthened, where a tag that the NIC took out of the frame is found, and what a verdict is called.

#[cfg(feature = "tc")]
mod tc;
#[cfg(not(feature = "tc"))]
mod xdp;

#[cfg(feature = "tc")]
pub use tc::{Context, Raw};
#[cfg(not(feature = "tc"))]
pub use xdp::{Context, Raw};
