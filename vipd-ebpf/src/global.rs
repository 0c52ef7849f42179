//! Functions that the verifier checks once each, by their signature, and not along every path that leads to them.
//!
//! One per protocol, or the paths through all of them would multiply beyond its limit. A global function (in the sense of
//! the kernel's BTF) takes the context and numbers, and returns a number. It reads the link layer again: an offset that is
//! passed to it is any number to the verifier, and LLVM leaves checks out that the verifier would have to see.

use crate::{
    frame::Link,
    hook::{Context, Raw},
    verdict::Ruling,
};

/// The body of a global function: `decide` on the frame.
#[inline(always)]
pub fn enter(ctx: *mut Raw, decide: impl FnOnce(&Context, &Link) -> Option<Ruling>) -> u32 {
    let ctx = &Context::new(ctx);
    let ruling = Link::parse(ctx).and_then(|link| decide(ctx, &link));
    ruling.unwrap_or(Ruling::NONE).number()
}
