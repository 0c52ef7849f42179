//! What can be done to a cluster, whom it concerns, and what docs/internals/invariants.md lets it excuse.

use std::fmt;

use crate::plan::{Kind, Setup};

/// A node, by its place in the setup.
pub type NodeIndex = usize;

/// One thing that is done to the cluster and, where it lasts, undone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// `kill -9`; then the daemon is started again.
    Kill(NodeIndex),
    /// SIGSTOP; then SIGCONT.
    Freeze(NodeIndex),
    /// `vipd stop`; then a start.
    Stop(NodeIndex),
    /// `vipd stop --for-restart`; then a start.
    Restart(NodeIndex),
    /// The cable is pulled at the switch.
    Port(NodeIndex),
    /// The interface is set down on the node.
    Link(NodeIndex),
    /// Nothing that the node sends arrives at nodes or clients.
    CutOutput(NodeIndex),
    /// Nothing that nodes or clients send arrives at the node.
    CutInput(NodeIndex),
    /// Nothing that one node sends arrives at the other.
    CutPair {
        from: NodeIndex,
        to: NodeIndex,
    },
    /// The same of adverts alone.
    CutAdverts {
        from: NodeIndex,
        to: NodeIndex,
    },
    /// The node is cut off from the other nodes, not from the clients.
    Partition(NodeIndex),
    /// The node's kernel forgets the MACs of its neighbours.
    ForgetNeighbours(NodeIndex),
    ReloadSame(NodeIndex),
    ReloadPriority(NodeIndex, u8),
    /// Another VIP comes; then it goes.
    ReloadVips(NodeIndex),
    /// A file that is refused.
    ReloadBad(NodeIndex),
    Handover(NodeIndex),
    /// Then `vipd undrain`.
    Drain(NodeIndex),
    /// The `vrrp_script` fails.
    Check(NodeIndex),
    /// The addresses of the interface go.
    Address(NodeIndex),
    /// The interface has another address too.
    MoreAddresses(NodeIndex),
    /// The interface has another name.
    Rename(NodeIndex),
    /// The interface has another MAC.
    Mac(NodeIndex),
    /// So many connections to the control socket that never ask.
    Connections(NodeIndex, u16),
    /// So many busy threads, of no priority.
    Hog(u8),
    /// One busy thread before all of vipd's, on this processor.
    RealTimeHog(u8),
    /// Never planned: the end of a round, when whatever is left is undone.
    Heal(NodeIndex),
}

/// What a fault excuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// It happens to a process, or an operator wants it: never two owners, and no moment without one.
    Process,
    /// Adverts are lost, or a node cannot serve: two owners until the longest lease has run out, none until a successor's
    /// wait is over.
    Network,
    /// The machine itself: excuses nothing but what was measured as a stall.
    Machine,
}

impl Fault {
    /// As the report's table says it.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Kill(_) => "kill",
            Self::Freeze(_) => "freeze",
            Self::Stop(_) => "stop",
            Self::Restart(_) => "restart",
            Self::Port(_) => "port",
            Self::Link(_) => "link",
            Self::CutOutput(_) => "cut-output",
            Self::CutInput(_) => "cut-input",
            Self::CutPair { .. } => "cut-pair",
            Self::CutAdverts { .. } => "cut-adverts",
            Self::Partition(_) => "partition",
            Self::ForgetNeighbours(_) => "forget-neighbours",
            Self::ReloadSame(_) => "reload-same",
            Self::ReloadPriority(..) => "reload-priority",
            Self::ReloadVips(_) => "reload-vips",
            Self::ReloadBad(_) => "reload-bad",
            Self::Handover(_) => "handover",
            Self::Drain(_) => "drain",
            Self::Check(_) => "check",
            Self::Address(_) => "address",
            Self::MoreAddresses(_) => "more-addresses",
            Self::Rename(_) => "rename",
            Self::Mac(_) => "mac",
            Self::Connections(..) => "connections",
            Self::Hog(_) => "hog",
            Self::RealTimeHog(_) => "rt-hog",
            Self::Heal(_) => "heal",
        }
    }

    /// The nodes that it is done to; none for what is done to the machine.
    pub fn nodes(&self) -> Vec<NodeIndex> {
        match *self {
            Self::CutPair { from, to } | Self::CutAdverts { from, to } => vec![from, to],
            Self::Hog(_) | Self::RealTimeHog(_) => Vec::new(),
            _ => self.node().into_iter().collect(),
        }
    }

    /// The one node whose host or daemon it is done to; `None` for what is done to the switch or the machine.
    pub fn host(&self) -> Option<NodeIndex> {
        let at_switch = matches!(
            self,
            Self::Port(_)
                | Self::CutOutput(_)
                | Self::CutInput(_)
                | Self::Partition(_)
                | Self::ForgetNeighbours(_)
        );
        self.node().filter(|_| !at_switch)
    }

    pub fn class(&self, setup: &Setup) -> Class {
        use Class::{Machine, Network, Process};
        match self {
            Self::Hog(_) | Self::RealTimeHog(_) => Machine,
            // keepalived has no lease: what happens to its process happens to its addresses.
            _ if self.node().is_some_and(|node| setup.nodes[node].kind == Kind::Keepalived) => Network,
            // It discards adverts with another number of addresses than it has, and so hears no master.
            Self::ReloadVips(_) if setup.has_keepalived() => Network,
            Self::Kill(_)
            | Self::Freeze(_)
            | Self::Stop(_)
            | Self::Restart(_)
            | Self::ForgetNeighbours(_)
            | Self::ReloadSame(_)
            | Self::ReloadPriority(..)
            | Self::ReloadVips(_)
            | Self::ReloadBad(_)
            | Self::Handover(_)
            | Self::Drain(_)
            | Self::Check(_)
            | Self::MoreAddresses(_)
            | Self::Connections(..)
            | Self::Heal(_) => Process,
            Self::Port(_)
            | Self::Link(_)
            | Self::CutOutput(_)
            | Self::CutInput(_)
            | Self::CutPair { .. }
            | Self::CutAdverts { .. }
            | Self::Partition(_)
            | Self::Address(_)
            | Self::Rename(_)
            | Self::Mac(_) => Network,
        }
    }

    /// Whether the node may be owner meanwhile, and has to be if it is the only one.
    pub fn leaves_eligible(&self) -> bool {
        matches!(
            self,
            Self::ForgetNeighbours(_)
                | Self::ReloadSame(_)
                | Self::ReloadBad(_)
                | Self::MoreAddresses(_)
                | Self::Connections(..)
                | Self::Hog(_)
        )
    }

    fn node(&self) -> Option<NodeIndex> {
        match *self {
            Self::Kill(n)
            | Self::Freeze(n)
            | Self::Stop(n)
            | Self::Restart(n)
            | Self::Port(n)
            | Self::Link(n)
            | Self::CutOutput(n)
            | Self::CutInput(n)
            | Self::Partition(n)
            | Self::ForgetNeighbours(n)
            | Self::ReloadSame(n)
            | Self::ReloadPriority(n, _)
            | Self::ReloadVips(n)
            | Self::ReloadBad(n)
            | Self::Handover(n)
            | Self::Drain(n)
            | Self::Check(n)
            | Self::Address(n)
            | Self::MoreAddresses(n)
            | Self::Rename(n)
            | Self::Mac(n)
            | Self::Connections(n, _)
            | Self::Heal(n) => Some(n),
            Self::CutPair { .. } | Self::CutAdverts { .. } | Self::Hog(_) | Self::RealTimeHog(_) => None,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = self.kind();
        match *self {
            Self::CutPair { from, to } | Self::CutAdverts { from, to } => {
                write!(f, "{kind} {} to {}", name(from), name(to))
            }
            Self::ReloadPriority(node, priority) => write!(f, "{kind} {} to {priority}", name(node)),
            Self::Connections(node, count) => write!(f, "{kind} {}: {count}", name(node)),
            Self::Hog(threads) => write!(f, "{kind} of {threads} threads"),
            Self::RealTimeHog(cpu) => write!(f, "{kind} on processor {cpu}"),
            _ => write!(f, "{kind} {}", self.node().map(name).unwrap_or_default()),
        }
    }
}

/// `n1` is the first node.
pub fn name(node: NodeIndex) -> String {
    format!("n{}", node + 1)
}
