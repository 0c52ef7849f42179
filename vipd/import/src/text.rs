//! Files, places in them, and words.

/// A file that is read: its name for messages, and its contents.
#[derive(Clone, Debug)]
pub struct SourceText {
    /// The name for messages.
    pub name: String,
    /// The contents.
    pub contents: String,
}

/// Where something stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TextPlace {
    pub file: String,
    /// From 1.
    pub line: u32,
    /// From 1, in characters; 0: the whole line.
    pub column: u32,
}

impl TextPlace {
    /// The same line at a column from 0, in octets of `line`.
    pub fn at(&self, line: &str, octet: usize) -> Self {
        let column = line.get(..octet).map_or(0, |before| before.chars().count());
        Self { column: u32::try_from(column).unwrap_or(u32::MAX - 1) + 1, ..self.clone() }
    }

    /// For a comment: the file's name without its directories, and the line.
    pub fn short(&self) -> String {
        let name = self.file.rsplit('/').next().unwrap_or_default();
        format!("{}:{}", printable(name), self.line)
    }
}

impl SourceText {
    /// The lines with their places.
    pub(crate) fn lines(&self) -> impl Iterator<Item = (TextPlace, &str)> {
        (1..).zip(self.contents.lines()).map(|(line, text)| {
            let text = text.strip_suffix('\r').unwrap_or(text);
            (TextPlace { file: self.name.clone(), line, column: 0 }, text)
        })
    }
}

/// A word and the octet at which it starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TextWord<'t> {
    pub text: &'t str,
    pub at: usize,
}

/// Words between blanks; double quotes keep blanks, and are left out.
pub(crate) fn words(line: &str) -> Vec<TextWord<'_>> {
    let mut words = Vec::new();
    let mut rest = 0;
    while let Some(start) = line[rest..].find(|c: char| !c.is_whitespace()).map(|n| rest + n) {
        let (text, end) = match line[start..].strip_prefix('"') {
            Some(quoted) => match quoted.find('"') {
                Some(length) => (&quoted[..length], start + length + 2),
                None => (quoted, line.len()),
            },
            None => {
                let end = line[start..].find(char::is_whitespace).map_or(line.len(), |n| start + n);
                (&line[start..end], end)
            }
        };
        words.push(TextWord { text, at: start });
        rest = end;
    }
    words
}

/// A text with control characters and line ends replaced: for comments and messages.
pub(crate) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

/// A word as keepalived's language has it: in quotes where it needs them.
///
/// # Errors
///
/// The language has no way to write a double quote inside one; then what was in the way is returned.
pub(crate) fn quoted(word: &str) -> Result<String, &'static str> {
    if word.contains('"') {
        return Err("a double quote");
    }
    if word.chars().any(char::is_control) {
        return Err("a control character");
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._:-+,%=?&@~*^".contains(c);
    if !word.is_empty() && word.chars().all(plain) && !word.starts_with('@') {
        return Ok(word.to_owned());
    }
    Ok(format!("\"{word}\""))
}
