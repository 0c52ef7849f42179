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

/// Octets and their masks: two digits each, `x` for one that may be any.
pub fn pattern(text: &str) -> Option<Vec<(u8, u8)>> {
    let pair = |pair: &[u8]| match pair {
        [high, low] => {
            let ((high, high_mask), (low, low_mask)) = (nibble(*high)?, nibble(*low)?);
            Some((high << 4 | low, high_mask << 4 | low_mask))
        }
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
