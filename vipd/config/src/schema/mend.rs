//! What was meant by a word that cannot be read.

/// A word that can be read in the place of `text`, and why.
pub fn mend(text: &str, reads: impl Fn(&str) -> bool) -> Option<(String, &'static str)> {
    let number = || text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let candidates = [
        (text.trim_end_matches([',', ';']).to_owned(), "a statement ends with its line"),
        (text.trim_start_matches('=').to_owned(), "a blank stands between a keyword and its value"),
        (text.to_ascii_uppercase(), "capitals count"),
        (text.to_ascii_lowercase(), "capitals count"),
        (
            if SECONDS.contains(&text.get(number().len()..)?) { number().to_owned() } else { String::new() },
            "the unit is seconds",
        ),
    ];
    let fits = |(candidate, _): &(String, _)| !candidate.is_empty() && candidate != text && reads(candidate);
    candidates.into_iter().find(fits)
}

const SECONDS: [&str; 4] = ["s", "sec", "secs", "seconds"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_mistakes_are_understood() {
        let number = |text: &str| text.parse::<u8>().is_ok();
        let mended = |text| mend(text, number).map(|(mended, _)| mended);
        for (text, meant) in [("2s", "2"), ("2sec", "2"), ("9;", "9"), ("9,", "9"), ("=9", "9")] {
            assert_eq!(mended(text).as_deref(), Some(meant), "{text}");
        }
        for text in ["2m", "x", "300s", ";", "9"] {
            assert_eq!(mended(text), None, "{text}");
        }
        assert_eq!(mend("backup", |text| text == "BACKUP"), Some(("BACKUP".to_owned(), "capitals count")));
    }
}
