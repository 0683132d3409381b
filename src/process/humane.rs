//! Durations as people write them: `"10s"`, `"500ms"`, `"1m 30s"`, or a number of seconds. For `#[serde(with)]`.

use std::{fmt, time::Duration};

use serde::{Deserializer, Serializer, de};

/// Units, largest first.
const UNITS: [(&str, u128); 7] = [
    ("d", 86_400_000_000_000),
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("ns", 1),
];

/// Why a text is not a duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is not a duration; write a whole number and a unit, as in \"10s\", \"500ms\" or \"1m 30s\""
)]
pub struct NotADuration {
    /// The text.
    pub text: String,
}

/// Reads a duration: whole numbers, each with one of the units `d`, `h`, `m`, `s`, `ms`, `us`, `ns`.
///
/// # Errors
/// When the text is empty, a unit is missing or unknown, or the sum is longer than a [`Duration`] can be.
pub fn parse(text: &str) -> Result<Duration, NotADuration> {
    sum(text).ok_or_else(|| NotADuration { text: text.into() })
}

fn sum(text: &str) -> Option<Duration> {
    let mut rest = text.trim();
    let mut total = 0u128;
    while {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, tail) = rest.split_at(digits);
        let unit = tail.len() - tail.trim_start_matches(|c: char| c.is_ascii_alphabetic()).len();
        let (unit, tail) = tail.split_at(unit);
        let nanos = UNITS.iter().find(|(name, _)| *name == unit)?.1;
        total = total.checked_add(number.parse::<u128>().ok()?.checked_mul(nanos)?)?;
        rest = tail.trim_start();
        !rest.is_empty()
    } {}
    let seconds = u64::try_from(total / 1_000_000_000).ok()?;
    Some(Duration::new(seconds, (total % 1_000_000_000) as u32))
}

/// Writes a duration with the largest unit that divides it, so that reading it gives the same one: `"90s"`.
pub fn format(duration: Duration) -> String {
    let nanos = duration.as_nanos();
    if nanos == 0 {
        return "0s".into();
    }
    // Seconds at most: "90s" is easier to compare than "1m 30s", and a day is a number nobody writes.
    let exact = |(_, unit): &&(&str, u128)| *unit <= 1_000_000_000 && nanos.is_multiple_of(*unit);
    match UNITS.iter().find(exact) {
        Some((name, unit)) => format!("{}{name}", nanos / unit),
        None => format!("{nanos}ns"),
    }
}

/// For `#[serde(with = "humane")]`: serialises as text.
///
/// # Errors
/// The serializer's.
pub fn serialize<S: Serializer>(duration: &Duration, s: S) -> Result<S::Ok, S::Error> {
    s.serialize_str(&format(*duration))
}

/// For `#[serde(with = "humane")]`: accepts text, or a number of seconds.
///
/// # Errors
/// When it is neither, negative, or out of range.
pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Duration, D::Error> {
    struct Visitor;
    impl de::Visitor<'_> for Visitor {
        type Value = Duration;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a duration such as \"10s\", or a number of seconds")
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<Duration, E> {
            parse(text).map_err(E::custom)
        }

        fn visit_u64<E: de::Error>(self, seconds: u64) -> Result<Duration, E> {
            Ok(Duration::from_secs(seconds))
        }

        fn visit_i64<E: de::Error>(self, seconds: i64) -> Result<Duration, E> {
            let negative = || E::invalid_value(de::Unexpected::Signed(seconds), &self);
            u64::try_from(seconds).map(Duration::from_secs).map_err(|_| negative())
        }

        fn visit_f64<E: de::Error>(self, seconds: f64) -> Result<Duration, E> {
            let invalid = |_| E::invalid_value(de::Unexpected::Float(seconds), &self);
            Duration::try_from_secs_f64(seconds).map_err(invalid)
        }
    }
    d.deserialize_any(Visitor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_and_written() {
        for (text, millis) in
            [("10s", 10_000), ("500ms", 500), ("1m 30s", 90_000), ("2h", 7_200_000), ("0s", 0)]
        {
            assert_eq!(parse(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for bad in ["", "10", "s", "10 s x", "-1s", "1.5s", "10S", "99999999999999999999999d"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
        for duration in [Duration::MAX, Duration::from_nanos(1), Duration::from_secs(90), Duration::ZERO] {
            assert_eq!(parse(&format(duration)), Ok(duration));
        }
        assert_eq!(format(Duration::from_millis(1500)), "1500ms");
    }
}
