//! Turns text into paths and into the hash secret.

use std::path::PathBuf;

use super::TextFormat;
use crate::model::HashSecret;

/// A path from the root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AbsolutePath(pub(crate) PathBuf);

/// A path from the root, or from the directory of the config file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FilePath(pub(crate) PathBuf);

impl TextFormat for AbsolutePath {
    const FORMAT: &'static str = "absolute-path";
    const ALLOWED: &'static str = "a path that begins with \"/\"";
    const EXAMPLES: &'static [&'static str] = &["/var/lib/balancer"];

    fn parse(text: &str) -> Result<Self, String> {
        if !text.starts_with('/') || text.contains('\0') {
            return Err("is not a path from the root".to_owned());
        }
        Ok(Self(text.into()))
    }
}

impl TextFormat for FilePath {
    const FORMAT: &'static str = "path";
    const ALLOWED: &'static str = "the path of a file, from \"/\" or from the directory of this config file";
    const EXAMPLES: &'static [&'static str] = &["/etc/balancer/hash-secret", "hash-secret"];

    fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() || text.contains('\0') {
            return Err("is not a path".to_owned());
        }
        Ok(Self(text.into()))
    }
}

impl TextFormat for HashSecret {
    const FORMAT: &'static str = "hash-secret";
    const ALLOWED: &'static str = "32 hex digits, made with `openssl rand -hex 16`";
    const PATTERN: Option<&'static str> = Some("^[0-9a-fA-F]{32}$");
    const EXAMPLES: &'static [&'static str] = &[];
    const SECRET: bool = true;

    fn parse(text: &str) -> Result<Self, String> {
        let digits = text.as_bytes();
        let mut secret = [0; 16];
        if digits.len() != 2 * secret.len() {
            return Err("is not 32 hex digits long".to_owned());
        }
        for (byte, pair) in secret.iter_mut().zip(digits.chunks_exact(2)) {
            let high = char::from(pair[0]).to_digit(16).ok_or("holds something that is no hex digit")?;
            let low = char::from(pair[1]).to_digit(16).ok_or("holds something that is no hex digit")?;
            *byte = (high as u8) << 4 | low as u8;
        }
        Ok(Self(secret))
    }
}

#[cfg(test)]
mod tests {
    use super::{super::check::check, *};

    #[test]
    fn paths_and_secrets_are_read_or_refused() {
        check([("/a/b", Some(AbsolutePath("/a/b".into()))), ("a/b", None), ("", None)]);
        check([("a", Some(FilePath("a".into()))), ("", None)]);
        check([
            ("000102030405060708090A0b0c0d0e0f", Some(HashSecret(std::array::from_fn(|index| index as u8)))),
            ("000102030405060708090a0b0c0d0e", None),
            ("000102030405060708090a0b0c0d0e0g", None),
            ("ä00102030405060708090a0b0c0d0e0", None),
        ]);
    }
}
