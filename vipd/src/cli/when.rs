//! Times and numbers on the command line: `--since` and `--until` of `vipd events`. All times are UTC, as events show them.

use std::{str::FromStr, time::Duration};

/// Where events begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Since {
    /// After the event of this number.
    Number(u64),
    Time(When),
}

/// A time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// Milliseconds before now.
    Ago(u64),
    /// Milliseconds since 1970.
    At(u64),
    /// Midnight, so many days before today's.
    Midnight(u64),
}

impl When {
    /// In milliseconds since 1970, as of `now_ms`.
    pub fn unix_ms(self, now_ms: u64) -> u64 {
        match self {
            Self::Ago(ms) => now_ms.saturating_sub(ms),
            Self::At(ms) => ms,
            Self::Midnight(days) => (now_ms / DAY_MS).saturating_sub(days) * DAY_MS,
        }
    }
}

impl FromStr for Since {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = text.strip_prefix('#').unwrap_or(text);
        match number.parse() {
            Ok(number) => Ok(Self::Number(number)),
            Err(_) => text.parse().map(Self::Time).map_err(|_| {
                format!("expected the number of an event, as in 41 or #41, or a time: {WANTED}")
            }),
        }
    }
}

impl FromStr for When {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let read = || match text {
            "now" => Some(Self::Ago(0)),
            "today" => Some(Self::Midnight(0)),
            "yesterday" => Some(Self::Midnight(1)),
            _ => ago(text).map(Self::Ago).or_else(|| at(text).map(Self::At)),
        };
        read().ok_or_else(|| format!("expected a time: {WANTED}"))
    }
}

/// A length of time, as `90s`, `10m` or `1h30m`.
pub fn span(text: &str) -> Result<Duration, String> {
    let ms = ago(text).filter(|ms| *ms > 0);
    ms.map(Duration::from_millis).ok_or_else(|| "expected a time, such as 90s, 10m or 1h30m".to_owned())
}

/// `10m`, `1h30m`: units that fall, each with a number.
fn ago(text: &str) -> Option<u64> {
    let (mut ms, mut rest, mut largest) = (0u64, text, u64::MAX);
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit())?;
        let (number, after) = rest.split_at(end);
        let unit = match after.chars().next()? {
            's' => 1_000,
            'm' => 60_000,
            'h' => 3_600_000,
            'd' => DAY_MS,
            _ => return None,
        };
        if unit >= largest {
            return None;
        }
        ms = ms.checked_add(number.parse::<u64>().ok()?.checked_mul(unit)?)?;
        (rest, largest) = (after.get(1..)?, unit);
    }
    (!text.is_empty()).then_some(ms)
}

/// `2026-11-29`, `2026-11-29T10:00`, with seconds and their fraction, with or without `Z`.
fn at(text: &str) -> Option<u64> {
    let text = text.strip_suffix('Z').unwrap_or(text);
    let (date, time) = text.split_once(['T', ' ']).unwrap_or((text, "0:0"));
    let mut date = date.splitn(3, '-').map(number);
    let (year, month, day) = (date.next()??, date.next()??, date.next()??);
    let (time, fraction) = time.split_once('.').unwrap_or((time, "0"));
    let mut time = time.split(':').map(number);
    let (hour, minute, second) = (time.next()??, time.next()??, time.next().unwrap_or(Some(0))?);
    let ms = number(format!("{fraction:0<3}").get(..3)?)?;
    let is_date = (1970..=9999).contains(&year)
        && (1..=12).contains(&month)
        && (1..=days_of(year, month)).contains(&day);
    if !is_date || time.next().is_some() || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let days = days_before(year) + (1..month).map(|month| days_of(year, month)).sum::<u64>() + day - 1;
    Some(((days * 24 + hour) * 60 + minute) * 60_000 + second * 1_000 + ms)
}

fn number(text: &str) -> Option<u64> {
    text.chars().all(|c| c.is_ascii_digit()).then(|| text.parse().ok())?
}

/// From 1970 to the first day of a year.
fn days_before(year: u64) -> u64 {
    let leap_days = |year: u64| year / 4 - year / 100 + year / 400;
    (year - 1970) * 365 + leap_days(year - 1) - leap_days(1969)
}

fn days_of(year: u64, month: u64) -> u64 {
    let is_leap = year.is_multiple_of(4) && !year.is_multiple_of(100) || year.is_multiple_of(400);
    match month {
        2 if is_leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

const DAY_MS: u64 = 86_400_000;
const WANTED: &str = "10m, 1h30m, 2d, today, yesterday, 2026-11-29 or 2026-11-29T10:00 (UTC)";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_one_writes_them() {
        // `date -u -d @1709251199` is 2024-02-29T23:59:59.
        let now = 1_709_251_199_001;
        for (text, expect) in [
            ("41", Ok(Since::Number(41))),
            ("#41", Ok(Since::Number(41))),
            ("10m", Err(now - 600_000)),
            ("1h30m", Err(now - 5_400_000)),
            ("2d", Err(now - 172_800_000)),
            ("999999d", Err(0)),
            ("today", Err(1_709_164_800_000)),
            ("yesterday", Err(1_709_078_400_000)),
            ("2024-02-29", Err(1_709_164_800_000)),
            ("2024-02-29T23:59:59.001Z", Err(now)),
            ("2024-02-29T23:59:59.0019", Err(now)),
            ("2024-02-29 23:59", Err(1_709_251_140_000)),
            ("1970-01-01T00:00", Err(0)),
            ("2000-03-01", Err(951_868_800_000)),
            ("2100-03-01", Err(4_107_542_400_000)),
        ] {
            match (text.parse::<Since>().unwrap_or_else(|error| panic!("{text}: {error}")), expect) {
                (Since::Time(when), Err(ms)) => assert_eq!(when.unix_ms(now), ms, "{text}"),
                (since, expect) => assert_eq!(Ok::<_, u64>(since), expect, "{text}"),
            }
        }
    }

    #[test]
    fn what_is_no_time_is_refused_with_what_to_write() {
        for text in [
            "",
            "10",
            "m",
            "10x",
            "5m1h",
            "5m5m",
            "tomorrow",
            "2024-02-30",
            "2023-02-29",
            "2024-13-01",
            "2024-02",
            "2024-02-29T24:00",
            "2024-02-29T10",
            "2024-02-29T10:00:00:00",
            "2024-02-29T10:00+01:00",
            "-1d",
            "1.5h",
            "99999999999999999999d",
            "é",
        ] {
            let error = text.parse::<When>().unwrap_err();
            assert!(error.contains("10m") && error.contains("UTC"), "{text}: {error}");
        }
        assert!("".parse::<Since>().is_err() && "x".parse::<Since>().is_err());
    }
}
