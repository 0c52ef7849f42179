//! What the runs of a prober share.

use std::sync::Arc;

use crate::{limits::ProbeLimits, net::TlsConfigs, pattern::PatternCache, script::RunScript};

pub(crate) struct ProbeContext {
    pub(crate) limits: ProbeLimits,
    pub(crate) tls: TlsConfigs,
    pub(crate) patterns: PatternCache,
    pub(crate) scripts: Arc<dyn RunScript>,
}
