//! A captured frame as clients get it.

use serde::{Deserialize, Serialize};

/// A captured frame.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShownFrame {
    pub time_unix_ns: u64,
    /// Name of the interface that the program runs on; `#` and its index if it has gone.
    pub interface: String,
    pub direction: Direction,
    pub verdict: CapturedVerdict,
    /// The counter that says why; `None`: the frame concerns no VIP and no virtual router.
    pub reason: Option<String>,
    /// Whether the program runs at tc ingress.
    pub tc: bool,
    /// Octets of the whole frame.
    pub length: u32,
    /// Its first octets.
    #[serde(with = "hex")]
    pub octets: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    In,
    /// The program has sent it, in answer to the frame before.
    Out,
}

/// What the program decided on the frame that came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CapturedVerdict {
    Dropped,
    /// To the kernel, and to other programs.
    Passed,
    /// Made into the answer, or sent on to another router.
    Sent,
}

/// Octets as hexadecimal digits.
pub mod hex {
    use std::fmt::Write as _;

    use serde::{Deserialize as _, Deserializer, Serializer, de::Error};

    /// Two digits for each octet.
    pub fn encode(octets: &[u8]) -> String {
        let mut text = String::with_capacity(2 * octets.len());
        for octet in octets {
            let _ = write!(text, "{octet:02x}");
        }
        text
    }

    pub(super) fn serialize<S: Serializer>(octets: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&encode(octets))
    }

    pub(super) fn deserialize<'d, D: Deserializer<'d>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(deserializer)?;
        let digits = text.as_bytes().chunks(2);
        let octet = |pair: &[u8]| {
            let pair = std::str::from_utf8(pair).ok().filter(|pair| pair.len() == 2)?;
            u8::from_str_radix(pair, 16).ok()
        };
        digits.map(octet).collect::<Option<_>>().ok_or_else(|| D::Error::custom("no hexadecimal digits"))
    }
}
