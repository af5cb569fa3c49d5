//! An instant as a register writes it: a date (`2026-11-21`, midnight UTC) or an RFC 3339 date-time (`2026-11-21T08:30:00+08:00`).
//!
//! Bare TOML dates and quoted strings are both read; the text is kept, so that a register is written back as it was. Years 1900 to
//! 2261: dates of birth, and the end of the range of `i64` nanoseconds.

use std::fmt;
use std::str::FromStr;

use serde::de::value::MapAccessDeserializer;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::clock::{Stamp, Utc, format_utc};

/// A UTC instant, with the text it was read from.
#[derive(Clone, PartialEq, Eq)]
pub struct When {
    at: Stamp<Utc>,
    text: Box<str>,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a date: write 2026-11-21, or 2026-11-21T08:30:00Z, or 2026-11-21T08:30:00+08:00 (years 1900 to 2261)")]
pub struct NotADate(pub String);

impl When {
    pub fn at(&self) -> Stamp<Utc> {
        self.at
    }
    /// The text as the register has it.
    pub fn text(&self) -> &str {
        &self.text
    }
    /// `stamp` to the millisecond: for facts whose order counts.
    pub fn to_the_millisecond(stamp: Stamp<Utc>) -> Self {
        let milliseconds = stamp.ns().div_euclid(1_000_000);
        let at = Stamp::from_ns(milliseconds.saturating_mul(1_000_000));
        Self { at, text: format_utc(at).replace(".000Z", "Z").into() }
    }
    /// `stamp` to the second, as the register would write it.
    pub fn from_stamp(stamp: Stamp<Utc>) -> Self {
        let seconds = stamp.ns().div_euclid(1_000_000_000);
        let at = Stamp::from_ns(seconds.saturating_mul(1_000_000_000));
        let milliseconds = format_utc(at);
        let text = milliseconds.replace(".000Z", "Z").into();
        Self { at, text }
    }
}

/// Exactly `digits` decimal digits.
fn number(text: &str, digits: usize) -> Option<i64> {
    (text.len() == digits && text.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse().ok()).flatten()
}

/// Days from 1970-01-01 (Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", `days_from_civil`).
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let y = if month <= 2 { year - 1 } else { year };
    let era = y.div_euclid(400);
    let year_of_era = y - era * 400;
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

fn parse_date(text: &str) -> Option<i64> {
    let mut parts = text.split('-');
    let (year, month, day) = (number(parts.next()?, 4)?, number(parts.next()?, 2)?, number(parts.next()?, 2)?);
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let last_day = match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 => 28 + i64::from(leap),
        _ => return None,
    };
    let valid = parts.next().is_none() && (1900..=2261).contains(&year) && (1..=last_day).contains(&day);
    valid.then(|| days_from_civil(year, month, day))
}

/// `HH:MM:SS[.fraction](Z|±HH:MM)` → nanoseconds after UTC midnight of the date before it (may be negative or above a day).
fn parse_time(text: &str) -> Option<i64> {
    let (clock, offset_s) = match text.strip_suffix(['Z', 'z']) {
        Some(clock) => (clock, 0),
        None => {
            let split = text.rfind(['+', '-'])?;
            let (clock, offset) = text.split_at(split);
            let (hours, minutes) = offset.get(1..)?.split_once(':')?;
            let (hours, minutes) = (number(hours, 2)?, number(minutes, 2)?);
            let sign = if offset.starts_with('-') { -1 } else { 1 };
            ((hours < 24 && minutes < 60).then_some(clock)?, sign * (hours * 3_600 + minutes * 60))
        }
    };
    let (whole, fraction) = clock.split_once('.').map_or((clock, None), |(w, f)| (w, Some(f)));
    let mut parts = whole.split(':');
    let (h, m, s) = (number(parts.next()?, 2)?, number(parts.next()?, 2)?, number(parts.next()?, 2)?);
    // A leap second (`:60`) names no instant of our own clock: refused.
    if parts.next().is_some() || h > 23 || m > 59 || s > 59 {
        return None;
    }
    let fraction_ns = match fraction {
        None => 0,
        Some(f) if (1..=9).contains(&f.len()) => number(&format!("{f:0<9}"), 9)?,
        Some(_) => return None,
    };
    Some((h * 3_600 + m * 60 + s - offset_s) * 1_000_000_000 + fraction_ns)
}

impl FromStr for When {
    type Err = NotADate;
    fn from_str(text: &str) -> Result<Self, NotADate> {
        let parse = || {
            let (date, time) = match text.split_once(['T', 't', ' ']) {
                Some((date, time)) => (date, Some(time)),
                None => (text, None),
            };
            let midnight_ns = parse_date(date)? * 86_400_000_000_000;
            Some(midnight_ns + time.map_or(Some(0), parse_time)?)
        };
        let ns = parse().ok_or_else(|| NotADate(text.to_owned()))?;
        Ok(Self { at: Stamp::from_ns(ns), text: text.into() })
    }
}

impl fmt::Display for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
impl fmt::Debug for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Serialize for When {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for When {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Visitor)
    }
}

struct Visitor;

impl<'de> de::Visitor<'de> for Visitor {
    type Value = When;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a date (2026-11-21) or a date and time with offset (2026-11-21T08:30:00Z)")
    }
    fn visit_str<E: de::Error>(self, text: &str) -> Result<When, E> {
        text.parse().map_err(E::custom)
    }
    /// A bare TOML date arrives as a map with one private key, which only `toml::value::Datetime` knows.
    fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<When, A::Error> {
        let bare = toml::value::Datetime::deserialize(MapAccessDeserializer::new(map))?;
        bare.to_string().parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ns(text: &str) -> i64 {
        text.parse::<When>().expect(text).at().ns()
    }

    #[test]
    fn dates_and_times_with_offsets_are_read() {
        assert_eq!(ns("1970-01-01"), 0);
        assert_eq!(ns("2000-02-29"), 951_782_400_000_000_000);
        assert_eq!(ns("2026-11-21T20:16:58.123Z"), 1_795_292_218_123_000_000);
        assert_eq!(ns("2026-11-22T04:16:58.123+08:00"), ns("2026-11-21T20:16:58.123Z"));
        assert_eq!(ns("2026-11-21t14:46:58-05:30"), ns("2026-11-21T20:16:58Z"));
        assert_eq!(ns("2026-11-21 00:00:00Z"), ns("2026-11-21"));
    }

    #[test]
    fn what_printing_writes_reading_reads() {
        for day in (0..=106_000_i64).step_by(37) {
            let at = Stamp::from_ns(day * 86_400_000_000_000 + 12_345_000_000_000);
            assert_eq!(format_utc(at).parse::<When>().expect("round trip").at(), at);
            assert_eq!(When::from_stamp(at).text().parse::<When>().expect("round trip").at(), at);
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for text in [
            "",
            "today",
            "2026-02-29",
            "2026-13-01",
            "2026-00-10",
            "2026-01-00",
            "26-01-01",
            "1899-12-31",
            "2262-01-01",
            "2026-01-01T",
            "2026-01-01T00:00:00",
            "2026-01-01T24:00:00Z",
            "2026-01-01T23:59:60Z",
            "2026-01-01T00:00:00.Z",
            "2026-01-01T00:00:00+24:00",
            "2026-01-01T00:00:00+é",
            "2026-01-01-01",
            "+026-01-01",
        ] {
            assert!(text.parse::<When>().is_err(), "{text:?} must be refused");
        }
    }

    #[test]
    fn toml_dates_may_be_bare_or_quoted() {
        #[derive(Deserialize)]
        struct Table {
            a: When,
            b: When,
            c: When,
        }
        let t: Table = toml::from_str("a = 2026-11-21\nb = '2026-11-21'\nc = 2026-11-21T00:00:00Z").expect("toml");
        assert_eq!((t.a.at(), t.b.at()), (t.b.at(), t.c.at()));
        assert!(toml::from_str::<Table>("a = 5\nb = 2026-11-21\nc = 2026-11-21").is_err());
        assert!(toml::from_str::<Table>("a = 2026-11-21T00:00:00\nb = 2026-11-21\nc = 2026-11-21").is_err(), "no offset");
    }
}
