//! Turns the JSON Schema of the config into the shape that a document is walked against.

use std::sync::LazyLock;

use serde_json::Value;

use super::{
    schema,
    text::{FORMATS, Format},
};

/// What may stand at a path.
#[derive(Debug)]
pub(crate) enum Shape {
    /// A table with these keys and no others, in the order of their names.
    Table(Vec<Key>),
    /// An array of one kind of element.
    Array {
        /// Every element.
        element: Box<Shape>,
        /// Fewest elements.
        min: usize,
        /// Most elements.
        max: usize,
    },
    /// An integer in a range.
    Integer {
        /// Smallest.
        min: i128,
        /// Largest.
        max: i128,
    },
    /// An integer out of a list.
    Choice(Vec<i128>),
    /// Text in a format.
    Text(Format),
    /// A word out of a list.
    Word(Vec<String>),
}

/// One key of a table.
#[derive(Debug)]
pub(crate) struct Key {
    /// Its name.
    pub(crate) name: String,
    /// What its value may be.
    pub(crate) shape: Shape,
    /// Whether it must be there.
    pub(crate) required: bool,
    /// What it is when it is not there.
    pub(crate) default: Option<Value>,
}

/// The shape of a config file.
pub(crate) fn of_config() -> &'static Shape {
    static SHAPE: LazyLock<Shape> = LazyLock::new(|| {
        let root = schema::schema();
        Shape::of(&root, &root)
    });
    &SHAPE
}

impl Shape {
    /// What may stand there, in words.
    pub(crate) fn allowed(&self) -> String {
        match self {
            Self::Table(keys) => format!("a table with the keys {}", list(keys.iter().map(|key| key.name.as_str()))),
            Self::Array { element, min: 0, max: usize::MAX } => format!("an array, each element {}", element.brief()),
            Self::Array { element, min, max } => format!("an array of {min} to {max}, each {}", element.brief()),
            Self::Integer { min, max } => format!("an integer from {min} to {max}"),
            Self::Choice(numbers) => list(numbers.iter().map(ToString::to_string)),
            Self::Text(format) => format.allowed.to_owned(),
            Self::Word(words) => list(words.iter().map(|word| format!("\"{word}\""))),
        }
    }

    fn brief(&self) -> String {
        match self {
            Self::Table(_) => "a table".to_owned(),
            Self::Array { .. } | Self::Integer { .. } | Self::Choice(_) | Self::Text(_) | Self::Word(_) => {
                self.allowed()
            }
        }
    }

    /// The schema speaks a small part of JSON Schema, and all of it is read here: the tests of this file walk it whole.
    fn of(schema: &Value, root: &Value) -> Self {
        if let Some(reference) = schema["$ref"].as_str() {
            let target = reference.strip_prefix('#').and_then(|pointer| root.pointer(pointer));
            return Self::of(target.expect("a schema refers only to its own definitions"), root);
        }
        if let Some(words) = words(schema) {
            return Self::Word(words);
        }
        match schema["type"].as_str() {
            Some("object") => Self::Table(keys(schema, root)),
            Some("array") => Self::Array {
                element: Box::new(Self::of(&schema["items"], root)),
                min: bound(schema, "minItems").unwrap_or(0),
                max: bound(schema, "maxItems").unwrap_or(usize::MAX),
            },
            Some("integer") => Self::integer(schema),
            Some("string") => Self::Text(format(schema)),
            Some(_) | None => unreachable!("the config has tables, arrays, integers and text only: {schema}"),
        }
    }

    fn integer(schema: &Value) -> Self {
        if let Some(numbers) = schema["enum"].as_array() {
            return Self::Choice(numbers.iter().filter_map(Value::as_i64).map(i128::from).collect());
        }
        let number = |key: &str| schema[key].as_i64().map(i128::from);
        Self::Integer {
            min: number("minimum").expect("every integer has a minimum"),
            max: number("maximum").expect("every integer has a maximum"),
        }
    }
}

fn keys(schema: &Value, root: &Value) -> Vec<Key> {
    let required: Vec<&str> = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let properties = schema["properties"].as_object().expect("a table has keys");
    let mut keys: Vec<Key> = properties
        .iter()
        .map(|(name, property)| Key {
            name: name.clone(),
            shape: Shape::of(property, root),
            required: required.contains(&name.as_str()),
            default: property.get("default").cloned(),
        })
        .collect();
    keys.sort_by(|left, right| left.name.cmp(&right.name));
    keys
}

/// The words of an enum, which stand in one list, or in one schema each when they are described.
fn words(schema: &Value) -> Option<Vec<String>> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    match schema["oneOf"].as_array() {
        Some(variants) => variants.iter().map(|variant| text(&variant["const"])).collect(),
        None => schema["enum"].as_array()?.iter().map(text).collect(),
    }
}

fn format(schema: &Value) -> Format {
    let name = schema["format"].as_str().expect("every text has a format");
    *FORMATS.iter().find(|format| format.name == name).expect("every format of the schema is in the table")
}

fn bound(schema: &Value, key: &str) -> Option<usize> {
    schema[key].as_u64().and_then(|bound| usize::try_from(bound).ok())
}

fn list(words: impl IntoIterator<Item = impl AsRef<str>>) -> String {
    let words: Vec<String> = words.into_iter().map(|word| word.as_ref().to_owned()).collect();
    match words.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
        Some(_) | None => words.concat(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shape_says_ranges_words_and_defaults_of_the_schema() {
        let Shape::Table(keys) = of_config() else { panic!("the root is a table") };
        let find = |keys: &'static [Key], name: &str| keys.iter().find(|key| key.name == name).expect("key");
        let Shape::Table(gateway) = &find(keys, "gateway").shape else { panic!("gateway is a table") };
        for (name, allowed, default) in [
            ("flows_max", "an integer from 1024 to 16777216", Some("262144")),
            ("vxlan_port", "an integer from 1 to 65535", Some("4789")),
            ("xdp_mode", "\"auto\", \"native\" or \"generic\"", Some("\"auto\"")),
            ("hash_secret", "32 hex digits, made with `openssl rand -hex 16`", None),
        ] {
            let key = find(gateway, name);
            assert_eq!(key.shape.allowed(), allowed);
            assert_eq!(key.default.as_ref().map(Value::to_string).as_deref(), default, "{name}");
            assert!(!key.required, "{name}");
        }
        assert!(find(gateway, "interfaces").required);
        assert!(find(gateway, "interfaces").shape.allowed().starts_with("an array of 1 to 16, each 1 to 15 bytes"));
    }
}
