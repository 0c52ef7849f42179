//! What a row of the table is.

use vipd_common::Family;

use super::grammar::Arg;

/// One row of the table.
#[derive(Debug)]
pub struct Keyword {
    pub name: &'static str,
    /// The keyword that sets the same; its own name unless it is a synonym or the opposite.
    pub means: &'static str,
    /// Whether a `{` must follow.
    pub block: bool,
    /// As one would write it; what absence means.
    pub default: Option<&'static str>,
    /// The keyword of `global_defs` that gives it to the instances that do not.
    pub global: Option<&'static str>,
    /// What else gives it where neither of the two stands, in the order in which they are asked.
    pub instead: &'static [&'static str],
    /// Its block is of no use without it. Of rows with a grammar only: `lower` knows the others.
    pub required: bool,
    /// May stand more than once, and all count; otherwise the last one does. Of blocks it goes without saying.
    pub many: bool,
    pub status: Support,
}

#[derive(Debug)]
pub enum Support {
    Supported(KeywordForm),
    /// Has no meaning under vipd; why.
    NoEffect {
        reason: &'static str,
        takes: &'static [Arg],
    },
    /// keepalived does it, vipd does not, and all else means the same without it: ignored with a warning. What to do instead.
    Dropped {
        instead: &'static str,
        takes: &'static [Arg],
    },
    /// Read by a grammar, and kept as it is.
    Grammar {
        takes: &'static [Arg],
        inside: Inside,
        engine: Engine,
    },
    /// keepalived knows it, vipd not yet, and what it stands in would mean something else without it; what to do.
    NotYet(&'static str),
    /// keepalived knows it, vipd never will; why.
    Refused(&'static str),
}

/// Whether vipd does what a statement asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    Present,
    /// keepalived does it, vipd not yet; what to do.
    Missing(&'static str),
    /// The same, and what it stands in would be something else without it: always refused.
    Needed(&'static str),
    /// The model has it, and nothing acts on it yet; all else means the same without it: ignored with a warning. What to do instead.
    Unserved(&'static str),
    /// As the block that it stands in.
    OfBlock,
}

/// Whether the daemon balances load. While it does not, `virtual_server`, `virtual_server_group` and `SSL` are refused, or ignored with
/// `--allow-unsupported`, and what `global_defs` says about them is ignored, each with a warning. The model has all of it either way.
pub const BALANCES: bool = true;

/// What to do while it does not.
pub const LVS: &str = "leave load balancing to a keepalived of its own, without vrrp_instance";
pub const LVS_ONLY: &str =
    "it is about load balancing, which vipd leaves to a keepalived without vrrp_instance";

impl Engine {
    /// What it is if services are served, or if they are not.
    pub fn in_force(self, balances: bool) -> Self {
        match self {
            Self::Missing(LVS) | Self::Unserved(LVS_ONLY) if balances => Self::Present,
            engine => engine,
        }
    }
}

/// What the braces after a keyword with a grammar hold.
#[derive(Clone, Copy, Debug)]
pub enum Inside {
    /// There are none.
    Nothing,
    Statements(Block),
    Lines(&'static [Arg]),
    /// Lines as in this block of an instance.
    LinesOf(Block),
}

/// What follows a keyword.
#[derive(Debug)]
pub enum KeywordForm {
    Block(Block),
    /// Nothing.
    Bare,
    /// Nothing: the keyword stands for this word after what it means.
    Stands(&'static str),
    /// Nothing, or a boolean.
    Flag,
    /// The same, of a keyword that says the opposite of what it means.
    NotFlag,
    Text,
    Choice(&'static [&'static str]),
    Whole {
        min: u32,
        max: u32,
    },
    /// Whole seconds.
    Seconds {
        max_s: u32,
    },
    /// Decimal seconds, to the microsecond.
    Decimal {
        min_us: u64,
        max_us: u64,
    },
    /// The name of an interface.
    Interface,
    /// An address of either family.
    Unicast,
    /// The same; a prefix length behind it is ignored, as keepalived does.
    Source,
    /// `None`: of either family.
    Multicast(Option<Family>),
    /// `ADDR[/LEN]` or `default`.
    Network,
    /// A whole number or one of the names.
    Named {
        of: &'static [(&'static str, u32)],
        min: u32,
        max: u32,
    },
    /// `VALUE[/MASK]`, decimal or hexadecimal.
    Mark,
    /// What may follow `use_vmac`: a name, a number, a MAC address and more. None of it changes anything.
    Vmac,
    /// What may follow `include_check`. `source` has acted on it: here it is only checked.
    IncludeCheck,
}

/// The blocks whose keywords or lines vipd reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Block {
    Root,
    GlobalDefs,
    Instance,
    Authentication,
    VirtualIpaddress,
    VirtualIpaddressExcluded,
    UnicastPeer,
    VirtualRoutes,
    VirtualRules,
    /// The words after the address on a line of `VirtualIpaddress` and `VirtualIpaddressExcluded`.
    VipOption,
    /// The words after the address on a line of `UnicastPeer`.
    PeerOption,
    /// The words on a line of `VirtualRoutes` up to the first `nexthop`.
    Route,
    /// The words after a `nexthop`.
    Hop,
    /// The words on a line of `VirtualRules`.
    Rule,
    // Read by grammars.
    Script,
    TrackProcess,
    TrackFile,
    Arbiter,
    SyncGroup,
    TrackGroup,
    GarpGroup,
    Bfd,
    AuthHmac,
    Probe,
    Ssl,
    VirtualServer,
    RealServer,
    TcpCheck,
    TextCheck,
    HttpGet,
    Url,
    MiscCheck,
    SmtpCheck,
    SmtpHost,
    DnsCheck,
    PingCheck,
    UdpCheck,
    FileCheck,
    BfdCheck,
}

impl Keyword {
    /// The block this keyword opens, if its inside is read.
    pub fn opens(&self) -> Option<Block> {
        match self.status {
            Support::Supported(KeywordForm::Block(block)) => Some(block),
            Support::Grammar { inside: Inside::Statements(block) | Inside::LinesOf(block), .. } => {
                Some(block)
            }
            _ => None,
        }
    }
}

impl KeywordForm {
    /// How many words a line's keyword of this form takes after itself.
    pub fn values(&self) -> usize {
        usize::from(!matches!(self, Self::Block(_) | Self::Bare | Self::Stands(_) | Self::IncludeCheck))
    }
}
