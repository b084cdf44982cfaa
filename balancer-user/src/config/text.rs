//! Turns the text of a config value (address, name, MAC, ports, duration, path, secret) into its type, and says what may stand there.

mod address;
mod duration;
mod name;
mod place;
mod ports;

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de::Error as _};

pub(crate) use address::{Listen, Mac, is_usable};
pub(crate) use duration::shown as duration_shown;
pub(crate) use name::{InterfaceName, Name, Reference};
pub(crate) use place::{AbsolutePath, FilePath};
pub(crate) use ports::PortRange;

/// A type that is written as text.
pub(crate) trait TextFormat: Sized {
    /// Word for it in the schema (`format`), unique.
    const FORMAT: &'static str;
    /// What it is, with its article, for error messages.
    const ALLOWED: &'static str;
    /// Regular expression for editors, where one says it all.
    const PATTERN: Option<&'static str> = None;
    /// Values that are right.
    const EXAMPLES: &'static [&'static str];
    /// Whether the text must never be shown.
    const SECRET: bool = false;

    /// Reads the text; the error ends a sentence that begins with the value and holds the mend where there is one.
    fn parse(text: &str) -> Result<Self, String>;
}

/// A value in its text format, as serde and the schema see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Text<T>(pub(crate) T);

impl<T> super::field::Field<Text<T>> {
    /// The value in its own type, when there is one.
    pub(crate) fn text(&self) -> Option<&T> {
        self.given().map(|text| &text.0)
    }
}

/// What the walk needs of a format.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Format {
    /// [`TextFormat::FORMAT`].
    pub(crate) name: &'static str,
    /// [`TextFormat::ALLOWED`].
    pub(crate) allowed: &'static str,
    /// [`TextFormat::SECRET`].
    pub(crate) secret: bool,
    /// [`TextFormat::parse`] without the value.
    pub(crate) check: fn(&str) -> Result<(), String>,
}

/// Every format; a test compares the list with the schema.
pub(crate) const FORMATS: [Format; 14] = [
    format_of::<Name>(),
    format_of::<Reference>(),
    format_of::<InterfaceName>(),
    format_of::<std::net::IpAddr>(),
    format_of::<std::net::Ipv4Addr>(),
    format_of::<std::net::Ipv6Addr>(),
    format_of::<ipnet::IpNet>(),
    format_of::<Mac>(),
    format_of::<Listen>(),
    format_of::<PortRange>(),
    format_of::<std::time::Duration>(),
    format_of::<AbsolutePath>(),
    format_of::<FilePath>(),
    format_of::<crate::model::HashSecret>(),
];

const fn format_of<T: TextFormat>() -> Format {
    Format { name: T::FORMAT, allowed: T::ALLOWED, secret: T::SECRET, check: |text| T::parse(text).map(drop) }
}

impl<'de, T: TextFormat> Deserialize<'de> for Text<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        T::parse(&text).map(Self).map_err(|_| D::Error::custom(T::ALLOWED))
    }
}

impl<T: TextFormat> JsonSchema for Text<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        T::FORMAT.into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let mut schema = json_schema!({ "type": "string", "format": T::FORMAT });
        if !T::EXAMPLES.is_empty() {
            schema.insert("examples".to_owned(), T::EXAMPLES.into());
        }
        if let Some(pattern) = T::PATTERN {
            schema.insert("pattern".to_owned(), pattern.into());
        }
        schema
    }
}

#[cfg(test)]
pub(crate) mod check {
    use super::TextFormat;

    /// Parses every text and compares with what it should be; `None` for an error.
    pub(crate) fn check<T: TextFormat + PartialEq + std::fmt::Debug>(
        cases: impl IntoIterator<Item = (&'static str, Option<T>)>,
    ) {
        for (text, expected) in cases {
            assert_eq!(T::parse(text).ok(), expected, "{text:?}");
        }
        for example in T::EXAMPLES {
            assert!(T::parse(example).is_ok(), "example {example:?}");
        }
    }
}
