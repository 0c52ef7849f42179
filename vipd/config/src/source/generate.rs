//! `~SEQ(var, [start, [step,]] end)`, `~SEQx(...)` and `~LST(var, value...)`: the rest of the line, once for each value.

use super::{
    define::is_name,
    expander::{Definition, Expander, Origin, REPLACEMENTS_MAX},
    source_map::MappedLine,
};
use crate::syntax::{diagnostic::Code, report::fit};

/// The names that a generator sets, and what it sets them to, in turn.
#[derive(Debug, PartialEq, Eq)]
struct Generator {
    names: Vec<String>,
    values: GeneratedValues,
}

#[derive(Debug, PartialEq, Eq)]
enum GeneratedValues {
    Sequence { start: i64, step: i64, count: i64, hexadecimal: bool },
    List(Vec<Vec<String>>),
}

impl GeneratedValues {
    /// Made as they are asked for: a line may hold many generators of many values.
    fn at(&self, index: i64) -> Option<Vec<String>> {
        match self {
            Self::Sequence { start, step, count, hexadecimal } => (index < *count).then(|| {
                let number = start + index * step;
                vec![if *hexadecimal { format!("{number:x}") } else { number.to_string() }]
            }),
            Self::List(values) => values.get(usize::try_from(index).ok()?).cloned(),
        }
    }

    fn all(&self) -> impl Iterator<Item = Vec<String>> {
        (0..).map_while(|index| self.at(index))
    }
}

impl Expander<'_> {
    pub(super) fn generator(&mut self, mut mapped: MappedLine, origin: &Origin) {
        let text = mapped.text();
        let Some(end) = end_of(&text) else {
            let span = self.span(&mapped, 0, 4, origin);
            let message = "this generator has no `(...)`";
            return self.report.error_hint(Code::Generator, span, message, EXAMPLE);
        };
        let from = text.chars().position(|c| c == '(').unwrap_or(0) + 1;
        // Names in the parentheses are replaced; those behind them may be the generator's own.
        let mut arguments = mapped.clone();
        arguments.truncate(end);
        arguments.skip(from);
        let rounds = (0..REPLACEMENTS_MAX).take_while(|_| self.replace(&mut arguments, origin)).count();
        let arguments = arguments.text();
        let generator = match text.split('(').next().unwrap_or_default().trim_end() {
            _ if rounds == REPLACEMENTS_MAX => {
                Err("the definitions in this generator do not come to an end".to_owned())
            }
            "~SEQ" => sequence(&arguments, false),
            "~SEQx" => sequence(&arguments, true),
            "~LST" => list(&arguments),
            keyword => Err(format!("no generator `{}`", fit(keyword))),
        };
        let generator = match generator {
            Ok(generator) => generator,
            Err(problem) => {
                let span = self.span(&mapped, 0, from, origin);
                // A list may hold passwords.
                if text.starts_with("~LST") {
                    self.report.hide(span.line, span.column + span.width);
                }
                return self.report.error_hint(Code::Generator, span, problem, EXAMPLE);
            }
        };
        mapped.skip(end + 1);
        let before: Vec<_> =
            generator.names.iter().map(|name| (name.clone(), self.definitions.get(name).cloned())).collect();
        self.nest(origin, |expander| {
            for values in generator.values.all() {
                if !expander.has_room(origin) {
                    break;
                }
                for (name, value) in generator.names.iter().zip(values) {
                    expander.definitions.insert(name.clone(), Definition::Text(value));
                }
                expander.line(mapped.clone(), origin);
            }
        });
        for (name, definition) in before {
            match definition {
                Some(definition) => self.definitions.insert(name, definition),
                None => self.definitions.remove(&name),
            };
        }
    }
}

/// Where a line has a generator that does nothing: behind its start, and not in quotes.
pub fn position(mapped: &MappedLine) -> Option<usize> {
    let mut quoted = false;
    (0..mapped.len()).find(|at| {
        quoted ^= mapped.char(*at) == Some('"');
        !quoted && ["~SEQ(", "~LST("].iter().any(|start| mapped.has(*at, start))
    })
}

/// Position of the parenthesis that closes the first one.
fn end_of(text: &str) -> Option<usize> {
    let mut depth = 0;
    for (at, c) in text.chars().enumerate() {
        match c {
            '(' => depth += 1,
            ')' if depth == 1 => return Some(at),
            ')' => depth -= 1,
            _ => {}
        }
    }
    None
}

fn sequence(arguments: &str, hexadecimal: bool) -> Result<Generator, String> {
    let words: Vec<&str> = arguments.split(',').map(str::trim).collect();
    let (name, numbers) = words.split_first().ok_or("a sequence needs a name")?;
    let numbers: Vec<i64> = numbers
        .iter()
        .map(|word| number(word).ok_or_else(|| format!("`{}` is no number", fit(word))))
        .collect::<Result<_, _>>()?;
    let direction = |start: i64, end: i64| if end < start { -1 } else { 1 };
    let (start, step, end) = match numbers[..] {
        [end] => (end.signum(), direction(end.signum(), end), end),
        [start, end] => (start, direction(start, end), end),
        [start, step, end] => (start, step, end),
        _ => return Err("a sequence takes a name and one to three numbers".to_owned()),
    };
    if step == 0 || (end - start).signum() * step.signum() < 0 {
        return Err(format!("from {start} by {step} one does not come to {end}"));
    }
    let values = GeneratedValues::Sequence { start, step, count: (end - start) / step + 1, hexadecimal };
    Ok(Generator { names: vec![named(name)?], values })
}

fn list(arguments: &str) -> Result<Generator, String> {
    let groups = split(arguments);
    let (names, values) = groups.split_first().ok_or("a list needs a name")?;
    let names = names.iter().map(|name| named(name)).collect::<Result<Vec<_>, _>>()?;
    if values.is_empty() {
        return Err("a list needs a value".to_owned());
    }
    if let Some(group) = values.iter().find(|group| group.len() != names.len()) {
        return Err(format!("{} values for {} names", group.len(), names.len()));
    }
    Ok(Generator { names, values: GeneratedValues::List(values.to_vec()) })
}

/// What stands between commas; in braces, each of what stands between commas there.
fn split(text: &str) -> Vec<Vec<String>> {
    let mut groups = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        let group = match rest.strip_prefix('{').and_then(|rest| rest.split_once('}')) {
            Some((inside, after)) => {
                rest = after.trim_start();
                inside.split(',').map(|word| word.trim().to_owned()).collect()
            }
            None => {
                let end = rest.find(',').unwrap_or(rest.len());
                let word = rest[..end].trim().to_owned();
                rest = &rest[end..];
                vec![word]
            }
        };
        groups.push(group);
        match rest.strip_prefix(',') {
            // An empty value may be the last.
            Some(after) if after.trim().is_empty() => {
                groups.push(vec![String::new()]);
                break;
            }
            Some(after) => rest = after.trim_start(),
            None => rest = rest.trim_start(),
        }
    }
    groups
}

fn named(name: &str) -> Result<String, String> {
    let valid = is_name(name) && !name.starts_with(|c: char| c.is_ascii_digit());
    if valid { Ok(name.to_owned()) } else { Err(format!("`{}` is no name", fit(name))) }
}

/// Decimal, or hexadecimal with `0x`.
fn number(word: &str) -> Option<i64> {
    let (sign, digits) = match word.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, word),
    };
    let number = match digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        Some(hexadecimal) => u32::from_str_radix(hexadecimal, 16).ok()?,
        None => digits.parse().ok()?,
    };
    Some(sign * i64::from(number))
}

const EXAMPLE: &str = "as in `~SEQ(i, 1, 10) 10.0.0.${i}` or `~LST(i, 3, 7) 10.0.0.${i}`";

#[cfg(test)]
mod tests {
    use super::*;

    fn values(generator: Result<Generator, String>) -> Vec<String> {
        generator.unwrap().values.all().map(|values| values.join("+")).collect()
    }

    #[test]
    fn sequences() {
        let decimal = |text: &str| values(sequence(text, false));
        assert_eq!(decimal("i, 3"), ["1", "2", "3"]);
        assert_eq!(decimal("i, -2"), ["-1", "-2"]);
        assert_eq!(decimal("i, 5, 3"), ["5", "4", "3"]);
        assert_eq!(decimal("i,1,2,6"), ["1", "3", "5"]);
        assert_eq!(decimal("i, 7, 7"), ["7"]);
        assert_eq!(values(sequence("i, 0x90, 0x10, 0xb0", true)), ["90", "a0", "b0"]);
        for (text, problem) in [
            ("i, 1, 0, 3", "from 1 by 0 one does not come to 3"),
            ("i, 1, -1, 3", "from 1 by -1 one does not come to 3"),
            ("i, x", "`x` is no number"),
            ("i", "a sequence takes a name and one to three numbers"),
            ("1, 2", "`1` is no name"),
        ] {
            assert_eq!(sequence(text, false).unwrap_err(), problem, "{text}");
        }
    }

    #[test]
    fn lists() {
        assert_eq!(values(list("v, a, b b,c")), ["a", "b b", "c"]);
        assert_eq!(values(list("{v, w}, {1,2} , {3, 4}")), ["1+2", "3+4"]);
        assert_eq!(values(list("v, a,")), ["a", ""]);
        assert_eq!(list("v").unwrap_err(), "a list needs a value");
        assert_eq!(list("{v,w}, {1}").unwrap_err(), "1 values for 2 names");
    }
}
