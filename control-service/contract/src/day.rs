use time::Date;
use time::format_description::well_known::Iso8601;

/// Day 0: 1 January 1970, as a Julian day number.
const EPOCH: i32 = 2_440_588;

/// The number of a day such as `2026-11-28`, since the Unix epoch; `None` of anything else.
pub(crate) fn day(text: &str) -> Option<u64> {
    let date = Date::parse(text, &Iso8601::DATE).ok()?;
    u64::try_from(date.to_julian_day() - EPOCH).ok()
}
