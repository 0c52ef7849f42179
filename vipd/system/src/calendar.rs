//! Days as dates.

/// 400 years.
const ERA_DAYS: u64 = 146_097;
/// From 1 March of the year 0.
const DAYS_TO_1970: u64 = 719_468;

/// Year, month from 0, and day of the month, of a day since 1970.
pub fn date(day: u64) -> (u64, u64, u64) {
    // Years that begin in March have the leap day at their end, and their months follow a pattern of 153 days in five.
    let day = day + DAYS_TO_1970;
    let (era, day) = (day / ERA_DAYS, day % ERA_DAYS);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let next_year = month >= 10;
    (400 * era + year + u64::from(next_year), if next_year { month - 10 } else { month + 2 }, day)
}
