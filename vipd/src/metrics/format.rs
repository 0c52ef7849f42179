//! Which of the two text formats a client is answered in.

/// A text format of Prometheus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Version 0.0.4, which everything that reads metrics takes.
    Classic,
    /// OpenMetrics 1.0, for who asks for it.
    OpenMetrics,
}

/// A weight of an `Accept` header in thousandths: 1 unless it says another.
const WHOLE: u32 = 1000;

impl Format {
    /// Of the values of `Accept` headers: OpenMetrics if it is named and liked no less than plain text, else the classic one.
    pub fn accepted<'h>(headers: impl Iterator<Item = &'h str>) -> Self {
        let (mut open, mut classic) = (0, 0);
        for range in headers.flat_map(|header| header.split(',')) {
            let mut parts = range.split(';').map(str::trim);
            let name = parts.next().unwrap_or_default().to_ascii_lowercase();
            let (mut weight, mut version) = (WHOLE, None);
            for (key, value) in parts.filter_map(|part| part.split_once('=')) {
                let value = value.trim().trim_matches('"');
                match key.trim().to_ascii_lowercase().as_str() {
                    "q" => weight = thousandths(value),
                    "version" => version = Some(value.to_owned()),
                    _ => {}
                }
            }
            match (name.as_str(), version.as_deref()) {
                ("application/openmetrics-text", None | Some("1.0.0")) => open = weight.max(open),
                ("text/plain", None | Some("0.0.4")) => classic = weight.max(classic),
                // Of another version, or a wildcard that the classic format is the answer to.
                _ => {}
            }
        }
        if open > 0 && open >= classic { Self::OpenMetrics } else { Self::Classic }
    }

    /// The value of `Content-Type`.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Classic => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// `0`, `1`, `0.5`, `0.333` (RFC 9110 12.4.2); what is no weight is as much as none.
fn thousandths(text: &str) -> u32 {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let mut digits = part.bytes().chain(std::iter::repeat(b'0')).take(3);
    let part = digits.try_fold(0, |sum: u32, digit| Some(sum * 10 + char::from(digit).to_digit(10)?));
    match (whole, part) {
        ("0", Some(part)) => part,
        _ => WHOLE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_metrics_is_for_who_asks_for_it() {
        use Format::{Classic, OpenMetrics};
        for (accept, expect) in [
            (&[][..], Classic),
            (&["*/*"], Classic),
            (&["text/html,application/xhtml+xml;q=0.9,*/*;q=0.8"], Classic),
            (&["text/plain"], Classic),
            (&["application/openmetrics-text"], OpenMetrics),
            (&["application/openmetrics-text; version=1.0.0; charset=utf-8"], OpenMetrics),
            (&["Application/OpenMetrics-Text;Version=\"1.0.0\";Q=1"], OpenMetrics),
            // Prometheus 2.5 to 2.34 knew only the draft.
            (
                &["application/openmetrics-text; version=0.0.1,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"],
                Classic,
            ),
            // Prometheus 2.42 of Debian 12.
            (
                &[
                    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
                   text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
                ],
                OpenMetrics,
            ),
            // Prometheus 3.
            (
                &["application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,\
                   application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,\
                   text/plain;version=0.0.4;q=0.2,*/*;q=0.1"],
                OpenMetrics,
            ),
            (&["application/openmetrics-text;q=0.3, text/plain;q=0.31"], Classic),
            (&["application/openmetrics-text;q=0.31", "text/plain;q=0.31"], OpenMetrics),
            (&["application/openmetrics-text;q=0"], Classic),
            (&["application/openmetrics-text;q=0.000"], Classic),
            (&["application/openmetrics-text;q=0.001"], OpenMetrics),
            (&[",;=,;q,"], Classic),
        ] {
            assert_eq!(Format::accepted(accept.iter().copied()), expect, "{accept:?}");
        }
    }
}
