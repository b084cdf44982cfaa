//! Turns a TOML document into plain values of the right shape: every key that is unknown, missing or wrong is reported, and a hole left in its place.

use serde_json::{Map, Value};
use toml::de::{DeTable, DeValue};

use super::{
    error::ErrorKind,
    nearest::nearest,
    path::KeyPath,
    report::{Finding, Report},
    shape::{Key, Shape},
};

/// Walks a whole file. The result is a table; `null` stands where an error was reported, defaults where a key was absent.
pub(crate) fn walk(root: &DeTable<'_>, shape: &Shape, source: usize, report: &mut Report<'_>) -> Value {
    match shape {
        Shape::Table(keys) => table(root, keys, &KeyPath::root(source), report),
        Shape::Array { .. } | Shape::Integer { .. } | Shape::Choice(_) | Shape::Text(_) | Shape::Word(_) => {
            unreachable!("a TOML file is a table, and so is the schema's root")
        }
    }
}

fn table(table: &DeTable<'_>, keys: &[Key], path: &KeyPath<'_>, report: &mut Report<'_>) -> Value {
    let meant = unknown_keys(table, keys, path, report);
    let mut values = Map::new();
    for key in keys {
        let at = path.key(&key.name);
        let value = match table.get(key.name.as_str()) {
            Some(given) => value(given.get_ref(), &key.shape, &at, report),
            // A misspelt key has been reported as that: it is neither missing nor left to its default.
            None if meant.contains(&key.name.as_str()) => Value::Null,
            None if key.required => {
                let finding = Finding::new(ErrorKind::MissingKey, format!("`{}` is missing", key.name));
                report.add(&at, finding.allowed(key.shape.allowed()));
                Value::Null
            }
            None => match &key.default {
                Some(default) => with_defaults(default.clone(), &key.shape),
                None => continue,
            },
        };
        values.insert(key.name.clone(), value);
    }
    Value::Object(values)
}

/// Reports keys that mean nothing here; returns the known ones that were probably meant.
fn unknown_keys<'a>(table: &DeTable<'_>, keys: &'a [Key], path: &KeyPath<'_>, report: &mut Report<'_>) -> Vec<&'a str> {
    let mut meant = Vec::new();
    let known = |name: &str| keys.iter().any(|key| key.name == name);
    for (name, _) in table.iter().filter(|(name, _)| !known(name.get_ref())) {
        let name: &str = name.get_ref();
        let free = keys.iter().map(|key| key.name.as_str()).filter(|known| !table.contains_key(*known));
        let guess = nearest(name, free).or_else(|| nearest(name, keys.iter().map(|key| key.name.as_str())));
        meant.extend(guess);
        let mend = guess.map(|guess| format!("; did you mean `{guess}`?")).unwrap_or_default();
        let finding =
            Finding::new(ErrorKind::UnknownKey, format!("`{}` is no key of this table{mend}", name.escape_debug()));
        let names: Vec<&str> = keys.iter().map(|key| key.name.as_str()).collect();
        report.add(&path.key(name), finding.allowed(names.join(", ")).at_key());
    }
    meant
}

/// A default as it would have been read: a table's keys have defaults of their own.
fn with_defaults(default: Value, shape: &Shape) -> Value {
    match (default, shape) {
        (Value::Object(mut values), Shape::Table(keys)) => {
            for key in keys {
                if let Some(inner) = &key.default {
                    values.entry(key.name.clone()).or_insert_with(|| with_defaults(inner.clone(), &key.shape));
                }
            }
            Value::Object(values)
        }
        (default, _) => default,
    }
}

fn value(given: &DeValue<'_>, shape: &Shape, path: &KeyPath<'_>, report: &mut Report<'_>) -> Value {
    let checked = match (shape, given) {
        (Shape::Table(keys), DeValue::Table(inner)) => return table(inner, keys, path, report),
        (Shape::Array { element, min, max }, DeValue::Array(elements)) => {
            if elements.len() < *min || elements.len() > *max {
                let finding = Finding::new(ErrorKind::OutOfRange, format!("the array has {} elements", elements.len()));
                report.add(path, finding.allowed(shape.allowed()));
                return Value::Null;
            }
            let walked = elements
                .iter()
                .enumerate()
                .map(|(index, inner)| value(inner.get_ref(), element, &path.index(index), report));
            return Value::Array(walked.collect());
        }
        (Shape::Integer { min, max }, DeValue::Integer(integer)) => {
            number(integer.as_str(), integer.radix(), |number| (*min..=*max).contains(&number))
        }
        (Shape::Choice(numbers), DeValue::Integer(integer)) => {
            number(integer.as_str(), integer.radix(), |number| numbers.contains(&number))
        }
        (Shape::Text(format), DeValue::String(text)) => {
            (format.check)(text).map(|()| Value::from(text.as_ref())).map_err(|reason| (ErrorKind::BadValue, reason))
        }
        (Shape::Word(words), DeValue::String(text)) => {
            let reason = || (ErrorKind::OutOfRange, format!("is not a word known here{}", did_you_mean(text, words)));
            words.iter().find(|word| *word == text).map(|word| Value::from(word.as_str())).ok_or_else(reason)
        }
        (_, other) => Err((ErrorKind::WrongType, format!("is {}", type_name(other)))),
    };
    checked.unwrap_or_else(|(kind, reason)| {
        let secret = matches!(shape, Shape::Text(format) if format.secret);
        let shown = if secret { None } else { shown(given) };
        let subject = shown.as_deref().unwrap_or("the value");
        let finding = Finding::new(kind, format!("{subject} {reason}")).allowed(shape.allowed());
        report.add(
            path,
            match &shown {
                Some(shown) => finding.value(shown),
                None => finding,
            },
        );
        Value::Null
    })
}

fn number(digits: &str, radix: u32, right: impl Fn(i128) -> bool) -> Result<Value, (ErrorKind, String)> {
    let number = i128::from_str_radix(digits, radix).ok().filter(|number| right(*number));
    let number = number.and_then(|number| i64::try_from(number).ok());
    number.map(Value::from).ok_or_else(|| (ErrorKind::OutOfRange, "is out of range".to_owned()))
}

fn did_you_mean(word: &str, known: &[String]) -> String {
    nearest(word, known.iter().map(String::as_str))
        .map(|guess| format!("; did you mean \"{guess}\"?"))
        .unwrap_or_default()
}

fn type_name(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "text, in quotes",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(_) => "an array",
        DeValue::Table(_) => "a table",
    }
}

/// Most characters of a value that an error shows.
const SHOWN_CHARS_MAX: usize = 64;

/// A scalar as it is written in TOML, cut when long; nothing for what would fill a page or may be a hash secret in the wrong place.
fn shown(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) if is_like_a_secret(text) => None,
        DeValue::String(text) if text.chars().count() > SHOWN_CHARS_MAX => {
            Some(format!("{:?}…", text.chars().take(SHOWN_CHARS_MAX).collect::<String>()))
        }
        DeValue::String(text) => Some(format!("{:?}", text.as_ref())),
        DeValue::Integer(integer) => Some(integer.to_string()),
        DeValue::Float(float) => Some(float.to_string()),
        DeValue::Boolean(boolean) => Some(boolean.to_string()),
        DeValue::Datetime(datetime) => Some(datetime.to_string()),
        DeValue::Array(_) | DeValue::Table(_) => None,
    }
}

/// Hex digits of a hash secret.
const SECRET_DIGITS: usize = 32;

fn is_like_a_secret(text: &str) -> bool {
    text.bytes().filter(u8::is_ascii_hexdigit).count() >= SECRET_DIGITS && !text.contains(['.', ':', '/'])
}
