//! Turns a key of a config table into a value, or into the hole that an absent or wrong one leaves.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Deserializer};

/// One key's value. Validation passes over holes, so that one mistake is reported once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Field<T> {
    /// A value of the right shape.
    Given(T),
    /// The key is not there and need not be.
    #[default]
    Absent,
    /// The value is wrong or missing, and that has been reported.
    Broken,
}

impl<T> Field<T> {
    /// The value, when there is one.
    pub(crate) fn given(&self) -> Option<&T> {
        match self {
            Self::Given(value) => Some(value),
            Self::Absent | Self::Broken => None,
        }
    }

    /// Whether the key is legally not there.
    pub(crate) fn is_absent(&self) -> bool {
        matches!(self, Self::Absent)
    }

    /// Whether an error about it has been reported.
    pub(crate) fn is_broken(&self) -> bool {
        matches!(self, Self::Broken)
    }
}

impl<T> Field<Vec<T>> {
    /// The elements, none when the list is a hole.
    pub(crate) fn elements(&self) -> &[T] {
        self.given().map_or(&[], Vec::as_slice)
    }
}

/// The walk leaves `null` where it reported an error.
impl<'de, T: Deserialize<'de>> Deserialize<'de> for Field<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Option::<T>::deserialize(deserializer)?.map_or(Self::Broken, Self::Given))
    }
}

impl<T: JsonSchema> JsonSchema for Field<T> {
    fn inline_schema() -> bool {
        T::inline_schema()
    }

    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }

    fn schema_id() -> Cow<'static, str> {
        T::schema_id()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}
