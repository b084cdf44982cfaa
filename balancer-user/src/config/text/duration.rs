//! Turns text such as `10s`, `5m` or `500ms` into a duration, and back.

use std::time::Duration;

use super::TextFormat;

const UNITS: [(&str, u64); 5] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

impl TextFormat for Duration {
    const FORMAT: &'static str = "duration-with-unit";
    const ALLOWED: &'static str = "a whole number and a unit: \"500ms\", \"10s\", \"5m\", \"1h\"";
    const PATTERN: Option<&'static str> = Some("^[0-9]+(ms|s|m|h|d)$");
    const EXAMPLES: &'static [&'static str] = &["500ms", "10s", "5m", "1h"];

    fn parse(text: &str) -> Result<Self, String> {
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        if number.is_empty() {
            return Err("does not begin with a number".to_owned());
        }
        if unit.is_empty() {
            return Err(format!("has no unit: write \"{number}s\" if seconds are meant"));
        }
        let (_, unit_ms) = UNITS.into_iter().find(|(name, _)| *name == unit).ok_or("has no unit that is known here")?;
        let number: u64 = number.parse().map_err(|_| "is too long".to_owned())?;
        number.checked_mul(unit_ms).map(Self::from_millis).ok_or_else(|| "is too long".to_owned())
    }
}

/// The shortest text for a duration of whole milliseconds.
pub(crate) fn shown(duration: Duration) -> String {
    let total_ms = duration.as_millis();
    let (unit, unit_ms) = UNITS
        .into_iter()
        .rev()
        .find(|(_, unit_ms)| total_ms > 0 && total_ms.is_multiple_of(u128::from(*unit_ms)))
        .unwrap_or(("s", 1_000));
    format!("{}{unit}", total_ms / u128::from(unit_ms))
}

#[cfg(test)]
mod tests {
    use super::{super::check::check, *};

    #[test]
    fn durations_need_a_number_and_a_unit() {
        check([
            ("500ms", Some(Duration::from_millis(500))),
            ("10s", Some(Duration::from_secs(10))),
            ("5m", Some(Duration::from_secs(300))),
            ("24h", Some(Duration::from_secs(86_400))),
            ("1d", Some(Duration::from_secs(86_400))),
            ("0s", Some(Duration::ZERO)),
            ("10", None),
            ("s", None),
            ("", None),
            ("1.5s", None),
            ("-1s", None),
            ("10 s", None),
            ("10sec", None),
            ("99999999999999999999h", None),
            ("9999999999999999h", None),
        ]);
    }

    #[test]
    fn shown_duration_reads_back_as_the_same() {
        for (text, expected) in
            [("900s", "15m"), ("10s", "10s"), ("24h", "1d"), ("500ms", "500ms"), ("0s", "0s"), ("90s", "90s")]
        {
            assert_eq!(Duration::parse(text).map(shown).as_deref(), Ok(expected));
        }
    }
}
