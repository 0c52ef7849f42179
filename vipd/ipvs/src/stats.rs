//! Statistics of a service or a destination.

use crate::attributes::{AttributeList, AttributeReader, MalformedReply};

/// The view of an `IPVS_*_ATTR_STATS64` nest, or of an `IPVS_*_ATTR_STATS` nest of a kernel before 4.1.
#[derive(Clone, Copy, Debug)]
pub struct StatsView {
    fields: [u64; 10],
}

impl StatsView {
    /// The view of a nest where every number has 64 bits.
    ///
    /// # Errors
    ///
    /// [`MalformedReply::Attribute`], [`MalformedReply::Length`], [`MalformedReply::Missing`]
    pub fn new_checked(octets: &[u8]) -> Result<Self, MalformedReply> {
        Self::checked(octets, |_, value| value.len() == 8)
    }

    /// The view of the older nest: 32 bits, which wrap, but for the octets, which have 64.
    ///
    /// # Errors
    ///
    /// As [`Self::new_checked`]
    pub fn new_checked_narrow(octets: &[u8]) -> Result<Self, MalformedReply> {
        Self::checked(octets, |number, value| {
            value.len() == if matches!(number, OCTETS_IN | OCTETS_OUT) { 8 } else { 4 }
        })
    }

    fn checked(octets: &[u8], fits: impl Fn(u16, &[u8]) -> bool) -> Result<Self, MalformedReply> {
        let mut fields = [None; 10];
        for (number, value) in AttributeList::new_checked(octets)?.iter() {
            let index = usize::from(number.wrapping_sub(CONNECTIONS));
            let Some(field) = fields.get_mut(index) else { continue };
            if !fits(number, value) {
                return Err(STATS.length(number, value));
            }
            *field = Some(match value.len() {
                4 => STATS.u32(number, value)?.into(),
                _ => STATS.u64(number, value)?,
            });
        }
        let mut view = Self { fields: [0; 10] };
        for ((number, found), field) in (CONNECTIONS..).zip(fields).zip(&mut view.fields) {
            *field = found.ok_or(STATS.missing(number))?;
        }
        Ok(view)
    }
}

/// What a service or a destination has had to do since it was made or zeroed.
///
/// The kernel sums the numbers up every 2 s, and estimates the rates then, as a weighted mean (`ip_vs_est.c`): what is read is up to
/// 2 s old.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TrafficStats {
    /// Connections that were scheduled.
    pub connections: u64,
    /// Packets from clients.
    pub packets_in: u64,
    /// Packets from servers. 0 where replies do not pass this host: direct routing, tunnels.
    pub packets_out: u64,
    /// Octets from clients.
    pub octets_in: u64,
    /// Octets from servers, as for `packets_out`.
    pub octets_out: u64,
    /// New connections per second.
    pub connections_per_s: u64,
    /// Packets from clients per second.
    pub packets_in_per_s: u64,
    /// Packets from servers per second.
    pub packets_out_per_s: u64,
    /// Octets from clients per second.
    pub octets_in_per_s: u64,
    /// Octets from servers per second.
    pub octets_out_per_s: u64,
}

impl TrafficStats {
    /// Reads the view.
    pub const fn parse(view: &StatsView) -> Self {
        let [
            connections,
            packets_in,
            packets_out,
            octets_in,
            octets_out,
            connections_per_s,
            packets_in_per_s,
            packets_out_per_s,
            octets_in_per_s,
            octets_out_per_s,
        ] = view.fields;
        Self {
            connections,
            packets_in,
            packets_out,
            octets_in,
            octets_out,
            connections_per_s,
            packets_in_per_s,
            packets_out_per_s,
            octets_in_per_s,
            octets_out_per_s,
        }
    }
}

const STATS: AttributeReader = AttributeReader("statistics");

// IPVS_STATS_ATTR_*, the first of ten and those that always have 64 bits.
const CONNECTIONS: u16 = 1;
const OCTETS_IN: u16 = 4;
const OCTETS_OUT: u16 = 5;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attributes::{attribute, octets_of};

    #[test]
    fn both_widths_are_read() {
        let wide: Vec<_> = (1..=10).map(|n| attribute(n, (u64::from(n) << 40).to_ne_bytes())).collect();
        let stats = TrafficStats::parse(&StatsView::new_checked(&octets_of(&wide)).unwrap());
        assert_eq!(
            (stats.connections, stats.octets_out, stats.octets_out_per_s),
            (1 << 40, 5 << 40, 10 << 40)
        );
        let narrow = |n: u16| match n {
            4 | 5 => attribute(n, u64::from(n).to_ne_bytes()),
            n => attribute(n, u32::from(n).to_ne_bytes()),
        };
        // 11 is padding, 12 of a later kernel.
        let narrow: Vec<_> = (1..=10).map(narrow).chain([attribute(11, []), attribute(12, [1])]).collect();
        let view = StatsView::new_checked_narrow(&octets_of(&narrow)).unwrap();
        assert_eq!(view.fields, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
        let error = |octets: &[u8]| StatsView::new_checked(octets).map(|view| view.fields);
        let length = MalformedReply::Length { nest: "statistics", attribute: 1, octets: 4 };
        assert_eq!(error(&octets_of(&narrow)), Err(length));
        let missing = MalformedReply::Missing { nest: "statistics", attribute: 10 };
        assert_eq!(error(&octets_of(&wide[..9])), Err(missing));
        assert_eq!(error(&[1, 0]), Err(MalformedReply::Attribute));
    }
}
