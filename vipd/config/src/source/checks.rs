//! `include_check`: what makes an include fail.

/// What makes an include fail rather than be passed over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Checks {
    /// A file that cannot be read, is a directory or executable.
    pub readable: bool,
    /// A file that is named and is not there.
    pub exists: bool,
    /// A pattern that nothing matches.
    pub wildcard: bool,
    /// An alternative in braces that nothing matches.
    pub brace: bool,
}

impl Checks {
    pub const ALL: Self = Self { readable: true, exists: true, wildcard: true, brace: true };

    /// Takes note of the `include_check`s of a line: words with `+` or without switch a check on, with `-` off; no word at
    /// all means all of them.
    pub fn note(&mut self, line: &str) {
        line.split(['{', '}']).for_each(|statement| self.note_statement(statement));
    }

    fn note_statement(&mut self, statement: &str) {
        let mut words = statement.split_whitespace();
        if words.next() != Some("include_check") {
            return;
        }
        let words: Vec<&str> = words.collect();
        // Without signs the words say it all.
        if words.iter().all(|word| !word.starts_with(['+', '-'])) {
            *self = if words.is_empty() { Self::ALL } else { Self::default() };
        }
        for word in words {
            let (on, name) = match word.strip_prefix('-') {
                Some(name) => (false, name),
                None => (true, word.strip_prefix('+').unwrap_or(word)),
            };
            // What is unknown is said where the keyword is read.
            if let Some(check) = self.check(name) {
                *check = on;
                // What has to be there has to be readable.
                self.readable |= on;
            }
        }
    }

    /// The checks of both.
    pub fn and(self, other: Self) -> Self {
        Self {
            readable: self.readable | other.readable,
            exists: self.exists | other.exists,
            wildcard: self.wildcard | other.wildcard,
            brace: self.brace | other.brace,
        }
    }

    fn check(&mut self, name: &str) -> Option<&mut bool> {
        Some(match name {
            "read" | "readable" => &mut self.readable,
            "match" => &mut self.exists,
            "wildcard_match" => &mut self.wildcard,
            "brace_match" => &mut self.brace,
            _ => return None,
        })
    }
}

/// Whether a word of `include_check` means anything.
pub fn is_check(word: &str) -> bool {
    Checks::default().check(word.strip_prefix(['+', '-']).unwrap_or(word)).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checks_are_switched() {
        let mut checks = Checks::default();
        checks.note("global_defs { include_check }");
        assert_eq!(checks, Checks::ALL);
        checks.note("include_check -brace_match");
        assert_eq!(checks, Checks { brace: false, ..Checks::ALL });
        checks.note("  include_check read");
        assert_eq!(checks, Checks { readable: true, ..Checks::default() });
        checks.note("include_check +match");
        assert_eq!(checks, Checks { exists: true, readable: true, ..Checks::default() });
        checks.note("include_check wildcard_match");
        assert_eq!(checks, Checks { wildcard: true, readable: true, ..Checks::default() });
    }
}
