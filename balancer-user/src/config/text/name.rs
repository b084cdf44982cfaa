//! Turns text into names: of projects, services, containers, hosts and the gateway, and of interfaces.

use super::TextFormat;

/// A name; it becomes a label of metrics, a word of the CLI and a part of device names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Name(pub(crate) String);

/// Somebody else's name. Whether it is right is told by looking it up, so that a wrong one is reported once.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Reference(pub(crate) String);

/// A network interface's name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct InterfaceName(pub(crate) String);

impl Name {
    /// Longest name, as a DNS label (RFC 1035 section 2.3.4).
    const BYTES_MAX: usize = 63;
}

impl TextFormat for Name {
    const FORMAT: &'static str = "name";
    const ALLOWED: &'static str = "1 to 63 of a-z, 0-9 and \"-\", the first and last not \"-\"";
    const PATTERN: Option<&'static str> = Some("^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$");
    const EXAMPLES: &'static [&'static str] = &["web-1"];

    fn parse(text: &str) -> Result<Self, String> {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let bytes = text.as_bytes();
        let edges = bytes.first().copied().is_some_and(plain) && bytes.last().copied().is_some_and(plain);
        if edges && bytes.len() <= Self::BYTES_MAX && bytes.iter().all(|&byte| plain(byte) || byte == b'-') {
            Ok(Self(text.to_owned()))
        } else {
            Err("is not a name".to_owned())
        }
    }
}

impl TextFormat for Reference {
    const FORMAT: &'static str = "name-reference";
    const ALLOWED: &'static str = "the name of an entry of this config";
    const EXAMPLES: &'static [&'static str] = &["web-1"];

    fn parse(text: &str) -> Result<Self, String> {
        Ok(Self(text.to_owned()))
    }
}

impl InterfaceName {
    /// `IFNAMSIZ` less the final zero (Linux `include/uapi/linux/if.h`).
    const BYTES_MAX: usize = 15;
}

impl TextFormat for InterfaceName {
    const FORMAT: &'static str = "interface-name";
    const ALLOWED: &'static str = "1 to 15 bytes without \"/\", \":\" or space, as `ip link` shows it";
    const EXAMPLES: &'static [&'static str] = &["eth0"];

    /// The rule is `dev_valid_name` in Linux `net/core/dev.c`.
    fn parse(text: &str) -> Result<Self, String> {
        let odd = |letter: char| letter == '/' || letter == ':' || letter.is_whitespace() || letter.is_control();
        if text.is_empty() || text.len() > Self::BYTES_MAX || text == "." || text == ".." || text.contains(odd) {
            return Err("is not an interface's name".to_owned());
        }
        Ok(Self(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::{super::check::check, *};

    #[test]
    fn names_are_dns_labels_in_lower_case() {
        for (text, valid) in [
            ("a", true),
            ("web-1", true),
            ("0", true),
            ("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", true),
            ("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", false),
            ("", false),
            ("-web", false),
            ("web-", false),
            ("Web", false),
            ("web_1", false),
            ("wéb", false),
            ("web\n", false),
        ] {
            check([(text, valid.then(|| Name(text.to_owned())))]);
        }
    }

    #[test]
    fn interface_names_are_what_the_kernel_takes() {
        for (text, valid) in [
            ("und0", true),
            ("eth0.100", true),
            ("0123456789abcdef", false),
            ("a/b", false),
            ("a b", false),
            ("", false),
            ("..", false),
        ] {
            check([(text, valid.then(|| InterfaceName(text.to_owned())))]);
        }
    }
}
