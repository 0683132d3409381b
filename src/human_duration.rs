//! Durations as people write them: `"250ms"`, `"10s"`, `"1m 30s"`, or a number of seconds. Used
//! with `#[serde(with = "procession::human_duration")]`; all configuration of this crate reads and
//! writes durations like this.

use std::{fmt, fmt::Write as _, time::Duration};

use serde::{Deserializer, Serializer, de};

const NANOS_PER_SEC: u128 = 1_000_000_000;

/// Largest first. The first name of a unit is the one that is written.
const UNITS: [(&[&str], u128); 7] = [
    (&["d"], 86_400_000_000_000),
    (&["h"], 3_600_000_000_000),
    (&["m", "min"], 60_000_000_000),
    (&["s"], 1_000_000_000),
    (&["ms"], 1_000_000),
    (&["us", "µs"], 1_000),
    (&["ns"], 1),
];

/// Why a text is not a duration. Always misuse, never retryable.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a duration: {problem}")]
pub struct ParseDurationError {
    /// The text.
    pub text: String,
    /// What is wrong with it.
    pub problem: String,
}

/// Writes a duration so that [`deserialize`] reads exactly the same one.
///
/// # Errors
/// The serializer's.
pub fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&format(*duration))
}

/// Reads a string or a number of seconds.
///
/// # Errors
/// When it is neither, negative, or longer than a [`Duration`] can be.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    struct DurationVisitor;
    impl de::Visitor<'_> for DurationVisitor {
        type Value = Duration;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a duration such as \"250ms\" or \"1m 30s\", or a number of seconds")
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<Duration, E> {
            parse(text).map_err(E::custom)
        }

        fn visit_u64<E: de::Error>(self, seconds: u64) -> Result<Duration, E> {
            Ok(Duration::from_secs(seconds))
        }

        fn visit_i64<E: de::Error>(self, seconds: i64) -> Result<Duration, E> {
            u64::try_from(seconds)
                .map(Duration::from_secs)
                .map_err(|_| E::invalid_value(de::Unexpected::Signed(seconds), &self))
        }

        fn visit_f64<E: de::Error>(self, seconds: f64) -> Result<Duration, E> {
            Duration::try_from_secs_f64(seconds)
                .map_err(|_| E::invalid_value(de::Unexpected::Float(seconds), &self))
        }
    }
    deserializer.deserialize_any(DurationVisitor)
}

/// The same for durations that may be missing.
pub mod option {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    /// Writes `null` for none.
    ///
    /// # Errors
    /// The serializer's.
    pub fn serialize<S: Serializer>(duration: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
        match duration {
            Some(duration) => super::serialize(duration, serializer),
            None => serializer.serialize_none(),
        }
    }

    /// Reads what [`deserialize`](super::deserialize) reads, or `null`.
    ///
    /// # Errors
    /// As there.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
        #[derive(Deserialize)]
        struct ReadDuration(#[serde(with = "super")] Duration);
        Ok(Option::<ReadDuration>::deserialize(deserializer)?.map(|duration| duration.0))
    }
}

/// Rounds a duration to three figures, so that its `{:?}` is short enough for people.
pub(crate) fn brief(duration: Duration) -> Duration {
    let nanos = duration.as_nanos();
    let unit = 10_u128.pow(nanos.checked_ilog10().unwrap_or(0).saturating_sub(2));
    let rounded = (nanos + unit / 2) / unit * unit;
    u64::try_from(rounded).map_or(duration, Duration::from_nanos)
}

/// `1m 30s`; `0s` for nothing. [`parse`] reads exactly the same duration.
pub fn format(duration: Duration) -> String {
    let mut rest = duration.as_nanos();
    let mut text = String::new();
    for (names, nanos) in UNITS {
        let count = rest / nanos;
        rest %= nanos;
        if count > 0 {
            let gap = if text.is_empty() { "" } else { " " };
            // Writing to a string cannot fail.
            let _ = write!(text, "{gap}{count}{}", names[0]);
        }
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}

/// One or more numbers with a unit (`d`, `h`, `m` or `min`, `s`, `ms`, `us` or `µs`, `ns`), with or without
/// spaces between them; fractions are allowed, and cut to whole nanoseconds.
///
/// # Errors
/// When the text is empty, a unit is missing or unknown, or the sum is longer than a [`Duration`] can be.
pub fn parse(text: &str) -> Result<Duration, ParseDurationError> {
    sum(text).map_err(|problem| ParseDurationError { text: text.to_owned(), problem })
}

fn sum(text: &str) -> Result<Duration, String> {
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err("it is empty".to_owned());
    }
    let mut total: u128 = 0;
    while !rest.is_empty() {
        let (number, tail) = split(rest, |c| c.is_ascii_digit() || c == '.');
        let (unit, tail) = split(tail.trim_start(), char::is_alphabetic);
        let nanos = match UNITS.iter().find(|(names, _)| names.contains(&unit)) {
            Some((_, nanos)) => *nanos,
            None if unit.is_empty() => {
                return Err("a number needs a unit (d, h, m, s, ms, us, ns)".to_owned());
            }
            None => return Err(format!("unknown unit `{unit}`")),
        };
        let part = scale(number, nanos).ok_or_else(|| format!("bad number `{number}`"))?;
        total = total.checked_add(part).ok_or("it is too long")?;
        rest = tail.trim_start();
    }
    let seconds = u64::try_from(total / NANOS_PER_SEC).map_err(|_| "it is too long")?;
    // The remainder is below 10⁹ and fits.
    Ok(Duration::new(seconds, (total % NANOS_PER_SEC) as u32))
}

fn split(text: &str, inside: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(|c| !inside(c)).unwrap_or(text.len()))
}

/// `number · nanos`, cut to whole nanoseconds; `None` if it is no number or too large.
fn scale(number: &str, nanos: u128) -> Option<u128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    if fraction.is_empty() {
        return None;
    }
    // 18 digits of the longest unit, a day, are far below a nanosecond, and cannot overflow.
    let (mut digits, mut base) = (0u128, 1u128);
    for digit in fraction.chars().take(18) {
        digits = digits * 10 + u128::from(digit.to_digit(10)?);
        base *= 10;
    }
    whole.parse::<u128>().ok()?.checked_mul(nanos)?.checked_add(nanos * digits / base)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_people_write_is_read() {
        for (text, nanos) in [
            ("250ms", 250_000_000u64),
            ("10s", 10_000_000_000),
            ("1m 30s", 90_000_000_000),
            ("1m30s", 90_000_000_000),
            (" 1.5 h ", 5_400_000_000_000),
            ("2min", 120_000_000_000),
            ("0.000000001s", 1),
            ("7us 3ns", 7_003),
            ("1µs", 1_000),
            ("0s", 0),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_nanos(nanos)), "{text}");
        }
    }

    #[test]
    fn what_is_for_people_has_three_figures() {
        for (nanos, text) in [
            (0, "0ns"),
            (999, "999ns"),
            (1_234, "1.23µs"),
            (113_607_832, "114ms"),
            (87_654_000, "87.7ms"),
            (999_999_999, "1s"),
            (29_999_958_819, "30s"),
            (5_708_547_700, "5.71s"),
            (100_000_000, "100ms"),
            (3_661_234_567_890, "3660s"),
        ] {
            assert_eq!(format!("{:?}", brief(Duration::from_nanos(nanos))), text);
        }
        assert_eq!(brief(Duration::MAX), Duration::MAX);
    }

    #[test]
    fn what_is_not_a_duration_is_refused() {
        for text in [
            "",
            " ",
            "10",
            "s",
            "10 parsecs",
            "-1s",
            "1..5s",
            "1.s",
            ".5s",
            "1e3s",
            "1s,",
            "99999999999999999999d",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert_eq!(
            parse("10").unwrap_err().to_string(),
            "`10` is not a duration: a number needs a unit (d, h, m, s, ms, us, ns)"
        );
    }

    #[test]
    fn numbers_are_seconds() {
        let read = |json: &str| {
            deserialize(&mut serde_json::Deserializer::from_str(json)).map_err(|e| e.to_string())
        };
        assert_eq!(read("3"), Ok(Duration::from_secs(3)));
        assert_eq!(read("0.25"), Ok(Duration::from_millis(250)));
        assert_eq!(read("0"), Ok(Duration::ZERO));
        assert!(read("-1").is_err());
        assert!(read("-0.5").is_err());
        assert!(read("1e300").is_err());
        assert!(read("true").is_err_and(|e| e.contains("a duration such as")));
    }

    proptest! {
        #[test]
        fn every_duration_survives(seconds in any::<u64>(), nanos in 0u32..1_000_000_000) {
            let duration = Duration::new(seconds, nanos);
            prop_assert_eq!(parse(&format(duration)), Ok(duration));
        }

        #[test]
        fn no_text_panics(text in "[0-9.a-zµ -]{0,60}|.{0,20}") {
            let _ = parse(&text);
        }
    }
}
