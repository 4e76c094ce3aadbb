//! Durations as people write them: `"10s"`, `"1h 30m"`.

use humantime::DurationError;

/// The units, for messages.
pub(super) const HINT: &str = "units are ms, s, m, h, d and w; parts add up: \"1h 30m\"";

/// What is longer was not meant, and would overflow the clock.
const MAX_MS: u128 = 10 * 365 * 24 * 60 * 60 * 1000;

/// Milliseconds of a text such as `10s`, `2m` or `1h 30m`, or what is wrong with it.
pub(super) fn parse(text: &str) -> Result<u64, String> {
    let too_long = || Err("more than ten years".to_owned());
    // humantime panics where a sum just passes 64 bits; so few digits and parts cannot reach that.
    if text.len() > 64 || text.split(|letter: char| !letter.is_ascii_digit()).any(|run| run.len() > 9) {
        return too_long();
    }
    let duration = match humantime::parse_duration(text.trim()) {
        Ok(duration) => duration,
        Err(DurationError::Empty) => return Err("empty text found".to_owned()),
        Err(DurationError::UnknownUnit { unit, .. }) if unit.is_empty() => {
            return Err("the unit is missing".to_owned());
        }
        Err(DurationError::UnknownUnit { unit, .. }) => return Err(format!("`{unit}` is not a unit")),
        Err(DurationError::NumberOverflow) => return Err("finer than a nanosecond".to_owned()),
        Err(DurationError::InvalidCharacter(_) | DurationError::NumberExpected(_)) => {
            return Err("a number and a unit expected".to_owned());
        }
    };
    match duration.as_millis() {
        0 => Err("at least one millisecond expected".to_owned()),
        ms if ms > MAX_MS => too_long(),
        ms => Ok(ms as u64),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_numbers_and_units() {
        assert_eq!(parse("10s"), Ok(10_000));
        assert_eq!(parse(" 1h 30m "), Ok(5_400_000));
        assert_eq!(parse("250 ms"), Ok(250));
        assert_eq!(parse("1.5m"), Ok(90_000));
        let largest = "18446744073709551615s 1000ms";
        for bad in ["", "s", "10", "10 parsecs", "-1s", "0s", "999us", "11y", "1e3s", "1.s", largest, "9µ"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
