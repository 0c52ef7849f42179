//! Moments as keepalived prints them.

use vipd_system::calendar::date;

/// `SECONDS.MICROSECONDS (WEEKDAY MONTH DAY TIME YEAR UTC)`.
///
/// keepalived has the local time without a zone. Programs read the seconds, and `date` reads what is in parentheses.
pub fn stamp(unix_ms: u64) -> String {
    let (s, us) = (unix_ms / 1_000, unix_ms % 1_000 * 1_000);
    let (days, s_of_day) = (s / DAY_S, s % DAY_S);
    let (year, month, day) = date(days);
    let (hour, minute, second) = (s_of_day / 3_600, s_of_day / 60 % 60, s_of_day % 60);
    // 1970-01-01 was a Thursday.
    let weekday = name(&["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"], days % 7);
    let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let month = name(&months, month);
    format!("{s}.{us:06} ({weekday} {month} {day:2} {hour:02}:{minute:02}:{second:02}.{us:06} {year} UTC)")
}

fn name<'n>(names: &[&'n str], at: u64) -> &'n str {
    usize::try_from(at).ok().and_then(|at| names.get(at)).copied().unwrap_or_default()
}

const DAY_S: u64 = 86_400;
#[cfg(test)]
mod tests {
    use super::stamp;

    /// Expected is what `date -u` says.
    #[test]
    fn moments_are_those_of_date() {
        for (unix_ms, expect) in [
            (0, "0.000000 (Thu Jan  1 00:00:00.000000 1970 UTC)"),
            (951_782_399_999, "951782399.999000 (Mon Feb 28 23:59:59.999000 2000 UTC)"),
            (951_782_400_000, "951782400.000000 (Tue Feb 29 00:00:00.000000 2000 UTC)"),
            (1_673_674_892_348, "1673674892.348000 (Sat Jan 14 05:41:32.348000 2023 UTC)"),
            (1_709_251_199_001, "1709251199.001000 (Thu Feb 29 23:59:59.001000 2024 UTC)"),
            (1_709_251_200_000, "1709251200.000000 (Fri Mar  1 00:00:00.000000 2024 UTC)"),
            (4_107_542_400_000, "4107542400.000000 (Mon Mar  1 00:00:00.000000 2100 UTC)"),
        ] {
            assert_eq!(stamp(unix_ms), expect, "{unix_ms}");
        }
    }
}
