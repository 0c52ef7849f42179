//! Commands: keepalived reads the line of a script keyword as a shell would, and then the word after the keyword once more.

/// A word on a line, and where it starts and ends, in characters.
pub struct CommandWord {
    pub text: String,
    pub start: usize,
    pub end: usize,
    /// Where a quote starts that does not end.
    pub unclosed: Option<usize>,
}

/// The words of a line after a script keyword, up to a brace outside quotes.
pub fn words(line: &[char]) -> Vec<CommandWord> {
    let mut words = Vec::new();
    let mut at = 0;
    while let Some(c) = line.get(at) {
        match c {
            '{' | '}' => break,
            c if c.is_whitespace() => at += 1,
            _ => {
                let word = word(line, at, |c| c.is_whitespace() || matches!(c, '{' | '}'));
                at = word.end;
                words.push(word);
            }
        }
    }
    words
}

/// The word that starts at `start`; it ends before a character for which `ends`, outside quotes.
fn word(line: &[char], start: usize, ends: fn(char) -> bool) -> CommandWord {
    let mut text = String::new();
    let mut quote = None;
    let mut at = start;
    while let Some(c) = line.get(at).copied() {
        match (c, quote) {
            (c, None) if ends(c) => break,
            ('\\', None | Some(('"', _))) => {
                let (c, used) = escape(&line[at + 1..]);
                text.extend(c);
                at += used;
            }
            (c, Some((open, _))) if c == open => quote = None,
            ('"' | '\'', None) => quote = Some((c, at)),
            (c, _) => text.push(c),
        }
        at += 1;
    }
    CommandWord { text, start, end: at, unclosed: quote.map(|(_, at)| at) }
}

/// What a backslash and the characters after it stand for, and how many of them it takes.
fn escape(rest: &[char]) -> (Option<char>, usize) {
    let number = |digits: &[char], radix: u32| {
        let value = digits.iter().filter_map(|c| c.to_digit(radix)).fold(0, |sum, digit| sum * radix + digit);
        char::from_u32(value & 0xff)
    };
    let run = |from: usize, max: usize, radix: u32| {
        rest[from..].iter().take(max).take_while(|c| c.is_digit(radix)).count()
    };
    match rest {
        [] => (Some('\\'), 0),
        ['a', ..] => (Some('\x07'), 1),
        ['b', ..] => (Some('\x08'), 1),
        ['E', ..] => (Some('\x1b'), 1),
        ['f', ..] => (Some('\x0c'), 1),
        ['n', ..] => (Some('\n'), 1),
        ['r', ..] => (Some('\r'), 1),
        ['t', ..] => (Some('\t'), 1),
        ['v', ..] => (Some('\x0b'), 1),
        ['x', next, ..] if next.is_ascii_hexdigit() => {
            let len = run(1, 2, 16);
            (number(&rest[1..=len], 16), 1 + len)
        }
        ['c', letter, ..] => (char::from_u32(u32::from(*letter) & 0x1f), 2),
        [digit, ..] if digit.is_digit(8) => {
            let len = run(0, 3, 8);
            (number(&rest[..len], 8), len)
        }
        [other, ..] => (Some(*other), 1),
    }
}

/// The command and its arguments in the word after a script keyword.
pub fn split(text: &str) -> Result<Vec<String>, String> {
    if text.contains('\0') {
        return Err("has a NUL character".to_owned());
    }
    // Editors and web pages make them.
    if text.contains(['“', '”', '„', '‘', '’']) {
        return Err("has typographic quotes: write `\"`".to_owned());
    }
    let line: Vec<char> = text.chars().collect();
    let mut words = Vec::new();
    let mut at = 0;
    while let Some(c) = line.get(at) {
        if c.is_whitespace() {
            at += 1;
            continue;
        }
        let word = word(&line, at, char::is_whitespace);
        if word.unclosed.is_some() {
            return Err("has a quote that is not closed".to_owned());
        }
        at = word.end;
        words.push(word.text);
    }
    if words.iter().any(|word| word.contains('\0')) {
        return Err("has a NUL character".to_owned());
    }
    if words.first().is_none_or(String::is_empty) {
        return Err("has no command".to_owned());
    }
    Ok(words)
}

/// The word that [`split`] splits into these, in double quotes.
pub fn join(words: &[String]) -> String {
    let words: Vec<String> = words.iter().map(|word| quoted(word)).collect();
    format!("\"{}\"", words.join(" ").replace('\\', "\\\\"))
}

/// One word as a shell reads it.
pub fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_@%+=:,./-".contains(c);
    let needs_escape = |c: char| matches!(c, '\'' | '"' | '\\' | '$') || c.is_control();
    if !word.is_empty() && word.chars().all(is_plain) {
        word.to_owned()
    } else if !word.contains(needs_escape) {
        format!("'{word}'")
    } else {
        let one = |c: char| match u32::from(c) {
            _ if is_plain(c) => c.to_string(),
            code @ 0..=0xff => format!("\\{code:03o}"),
            _ => format!("'{c}'"),
        };
        word.chars().map(one).collect()
    }
}
