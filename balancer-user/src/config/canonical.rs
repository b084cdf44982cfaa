//! Turns a config without an error into one TOML text, a digest of all it says and the generation it implies.

use std::fmt::Write as _;

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::{directory_of, validate::Merged};
use crate::model::{Desired, HashSecret};

/// What a config amounts to.
pub(crate) struct Canonical {
    /// SHA-256 of everything, lower-case hex.
    pub(crate) digest: String,
    /// 53 bits of the SHA-256 of what every gateway has in common.
    pub(crate) generation: u64,
    /// All files in one, with defaults spelt out and paths from the root.
    pub(crate) text: String,
}

/// Bits of a derived generation: what a JSON reader keeps of a number without loss (IEEE 754 double).
const GENERATION_MASK: u64 = (1 << 53) - 1;

impl Canonical {
    /// Of files that were found without an error.
    pub(crate) fn of(merged: &Merged<'_>, desired: &Desired) -> Self {
        let root = joined(merged);
        let text = toml::to_string(&root).expect("values that came out of TOML fit into it");
        let digest = Sha256::digest(sorted_text(&whole(&root, desired)));
        let common = Sha256::digest(sorted_text(&common(&root, desired)));
        let first = common.first_chunk().copied().unwrap_or_default();
        // 0 is what maps hold before the first config.
        Self { digest: hex(&digest), generation: (u64::from_be_bytes(first) & GENERATION_MASK).max(1), text }
    }
}

/// The root tables of all files in one.
fn joined(merged: &Merged<'_>) -> Map<String, Value> {
    let mut root = Map::new();
    for file in merged.files() {
        let Value::Object(tables) = &file.value else { continue };
        for (key, value) in tables {
            match (root.get_mut(key), value) {
                (Some(Value::Array(list)), Value::Array(more)) => list.extend(more.iter().cloned()),
                (Some(_), _) => {}
                (None, value) => drop(root.insert(key.clone(), value.clone())),
            }
        }
        if let Some(path) = root.get_mut("gateway").and_then(|gateway| gateway.get_mut("hash_secret_file")) {
            let from_here = directory_of(&file.source.file).join(path.as_str().unwrap_or_default());
            let from_root = std::path::absolute(&from_here).unwrap_or(from_here);
            *path = Value::from(from_root.to_string_lossy().into_owned());
        }
    }
    root
}

/// Everything, with the secret itself wherever it was kept.
fn whole(root: &Map<String, Value>, desired: &Desired) -> Value {
    let mut root = root.clone();
    sort_lists(&mut root);
    if let Some(Value::Object(gateway)) = root.get_mut("gateway") {
        gateway.remove("hash_secret_file");
        gateway.insert("hash_secret".to_owned(), secret(&desired.gateway.hash_secret));
        gateway.insert("name".to_owned(), desired.gateway.name.clone().into());
    }
    Value::Object(root)
}

/// What decides where flows go, which no two gateways may differ in.
fn common(root: &Map<String, Value>, desired: &Desired) -> Value {
    let mut root = root.clone();
    sort_lists(&mut root);
    root.retain(|key, _| key == "hosts" || key == "projects");
    root.insert("hash_secret".to_owned(), secret(&desired.gateway.hash_secret));
    root.insert("vxlan_port".to_owned(), desired.gateway.vxlan_port.into());
    Value::Object(root)
}

fn secret(HashSecret(secret): &HashSecret) -> Value {
    hex(secret).into()
}

/// Hosts and projects in an order of their own, so that files may be split and renamed.
fn sort_lists(root: &mut Map<String, Value>) {
    for list in root.values_mut().filter_map(Value::as_array_mut) {
        list.sort_by_cached_key(sorted_text);
    }
}

/// JSON with the keys of every table sorted, whatever order the map type keeps.
fn sorted_text(value: &Value) -> String {
    match value {
        Value::Object(table) => {
            let mut keys: Vec<&String> = table.keys().collect();
            keys.sort();
            let entries: Vec<String> =
                keys.into_iter().map(|key| format!("{key:?}:{}", sorted_text(&table[key]))).collect();
            format!("{{{}}}", entries.join(","))
        }
        Value::Array(list) => format!("[{}]", list.iter().map(sorted_text).collect::<Vec<_>>().join(",")),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.to_string(),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        // Writing to a String does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
