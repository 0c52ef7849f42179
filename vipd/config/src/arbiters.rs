//! Arbiters: addresses that a node must reach to be the master. An extension of vipd.

mod check;

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use super::{
    grammar::Value,
    model::Statement,
    statement::{count, find, seconds, text},
    tracking::Weight,
    values,
};

pub use check::{Placed, check, check_block};

/// One `arbiter` block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arbiter {
    pub name: String,
    /// At least one, all different.
    pub targets: Vec<Target>,
    /// How many must answer, 1 to the number of targets.
    pub quorum: usize,
    /// From one round of questions to the next, at least 10 ms.
    pub interval: Duration,
    /// What a target is given to answer, at most the interval.
    pub timeout: Duration,
    /// Rounds in a row after which it is reached, at least 1.
    pub rise: u32,
    /// Rounds in a row after which it is not, at least 1.
    pub fall: u32,
    pub action: IsolatedAction,
}

/// What becomes of the instances of a node that does not reach its arbiter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IsolatedAction {
    /// They are in FAULT.
    Fault,
    /// This much is taken off their priorities.
    Lower(u8),
    /// Nothing: it is only told.
    None,
}

/// What an arbiter asks: a station, or with a port a service on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Unicast, and not of the loopback.
    pub address: IpAddr,
    /// The interface of a link-local address; `None` of all others.
    pub zone: Option<String>,
    /// `None`: it is asked for an echo.
    pub port: Option<u16>,
}

impl Arbiter {
    pub fn of(block: &Statement) -> Option<Self> {
        let inside = block.inside.as_deref()?;
        let asked = inside.iter().filter(|statement| matches!(statement.keyword, "ping" | "tcp"));
        let target =
            |value: &Value| if let Value::Target(target) = value { Some(target.clone()) } else { None };
        let targets: Vec<Target> = asked.flat_map(|statement| &statement.values).filter_map(target).collect();
        let interval = seconds(find(inside, "interval")?, 0)?;
        let given = |keyword| find(inside, keyword).map(|_| count(inside, keyword));
        let action = find(inside, "isolated_action")?;
        Some(Self {
            name: text(&block.values, 0).to_owned(),
            quorum: given("quorum").map_or(majority(targets.len()), |quorum| quorum as usize),
            targets,
            interval,
            timeout: find(inside, "timeout")
                .and_then(|timeout| seconds(timeout, 0))
                .unwrap_or(TIMEOUT.min(interval)),
            rise: count(inside, "rise"),
            fall: count(inside, "fall"),
            action: match action.values.as_slice() {
                [Value::Word("lower"), Value::Number(by)] => {
                    IsolatedAction::Lower(u8::try_from(*by).unwrap_or(u8::MAX))
                }
                [Value::Word("none")] => IsolatedAction::None,
                _ => IsolatedAction::Fault,
            },
        })
    }

    /// What it does to an instance; `None`: nothing.
    pub fn weight(&self) -> Option<Weight> {
        let value = match self.action {
            IsolatedAction::Fault => 0,
            IsolatedAction::Lower(by) => -i32::from(by),
            IsolatedAction::None => return None,
        };
        Some(Weight { value, reverse: false })
    }

    /// The longest from the end of a path to the verdict: it may end just behind an answer.
    pub fn notices_after(&self) -> Duration {
        self.interval * self.fall + self.timeout
    }
}

impl Target {
    /// `ADDRESS`, of a link-local one `ADDRESS%INTERFACE`.
    pub fn station(text: &str) -> Result<Self, String> {
        let (address, zone) = match text.split_once('%') {
            Some((address, zone)) => (address, Some(values::interface(zone)?)),
            None => (text, None),
        };
        let address = values::unicast(address)?;
        match (values::is_link_local(address), zone) {
            (true, None) => Err("is link-local and lacks its interface: as in `fe80::1%eth0`".to_owned()),
            (false, Some(_)) => {
                Err("has an interface (`%`), which only link-local addresses have".to_owned())
            }
            (_, zone) => Ok(Self { address, zone, port: None }),
        }
    }

    /// `ADDRESS:PORT`, of IPv6 `[ADDRESS]:PORT`.
    pub fn service(text: &str) -> Result<Self, String> {
        let shape = "is not of the form `ADDRESS:PORT` or `[ADDRESS]:PORT`";
        let (station, port) = text.rsplit_once(':').ok_or(shape)?;
        let bare = station.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        let target = match bare {
            Some(bare) => Self::station(bare)?,
            // `2001:db8::1` has a colon before its last group, too.
            None if station.contains(':') => return Err(shape.to_owned()),
            None => Self::station(station)?,
        };
        if target.address.is_ipv4() == bare.is_some() {
            return Err(shape.to_owned());
        }
        let port = values::whole(port, 1, u16::MAX.into());
        let port = port.map_err(|problem| format!("has a port that {problem}"))?;
        Ok(Self { port: u16::try_from(port).ok(), ..target })
    }
}

/// As the language has it.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { address, zone, port } = self;
        let zone = zone.as_ref().map(|zone| format!("%{zone}")).unwrap_or_default();
        match (address, port) {
            (_, None) => write!(f, "{address}{zone}"),
            (IpAddr::V4(_), Some(port)) => write!(f, "{}", SocketAddr::new(*address, *port)),
            (IpAddr::V6(_), Some(port)) => write!(f, "[{address}{zone}]:{port}"),
        }
    }
}

/// More than half: two sides of a partition that share no target cannot both have it.
fn majority(targets: usize) -> usize {
    targets / 2 + 1
}

/// Of a target, unless said or the interval is shorter.
const TIMEOUT: Duration = Duration::from_secs(1);
