//! TCP_CHECK: a handshake and an orderly close.

use vipd_balance::ProbePeer;

use super::Words;
use crate::{fault::ProbeFault, net};

pub(super) async fn check(peer: &ProbePeer) -> Result<Words, ProbeFault> {
    drop(net::connect(peer).await?);
    Ok("connected".into())
}
