//! Octets that are written as text.

/// A hexadecimal digit, or `x` for any.
fn nibble(digit: u8) -> Option<(u8, u8)> {
    match digit {
        b'x' | b'X' => Some((0, 0)),
        digit => char::from(digit)
            .to_digit(16)
            .and_then(|digit| u8::try_from(digit).ok())
            .map(|digit| (digit, 0xf)),
    }
}

/// Octets and their masks: two digits each, `x` for one that may be any. As with keepalived one digit that is left is an octet.
pub fn pattern(text: &str) -> Option<Vec<(u8, u8)>> {
    let pair = |pair: &[u8]| match pair {
        [high, low] => {
            let ((high, high_mask), (low, low_mask)) = (nibble(*high)?, nibble(*low)?);
            Some((high << 4 | low, high_mask << 4 | low_mask))
        }
        [low] => nibble(*low).map(|(low, mask)| (low, 0xf0 | mask)),
        _ => None,
    };
    text.as_bytes().chunks(2).map(pair).collect()
}

/// Octets without any that may be any.
pub fn hexadecimal(text: &str) -> Option<Vec<u8>> {
    pattern(text)?.into_iter().map(|(octet, mask)| (mask == u8::MAX).then_some(octet)).collect()
}

/// Text with `\r`, `\n`, `\t`, `\\` and `\xNN`.
///
/// # Errors
///
/// The escape that is none.
pub fn escaped(text: &str) -> Result<Vec<u8>, String> {
    let mut octets = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\\') {
        octets.extend(before.bytes());
        let escape = after.chars().next();
        let (octet, used) = match escape {
            Some('r') => (b'\r', 1),
            Some('n') => (b'\n', 1),
            Some('t') => (b'\t', 1),
            Some('\\') => (b'\\', 1),
            Some('x') => {
                let digits = after.get(1..3).and_then(hexadecimal);
                (*digits.as_deref().and_then(<[u8]>::first).ok_or("\\x")?, 3)
            }
            other => return Err(format!("\\{}", other.map_or(String::new(), String::from))),
        };
        octets.push(octet);
        rest = after.get(used..).unwrap_or_default();
    }
    octets.extend(rest.bytes());
    Ok(octets)
}

#[cfg(test)]
mod tests {
    use super::{hexadecimal, pattern};

    /// The example of keepalived.conf(5).
    #[test]
    fn a_digit_that_is_left_is_an_octet() {
        let octets: Vec<u8> = ["Ab12f", "3", "456", "546443123"]
            .into_iter()
            .flat_map(|word| hexadecimal(word).unwrap())
            .collect();
        assert_eq!(octets, [0xab, 0x12, 0x0f, 0x03, 0x45, 0x06, 0x54, 0x64, 0x43, 0x12, 0x03]);
        assert_eq!(pattern("4x6"), Some(vec![(0x40, 0xf0), (6, 0xff)]));
        assert_eq!(pattern("x"), Some(vec![(0, 0xf0)]));
        assert_eq!((pattern("0g"), hexadecimal("0x")), (None, None));
    }
}
