//! Turns the model's words and MACs into JSON text and back.

use crate::model::{BackendState, Mode, Protocol};

/// A value with a word of its own in config, metrics and CLI.
pub(super) trait Word: Copy + 'static {
    /// Every value.
    const ALL: &'static [Self];

    /// Its word.
    fn word(self) -> &'static str;
}

impl Word for Protocol {
    const ALL: &'static [Self] = &[Self::Tcp, Self::Udp];

    fn word(self) -> &'static str {
        self.name()
    }
}

impl Word for Mode {
    const ALL: &'static [Self] = &[Self::Nat, Self::Dsr];

    fn word(self) -> &'static str {
        self.name()
    }
}

impl Word for BackendState {
    const ALL: &'static [Self] = &[Self::Active, Self::Draining, Self::Dead];

    fn word(self) -> &'static str {
        self.name()
    }
}

/// A [`Word`] as a JSON string.
pub(super) mod word {
    use std::borrow::Cow;

    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    use super::Word;

    pub(in crate::model::status) fn serialize<W: Word, S: Serializer>(
        value: &W,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(value.word())
    }

    pub(in crate::model::status) fn deserialize<'de, W: Word, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<W, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        let found = W::ALL.iter().find(|value| value.word() == text);
        found.copied().ok_or_else(|| D::Error::custom(format_args!("no such word: {text:?}")))
    }
}

/// A MAC as six hexadecimal bytes with colons between, or null.
pub(super) mod mac {
    use std::borrow::Cow;

    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub(in crate::model::status) fn serialize<S: Serializer>(
        mac: &Option<[u8; 6]>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match mac {
            Some(mac) => serializer.serialize_some(&super::mac_text(*mac)),
            None => serializer.serialize_none(),
        }
    }

    pub(in crate::model::status) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<[u8; 6]>, D::Error> {
        let Some(text) = Option::<Cow<'_, str>>::deserialize(deserializer)? else { return Ok(None) };
        let mac = super::mac_of(&text).ok_or_else(|| D::Error::custom(format_args!("no MAC: {text:?}")))?;
        Ok(Some(mac))
    }
}

/// `02:00:00:00:00:01`.
pub(super) fn mac_text(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

fn mac_of(text: &str) -> Option<[u8; 6]> {
    let bytes: Option<Vec<u8>> =
        text.split(':').map(|byte| if byte.len() == 2 { u8::from_str_radix(byte, 16).ok() } else { None }).collect();
    bytes?.try_into().ok()
}
