//! Texts of other programs, made safe for the log.

/// Characters kept of such a text.
const KEPT: usize = 512;

/// A text from another program for the log, an event or a terminal. Control characters are escaped, so that it forges no line and moves
/// no cursor; a long text is cut.
pub fn printable(text: &str) -> String {
    printable_to(text, KEPT)
}

/// The same of at most so many characters.
pub fn printable_to(text: &str, most: usize) -> String {
    let mut kept = String::new();
    for (n, character) in text.chars().enumerate() {
        if n == most {
            kept.push_str(" [...]");
            break;
        }
        // Also the marks that turn the direction of writing.
        if character.is_control() || matches!(character, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}') {
            kept.extend(character.escape_default());
        } else {
            kept.push(character);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_forges_no_line_and_is_not_long() {
        for (text, expect) in [
            ("550 no such user", "550 no such user"),
            ("a\r\nb\tc", "a\\r\\nb\\tc"),
            ("\u{1b}[2Jä\u{202e}", "\\u{1b}[2Jä\\u{202e}"),
        ] {
            assert_eq!(printable(text), expect);
        }
        assert_eq!(printable(&"x".repeat(1_000_000)).len(), KEPT + " [...]".len());
    }
}
