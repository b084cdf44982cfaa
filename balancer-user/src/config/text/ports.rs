//! Turns text into a range of ports.

use super::TextFormat;

/// Ports from the first to the last, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PortRange {
    /// The first.
    pub(crate) first: u16,
    /// The last.
    pub(crate) last: u16,
}

impl PortRange {
    /// Every port there is: 0 too, so that it is one prefix.
    pub(crate) const ANY: Self = Self { first: 0, last: u16::MAX };
}

impl TextFormat for PortRange {
    const FORMAT: &'static str = "port-range";
    const ALLOWED: &'static str =
        "\"any\", or first and last port such as \"8000-8099\": each 1 to 65535, the first below the last";
    const PATTERN: Option<&'static str> = Some("^(any|[0-9]{1,5}-[0-9]{1,5})$");
    const EXAMPLES: &'static [&'static str] = &["8000-8099", "any"];

    fn parse(text: &str) -> Result<Self, String> {
        if text == "any" {
            return Ok(Self::ANY);
        }
        let (first, last) = text.split_once('-').ok_or("is not a range of ports")?;
        let (first, last) = (port(first)?, port(last)?);
        if first == last {
            return Err(format!("is one port: write `port = {first}` in place of `range`"));
        }
        if first > last {
            return Err(format!("has its last port first: write \"{last}-{first}\""));
        }
        Ok(Self { first, last })
    }
}

fn port(digits: &str) -> Result<u16, String> {
    if digits.is_empty() || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return Err("is not a range of ports".to_owned());
    }
    let number = digits.parse::<u16>().ok().filter(|number| *number > 0);
    number.ok_or_else(|| format!("has the port {digits}, which is not from 1 to 65535"))
}

#[cfg(test)]
mod tests {
    use super::{super::check::check, *};

    #[test]
    fn ranges_have_two_ports_in_order() {
        check([
            ("8000-8099", Some(PortRange { first: 8000, last: 8099 })),
            ("1-65535", Some(PortRange { first: 1, last: 65_535 })),
            ("any", Some(PortRange::ANY)),
            ("0-65535", None),
            ("8000-8000", None),
            ("8099-8000", None),
            ("1-65536", None),
            ("8000", None),
            ("8000-", None),
            ("-8000", None),
            ("8000 - 8099", None),
            ("+80-90", None),
            ("80-90-100", None),
            ("Any", None),
            ("", None),
        ]);
    }

    #[test]
    fn a_wrong_range_is_told_its_mend() {
        for (text, words) in
            [("9-8", "\"8-9\""), ("80-80", "`port = 80`"), ("0-80", "the port 0"), ("80-65536", "65536")]
        {
            assert!(PortRange::parse(text).is_err_and(|reason| reason.contains(words)), "{text}");
        }
    }
}
