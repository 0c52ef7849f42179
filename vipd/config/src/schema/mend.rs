//! What was meant by a word that cannot be read.

/// A word that can be read in the place of `text`, and why.
pub fn mend(text: &str, reads: impl Fn(&str) -> bool) -> Option<(String, &'static str)> {
    let number = || text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let candidates = [
        (text.trim_end_matches([',', ';']).to_owned(), "a statement ends with its line"),
        (text.trim_start_matches('=').to_owned(), "a blank stands between a keyword and its value"),
        (text.replace(',', "."), "a dot, not a comma"),
        (text.replace(['O', 'o'], "0"), "the digit 0, not the letter"),
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

/// What is wrong with an address that is none, where that can be told.
pub fn address_fault(text: &str) -> Option<String> {
    let address = text.split('/').next().unwrap_or_default();
    if address.contains(':') {
        let groups = address.split(':').count();
        let is_hex = address.chars().all(|c| c == ':' || c.is_ascii_hexdigit());
        let few = is_hex && groups < 8 && !address.contains("::");
        return few
            .then(|| format!("IPv6 has eight groups, here are {groups}: `::` stands for those that are 0"));
    }
    let numbers: Vec<&str> = address.split('.').collect();
    if numbers.len() < 2 || numbers.iter().any(|n| n.is_empty() || !n.chars().all(|c| c.is_ascii_digit())) {
        return None;
    }
    if numbers.len() != 4 {
        return Some(format!("IPv4 has four numbers, here are {}", numbers.len()));
    }
    let wrong = numbers
        .iter()
        .find(|number| number.parse::<u8>().is_err() || number.len() > 1 && number.starts_with('0'));
    wrong.map(|number| match number.starts_with('0') {
        true => format!("write {number} without zeros before it"),
        false => format!("{number} is above 255"),
    })
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
        assert_eq!(mended("1O").as_deref(), Some("10"));
        for (text, fault) in [
            ("10.0.0.300", Some("300 is above 255")),
            ("10.0.0.300/24", Some("300 is above 255")),
            ("10.0.0", Some("IPv4 has four numbers, here are 3")),
            ("10.0.0.4.5", Some("IPv4 has four numbers, here are 5")),
            ("10.0.0.03", Some("write 03 without zeros before it")),
            ("fe80:3", Some("IPv6 has eight groups, here are 2: `::` stands for those that are 0")),
            ("fe80::3", None),
            ("10.0.0.3", None),
            ("eth0", None),
            ("10.0.x.3", None),
        ] {
            assert_eq!(address_fault(text).as_deref(), fault, "{text}");
        }
        for text in ["2m", "x", "300s", ";", "9"] {
            assert_eq!(mended(text), None, "{text}");
        }
        assert_eq!(mend("backup", |text| text == "BACKUP"), Some(("BACKUP".to_owned(), "capitals count")));
    }
}
